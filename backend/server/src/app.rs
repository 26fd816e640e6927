//! What the parts of a service share.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use crate::config::{Config, Limits};
use crate::disk::{Disk, Taken};
use crate::engine::Engine;
use crate::error::ServeError;
use crate::id::{JobId, KeyId};
use crate::job::{Fault, INPUT, Job, OUTPUT, RECORD, Record, State, now};
use crate::keys::Keys;
use crate::metrics::{Metrics, Sample};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::refusal::Refusal;
use crate::store::{KEY_FILE, Store, UPLOAD, write_json};
use crate::tokens::{Tenant, Tokens};

/// A running service, shared.
#[derive(Clone)]
pub struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Whose, and which.
type Named<I, T> = Mutex<BTreeMap<(Tenant, I), Arc<T>>>;

/// What is shared. Where both maps are locked, the keys come first.
pub struct Shared {
    pub engine: Arc<dyn Engine>,
    pub store: Store,
    pub queue: Arc<Queue>,
    pub pool: Pool,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    pub disk: Arc<Disk>,
    /// None where everybody is the one tenant.
    pub tokens: RwLock<Option<Tokens>>,
    pub keys: Named<KeyId, Keys>,
    pub jobs: Named<JobId, Job>,
    /// Open streams of events by tenant.
    pub streams: Mutex<BTreeMap<Tenant, usize>>,
    /// Whether the service is to stop.
    pub stopping: watch::Sender<bool>,
    /// Whether running jobs are to stop too.
    halted: AtomicBool,
}

/// A lock that outlives panics: what it guards is changed in single steps.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Opens the folder and takes up what is in it.
    pub fn open(engine: Arc<dyn Engine>, config: &Config, tokens: Option<Tokens>) -> Result<Self, ServeError> {
        let limits = config.limits;
        let store = Store::open(&config.folder, engine.facts())?;
        let metrics = Arc::new(Metrics::new());
        let app = Self(Arc::new(Shared {
            pool: Pool::new(engine.clone(), metrics.clone()),
            engine,
            store,
            queue: Queue::new(limits.queue, limits.queue_per_tenant),
            metrics,
            limits,
            disk: Disk::new(limits.disk),
            tokens: RwLock::new(tokens),
            keys: Mutex::default(),
            jobs: Mutex::default(),
            streams: Mutex::default(),
            stopping: watch::Sender::new(false),
            halted: AtomicBool::new(false),
        }));
        app.recover()?;
        Ok(app)
    }

    /// Takes up keys and jobs of an earlier process; what was not finished waits again, in the order in which it came.
    fn recover(&self) -> Result<(), ServeError> {
        let known = self.tokens.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Tokens::tenants);
        let mut waiting = Vec::new();
        for tenant in self.store.tenants()? {
            let tenant: Tenant = tenant.into();
            if known.as_ref().is_some_and(|known| !known.contains(&tenant)) {
                tracing::warn!(
                    tenant = &*tenant,
                    "there is data of a tenant without a token: its jobs run, nobody can fetch them"
                );
            }
            for (id, announced) in self.store.keys(&tenant)? {
                let disk = self.disk.found(announced.bytes);
                let folder = self.store.key_folder(&tenant, &id);
                let keys = Keys::found(tenant.clone(), id.clone(), folder, announced, disk);
                lock(&self.keys).insert((tenant.clone(), id), Arc::new(keys));
            }
            for (id, mut record) in self.store.jobs(&tenant)? {
                let folder = self.store.job_folder(&tenant, &id);
                let size = |name: &str| folder.join(name).metadata().map_or(0, |meta| meta.len());
                let results = record.runs as u64 * self.engine.facts().result_bytes_per_run;
                let taken = if record.state.is_final() { size(OUTPUT) } else { size(INPUT) + results };
                if record.state == State::Running {
                    record.state = State::Queued;
                }
                let (disk, unfinished) = (self.disk.found(taken), !record.state.is_final());
                let job = Arc::new(Job::new(tenant.clone(), id.clone(), folder, record, disk));
                lock(&self.jobs).insert((tenant.clone(), id), job.clone());
                if unfinished {
                    waiting.push(job);
                }
            }
        }
        waiting.sort_by_key(|job| (job.record().created, job.id.clone()));
        self.metrics.resumed.inc_by(waiting.len() as u64);
        if !waiting.is_empty() {
            tracing::info!(jobs = waiting.len(), "jobs of an earlier process wait again");
        }
        waiting.into_iter().for_each(|job| self.queue.restore(job));
        Ok(())
    }

    /// Runs what uses the disk or the processor outside of the threads that serve connections.
    pub async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || f(&app)).await;
        done.unwrap_or_else(|e| Err(Refusal::Internal(e.to_string())))
    }
}

impl Shared {
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
    /// Tells running jobs to stop.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Seconds after which a place in the queue is likely.
    pub fn retry_after(&self) -> u64 {
        let each = self.metrics.recent.load(Ordering::Relaxed);
        let ahead = self.queue.len().max(1) as u64;
        (ahead * each / self.limits.workers.max(1) as u64 / 1000 / 2).clamp(1, 60)
    }

