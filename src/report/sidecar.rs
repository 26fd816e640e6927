//! Sidecars are what commands printed or wrote of a plan, and a report shows beside it: an encrypted run, a simulation, a front.

use serde::de::DeserializeOwned;

use super::findings::ParetoPoint;
use super::model::{Report, Run};
use super::simulation::Simulation;
use crate::error::Error;

const RUN: &str = "`fhec run --json` or `fhec eval --json` printed for this plan";
const SIMULATION: &str = "`fhec simulate --per-op --json` printed for this plan";
const FRONT: &str = "`fhec compile --pareto FILE` wrote for this model";

/// The refusal of a sidecar, with what is to be given in its place.
fn refused(reason: String, wanted: &str) -> Error {
    Error::Usage { reason, repair: format!("give what {wanted}") }
}

fn read<T: DeserializeOwned>(name: &str, json: &str, wanted: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|e| refused(format!("{name}: {e}"), wanted))
}

/// Refuses what was measured of another plan than that of `digest`.
fn of_this_plan(name: &str, measured: Option<&str>, digest: &str, wanted: &str) -> Result<(), Error> {
    match measured {
        Some(of) if of == digest => Ok(()),
        Some(of) => Err(refused(format!("{name} is of the plan {of}, this one is {digest}"), wanted)),
        None => Err(refused(format!("{name} does not say of which plan it is"), wanted)),
    }
}

impl Run {
    /// Reads what `fhec run --json` or `fhec eval --json` printed. `name` is what messages call it, `digest` that of the plan in
    /// hexadecimal.
    ///
    /// # Errors
    /// What is no such report, or is one of another plan.
    pub fn read(name: &str, json: &str, digest: &str) -> Result<Self, Error> {
        let run: Self = read(name, json, RUN)?;
        of_this_plan(name, run.plan_digest.as_deref(), digest, RUN)?;
        Ok(run)
    }
}

impl Simulation {
    /// Reads what `fhec simulate --per-op --json` printed. `name` is what messages call it, `digest` that of the plan in
    /// hexadecimal.
    ///
    /// # Errors
    /// What is no such report, or is one of another plan.
    pub fn read(name: &str, json: &str, digest: &str) -> Result<Self, Error> {
        let simulation: Self = read(name, json, SIMULATION)?;
        of_this_plan(name, simulation.plan_digest.as_deref(), digest, SIMULATION)?;
        Ok(simulation)
    }

    /// What a user should know of a simulation that a report can show little of.
    pub fn warning(&self, name: &str) -> Option<String> {
        let lacking = self.ops.is_empty() && self.arguments.is_empty();
        lacking.then(|| {
            format!("{name} has no errors of layers and no data of polynomials: they are of `fhec simulate --per-op`")
        })
    }
}

impl Report {
    /// The same with a front in place of the one that the plan carries: what `fhec compile --pareto` wrote. `name` is what
    /// messages call it.
    ///
    /// # Errors
    /// What is no front, or is one of another model.
    pub fn with_front(self, name: &str, json: &str) -> Result<Self, Error> {
        let front: Vec<ParetoPoint> = read(name, json, FRONT)?;
        self.of_front(front)
            .map_err(|foreign| refused(format!("{name}: this plan has no activation `{foreign}`"), FRONT))
    }
}
