//! A service that runs a plan for several tenants, as one of them sees it: keys go up once, requests are computed there.
//!
//! `fhec serve` is such a service; `docs/serving.md` of the repository describes the protocol, which is HTTP. What is sent are
//! evaluation keys and ciphertexts.

mod transport;

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fhec_ir::text::to_hex;
use fhec_runtime::ClientPlan;
use serde::Deserialize;
use ureq::http::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::ciphertexts::{Content, EncryptedFile};
use crate::error::Error;
use transport::{Attempt, Transport, lines};

/// Bytes of keys in one request: what is lost where a connection breaks.
const PART: u64 = 8 << 20;

/// A service, as one of its tenants sees it. What fails for want of an answer is tried again until
/// [`patience`](Service::patience) ends.
///
/// ```no_run
/// use std::fs::File;
///
/// use fhec::remote::Service;
/// use fhec::ClientPlan;
///
/// let plan = ClientPlan::load("client.fhe")?;
/// let service = Service::new("http://127.0.0.1:8080", None, false)?;
/// service.runs(&plan)?;
/// let mut keys = File::open("server.key").map_err(|source| fhec::Error::File { file: "server.key".into(), source })?;
/// let keys = service.upload("server.key", &mut keys, |_, _| ())?;
/// let request = std::fs::read("x.ct").map_err(|source| fhec::Error::File { file: "x.ct".into(), source })?;
/// let computed = service.compute(&plan, &keys, &request, |job| eprintln!("{}", job.state))?;
/// # let _ = computed.result;
/// # Ok::<(), fhec::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Service {
    transport: Transport,
}

/// What a service says of a job.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// `queued`, `running`, or, at the end, `done`, `failed` or `cancelled`.
    pub state: String,
    /// What it took to compute, once it is done.
    pub seconds: Option<f64>,
    /// How far it is.
    pub progress: JobProgress,
    error: Option<Fault>,
}

/// How far a job is, in operations of the plan.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct JobProgress {
    /// Operations done.
    pub done: u64,
    /// Operations in all; 0 where that is not known yet.
    pub total: u64,
}

/// A job that is done, and what came of it.
#[derive(Clone, Debug)]
pub struct Computed {
    /// The job.
    pub job: Job,
    /// The bytes of a file of results, as [`Server::eval_bytes`](crate::Server::eval_bytes) gives them.
    pub result: Vec<u8>,
}

#[derive(Clone, Debug, Deserialize)]
struct Fault {
    detail: String,
    help: String,
}

/// What a service says of its plan.
#[derive(Deserialize)]
struct PlanFacts {
    plan: String,
}

/// What it says of keys.
#[derive(Deserialize)]
struct Keys {
    id: String,
    state: String,
    offset: u64,
}

