//! Predicts what a run of a plan will take. This is the one source of the times, memory and keys that commands and the
//! page show.

use std::path::Path;

use fhec_ir::cost::{LatencyTable, TimePrediction};
use fhec_runtime::{HostProfile, MemoryPrediction, OpMemory, Plan, StageTime, params, predict_time};
use serde::Serialize;

use crate::error::Error;

/// What ops cost, read from a file.
#[derive(Clone, Debug)]
pub struct Costs {
    table: LatencyTable,
    /// What the table was made of; absent for a table of measured times, which does not say for how many threads it is.
    profile: Option<HostProfile>,
}

impl Costs {
    /// The costs in a file for the parameters of a plan: a profile, as `fhec calibrate` writes them, or a table of measured
    /// times.
    ///
    /// # Errors
    /// A file that cannot be read, or is neither.
    pub fn read(path: &Path, plan: &Plan) -> Result<Self, Error> {
        let text = read(path)?;
        if let Ok(table) = LatencyTable::from_json(&text) {
            return Ok(Self { table, profile: None });
        }
        let profile = profile_in(path, &text)?;
        Ok(Self { table: profile.table(&params(plan), plan.slots()), profile: Some(profile) })
    }
}

/// The costs of a host in a file that `fhec calibrate` wrote.
///
/// # Errors
/// A file that cannot be read, or is no profile.
pub fn profile(path: &Path) -> Result<HostProfile, Error> {
    profile_in(path, &read(path)?)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { file: path.display().to_string(), source })
}

fn profile_in(path: &Path, text: &str) -> Result<HostProfile, Error> {
    HostProfile::from_json(text).map_err(|e| Error::Usage {
        reason: format!("{}: {e}", path.display()),
        repair: "give what `fhec calibrate -o FILE` wrote, or a table of measured times".into(),
    })
}

/// An evaluation key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// What it is for.
    pub name: String,
    /// Level it is made for.
    pub level: usize,
    /// Bytes in the key file.
    pub bytes: u64,
}

/// What a run of a plan will take.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Threads that the times are for; absent where a table of measured times does not say.
    pub threads: Option<usize>,
    /// Seconds of a run; absent where an op has no known time.
    pub seconds: Option<f64>,
    /// Seconds of every op in program order, where all have known times.
    pub seconds_of: Option<Vec<f64>>,
    /// Memory, by what holds it.
    pub memory: MemoryPrediction,
    /// The evaluation keys.
    pub keys: Vec<Key>,
    /// Memory while each op runs, in order.
    pub op_memory: Vec<OpMemory>,
    /// The parts of a bootstrap to the highest level that one restores; empty without bootstraps, and for a table of measured times.
    pub bootstrap: Vec<StageTime>,
}

impl Prediction {
    /// The prediction on `threads` threads, those of this machine by default, with the built-in costs.
    pub fn of(plan: &Plan, threads: Option<usize>) -> Self {
        let threads = threads.unwrap_or_else(available);
        // The built-in costs may lack an op: then its time is not known.
        let times = predict_time(plan, None, threads).ok();
        Self::new(plan, threads, Some(&HostProfile::builtin(threads)), times)
    }

    /// The prediction with the costs of a file.
    ///
    /// # Errors
    /// Costs that do not fit the plan.
    pub fn by(plan: &Plan, costs: &Costs) -> Result<Self, Error> {
        let threads = costs.profile.as_ref().map_or_else(available, |profile| profile.threads);
        let times = predict_time(plan, Some(&costs.table), threads).map_err(|e| Error::Usage {
            reason: e.to_string(),
            repair: "measure the table with this plan's ring degree".into(),
        })?;
        Ok(Self::new(plan, threads, costs.profile.as_ref(), Some(times)))
    }

    fn new(plan: &Plan, workers: usize, profile: Option<&HostProfile>, times: Option<TimePrediction>) -> Self {
        let params = params(plan);
        let highest = plan.bootstrap_levels().last().copied();
        let bootstrap = profile.zip(highest).map(|(p, to)| p.bootstrap_stages(&params, plan.slots(), to as usize));
        let key = |request: fhec_runtime::KeyRequest| Key {
            name: request.name.to_string(),
            level: request.level,
            bytes: params.stored_key_bytes(request.level) as u64,
        };
        Self {
            threads: profile.map(|_| workers),
            seconds: times.as_ref().map(|times| times.micros / 1e6),
            seconds_of: times.map(|times| times.micros_of.iter().map(|us| us / 1e6).collect()),
            memory: MemoryPrediction::of(plan, workers),
            keys: plan.keys().requests().into_iter().map(key).collect(),
            op_memory: OpMemory::of(plan, workers),
            bootstrap: bootstrap.unwrap_or_default(),
        }
    }

    /// Bytes of the evaluation keys in their file.
    pub fn key_bytes(&self) -> u64 {
        self.keys.iter().map(|key| key.bytes).sum()
    }
}

/// Threads that this machine runs at once.
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
