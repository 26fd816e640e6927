//! Secret keys that are encrypted with a passphrase.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use fhec_container::Reader;

use super::Place;
use super::forge::Forge;
use super::model::{difference, read_scores};
use super::pipeline::compiled;

const KEYGEN: &[&str] = &["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"];
const ENCRYPT: &[&str] = &["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"];
const DECRYPT: &[&str] = &["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"];
const RIGHT: &[&str] = &["--passphrase-file", "words"];
const WRONG: &[&str] = &["--passphrase-file", "other"];

/// A place with a key that is encrypted with the first line of `words`.
fn encrypted() -> Place {
    let p = compiled();
    fs::write(p.path("words"), "gräserne Brücke 7\r\nnot this line\n").unwrap();
    fs::write(p.path("other"), "not this line\n").unwrap();
    p.ok(&[KEYGEN, RIGHT].concat());
    p
}

#[test]
fn a_key_is_used_with_its_passphrase_only() {
    let p = encrypted();
    for command in [ENCRYPT, &[KEYGEN, &["--existing", "--force"]].concat()] {
        let message = p.fails(command);
        assert!(message.contains("client.key: the secret key is encrypted, and no passphrase"), "{message}");
        assert!(message.contains("--passphrase-file FILE"), "{message}");
        let message = p.fails(&[command, WRONG].concat());
        assert!(message.contains("client.key: the passphrase is wrong, or the file was changed"), "{message}");
        assert!(message.contains("help: give the passphrase that"), "{message}");
    }
    assert!(!p.path("x.ct").exists());
    p.ok(&[ENCRYPT, RIGHT].concat());
    // Evaluation keys for it, by the passphrase without the end of its line.
    p.ok(&[&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "e", "--existing"], RIGHT].concat());
    p.ok(&["eval", "plan.fhe", "--evaluation", "e", "--input", "x.ct", "-o", "y.ct"]);
    assert!(p.fails(DECRYPT).contains("no passphrase was given"));
    assert!(p.fails(&[DECRYPT, WRONG].concat()).contains("the passphrase is wrong"));
    assert!(!p.path("y.npy").exists(), "no noise instead of an error");
    let mut child = Command::new(env!("CARGO_BIN_EXE_fhec"))
        .args([DECRYPT, &["--passphrase-file", "-"]].concat())
        .current_dir(p.path("."))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("gräserne Brücke 7".as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy"]);
    assert!(difference(&read_scores(&p.path("y.npy")), &read_scores(&p.path("s.npy"))) < 1e-3);
}

#[test]
fn the_file_holds_no_key_in_the_clear() {
    let p = encrypted();
    let key = fs::read(p.path("client.key")).unwrap();
    let reader = Reader::from_bytes("client.key", &key).unwrap();
    let sections: Vec<_> = reader.sections().iter().map(|s| (s.name.as_str(), s.len)).collect();
    assert_eq!(sections, [("encrypted seed", 48)]);
    // One passphrase, two files: neither salt nor ciphertext repeats.
    p.ok(&[&["keygen", "plan.fhe", "--secret", "b.key", "--evaluation", "b.ev"], RIGHT].concat());
    let other = Forge::of(&fs::read(p.path("b.key")).unwrap());
    let forge = Forge::of(&key);
    assert_ne!(forge.manifest["scrypt"]["salt"], other.manifest["scrypt"]["salt"]);
    assert_ne!(forge.sections[0].stored, other.sections[0].stored);
    let message = p.fails(&[KEYGEN, RIGHT].concat());
    assert!(message.contains("a secret key replaces nothing"), "{message}");
    assert_eq!(fs::read(p.path("client.key")).unwrap(), key);
}

#[test]
fn a_hostile_file_is_refused_at_once() {
    let p = encrypted();
    let key = fs::read(p.path("client.key")).unwrap();
    let forged = |log_n: u64| {
        let mut forge = Forge::of(&key);
        forge.manifest["scrypt"]["log_n"] = log_n.into();
        fs::write(p.path("client.key"), forge.seal()).unwrap();
        let started = Instant::now();
        let message = p.fails(&[ENCRYPT, RIGHT].concat());
        assert!(started.elapsed().as_secs_f64() < 2.0, "2^{log_n}: {:?}", started.elapsed());
        message
    };
    for log_n in [0, 21, 40, 63, 64, 255] {
        let message = forged(log_n);
        let expected = format!("client.key: it asks for 2^{log_n} blocks of scrypt, and 2^1 to 2^20 are accepted");
        assert!(message.contains(&expected), "{message}");
    }
    assert!(forged(256).contains("client.key"));
    // What the file says in the clear is authenticated too.
    let mut forge = Forge::of(&key);
    forge.manifest["insecure"] = true.into();
    fs::write(p.path("client.key"), forge.seal()).unwrap();
    assert!(p.fails(&[ENCRYPT, RIGHT].concat()).contains("or the file was changed"));
}