impl Service {
    /// A service at `http://…` or, with the feature `tls`, `https://…`. Over `http` to another machine the token and the sizes of
    /// all messages could be read on their way: that is refused unless `plain_http`.
    ///
    /// # Errors
    /// An address that is none, or one at which a token could be read on its way.
    pub fn new(address: &str, token: Option<Zeroizing<String>>, plain_http: bool) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(address, token, plain_http)? })
    }

    /// How long a service which is busy, stopped or out of reach is waited for: an hour by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.transport.patience = patience;
        self
    }

    /// Stops waiting once `cancelled` is set: what is under way then ends in an error of which [`Error::is_cancelled`] holds.
    pub fn cancelled_by(mut self, cancelled: Arc<AtomicBool>) -> Self {
        self.transport.cancelled = cancelled;
        self
    }

    /// Refuses a service that runs another plan.
    ///
    /// # Errors
    /// Another plan, or no answer.
    pub fn runs(&self, plan: &ClientPlan) -> Result<(), Error> {
        let PlanFacts { plan: found } = self.transport.get("/v1/plan")?;
        let expected = to_hex(&plan.plan_digest());
        if found == expected {
            return Ok(());
        }
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        let reason = format!("the service computes plan {}, not plan {}", short(&found), short(&expected));
        Err(self.transport.error(reason, "give the plan that the service runs, and keys for it"))
    }

    /// What a client needs of the plan that the service runs. Whoever runs the service chooses its parameters.
    ///
    /// # Errors
    /// No answer, or a client plan that cannot be read.
    pub fn client_plan(&self) -> Result<ClientPlan, Error> {
        let bytes = self.transport.persist(|| {
            let answer = self.transport.ask(Method::GET, "/v1/plan/client", &[], None)?;
            let limited = answer.into_body().into_with_config().limit(PART);
            limited.read_to_vec().map_err(|e| Attempt::again(e.to_string()))
        })?;
        Ok(ClientPlan::from_bytes(&format!("{}/v1/plan/client", self.transport.address), &bytes)?)
    }

    /// Uploads a file of evaluation keys, `name` in errors, as far as the service does not have it; the keys' name there.
    /// `progress` is told how many bytes of how many are there.
    ///
    /// # Errors
    /// A file that cannot be read, keys that are refused, or no answer.
    pub fn upload(
        &self,
        name: &str,
        file: &mut (impl Read + Seek),
        mut progress: impl FnMut(u64, u64),
    ) -> Result<String, Error> {
        let failed = |source| Error::File { file: name.into(), source };
        let mut hasher = blake3::Hasher::new();
        file.rewind().map_err(failed)?;
        hasher.update_reader(&mut *file).map_err(failed)?;
        let bytes = file.stream_position().map_err(failed)?;
        let announced =
            serde_json::json!({ "blake3": hasher.finalize().to_hex().as_str(), "bytes": bytes }).to_string();
        let json = [("content-type", "application/json")];
        let transport = &self.transport;
        let announce = || transport.ask(Method::POST, "/v1/keys", &json, Some(announced.as_bytes()));
        let mut keys: Keys = transport.persist(|| transport.read(announce()?))?;
        let at = format!("/v1/keys/{}", keys.id);
        while keys.state != "ready" {
            progress(keys.offset, bytes);
            let mut part = Vec::new();
            file.seek(SeekFrom::Start(keys.offset)).map_err(failed)?;
            (&mut *file).take(PART).read_to_end(&mut part).map_err(failed)?;
            let offset = keys.offset.to_string();
            let headers = [("upload-offset", offset.as_str()), ("content-type", "application/octet-stream")];
            let before = keys.offset;
            keys = transport.persist(|| {
                let found: Keys = match transport.ask(Method::PATCH, &at, &headers, Some(&part)) {
                    Ok(answer) => transport.read(answer)?,
                    // What was sent before a connection broke has arrived in part, or an answer has not.
                    Err(Attempt::Moved | Attempt::Again { after: None, .. }) => {
                        transport.read(transport.ask(Method::GET, &at, &[], None)?)?
                    }
                    Err(e) => return Err(e),
                };
                // A service that takes nothing is one that is not there.
                let stands = found.state != "ready" && found.offset == before;
                if stands { Err(Attempt::again("the upload of keys does not go on")) } else { Ok(found) }
            })?;
        }
        progress(bytes, bytes);
        Ok(keys.id)
    }

    /// Has the service compute a request, the bytes of a file of encrypted inputs of `plan`, under uploaded keys. `progress` is told
    /// of the job whenever it changes. The result must answer this very request. Sent twice a request is the same job. The job
    /// and its result stay with the service until they are [forgotten](Service::forget) or kept no longer; a job that is no longer
    /// waited for, because the work [is to stop](Service::cancelled_by), is called off.
    ///
    /// # Errors
    /// A request or a result that does not go with the plan, a job that fails, or no answer.
    pub fn compute(
        &self,
        plan: &ClientPlan,
        keys: &str,
        request: &[u8],
        progress: impl FnMut(&Job),
    ) -> Result<Computed, Error> {
        let file = EncryptedFile::from_bytes(plan, "the request", request)?.expect(Content::Inputs)?;
        let (sent, runs) = (file.request(), file.runs() as u64);
        drop(file);
        let transport = &self.transport;
        let (path, binary) = (format!("/v1/jobs?key={keys}"), [("content-type", "application/octet-stream")]);
        let submit = || transport.read(transport.ask(Method::POST, &path, &binary, Some(request))?);
        let Job { id, .. } = transport.persist(submit)?;
        let finished = self.wait(&id, progress).and_then(|job| {
            let result = self.result(&id, plan.most_output_bytes(runs))?;
            Ok(Computed { job, result })
        });
        let computed = finished.inspect_err(|e| {
            // Nobody waits for it; that it cannot be called off is no news to whoever stopped the work.
            if e.is_cancelled() {
                let _ = transport.ask(Method::DELETE, &format!("/v1/jobs/{id}"), &[], None);
            }
        })?;
        let answered = EncryptedFile::from_bytes(plan, "the result", &computed.result)?.expect(Content::Outputs)?;
        if answered.request() != sent {
            return Err(Error::Ciphertexts {
                file: "the result".into(),
                reason: format!("it answers request {}, sent was request {sent}", answered.request()),
                repair: "tell whoever runs the service that it confuses requests".into(),
            });
        }
        Ok(computed)
    }

    /// Removes a job and its result.
    ///
    /// # Errors
    /// No answer, or a job that is not there.
    pub fn forget(&self, job: &str) -> Result<(), Error> {
        let path = format!("/v1/jobs/{job}");
        self.transport.persist(|| self.transport.ask(Method::DELETE, &path, &[], None).map(drop))
    }

    /// Waits until a job is done.
    fn wait(&self, job: &str, mut progress: impl FnMut(&Job)) -> Result<Job, Error> {
        let transport = &self.transport;
        let path = format!("/v1/jobs/{job}/events");
        let done: Job = transport.persist(|| {
            let answer = transport.ask(Method::GET, &path, &[("accept", "text/event-stream")], None)?;
            let mut heard = false;
            let again = |heard: bool, reason: String| Attempt::Again { reason, after: None, heard };
            for line in lines(answer) {
                transport.check_cancelled()?;
                let line = line.map_err(|e| again(heard, e.to_string()))?;
                let Some(data) = line.strip_prefix("data:") else { continue };
                let job: Job = serde_json::from_str(data.trim_start()).map_err(|e| {
                    Attempt::No(transport.error(format!("its events are not as expected: {e}"), "update fhec"))
                })?;
                heard = true;
                progress(&job);
                if !matches!(job.state.as_str(), "queued" | "running") {
                    return Ok(job);
                }
            }
            Err(again(heard, "the service ended the stream of events".into()))
        })?;
        match &done.error {
            _ if done.state == "done" => Ok(done),
            Some(Fault { detail, help }) => Err(transport.error(format!("the job failed: {detail}"), help.clone())),
            None => Err(transport.error(format!("the job is {}", done.state), "send the request again")),
        }
    }

    /// The result of a job, of at most `limit` bytes. Where the connection breaks it goes on from there.
    fn result(&self, job: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let transport = &self.transport;
        let path = format!("/v1/jobs/{job}/result");
        let mut bytes = Vec::new();
        transport.persist(|| {
            let range = format!("bytes={}-", bytes.len());
            let answer = transport.ask(Method::GET, &path, &[("range", &range)], None)?;
            if answer.status() != StatusCode::PARTIAL_CONTENT {
                bytes.clear();
            }
            let left = limit.saturating_sub(bytes.len() as u64);
            let length = answer.body().content_length();
            if length.is_some_and(|length| length > left) {
                let reason = format!("the result is larger than the {limit} bytes that the plan gives");
                return Err(Attempt::No(transport.error(reason, "ask whoever runs the service")));
            }
            let before = bytes.len();
            let read = answer.into_body().into_reader().take(left + 1).read_to_end(&mut bytes);
            let heard = bytes.len() > before;
            let again = |reason: String| Err(Attempt::Again { reason, after: None, heard });
            match read {
                Ok(read) if length.is_none_or(|length| length == read as u64) && bytes.len() as u64 <= limit => Ok(()),
                Ok(_) => again("the result is not whole".into()),
                Err(e) => again(e.to_string()),
            }
        })?;
        Ok(bytes)
    }
}
