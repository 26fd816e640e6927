//! Checks whether the plan that was made keeps the limits, however it came about.

use fhec_ir::{Module, Nn, Node, Tensor, Value};
use fhec_passes::activations::Replacement;
use fhec_passes::activations::result_kind::ResultKind;
use fhec_passes::bootstraps::offer::SENSITIVITY_SAMPLES;
use fhec_passes::bootstraps::{Placement, Strategy};
use fhec_runtime::{Plan, predict_time};

use super::Compiler;
use super::choose::{Chosen, sensitivities};
use super::forms::activations;
use super::refused::{self, Refused};
use super::warning::Warning;
use crate::error::Error;

impl Compiler {
    /// Refuses polynomials that are further from their activation than the whole interval is long: fits of very high degree
    /// diverge.
    pub(super) fn check_fits(&self, activations: &[Replacement]) -> Result<(), Refused> {
        let diverged = |a: &&Replacement| {
            a.stages.is_empty() && (a.rms_error.is_nan() || a.rms_error > a.interval.1 - a.interval.0)
        };
        let Some(a) = activations.iter().find(diverged) else { return Ok(()) };
        Err(Refused::Value {
            option: "degree",
            value: a.degree.to_string(),
            reason: format!("the polynomial of `{}` has an error of {:.1e} on calibration data", a.node, a.rms_error),
            repair: "choose a lower degree, or check the calibration data".into(),
        })
    }

    /// How far polynomials are from functions that jump.
    pub(super) fn jumps(folded: &Module<Nn>, replaced: &[Replacement]) -> Vec<Warning> {
        let jumps = |(node, a): (&Node<Nn>, &Replacement)| {
            let continuous = node.op.function().is_none_or(|f| f.is_continuous());
            let (node, function) = (a.node.clone(), a.function.clone());
            let (degree, largest, rms) = (a.degree, a.max_error, a.rms_error);
            (!continuous).then_some(Warning::Jumps { node, function, degree, largest, rms })
        };
        activations(folded).map(|(_, node)| node).zip(replaced).filter_map(jumps).collect()
    }

    /// Refuses a placement other than the planner's where nothing is placed.
    pub(super) fn check_placed(&self, placement: Option<&Placement>) -> Result<(), Refused> {
        let strategy = self.options.plan.strategy;
        if strategy == Strategy::Joint || placement.is_some() {
            return Ok(());
        }
        Err(Refused::Idle {
            option: format!("--place {}", refused::name(strategy)),
            reason: "this network runs without bootstraps".into(),
            repair: "leave --place out".into(),
        })
    }

    /// Refuses a plan that is predicted to take longer than the limit.
    pub(super) fn check_latency(&self, plan: &Plan, chosen: &Chosen) -> Result<(), Refused> {
        let Some(asked) = self.options.limits.max_latency_us.map(|us| us / 1e6) else { return Ok(()) };
        let predicted = self.predicted_seconds(plan)?;
        if predicted <= asked {
            return Ok(());
        }
        Err(Refused::Latency { asked, predicted, chosen: !chosen.choices.is_empty() })
    }

    /// Seconds that a run of `plan` is predicted to take on this host.
    ///
    /// # Errors
    /// A host without times for these parameters.
    pub(super) fn predicted_seconds(&self, plan: &Plan) -> Result<f64, Refused> {
        let untimed = |reason: String| Refused::Untimed { reason };
        let no_table = || untimed("the host has no times for these parameters".into());
        let table = self.engine.costs(plan.spec(), plan.slots()).ok_or_else(no_table)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let time = predict_time(plan, Some(&table), threads).map_err(|e| untimed(e.to_string()))?;
        Ok(time.micros / 1e6)
    }

    /// Refuses polynomials whose error is beyond the limit.
    pub(super) fn check_error(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        activations: &[Replacement],
        chosen: &Chosen,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(asked) = self.options.limits.max_error else { return Ok(()) };
        let found =
            chosen.error.unwrap_or_else(|| surrogate(folded, samples, activations, self.options.results, warnings));
        if found <= asked {
            return Ok(());
        }
        Err(Refused::Inaccurate { asked, found, chosen: !chosen.choices.is_empty() }.into())
    }
}

/// The surrogate of the lost accuracy: sensitivity times mean square error, summed over activations.
fn surrogate(
    folded: &Module<Nn>,
    samples: &[Vec<Tensor>],
    replaced: &[Replacement],
    compare: Option<ResultKind>,
    warnings: &mut Vec<String>,
) -> f64 {
    if replaced.is_empty() {
        return 0.0;
    }
    let weights = sensitivities(folded, &samples[..samples.len().min(SENSITIVITY_SAMPLES)], compare, warnings);
    let weighed = |((v, _), a): ((Value, &Node<Nn>), &Replacement)| weights.of(v).unwrap_or(1.0) * a.rms_error.powi(2);
    activations(folded).zip(replaced).map(weighed).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_that_diverge_are_refused() {
        let fit = |rms_error: f64| Replacement {
            node: "relu1".into(),
            function: "relu".into(),
            degree: 200,
            stages: Vec::new(),
            channels: 1,
            interval: (-1.0, 2.0),
            seen: (-0.9, 1.5),
            rms_error,
            max_error: rms_error,
            growth: 1.0,
        };
        assert!(Compiler::new().check_fits(&[fit(1e-3), fit(2.9)]).is_ok());
        for diverged in [3.1, f64::INFINITY, f64::NAN] {
            let refused = Compiler::new().check_fits(&[fit(1e-3), fit(diverged)]).unwrap_err();
            assert!(refused.to_string().contains("`relu1` has an error of"), "{refused}");
        }
    }
}
