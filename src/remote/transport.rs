//! One request after another, until it is answered or patience ends.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use crate::error::Error;

/// The most bytes of an answer that is no result.
const MOST_ANSWER: u64 = 4 << 20;
/// The longest line in a stream of events.
const MOST_LINE: u64 = 64 << 10;
/// How long an attempt to connect, and a silence of the service, may take: it says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a service is waited for by default.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The first and the longest wait between two attempts.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// How often a wait looks whether it is to end.
const PERIOD: Duration = Duration::from_millis(100);

/// Where requests go, and how long they are repeated.
#[derive(Clone)]
pub(super) struct Transport {
    agent: Agent,
    pub(super) address: String,
    token: Option<Arc<Zeroizing<String>>>,
    pub(super) patience: Duration,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// The token is not in it.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why there is no answer.
pub(super) enum Attempt {
    /// It is worth another one, after so long where the service says so.
    Again {
        reason: String,
        after: Option<Duration>,
        /// Whether this one brought the work on, so that patience starts anew.
        heard: bool,
    },
    /// The upload continues elsewhere.
    Moved,
    /// It is not.
    No(Error),
}

impl Attempt {
    pub(super) fn again(reason: impl Into<String>) -> Self {
        Self::Again { reason: reason.into(), after: None, heard: false }
    }
}

/// What a service says when it refuses.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    help: String,
    offset: Option<u64>,
}

impl Transport {
    pub(super) fn new(address: &str, token: Option<Zeroizing<String>>, plain_http: bool) -> Result<Self, Error> {
        let address = address.trim_end_matches('/');
        check_address(address, plain_http)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A service that leads elsewhere would lead the token there.
            .max_redirects(0)
            .timeout_connect(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        Ok(Self {
            agent: config.into(),
            address: address.into(),
            token: token.map(Arc::new),
            patience: PATIENCE,
            cancelled: Arc::default(),
        })
    }

    pub(super) fn error(&self, reason: impl Into<String>, repair: impl Into<String>) -> Error {
        Error::Service { service: self.address.clone(), reason: reason.into(), repair: repair.into() }
    }

    pub(super) fn check_cancelled(&self) -> Result<(), Attempt> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Attempt::No(Error::cancelled())) } else { Ok(()) }
    }

    /// One request; its answer where that is a success.
    pub(super) fn ask(
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
        let answer = answer.map_err(|e| Attempt::again(e.to_string()))?;
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
                Attempt::Again { reason: detail, after: after.map(Duration::from_secs), heard: false }
            }
            _ => Attempt::No(self.error(detail, help)),
        })
    }

    /// Does something until it is done, it cannot be done, or patience ends.
    pub(super) fn persist<T>(&self, mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T, Error> {
        let [first, longest] = PAUSES;
        let (mut pause, mut since) = (first, Instant::now());
        loop {
            let (reason, wait) = match self.check_cancelled().and_then(|()| attempt()) {
                Ok(done) => return Ok(done),
                Err(Attempt::No(e)) => return Err(e),
                Err(Attempt::Moved) => ("the upload moved on".into(), pause),
                Err(Attempt::Again { reason, after, heard }) => {
                    if heard {
                        (pause, since) = (first, Instant::now());
                    }
                    (reason, after.unwrap_or(pause))
                }
            };
            if since.elapsed() + wait > self.patience {
                let repair = "start again when the service answers; --patience says how many seconds this waits";
                return Err(self.error(format!("no success in time: {reason}"), repair));
            }
            tracing::info!(reason, "trying again");
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.cancelled.load(Ordering::Relaxed) {
                std::thread::sleep(PERIOD.min(until.saturating_duration_since(Instant::now())));
            }
            pause = (2 * pause).min(longest);
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.persist(|| self.read(self.ask(Method::GET, path, &[], None)?))
    }

    pub(super) fn read<T: DeserializeOwned>(&self, answer: Response<Body>) -> Result<T, Attempt> {
        read_json(answer).map_err(Attempt::again)
    }
}

/// Refuses an address that is none, and one at which a token could be read on its way.
fn check_address(address: &str, plain_http: bool) -> Result<(), Error> {
    let usage = |reason: String, repair: &str| Err(Error::Usage { reason, repair: repair.into() });
    let uri: Option<Uri> = address.parse().ok();
    let (host, scheme) = match &uri {
        Some(uri) => (uri.host().unwrap_or_default(), uri.scheme_str().unwrap_or_default()),
        None => ("", ""),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match scheme {
        "https" if cfg!(feature = "tls") => Ok(()),
        "https" => usage(
            "this program was built without https".into(),
            "build fhec with `--features tls`, or give the http:// address of a tunnel on this machine",
        ),
        "http" if here || plain_http => Ok(()),
        "http" => usage(
            format!("{address}: the token and the sizes of all messages would go unencrypted to another machine"),
            "give an https:// address; `--plain-http` does it anyway",
        ),
        _ => usage(format!("`{address}` is no address of a service"), "write http://HOST:PORT or https://HOST"),
    }
}

/// The lines of a stream, of bounded length.
pub(super) fn lines(answer: Response<Body>) -> impl Iterator<Item = std::io::Result<String>> {
    let mut stream = BufReader::new(answer.into_body().into_reader());
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        if let Err(e) = (&mut stream).take(MOST_LINE).read_until(b'\n', &mut line) {
            return Some(Err(e));
        }
        match line.last() {
            None => None,
            Some(b'\n') => Some(Ok(String::from_utf8_lossy(&line).trim_end().to_string())),
            Some(_) => Some(Err(std::io::Error::other("a line of the stream of events is not whole"))),
        }
    })
}

pub(super) fn read_json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, String> {
    let bytes = answer.into_body().into_with_config().limit(MOST_ANSWER).read_to_vec().map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| format!("an answer that is not as expected: {e}"))
}
