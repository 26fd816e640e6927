//! What a service counts, for Prometheus. Nothing in it tells of one tenant.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What is told of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: String,
    /// The route, not the path: names of keys and jobs are not in it.
    pub route: String,
    pub status: u16,
}

/// The one label of what has no more: its name and its value.
type Label = [(&'static str, &'static str); 1];

/// All counters.
pub struct Metrics {
    registry: Registry,
    pub requests: Family<RequestLabels, Counter>,
    refusals: Family<Label, Counter>,
    jobs: Family<Label, Counter>,
    pub accepted: Counter,
    pub resumed: Counter,
    pub job_seconds: Histogram,
    pub received: Counter,
    pub connections: Gauge,
    pub turned_away: Counter,
    pub running: Gauge,
    pub evictions: Counter,
    pub evaluator_bytes: Gauge,
    waiting: Gauge,
    evaluator_bound: Gauge,
    disk_bytes: Gauge,
    disk_bound: Gauge,
    resident: Gauge,
    /// Mean milliseconds of a job, of late.
    pub recent: AtomicU64,
}

/// What is looked up when the counters are read.
pub struct Sample {
    pub waiting: usize,
    pub evaluator_bound: u64,
    pub disk_bytes: u64,
    pub disk_bound: u64,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("fhec");
        let seconds = Histogram::new(exponential_buckets(0.01, 2.0, 20));
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            refusals: Family::default(),
            jobs: Family::default(),
            accepted: Counter::default(),
            resumed: Counter::default(),
            job_seconds: seconds,
            received: Counter::default(),
            connections: Gauge::default(),
            turned_away: Counter::default(),
            running: Gauge::default(),
            evictions: Counter::default(),
            evaluator_bytes: Gauge::default(),
            waiting: Gauge::default(),
            evaluator_bound: Gauge::default(),
            disk_bytes: Gauge::default(),
            disk_bound: Gauge::default(),
            resident: Gauge::default(),
            recent: AtomicU64::new(1000),
        };
        let m = &metrics;
        registry.register("requests", "Requests by route and status", m.requests.clone());
        registry.register("refusals", "Requests refused, by reason", m.refusals.clone());
        registry.register("jobs", "Jobs that became final, by outcome", m.jobs.clone());
        registry.register("jobs_accepted", "Jobs accepted", m.accepted.clone());
        registry.register("jobs_recovered", "Jobs found at the start and put back into the queue", m.resumed.clone());
        registry.register_with_unit("job", "Time of computing a job", Unit::Seconds, m.job_seconds.clone());
        registry.register_with_unit("received", "Bytes of uploads", Unit::Bytes, m.received.clone());
        registry.register("connections", "Open connections", m.connections.clone());
        registry.register("connections_refused", "Connections beyond the bound", m.turned_away.clone());
        registry.register("jobs_running", "Jobs being computed", m.running.clone());
        registry.register("jobs_waiting", "Jobs in the queue", m.waiting.clone());
        registry.register("evaluators_evicted", "Evaluators unloaded to make room", m.evictions.clone());
        registry.register_with_unit(
            "evaluators",
            "Memory set aside for evaluators",
            Unit::Bytes,
            m.evaluator_bytes.clone(),
        );
        registry.register_with_unit("evaluators_bound", "Bound on it", Unit::Bytes, m.evaluator_bound.clone());
        registry.register_with_unit(
            "disk",
            "Disk taken by keys, requests and results",
            Unit::Bytes,
            m.disk_bytes.clone(),
        );
        registry.register_with_unit("disk_bound", "Bound on it", Unit::Bytes, m.disk_bound.clone());
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of the process",
            Unit::Bytes,
            m.resident.clone(),
        );
        metrics.registry = registry;
        metrics
    }

    /// Counts something that was refused, and why.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a job that has become final, and how.
    pub fn ended(&self, outcome: &'static str) {
        self.jobs.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// The text for Prometheus, in the form of OpenMetrics.
    pub fn text(&self, sample: &Sample) -> Result<String, std::fmt::Error> {
        self.waiting.set(sample.waiting as i64);
        self.evaluator_bound.set(sample.evaluator_bound as i64);
        self.disk_bytes.set(sample.disk_bytes as i64);
        self.disk_bound.set(sample.disk_bound as i64);
        self.resident.set(resident().unwrap_or(0) as i64);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Bytes of memory that the process has now; where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
