//! A service in a folder of its own, and a tenant's requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fhec_server::{Config, Limits, Service, Tokens};
use serde_json::Value;

use super::double::{Controls, Double};

pub const PLAN: &str = "0123456789abcdef";

/// A folder for services that follow one another.
pub struct Place {
    folder: tempfile::TempDir,
    pub tokens: Vec<String>,
    pub limits: Limits,
}

/// A service that runs.
pub struct Running {
    pub service: Service,
    pub controls: Arc<Controls>,
}

/// Who asks.
#[derive(Clone)]
pub struct Tenant {
    pub address: SocketAddr,
    token: String,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    /// The word for why it was refused.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().into()
    }
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Place {
    /// A folder, and tokens of so many tenants, `tenant0` the first.
    pub fn new(tenants: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        let mut tokens = Vec::new();
        for i in 0..tenants {
            let new = Tokens::generate(&format!("tenant{i}")).unwrap();
            lines += &format!("{}\n", new.line);
            tokens.push(new.token);
        }
        std::fs::write(folder.path().join("tokens"), lines).unwrap();
        let limits = Limits { grace: Duration::ZERO, ..Limits::default() };
        Self { folder, tokens, limits }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self, state: &str) -> Config {
        let tokens = Some(self.path("tokens")).filter(|_| !self.tokens.is_empty());
        Config { tokens, limits: self.limits, ..Config::new(self.path(state)) }
    }

    /// A service whose engine computes nothing before it is opened.
    pub fn closed(&self) -> Running {
        self.closed_in("state")
    }

    pub fn closed_in(&self, state: &str) -> Running {
        let (engine, controls) = Double::new(PLAN);
        Running { service: Service::start(engine, self.config(state)).unwrap(), controls }
    }

    /// A service.
    pub fn start(&self) -> Running {
        let running = self.closed();
        running.controls.open();
        running
    }

    pub fn tenant(&self, running: &Running, i: usize) -> Tenant {
        let token = self.tokens.get(i).cloned().unwrap_or_default();
        Tenant { address: running.service.address(), token }
    }
}

impl Tenant {
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent: ureq::Agent = config.into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let answer = match method {
            "GET" | "DELETE" => agent.run(request.body(()).unwrap()),
            _ => agent.run(request.body(body).unwrap()),
        };
        let mut answer = answer.unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        Answer { status: answer.status().as_u16(), retry_after, body: answer.body_mut().read_to_vec().unwrap() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }
    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], b"")
    }
    pub fn announce(&self, hash: &str, bytes: usize) -> Answer {
        let body = serde_json::json!({ "blake3": hash, "bytes": bytes }).to_string();
        self.ask("POST", "/v1/keys", &[("content-type", "application/json")], body.as_bytes())
    }
    pub fn append(&self, id: &str, offset: usize, bytes: &[u8]) -> Answer {
        self.ask("PATCH", &format!("/v1/keys/{id}"), &[("upload-offset", &offset.to_string())], bytes)
    }
    /// Uploads keys of this secret; their name.
    pub fn upload(&self, secret: &str) -> String {
        let bytes = format!("keys {secret} and more");
        let id = blake3::hash(bytes.as_bytes()).to_hex().to_string();
        self.announce(&id, bytes.len()).is(201);
        assert_eq!(self.append(&id, 0, bytes.as_bytes()).is(200).json()["state"], "ready");
        id
    }
    pub fn send(&self, key: &str, request: &str) -> Answer {
        self.ask("POST", &format!("/v1/jobs?key={key}"), &[], request.as_bytes())
    }
    /// Sends a request that is accepted; the job's name.
    #[track_caller]
    pub fn submit(&self, key: &str, request: &str) -> String {
        self.send(key, request).is(202).json()["id"].as_str().unwrap().into()
    }
    /// Follows the events of a job to their end.
    pub fn events(&self, job: &str) -> Vec<Value> {
        let mut stream = self.connect();
        let head = format!(
            "GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut events = Vec::new();
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // The chunks of the transfer have lines of their own.
            if let Some(data) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).unwrap();
                let done = !matches!(event["state"].as_str(), Some("queued" | "running"));
                events.push(event);
                if done {
                    break;
                }
            } else if line == "0" {
                break;
            }
        }
        events
    }
    /// Waits for the end of a job; its state.
    pub fn wait(&self, job: &str) -> String {
        self.events(job).last().map_or_else(String::new, |event| event["state"].as_str().unwrap().into())
    }
    pub fn state(&self, job: &str) -> String {
        self.get(&format!("/v1/jobs/{job}")).is(200).json()["state"].as_str().unwrap().into()
    }
    pub fn result(&self, job: &str) -> String {
        String::from_utf8(self.get(&format!("/v1/jobs/{job}/result")).is(200).body).unwrap()
    }
    /// A bare connection, whose silence is noticed.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }
    /// Sends bytes as they are; what comes back until the service ends the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The service may hang up before it has read all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
    pub fn authorization(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }
}

/// Asks until it is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}