    /// A job of this tenant; those of others are not there.
    pub fn job(&self, tenant: &Tenant, id: &str) -> Result<Arc<Job>, Refusal> {
        let id = JobId::parse(id).ok_or(Refusal::NotFound("job"))?;
        lock(&self.jobs).get(&(tenant.clone(), id)).cloned().ok_or(Refusal::NotFound("job"))
    }

    /// Keys of this tenant; those of others are not there.
    pub fn keys(&self, tenant: &Tenant, id: &str) -> Result<Arc<Keys>, Refusal> {
        let id = KeyId::parse(id).ok_or(Refusal::NotFound("set of keys"))?;
        lock(&self.keys).get(&(tenant.clone(), id)).cloned().ok_or(Refusal::NotFound("set of keys"))
    }

    /// Takes space on the disk. Where there is too little, results go that were fetched, the oldest first.
    pub fn take_disk(&self, bytes: u64) -> Result<Taken, Refusal> {
        loop {
            if let Some(taken) = self.disk.take(bytes) {
                return Ok(taken);
            }
            let oldest = {
                let jobs = lock(&self.jobs);
                let fetched = jobs.values().filter(|job| job.is_fetched() && job.state().is_final());
                fetched.min_by_key(|job| job.record().finished).cloned()
            };
            let Some(job) = oldest else { return Err(Refusal::Disk { bytes }) };
            self.forget(&job)?;
        }
    }

    /// Removes a final job and its result.
    pub fn forget(&self, job: &Job) -> Result<(), Refusal> {
        self.store.remove(&job.folder).map_err(Refusal::io("removing a job"))?;
        lock(&self.jobs).remove(&(job.tenant.clone(), job.id.clone()));
        Ok(())
    }

    /// Writes what is known of a job to the disk, then shows it.
    pub fn note(&self, job: &Job, record: Record) -> std::io::Result<()> {
        write_json(&job.folder.join(RECORD), &record)?;
        job.show(record);
        Ok(())
    }

    /// Ends a job. What cannot be written is told of, and the job runs again after the next start.
    pub fn finish(&self, job: &Job, state: State, error: Option<Fault>) {
        let mut record = job.record();
        let result = job.output().metadata().ok().map(|meta| meta.len()).filter(|_| state == State::Done);
        (record.state, record.error, record.finished, record.result_bytes) = (state, error, Some(now()), result);
        let outcome = state.word();
        let (tenant, id, seconds) = (&*job.tenant, job.id.as_str(), record.seconds);
        tracing::info!(tenant, job = id, outcome, seconds, attempts = record.attempts, "a job is final");
        if let Err(e) = write_json(&job.folder.join(RECORD), &record) {
            tracing::error!(tenant, job = id, error = %e, "the end of a job could not be written");
        }
        self.metrics.ended(outcome);
        let partial = PathBuf::from([job.output().as_os_str(), ".partial".as_ref()].join("".as_ref()));
        for path in [job.input(), partial] {
            // What stays is removed with the job.
            let _ = std::fs::remove_file(path);
        }
        lock(&job.disk).shrink(result.unwrap_or(0));
        // Whoever sees that it is final finds the disk as it is then.
        job.show(record);
    }

    /// Removes what is kept no longer.
    pub fn sweep(&self) {
        let oldest = now().saturating_sub(self.limits.keep.as_millis() as u64);
        let jobs: Vec<_> = lock(&self.jobs).values().cloned().collect();
        for job in jobs.iter().filter(|job| job.record().finished.is_some_and(|at| at < oldest)) {
            if self.forget(job).is_ok() {
                tracing::info!(tenant = &*job.tenant, job = job.id.as_str(), "a job is kept no longer");
            }
        }
        let keys: Vec<_> = lock(&self.keys).values().cloned().collect();
        for keys in keys.iter().filter(|keys| !keys.is_whole() && keys.touched() < oldest) {
            if self.remove_keys(keys).is_ok() {
                tracing::info!(
                    tenant = &*keys.tenant,
                    key = keys.id.as_str(),
                    "an upload that nobody continues is removed"
                );
            }
        }
    }

    /// Removes keys that no waiting or running job needs.
    pub fn remove_keys(&self, keys: &Keys) -> Result<(), Refusal> {
        let Ok(_uploading) = keys.upload.try_lock() else {
            return Err(Refusal::Conflict("an upload of these keys is under way"));
        };
        {
            let mut all = lock(&self.keys);
            let needs = |job: &&Arc<Job>| {
                let record = job.record();
                job.tenant == keys.tenant && record.key == keys.id && !record.state.is_final()
            };
            if lock(&self.jobs).values().any(|job| needs(&job)) {
                return Err(Refusal::Conflict("jobs that wait or run need these keys"));
            }
            self.store.remove(&keys.folder).map_err(Refusal::io("removing keys"))?;
            all.remove(&(keys.tenant.clone(), keys.id.clone()));
        }
        self.pool.forget(&keys.tenant, &keys.id);
        Ok(())
    }

    /// What the counters do not hold themselves.
    pub fn sample(&self) -> Sample {
        Sample {
            waiting: self.queue.len(),
            evaluator_bound: self.engine.memory(),
            disk_bytes: self.disk.used(),
            disk_bound: self.disk.bound(),
        }
    }
}

/// The file of whole keys, and of those that are being uploaded.
pub fn key_files(keys: &Keys) -> (PathBuf, PathBuf) {
    (keys.folder.join(KEY_FILE), keys.folder.join(UPLOAD))
}
