//! What a client asks of a service, and how long it keeps asking.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use fhec::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

/// Bytes of keys in one request: what is lost where a connection breaks.
const PART: u64 = 8 << 20;
/// The most bytes of an answer that is no result.
const MOST_ANSWER: u64 = 4 << 20;
/// The longest line in a stream of events.
const MOST_LINE: u64 = 64 << 10;
/// How long an attempt to connect, and a silence of the service, may take: it says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest wait between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A service, as one of its tenants sees it.
pub struct Service {
    agent: Agent,
    address: String,
    token: Option<Zeroizing<String>>,
    /// When to give up.
    deadline: Instant,
}

/// What the service says of its plan.
#[derive(Deserialize)]
pub struct PlanFacts {
    pub plan: String,
}

/// What it says of keys.
#[derive(Deserialize)]
struct Keys {
    id: String,
    state: String,
    offset: u64,
}

/// What it says of a job.
#[derive(Deserialize)]
pub struct Job {
    pub id: String,
    pub state: String,
    pub seconds: Option<f64>,
    pub error: Option<Fault>,
    pub progress: JobProgress,
}

#[derive(Deserialize)]
pub struct Fault {
    pub detail: String,
    pub help: String,
}

#[derive(Clone, Copy, Deserialize)]
pub struct JobProgress {
    pub done: u64,
    pub total: u64,
}

/// What it says when it refuses.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    help: String,
    offset: Option<u64>,
}

/// Why there is no answer.
enum Attempt {
    /// It is worth another one, after so long where the service says so.
    Again { reason: String, after: Option<Duration> },
    /// The upload continues elsewhere.
    Moved,
    /// It is not.
    No(Error),
}

