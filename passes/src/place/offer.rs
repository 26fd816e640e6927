//! What the planner is offered: the forms of every activation, weighed by how much the result depends on it.

use std::collections::BTreeMap;

use fhec_ir::{Module, Nn, Tensor, Value};

use super::{Candidate, Candidates, Placement};
use crate::approximate::{
    Alternatives, ApproximateActivations, ApproximateError, ApproximateOptions, Calibration, CandidateRow, Choice,
};
use crate::ends::Ends;
use crate::pipeline::{self, Packing, PlanOptions};
use crate::placement::Limits;
use crate::sensitivity::{Sensitivities, SensitivityError};
use crate::target::Target;

/// Calibration inputs on which the errors of candidates are measured.
pub const CANDIDATE_SAMPLES: usize = 256;
/// Calibration inputs on which the sensitivity of the loss to each activation is measured.
pub const SENSITIVITY_SAMPLES: usize = 64;

/// What the planner may choose from, by the name of each activation's node; without a sensitivity an activation counts once.
pub fn candidates(folded: &Module<Nn>, alternatives: &Alternatives<'_>, weights: &Sensitivities) -> Candidates {
    let rows = |(v, rows): (&Value, &Vec<CandidateRow>)| {
        let weight = weights.of(*v).unwrap_or(1.0);
        let candidate = |row: &CandidateRow| Candidate {
            choice: row.choice,
            rule: Some(row.rule),
            error: weight * row.mean_square,
            max_error: row.max_error,
        };
        let name = folded.func.node(*v).loc.name().to_string();
        (name, rows.iter().filter(|row| offered(row)).map(candidate).collect())
    };
    alternatives.table().iter().map(rows).collect()
}

/// Whether the planner is offered a row of the table: a bootstrap needs its operand in [-1, 1], which completed squares do
/// not keep; polynomials per channel pay where they are of low degree.
fn offered(row: &CandidateRow) -> bool {
    const PER_CHANNEL: usize = 7;
    (3..=31).contains(&row.choice.degree) && (!row.choice.per_channel || row.choice.degree <= PER_CHANNEL)
}

/// What polynomials are chosen for.
pub struct Request<'a> {
    /// Calibration data.
    pub samples: &'a [Vec<Tensor>],
    /// How activations are fitted.
    pub approximate: &'a ApproximateOptions,
    /// How the network is packed.
    pub plan: &'a PlanOptions,
    /// What the plan must keep.
    pub limits: &'a Limits,
    /// The engine.
    pub target: &'a dyn Target,
}

/// The polynomials of a network.
pub struct ChosenAlone {
    /// By the name of each activation's node.
    pub choices: BTreeMap<String, Choice>,
    /// The bootstraps that go with them.
    pub placement: Placement,
    /// The forms among which the planner chose, by rule.
    pub forms: String,
    /// Why the errors of all activations count alike, where they do.
    pub unweighed: Option<SensitivityError>,
}

/// Chooses polynomials and bootstraps of a network whose batch norms are folded together, whether or not it would run
/// without bootstraps: the pass `choose-polynomials`.
///
/// # Errors
/// A network that does not run on the samples or that cannot be planned, or no plan within the limits.
pub fn choose_alone(folded: &Module<Nn>, request: &Request<'_>) -> Result<ChosenAlone, ApproximateError> {
    let Request { samples, approximate, plan, limits, target } = *request;
    let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
    // Layouts, and with them costs, do not depend on which polynomials there are.
    let (first, _) = ApproximateActivations::calibrated(folded, few, *approximate)?;
    let options = Ends::measure(&first, few)?.magnitudes.complete(plan, few);
    let packing = Packing::new(&first, &options)?;
    let calibration = Calibration::measure(folded, &samples[..samples.len().min(CANDIDATE_SAMPLES)])?;
    let alternatives = Alternatives::of_all_degrees(folded, &calibration, approximate)?;
    let (weights, unweighed) = match Sensitivities::measure(folded, few, None) {
        Ok(weights) => (weights, None),
        Err(reason) => (Sensitivities::default(), Some(reason)),
    };
    let candidates = candidates(folded, &alternatives, &weights);
    let found = pipeline::choose(&packing, &options, target, &candidates, limits, None)?;
    let forms = alternatives.to_string();
    Ok(ChosenAlone { choices: found.choices, placement: found.placement, forms, unweighed })
}
