//! No file that matters is ever replaced, and every output goes where it was sent.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use super::Place;
use super::pipeline::compiled;

/// A place with a plan, keys, an encrypted input and its encrypted result.
fn evaluated() -> Place {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    p
}

/// Runs a command through a shell, `fhec` being this one.
fn shell(p: &Place, script: &str) -> Output {
    let script = format!("fhec() {{ {} \"$@\"; }}; {script}", env!("CARGO_BIN_EXE_fhec"));
    Command::new("bash").args(["-c", &script]).current_dir(p.path(".")).output().unwrap()
}

fn mode(p: &Place, file: &str) -> u32 {
    fs::metadata(p.path(file)).unwrap().permissions().mode() & 0o777
}

#[test]
fn keygen_refuses_one_path_for_two_files() {
    let p = compiled();
    let plan = fs::read(p.path("plan.fhe")).unwrap();
    for force in [&[][..], &["--force"]] {
        let keygen = |args: &[&str]| p.fails(&[&["keygen", "plan.fhe"], args, force].concat());
        let message = keygen(&["--secret", "one.key", "--evaluation", "./one.key"]);
        assert!(message.contains("--secret and --evaluation name one file"), "{message}");
        for args in [["--secret", "plan.fhe", "--evaluation", "e"], ["--secret", "s", "--evaluation", "plan.fhe"]] {
            let message = keygen(&args);
            assert!(message.contains("names the plan that this command reads"), "{message}");
        }
    }
    assert_eq!(fs::read(p.path("plan.fhe")).unwrap(), plan);
    for file in ["one.key", "s", "e"] {
        assert!(!p.path(file).exists(), "{file}");
    }
}

#[test]
fn a_secret_key_is_never_replaced() {
    let p = compiled();
    let keygen = ["keygen", "plan.fhe", "--secret", "a.key", "--evaluation"];
    p.ok(&[&keygen[..], &["a.ev"]].concat());
    let (secret, evaluation) = (fs::read(p.path("a.key")).unwrap(), fs::read(p.path("a.ev")).unwrap());
    for args in [&["b.ev"][..], &["b.ev", "--force"], &["a.ev", "--force"]] {
        let message = p.fails(&[&keygen[..], args].concat());
        assert!(message.contains("a.key: the file exists, and a secret key replaces nothing"), "{message}");
    }
    // Evaluation keys of an older secret may be replaced, on demand.
    let again = ["keygen", "plan.fhe", "--secret", "b.key", "--evaluation", "a.ev"];
    assert!(p.fails(&again).contains("a.ev: the file exists"));
    assert!(!p.path("b.key").exists(), "nothing is done before all is known to go well");
    assert_eq!(fs::read(p.path("a.ev")).unwrap(), evaluation);
    p.ok(&[&again[..], &["--force"]].concat());
    assert_ne!(fs::read(p.path("a.ev")).unwrap(), evaluation);
    assert_eq!(fs::read(p.path("a.key")).unwrap(), secret);
}

#[test]
fn no_output_replaces_an_input() {
    let p = evaluated();
    fs::write(p.path("f.fhir"), "").unwrap();
    symlink("client.key", p.path("link.key")).unwrap();
    fs::hard_link(p.path("client.key"), p.path("hard.key")).unwrap();
    let encrypt = ["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o"];
    let eval = ["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o"];
    let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o"];
    let compile = ["tiny.onnx", "--calibration", "calibration.npy", "-o"];
    let pareto = ["tiny.onnx", "--calibration", "calibration.npy", "-o", "new.fhe", "--pareto"];
    for (command, outputs) in [
        (&compile[..], &["tiny.onnx", "./tiny.onnx", "calibration.npy"][..]),
        (&pareto, &["tiny.onnx", "new.fhe"]),
        (&encrypt, &["client.key", "link.key", "hard.key", "plan.fhe", "x.npy"]),
        (&eval, &["server.key", "x.ct", "plan.fhe"]),
        (&decrypt, &["client.key", "y.ct", "plan.fhe"]),
        (&["run", "plan.fhe", "--input", "x.npy", "-o"], &["x.npy", "plan.fhe"]),
        (&["simulate", "plan.fhe", "--input", "x.npy", "-o"], &["x.npy", "plan.fhe"]),
        (&["report", "plan.fhe", "-o"], &["plan.fhe"]),
        (&["opt", "f.fhir", "-o"], &["f.fhir"]),
    ] {
        for output in outputs {
            let before = fs::read(p.path(output)).ok();
            let message = p.fails(&[command, &[output, "--force"]].concat());
            let said = message.contains("that this command reads") || message.contains("name one file");
            assert!(said, "{command:?} {output}: {message}");
            assert_eq!(fs::read(p.path(output)).ok(), before, "{command:?} {output}");
        }
    }
}