impl Service {
    /// A service at `http://…` or, where this program can, `https://…`.
    ///
    /// # Errors
    /// An address that is none, or one at which a token could be read on its way.
    pub fn new(
        address: &str,
        token: Option<Zeroizing<String>>,
        plain_http: bool,
        patience: Duration,
    ) -> Result<Self, Error> {
        let address = address.trim_end_matches('/');
        let uri: Option<ureq::http::Uri> = address.parse().ok();
        let usage = |reason: String, repair: &str| Error::Usage { reason, repair: repair.into() };
        let Some((uri, scheme)) = uri.as_ref().and_then(|uri| Some((uri, uri.scheme_str()?))) else {
            return Err(usage(
                format!("`{address}` is no address of a service"),
                "write http://HOST:PORT or https://HOST",
            ));
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match scheme {
            "https" if cfg!(feature = "tls") => {}
            "https" => {
                let repair =
                    "build fhec with `--features tls`, or give the http:// address of a tunnel on this machine";
                return Err(usage("this program was built without https".into(), repair));
            }
            "http" if here || plain_http => {}
            "http" => {
                let reason = format!(
                    "{address}: the token and the sizes of all messages would go unencrypted to another machine"
                );
                return Err(usage(reason, "give an https:// address; `--plain-http` does it anyway"));
            }
            _ => {
                return Err(usage(
                    format!("`{address}` is no address of a service"),
                    "write http://HOST:PORT or https://HOST",
                ));
            }
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A service that leads elsewhere would lead the token there.
            .max_redirects(0)
            .timeout_connect(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        Ok(Self { agent: config.into(), address: address.into(), token, deadline: Instant::now() + patience })
    }

    fn error(&self, reason: impl Into<String>, repair: impl Into<String>) -> Error {
        Error::Service { service: self.address.clone(), reason: reason.into(), repair: repair.into() }
    }

    fn late(&self, reason: &str) -> Error {
        let repair = "start again when the service answers; --patience says how many seconds this waits";
        self.error(format!("no success in time: {reason}"), repair)
    }

    /// One request; its answer where that is a success.
    fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Attempt> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        let invalid = |e: ureq::http::Error| Attempt::No(self.error(e.to_string(), "check the address and the token"));
        let answer = match body {
            Some(body) => self.agent.run(request.body(body).map_err(invalid)?),
            None => self.agent.run(request.body(()).map_err(invalid)?),
        };
        let answer = answer.map_err(|e| Attempt::Again { reason: e.to_string(), after: None })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let problem: Result<Problem, _> = read_json(answer);
        let (detail, help, offset) = match problem {
            Ok(Problem { detail, help, offset }) => (detail, help, offset),
            Err(_) => (format!("it answers {status}"), "check that the address is that of `fhec serve`".into(), None),
        };
        Err(match (status, offset) {
            (_, Some(_)) => Attempt::Moved,
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT, _)
            | (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _) => {
                Attempt::Again { reason: detail, after: after.map(Duration::from_secs) }
            }
            _ => Attempt::No(self.error(detail, help)),
        })
    }

    /// Does something until it is done, it cannot be done, or patience ends.
    fn persist<T>(&self, mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T, Error> {
        let mut pause = Duration::from_millis(250);
        loop {
            let (reason, wait) = match attempt() {
                Ok(done) => return Ok(done),
                Err(Attempt::No(e)) => return Err(e),
                Err(Attempt::Moved) => ("the upload moved on".into(), pause),
                Err(Attempt::Again { reason, after }) => (reason, after.unwrap_or(pause)),
            };
            if Instant::now() + wait > self.deadline {
                return Err(self.late(&reason));
            }
            tracing::info!(reason, "trying again");
            std::thread::sleep(wait);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.persist(|| self.read(self.ask(Method::GET, path, &[], None)?))
    }

    fn read<T: DeserializeOwned>(&self, answer: Response<Body>) -> Result<T, Attempt> {
        read_json(answer).map_err(|e| Attempt::Again { reason: e, after: None })
    }

    /// What the service says of its plan.
    pub fn plan(&self) -> Result<PlanFacts, Error> {
        self.get("/v1/plan")
    }

    /// Uploads a file of evaluation keys, as far as the service does not have it; the keys' name. `progress` is told how many
    /// bytes of how many are there.
    pub fn upload(&self, path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<String, Error> {
        let failed = |source| Error::File { file: path.display().to_string(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let announced =
            serde_json::json!({ "blake3": hasher.finalize().to_hex().as_str(), "bytes": bytes }).to_string();
        let json = [("content-type", "application/json")];
        let mut keys: Keys =
            self.persist(|| self.read(self.ask(Method::POST, "/v1/keys", &json, Some(announced.as_bytes()))?))?;
        let at = format!("/v1/keys/{}", keys.id);
        while keys.state != "ready" {
            if Instant::now() > self.deadline {
                return Err(self.late("the upload of keys does not end"));
            }
            progress(keys.offset, bytes);
            let mut part = Vec::new();
            file.seek(SeekFrom::Start(keys.offset)).map_err(failed)?;
            (&mut file).take(PART).read_to_end(&mut part).map_err(failed)?;
            let headers = |offset: &str| {
                self.ask(
                    Method::PATCH,
                    &at,
                    &[("upload-offset", offset), ("content-type", "application/octet-stream")],
                    Some(&part),
                )
            };
            keys = self.persist(|| match headers(&keys.offset.to_string()) {
                Ok(answer) => self.read(answer),
                // What was sent before a connection broke has arrived in part, or an answer has not.
                Err(Attempt::Moved | Attempt::Again { after: None, .. }) => {
                    self.read(self.ask(Method::GET, &at, &[], None)?)
                }
                Err(e) => Err(e),
            })?;
        }
        progress(bytes, bytes);
        Ok(keys.id)
    }

    /// Sends a request. Sent twice it is the same job.
    pub fn submit(&self, key: &str, request: &[u8]) -> Result<Job, Error> {
        let (path, binary) = (format!("/v1/jobs?key={key}"), [("content-type", "application/octet-stream")]);
        self.persist(|| self.read(self.ask(Method::POST, &path, &binary, Some(request))?))
    }

    /// Waits until a job is final.
    pub fn wait(&self, job: &str, mut progress: impl FnMut(&Job)) -> Result<Job, Error> {
        let path = format!("/v1/jobs/{job}/events");
        self.persist(|| {
            let answer = self.ask(Method::GET, &path, &[("accept", "text/event-stream")], None)?;
            let mut events = BufReader::new(answer.into_body().into_reader());
            while let Some(line) =
                line(&mut events).map_err(|e| Attempt::Again { reason: e.to_string(), after: None })?
            {
                let Some(data) = line.strip_prefix("data:") else { continue };
                let job: Job = serde_json::from_str(data.trim_start()).map_err(|e| {
                    Attempt::No(self.error(format!("its events are not as expected: {e}"), "update fhec"))
                })?;
                progress(&job);
                if !matches!(job.state.as_str(), "queued" | "running") {
                    return Ok(job);
                }
            }
            Err(Attempt::Again { reason: "the service ended the stream of events".into(), after: None })
        })
    }

    /// The result of a job, of at most `limit` bytes. Where the connection breaks it goes on from there.
    pub fn result(&self, job: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let path = format!("/v1/jobs/{job}/result");
        let mut bytes = Vec::new();
        self.persist(|| {
            let range = format!("bytes={}-", bytes.len());
            let answer = self.ask(Method::GET, &path, &[("range", &range)], None)?;
            if answer.status() != StatusCode::PARTIAL_CONTENT {
                bytes.clear();
            }
            let left = limit.saturating_sub(bytes.len() as u64);
            let length = answer.body().content_length();
            if length.is_some_and(|length| length > left) {
                return Err(Attempt::No(self.error(
                    format!("the result is larger than the {limit} bytes that the plan gives"),
                    "ask whoever runs the service",
                )));
            }
            let read = answer.into_body().into_reader().take(left + 1).read_to_end(&mut bytes);
            match read {
                Ok(read) if length.is_none_or(|length| length == read as u64) && bytes.len() as u64 <= limit => Ok(()),
                Ok(_) => Err(Attempt::Again { reason: "the result is not whole".into(), after: None }),
                Err(e) => Err(Attempt::Again { reason: e.to_string(), after: None }),
            }
        })?;
        Ok(bytes)
    }

    /// Removes a job and its result.
    pub fn forget(&self, job: &str) -> Result<(), Error> {
        self.persist(|| self.ask(Method::DELETE, &format!("/v1/jobs/{job}"), &[], None).map(drop))
    }

    /// Why there is no result of this job.
    pub fn failure(&self, job: &Job) -> Error {
        match &job.error {
            Some(Fault { detail, help }) => self.error(format!("the job failed: {detail}"), help.clone()),
            None => self.error(format!("the job is {}", job.state), "send the request again"),
        }
    }
}

/// The next line of a stream, of bounded length; none at its end.
fn line(stream: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.take(MOST_LINE).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).trim_end().to_string())),
        Some(_) => Err(std::io::Error::other("a line of the stream of events is not whole")),
    }
}

fn read_json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, String> {
    let bytes = answer.into_body().into_with_config().limit(MOST_ANSWER).read_to_vec().map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| format!("an answer that is not as expected: {e}"))
}
