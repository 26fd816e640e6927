//! A front holds the Pareto-optimal plans: no other plan is better in both time and error.

use std::collections::BTreeMap;

use fhec_ir::nn::eval;
use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::activations::{ApproximateError, Choices};
use fhec_passes::approx::Choice;
use fhec_passes::planner;
use serde::Serialize;

use crate::data::count_right;
use crate::error::Error;

/// One plan of a front.
#[derive(Clone, Debug, Serialize)]
pub struct FrontPoint {
    /// Predicted time of one run, in seconds.
    pub seconds: f64,
    /// The surrogate of the lost accuracy, Σ A_i·E_i.
    pub error: f64,
    /// Bootstraps.
    pub bootstraps: usize,
    /// The highest level of the program.
    pub levels: u32,
    /// The polynomial of every activation, by the name of its node.
    pub choices: BTreeMap<String, Choice>,
    /// Share of the validation inputs that the network with these polynomials classifies as labelled, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The choices by activation.
    #[serde(skip)]
    pub(crate) by_value: Choices,
}

impl FrontPoint {
    /// A plan of `levels` levels with these choices for the activations of `module`.
    pub(crate) fn new(plan: &planner::Plan, levels: u32, by_value: Choices, module: &Module<Nn>) -> Self {
        let named = |(v, choice): (&Value, &Choice)| (module.func.node(*v).loc.name().to_string(), choice.clone());
        Self {
            seconds: plan.latency_us / 1e6,
            error: plan.error,
            bootstraps: plan.bootstraps.len(),
            levels,
            choices: by_value.iter().map(named).collect(),
            accuracy: None,
            by_value,
        }
    }
}

/// Inputs with the class of each, on which networks are measured. Never those of the calibration.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// One set of input tensors per image.
    pub inputs: Vec<Vec<Tensor>>,
    /// The class of every image.
    pub labels: Vec<usize>,
    /// Plans of a front to measure, spread evenly over their times.
    pub points: usize,
}

impl Validation {
    /// The points of `front`, fastest to slowest or the other way round, that are measured: both ends, and between them those
    /// next to equal steps of time.
    pub(crate) fn picks(&self, front: &[FrontPoint]) -> Vec<usize> {
        let (Some(first), Some(last)) = (front.first(), front.last()) else { return Vec::new() };
        let steps = self.points.saturating_sub(1).max(1) as f64;
        let mut picks: Vec<usize> = (0..self.points)
            .map(|i| first.seconds + (last.seconds - first.seconds) * i as f64 / steps)
            .filter_map(|wanted| {
                let distance = |point: &FrontPoint| (point.seconds - wanted).abs();
                (0..front.len()).min_by(|&a, &b| distance(&front[a]).total_cmp(&distance(&front[b])))
            })
            .collect();
        picks.sort_unstable();
        picks.dedup();
        picks
    }

    /// The share of the inputs that `module` classifies as labelled.
    pub(crate) fn accuracy(&self, module: &Module<Nn>) -> Result<f64, Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let outputs = eval::eval_many(module, &self.inputs, threads).map_err(ApproximateError::from)?;
        Ok(count_right(&outputs, &self.labels) as f64 / self.labels.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_and_equal_steps_between_are_picked() {
        let point = |seconds: f64| FrontPoint {
            seconds,
            error: 1.0 / seconds,
            bootstraps: 0,
            levels: 3,
            choices: BTreeMap::new(),
            accuracy: None,
            by_value: Choices::new(),
        };
        let front: Vec<FrontPoint> = [10.0, 11.0, 12.0, 19.0, 21.0, 30.0].map(point).into();
        let picks = |points: usize| Validation { points, ..Default::default() }.picks(&front);
        assert_eq!(picks(3), [0, 3, 5]);
        assert_eq!(picks(1), [0]);
        assert_eq!(picks(0), [0usize; 0]);
        assert_eq!(picks(100), [0, 1, 2, 3, 4, 5]);
        assert!(Validation { points: 4, ..Default::default() }.picks(&[]).is_empty());
    }
}