#[test]
fn what_exists_is_replaced_only_on_demand() {
    let p = evaluated();
    p.ok(&["tiny.onnx", "--guess-ranges", "-o", "other.fhe", "--dump-passes", "dump"]);
    let compile = ["tiny.onnx", "--guess-ranges", "-o"];
    for command in [
        &[&compile[..], &["other.fhe"]].concat()[..],
        &[&compile[..], &["new.fhe", "--dump-passes", "dump"]].concat(),
        &["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"],
        &["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"],
        &["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "calibration.npy"],
        &["simulate", "plan.fhe", "--input", "x.npy", "-o", "calibration.npy"],
        &["report", "plan.fhe", "-o", "other.fhe"],
    ] {
        let message = p.fails(command);
        assert!(message.contains("the file exists") && message.contains("--force"), "{command:?}: {message}");
        p.ok(&[command, &["--force"]].concat());
    }
    // Nothing is lost with an empty file.
    fs::write(p.path("empty.html"), "").unwrap();
    p.ok(&["report", "plan.fhe", "-o", "empty.html"]);
}

#[test]
fn links_are_followed_and_devices_stay() {
    let p = compiled();
    fs::write(p.path("target"), "").unwrap();
    symlink("target", p.path("link")).unwrap();
    p.ok(&["report", "plan.fhe", "-o", "link"]);
    assert!(p.path("link").is_symlink() && fs::metadata(p.path("target")).unwrap().len() > 0);
    p.ok(&["report", "plan.fhe", "-o", "/dev/null"]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let message = p.fails(&["report", "plan.fhe", "-o", "."]);
    assert!(message.contains("this is a folder"), "{message}");
    let message = p.fails(&["report", "plan.fhe", "-o", "missing/r.html"]);
    assert!(message.contains("there is no folder `missing`"), "{message}");
    // Names that programs could guess are of no use to anybody.
    fs::write(p.path("victim"), "precious").unwrap();
    symlink("victim", p.path(".s.npy.part")).unwrap();
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy"]);
    assert_eq!(fs::read(p.path("victim")).unwrap(), b"precious");
}

#[test]
fn pipes_carry_every_file() {
    let p = evaluated();
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"]);
    let through = shell(
        &p,
        "set -o pipefail
        cat x.npy | fhec encrypt plan.fhe --secret client.key --input - -o - |
            fhec eval <(cat plan.fhe) --evaluation server.key --input /dev/stdin -o /dev/stdout |
            fhec decrypt plan.fhe --secret <(cat client.key) --input - -o - >piped.npy",
    );
    assert!(through.status.success(), "{}", String::from_utf8_lossy(&through.stderr));
    let read = |file: &str| super::model::read_scores(&p.path(file));
    assert!(super::model::difference(&read("y.npy"), &read("piped.npy")) < 1e-3);
    let report = String::from_utf8_lossy(&through.stderr).into_owned();
    assert!(report.contains("results of 3 images"), "the report goes to standard error: {report}");

    let fifo = shell(
        &p,
        "mkfifo pipe; (cat pipe >got &); fhec report plan.fhe -o pipe && sleep 0.5 && test -p pipe && grep -q '<svg' got",
    );
    assert!(fifo.status.success(), "{}", String::from_utf8_lossy(&fifo.stderr));
    let message = p.fails(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "-", "--json"]);
    assert!(message.contains("both go to standard output"), "{message}");
    let message = p.fails(&["encrypt", "plan.fhe", "--secret", "-", "--input", "-", "-o", "z.ct"]);
    assert!(message.contains("are both to come from standard input"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let p = compiled();
    for script in [
        "fhec inspect plan.fhe >/dev/full",
        "fhec inspect plan.fhe --json >/dev/full",
        "fhec simulate plan.fhe --input x.npy -o - >/dev/full",
        "fhec simulate plan.fhe --input x.npy -o /dev/full",
    ] {
        let full = shell(&p, script);
        let message = String::from_utf8_lossy(&full.stderr).into_owned();
        assert_eq!(full.status.code(), Some(1), "{script}: {message}");
        assert!(message.contains("No space left") && !message.contains("panicked"), "{script}: {message}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_fhec"))
        .args(["inspect", "plan.fhe", "--program"])
        .current_dir(p.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success() && said.is_empty(), "{said}");
}

#[test]
fn keys_ciphertexts_and_results_are_their_owners() {
    let p = evaluated();
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"]);
    p.ok(&["run", "plan.fhe", "--input", "x.npy", "-o", "r.npy", "--limit", "1"]);
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy"]);
    for file in ["client.key", "x.ct", "y.npy", "r.npy", "s.npy"] {
        assert_eq!(mode(&p, file), 0o600, "{file}");
    }
    let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "--force", "-o", "y.npy"];
    assert!(p.fhec(&decrypt).stderr.is_empty());
    for open in [0o640, 0o604] {
        fs::set_permissions(p.path("client.key"), Permissions::from_mode(open)).unwrap();
        let said = String::from_utf8(p.fhec(&decrypt).stderr).unwrap();
        assert!(said.contains("warning: client.key") && said.contains("chmod 600 client.key"), "{said}");
    }
}

#[test]
fn evaluation_keys_that_cannot_be_written_lose_no_secret() {
    let p = compiled();
    let keygen = ["keygen", "plan.fhe", "--secret", "client.key", "--evaluation"];
    let message = p.fails(&[&keygen[..], &["/dev/full"]].concat());
    assert!(message.contains("client.key is written") && message.contains("--existing"), "{message}");
    let secret = fs::read(p.path("client.key")).unwrap();
    // The key that is there is as good as a new one.
    p.ok(&[&keygen[..], &["server.key", "--existing"]].concat());
    assert_eq!(fs::read(p.path("client.key")).unwrap(), secret);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"]);
}

#[test]
fn the_ending_of_a_file_is_what_it_holds() {
    let p = compiled();
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npz"]);
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy"]);
    assert!(fs::read(p.path("s.npz")).unwrap().starts_with(b"PK"));
    assert!(fs::read(p.path("s.npy")).unwrap().starts_with(b"\x93NUMPY"));
    let read = |file: &str| super::model::read_scores(&p.path(file));
    assert_eq!(read("s.npz"), read("s.npy"));
}

#[test]
fn what_a_killed_program_left_goes_at_the_next_start() {
    let p = compiled();
    fs::write(p.path(".fhec-0123456789ab.part"), "half a plan").unwrap();
    p.ok(&["report", "plan.fhe", "-o", "r.html"]);
    assert!(!p.path(".fhec-0123456789ab.part").exists());
}

/// Starts `fhec eval` on the encrypted `images`, and ends it by `signal` when the first result is there.
fn interrupted(p: &Place, signal: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fhec"))
        .args(["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "z.ct", "--threads", "1"])
        .current_dir(p.path("."))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let partial = p.path("z.ct.partial");
    let first = || fs::metadata(&partial).is_ok_and(|m| m.len() > 10_000);
    while !first() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_evaluation_goes_on_where_it_was_interrupted() {
    let p = compiled();
    super::model::write_images(&p.path("many.npy"), 7, 40);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "many.npy", "-o", "x.ct"]);
    let eval = ["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o"];
    p.ok(&[&eval[..], &["y.ct"]].concat());
    for signal in ["-KILL", "-TERM"] {
        interrupted(&p, signal);
        assert!(!p.path("z.ct").exists() && p.path("z.ct.partial").exists(), "{signal}");
        // Half a result at the end is none.
        fs::OpenOptions::new().append(true).open(p.path("z.ct.partial")).unwrap().write_all(&[7; 100]).unwrap();
        let said = String::from_utf8(p.fhec(&[&eval[..], &["z.ct"]].concat()).stderr).unwrap();
        assert!(said.contains("going on after") && said.contains("of 40 images"), "{signal}: {said}");
        assert!(!p.path("z.ct.partial").exists());
        assert_eq!(fs::read(p.path("y.ct")).unwrap(), fs::read(p.path("z.ct")).unwrap(), "{signal}");
        fs::remove_file(p.path("z.ct")).unwrap();
    }
    // Results of other inputs are not taken for these.
    interrupted(&p, "-KILL");
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct", "--force"]);
    let said = String::from_utf8(p.fhec(&[&eval[..], &["z.ct"]].concat()).stderr).unwrap();
    assert!(said.contains("z.ct.partial is of another input"), "{said}");
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "z.ct", "-o", "z.npy"]);
    assert_eq!(super::model::read_scores(&p.path("z.npy")).len(), 3);
}
