//! The service as its users run it: `fhec serve`, `fhec remote` and `fhec token`, with encrypted results.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::Place;
use super::model::{difference, read_scores, write_images};
use super::pipeline::compiled;

/// A running `fhec serve`, which is killed when it is dropped.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fhec"));
        command.args(["serve", "--plan", "plan.fhe", "--keys-dir", "state"]).args(args).current_dir(place.path(""));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            let mut says = String::new();
            child.stderr.take().unwrap().read_to_string(&mut says).unwrap();
            panic!("{line}{says}");
        };
        Self { address: address.into(), child }
    }

    fn port(&self) -> &str {
        self.address.strip_prefix("http://").unwrap()
    }

    /// Ends it as SIGTERM does; its exit code, and what it logged.
    fn terminate(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (code, log)
    }

    /// One request; the status, and the JSON of the answer.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Value) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = ureq::Agent::from(config);
        let answer = match method {
            "GET" => agent.run(request.body(()).unwrap()),
            _ => agent.run(request.body(body).unwrap()),
        };
        let mut answer = answer.unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    fn upload(&self, file: &Path) -> (String, u16, Value) {
        let bytes = std::fs::read(file).unwrap();
        let id = blake3::hash(&bytes).to_hex().to_string();
        let announced = serde_json::json!({ "blake3": id, "bytes": bytes.len() }).to_string();
        let (status, answer) = self.ask("POST", "/v1/keys", &[("content-type", "application/json")], announced.into());
        if status != 201 {
            return (id, status, answer);
        }
        let (status, answer) = self.ask("PATCH", &format!("/v1/keys/{id}"), &[("upload-offset", "0")], bytes);
        (id, status, answer)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const REMOTE: &[&str] = &["--plan", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"];

/// A place with a plan, a client plan and keys.
fn prepared() -> Place {
    let p = compiled();
    p.ok(&["export-client", "plan.fhe", "-o", "client.fhe"]);
    p.ok(&["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p
}

fn remote<'a>(service: &'a Service, more: &[&'a str]) -> Vec<&'a str> {
    [&["remote", &service.address][..], REMOTE, more].concat()
}

#[test]
fn a_service_computes_what_it_cannot_read() {
    let p = prepared();
    let service = Service::start(&p, &["--listen", "127.0.0.1:0", "--log", "json", "--threads", "1"]);
    let report = p.json(&remote(&service, &["--input", "x.npy", "-o", "y.npy", "--top", "1"]));
    assert_eq!((&report["images"], &report["security_bits"]), (&3.into(), &128.into()), "{report}");
    super::json::expect_documented("remote", &report);
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy", "--exact"]);
    let exact = read_scores(&p.path("s.npy"));
    assert!(difference(&read_scores(&p.path("y.npy")), &exact) < 1e-3);
    let listed = |path: &str| service.ask("GET", path, &[], vec![]).1.as_array().unwrap().len();
    assert_eq!((listed("/v1/keys"), listed("/v1/jobs")), (1, 0), "the keys stay, the job is gone");
    // The keys are there, and what came before stays.
    p.ok(&remote(&service, &["--input", "x.npy", "-o", "again.npy", "--keep"]));
    assert!(difference(&read_scores(&p.path("again.npy")), &exact) < 1e-3);
    assert_eq!((listed("/v1/keys"), listed("/v1/jobs")), (1, 1));
    let message = p.fails(&remote(&service, &["--input", "x.npy", "-o", "y.npy"]));
    assert!(message.contains("y.npy") && message.contains("--force"), "{message}");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<Value> =
        log.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!(
        (told("a job is accepted"), told("a job is final"), told("the service has stopped")),
        (2, 2, 1),
        "{log}"
    );
    assert!(log.contains("there are no tokens") && !log.contains("Bearer"), "{log}");
}

#[test]
fn a_killed_service_goes_on_with_what_it_had_accepted() {
    let p = prepared();
    let token = p.json(&["token", "alice", "--tokens", "tokens"]);
    std::fs::write(p.path("alice.token"), token["token"].as_str().unwrap()).unwrap();
    std::fs::write(p.path("bob.token"), p.ok(&["token", "bob", "--tokens", "tokens"])).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(p.path("bob.token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let tokens = std::fs::read_to_string(p.path("tokens")).unwrap();
    assert!(tokens.lines().count() == 2 && !tokens.contains(&token["token"].as_str().unwrap()[5..]), "{tokens}");
    let service = Service::start(&p, &["--listen", "127.0.0.1:0", "--tokens", "tokens", "--threads", "1"]);
    // A tenant of its own, with keys of its own; a request of many runs, in the middle of which the service is killed.
    write_images(&p.path("many.npy"), 30, 40);
    let args = remote(&service, &["--input", "many.npy", "-o", "many-y.npy", "--token-file", "alice.token"]);
    let client = Command::new(env!("CARGO_BIN_EXE_fhec")).args(&args).current_dir(p.path("")).spawn().unwrap();
    let mut client = Service { child: client, address: String::new() };
    let jobs = p.path("state/tenants/alice/jobs");
    let records = || std::fs::read_dir(&jobs).into_iter().flatten().flatten().map(|e| e.path());
    let partial = || records().any(|job| job.join("output.ct.partial").metadata().is_ok_and(|meta| meta.len() > 4096));
    for _ in 0..6000 {
        if partial() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let port = service.port().to_string();
    drop(service);
    assert!(partial(), "the service was killed in the middle of the job");
    let service = Service::start(&p, &["--listen", &port, "--tokens", "tokens", "--threads", "1"]);
    assert!(client.child.wait().unwrap().success(), "the client waits for the service");
    p.ok(&["simulate", "plan.fhe", "--input", "many.npy", "-o", "many-s.npy", "--exact"]);
    assert!(difference(&read_scores(&p.path("many-y.npy")), &read_scores(&p.path("many-s.npy"))) < 1e-3);
    let message = p.fails(&remote(&service, &["--input", "x.npy", "-o", "z.npy"]));
    assert!(message.contains("a valid token is needed") && message.contains("fhec token"), "{message}");
    let output = p.fhec(&remote(&service, &["--input", "x.npy", "-o", "z.npy", "--token-file", "bob.token"]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(cfg!(not(unix)) || told.contains("bob.token: others may read this token"), "{told}");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0));
    assert!(log.contains("results of an earlier attempt were taken over"), "{log}");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let p = prepared();
    p.ok(&["tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--degree", "3"]);
    p.ok(&["keygen", "other.fhe", "--secret", "other.key", "--evaluation", "other-server.key"]);
    p.ok(&["keygen", "client.fhe", "--secret", "second.key", "--evaluation", "second-server.key"]);
    write_images(&p.path("two.npy"), 31, 2);
    for (plan, secret, input, ct) in [
        ("client.fhe", "client.key", "x.npy", "x.ct"),
        ("client.fhe", "client.key", "two.npy", "two.ct"),
        ("client.fhe", "second.key", "two.npy", "second.ct"),
        ("other.fhe", "other.key", "two.npy", "other.ct"),
    ] {
        p.ok(&["encrypt", plan, "--secret", secret, "--input", input, "-o", ct]);
    }
    let service = Service::start(&p, &["--listen", "127.0.0.1:0", "--max-runs", "2"]);
    let (_, status, answer) = service.upload(&p.path("other-server.key"));
    assert!([413, 422].contains(&status), "{answer}");
    let (_, status, answer) = service.upload(&p.path("client.fhe"));
    assert_eq!(status, 422, "{answer}");
    let (key, status, answer) = service.upload(&p.path("server.key"));
    assert_eq!((status, &answer["state"]), (200, &"ready".into()));
    let send = |bytes: Vec<u8>| service.ask("POST", &format!("/v1/jobs?key={key}"), &[], bytes);
    let read = |name: &str| std::fs::read(p.path(name)).unwrap();
    let mut damaged = read("two.ct");
    damaged[5000] ^= 1;
    let truncated = read("two.ct")[..read("two.ct").len() / 2].to_vec();
    for (what, bytes, says) in [
        ("of another plan", read("other.ct"), "made "),
        ("of another key", read("second.ct"), "another secret key"),
        ("damaged", damaged, "damaged"),
        ("truncated", truncated, "truncated"),
        ("of three runs", read("x.ct"), "runs"),
        ("no ciphertext", read("plan.fhe"), "ciphertext"),
    ] {
        let (status, answer) = send(bytes);
        let detail = answer["detail"].as_str().unwrap_or_default().to_lowercase();
        assert!(status == 422 && detail.contains(says), "{what}: {status} {answer}");
        assert!(!answer["help"].as_str().unwrap().is_empty(), "{answer}");
    }
    let message = p.fails(&[
        "remote",
        &service.address,
        "--plan",
        "other.fhe",
        "--secret",
        "other.key",
        "--evaluation",
        "other-server.key",
        "--input",
        "x.npy",
        "-o",
        "o.npy",
    ]);
    assert!(message.contains("the service computes plan"), "{message}");
}

#[test]
fn what_would_be_open_to_others_is_refused() {
    let p = compiled();
    let serve = ["serve", "--plan", "plan.fhe", "--keys-dir", "state"];
    let message = p.fails(&[&serve[..], &["--listen", "0.0.0.0:0"]].concat());
    assert!(message.contains("0.0.0.0:0 can be reached") && message.contains("--insecure-no-auth"), "{message}");
    let message = p.fails(&[&serve[..], &["--mem", "1M"]].concat());
    assert!(message.contains("raise --mem"), "{message}");
    let message = p.fails(&["token", "../alice", "--tokens", "tokens"]);
    assert!(message.contains("no name of a tenant") && !p.path("tokens").exists(), "{message}");
    std::fs::write(p.path("tokens"), "alice\n").unwrap();
    let message = p.fails(&["token", "bob", "--tokens", "tokens"]);
    assert!(message.contains("tokens:1"), "{message}");
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let to = |address: &str| {
        let args = ["remote", address, "--plan", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"];
        p.fails(&[&args[..], &["--input", "x.npy", "-o", "y.npy", "--patience", "0"]].concat())
    };
    let message = to("http://service.example");
    assert!(message.contains("unencrypted") && message.contains("--plain-http"), "{message}");
    assert!(to("127.0.0.1:1").contains("no address of a service"));
    assert!(to("http://127.0.0.1:1").contains("no success in time"));
}

/// Every ```sh block of docs/serving.md, in order, in one shell.
#[test]
fn the_commands_of_the_document_do_what_it_says() {
    let p = compiled();
    let text = std::fs::read_to_string(super::repository("docs/serving.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let commands = blocks.collect::<String>().replace("127.0.0.1:8080", &format!("127.0.0.1:{free}"));
    let program = Path::new(env!("CARGO_BIN_EXE_fhec")).parent().unwrap().display().to_string();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands]).env("PATH", path).current_dir(p.path(""));
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy", "--exact"]);
    assert!(difference(&read_scores(&p.path("y.npy")), &read_scores(&p.path("s.npy"))) < 1e-3);
}