#[test]
fn a_passphrase_that_does_nothing_or_is_none_is_refused() {
    let p = compiled();
    fs::write(p.path("words"), "some words\n").unwrap();
    fs::write(p.path("empty"), "\nsome words\n").unwrap();
    fs::write(p.path("long"), "x".repeat(4097)).unwrap();
    let empty = p.fails(&[KEYGEN, &["--passphrase-file", "empty"]].concat());
    assert!(empty.contains("empty: the passphrase is empty"), "{empty}");
    let long = p.fails(&[KEYGEN, &["--passphrase-file", "long"]].concat());
    assert!(long.contains("long: its first line is longer than 4096 bytes"), "{long}");
    assert!(p.fails(&[KEYGEN, &["--passphrase-file", "nothing"]].concat()).contains("nothing cannot be read"));
    p.misread(&[KEYGEN, RIGHT, &["--passphrase"]].concat());
    let same = p.fails(&[ENCRYPT, &["--passphrase-file", "x.ct"]].concat());
    assert!(same.contains("--output names the passphrase that this command reads"), "{same}");
    assert!(!p.path("client.key").exists());
    p.ok(KEYGEN);
    let unneeded = p.fhec(&[ENCRYPT, RIGHT, &["--json"]].concat());
    let error: serde_json::Value = serde_json::from_slice(&unneeded.stdout).unwrap();
    assert_eq!((unneeded.status.code(), &error["error"]["code"]), (Some(1), &"passphrase".into()), "{error}");
    assert_eq!(error["error"]["file"], "client.key");
    assert!(error["error"]["message"].as_str().unwrap().contains("the secret key is not encrypted"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_terminal_nothing_is_asked() {
    let p = compiled();
    let output = Command::new("setsid")
        .args(["--wait", env!("CARGO_BIN_EXE_fhec")])
        .args([KEYGEN, &["--passphrase"]].concat())
        .current_dir(p.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("--passphrase asks on the terminal") && message.contains("--passphrase-file"),
        "{message}"
    );
    assert!(!p.path("client.key").exists());
}

/// A terminal of which this test has the other end.
#[cfg(target_os = "linux")]
struct Terminal {
    here: fs::File,
    there: fs::File,
}

#[cfg(target_os = "linux")]
impl Terminal {
    fn new() -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let here = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&here).unwrap();
        unlockpt(&here).unwrap();
        let name = ptsname(&here, Vec::new()).unwrap();
        let there = fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        Self { here: here.into(), there }
    }

    /// Until what is typed is not shown: the prompt comes a moment before.
    fn wait_for_silence(terminal: &fs::File) {
        use rustix::termios::{LocalModes, tcgetattr};
        for _ in 0..500 {
            if !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Runs `fhec` with this as its terminal; after every prompt that ends so, the next of `lines` is typed. What was shown,
    /// and the exit status.
    fn run(mut self, p: &Place, args: &[&str], prompt: &str, lines: &[&str]) -> (String, std::process::ExitStatus) {
        use std::io::Read;
        let mut child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_fhec")])
            .args(args)
            .current_dir(p.path("."))
            .stdin(self.there.try_clone().unwrap())
            .stdout(Stdio::null())
            .stderr(self.there.try_clone().unwrap())
            .spawn()
            .unwrap();
        drop(self.there);
        let (mut shown, mut lines) = (Vec::new(), lines.iter());
        let mut buffer = [0; 4096];
        // An error ends what can be read: nobody holds the other end any more.
        while let Ok(count) = self.here.read(&mut buffer) {
            if count == 0 {
                break;
            }
            shown.extend_from_slice(&buffer[..count]);
            if String::from_utf8_lossy(&shown).ends_with(prompt)
                && let Some(line) = lines.next()
            {
                Self::wait_for_silence(&self.here);
                self.here.write_all(line.as_bytes()).unwrap();
            }
        }
        (String::from_utf8_lossy(&shown).into_owned(), child.wait().unwrap())
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_asked_twice_and_shows_nothing_of_what_is_typed() {
    let p = compiled();
    let args = [KEYGEN, &["--passphrase"]].concat();
    let (shown, status) = Terminal::new().run(&p, &args, "client.key: ", &["gräserne Brücke 7\n", "grüne Brücke 7\n"]);
    assert!(!status.success() && shown.contains("the two passphrases differ"), "{shown}");
    assert!(!p.path("client.key").exists());
    let words = "gräserne Brücke 7\n";
    let (shown, status) = Terminal::new().run(&p, &args, "client.key: ", &[words, words]);
    assert!(status.success() && shown.contains("The same passphrase once more"), "{shown}");
    assert!(!shown.contains("Brücke"), "{shown}");
    fs::write(p.path("words"), words).unwrap();
    p.ok(&[ENCRYPT, RIGHT].concat());
    let (shown, status) =
        Terminal::new().run(&p, &[ENCRYPT, &["--passphrase", "--force"]].concat(), "client.key: ", &[words]);
    assert!(status.success(), "{shown}");
}
