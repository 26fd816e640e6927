//! A job is one request, from its acceptance until its result is forgotten.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::disk::Taken;
use crate::engine::{Progress, Unfit};
use crate::id::{JobId, KeyId};
use crate::tokens::Tenant;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Queued,
    /// It is computed.
    Running,
    /// Its result is there.
    Done,
    /// There is no result, and the job says why.
    Failed,
    /// Its tenant called it off.
    Cancelled,
}

impl State {
    /// Whether nothing more happens to the job.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub help: String,
}

impl From<Unfit> for Fault {
    fn from(Unfit { reason, help }: Unfit) -> Self {
        Self { detail: reason, help }
    }
}

/// What is known of a job. It is the content of the job's file, but for the progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The keys it is computed with.
    pub key: KeyId,
    /// Number of images.
    pub images: usize,
    /// Number of runs.
    pub runs: usize,
    /// The name of the request, which the result carries.
    pub request: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Where it is.
    pub state: State,
    /// How often it was started.
    pub attempts: u32,
    /// When it became final, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
    /// Seconds that the last attempt computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Bytes of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// How far it is.
    #[serde(skip)]
    pub progress: Progress,
}

/// What its tenant is told of a job.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    id: &'a JobId,
    #[serde(flatten)]
    record: &'a Record,
    progress: Progress,
}

/// A job of this process.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its name.
    pub id: JobId,
    /// Its folder.
    pub(crate) folder: PathBuf,
    status: watch::Sender<Record>,
    cancelled: AtomicBool,
    /// Whether the whole result was sent once.
    fetched: AtomicBool,
    pub(crate) disk: Mutex<Taken>,
}

impl Job {
    pub(crate) fn new(tenant: Tenant, id: JobId, folder: PathBuf, record: Record, disk: Taken) -> Self {
        let (cancelled, fetched) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { tenant, id, folder, status: watch::Sender::new(record), cancelled, fetched, disk: Mutex::new(disk) }
    }

    /// What is known of it now.
    pub fn record(&self) -> Record {
        self.status.borrow().clone()
    }
    /// Where it is now.
    pub fn state(&self) -> State {
        self.status.borrow().state
    }
    pub(crate) fn watch(&self) -> watch::Receiver<Record> {
        self.status.subscribe()
    }
    pub(crate) fn show(&self, record: Record) {
        self.status.send_replace(record);
    }
    pub(crate) fn show_progress(&self, progress: Progress) {
        self.status.send_modify(|record| record.progress = progress);
    }
    /// What its tenant is told of this record of it.
    pub fn view<'a>(&'a self, record: &'a Record) -> View<'a> {
        View { id: &self.id, record, progress: record.progress }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
    pub(crate) fn note_fetched(&self) {
        self.fetched.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_fetched(&self) -> bool {
        self.fetched.load(Ordering::Relaxed)
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.folder.join(INPUT)
    }
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join(OUTPUT)
    }
}

/// The request, in the folder of its job.
pub(crate) const INPUT: &str = "input.ct";
/// The result.
pub(crate) const OUTPUT: &str = "output.ct";
/// The record.
pub(crate) const RECORD: &str = "job.json";

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}
