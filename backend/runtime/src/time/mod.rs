//! Predicts how long a run will take.
//!
//! [`HostProfile`] holds what a unit of each kind of the engine's work costs on one machine. Every op of a program is some
//! steps of the engine ([`engine_steps`]), every step some units ([`Unit`]), so that one profile prices
//! every op at every level under any parameters, bootstraps included.

mod fit;
mod profile;
mod steps;
mod units;

use fhec_ckks::KeyName;
use fhec_ir::cost::{CostError, KeyUse, LatencyTable, TimePrediction, predict_with_keys};

pub use fit::{Measurement, fit};
pub use profile::{Costs, HostProfile, StageTime};
pub use steps::of as engine_steps;
pub use units::{Unit, WorkKind};

use crate::engine::params;
use crate::plan::Plan;

/// The time of a run: by a table of measured times, or by the built-in profile on `threads` threads. The times of keys are
/// those of the plan's key list.
///
/// # Errors
/// A table of another ring degree, or an op without a time.
pub fn predict_time(plan: &Plan, table: Option<&LatencyTable>, threads: usize) -> Result<TimePrediction, CostError> {
    let level = |key: KeyUse, level: u32| {
        let levels = plan.keys().levels_of(match key {
            KeyUse::Relinearization => KeyName::Relin,
            KeyUse::Conjugation => KeyName::Conj,
            KeyUse::Rotation(by) => KeyName::Rotation(u32::try_from(by).ok()?),
        });
        // The engine takes the smallest key that serves.
        levels.iter().copied().filter(|&made| made >= level).min()
    };
    let builtin = || HostProfile::builtin(threads).table(&params(plan), plan.slots());
    match table {
        Some(table) => predict_with_keys(plan.module(), table, level),
        None => predict_with_keys(plan.module(), &builtin(), level),
    }
}
