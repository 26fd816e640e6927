//! Which polynomials a network gets, and what becomes of its weights.

use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::approximate::{Alternatives, ApproximateActivations, ApproximateOptions, Calibration, Choices};
use fhec_passes::ends::Ends;
use fhec_passes::pipeline::{self, Packing};
use fhec_passes::place::{self, CANDIDATE_SAMPLES, Placement, SENSITIVITY_SAMPLES, Strategy};
use fhec_passes::placement::Limits;
use fhec_passes::reconstruct::{ReconstructOptions, Reconstructed, reconstruct};
use fhec_passes::sensitivity::Sensitivities;

use super::refused::{self, Refused};
use super::samples::has_activation;
use super::warning::Warning;
use super::{Compiler, DEFAULT_ERROR};
use crate::error::Error;
use crate::front::FrontPoint;

/// Least number of calibration inputs for rebuilding weights: fewer fit the inputs rather than the network.
const RECONSTRUCTION_SAMPLES: usize = 512;

/// What the planner chose for the activations.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) choices: Choices,
    pub(super) front: Vec<FrontPoint>,
    pub(super) placement: Option<Placement>,
    /// The surrogate error of the choices, where the planner made some.
    pub(super) error: Option<f64>,
    /// The forms among which the planner chose, by rule.
    pub(super) forms: String,
}

impl Compiler {
    /// The polynomials of a network that needs bootstraps, chosen together with them; nothing for one that does not.
    pub(super) fn choose(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Chosen, Error> {
        let limited = self.options.limits != Limits::default();
        if let Some(reason) = self.given(folded) {
            return self.without_front(reason);
        }
        let rebuilds = self.rebuilds(samples);
        if !(limited || rebuilds || self.options.front) {
            return Ok(Chosen::default());
        }
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        // Layouts, and with them costs, do not depend on which polynomials there are.
        let (first, _) = ApproximateActivations::calibrated(folded, few, approximate)?;
        let options = self.plan_options(&Ends::measure(&first, few)?, few);
        let packing = Packing::new(&first, &options)?;
        if !packing.needs_bootstraps(&first, &options) {
            return self.without_front("this network runs without bootstraps, so there is one plan".into());
        }
        let calibration = Calibration::measure(folded, &samples[..samples.len().min(CANDIDATE_SAMPLES)])?;
        let alternatives = Alternatives::of_all_degrees(folded, &calibration, &approximate)?;
        let candidates = place::candidates(folded, &alternatives, &sensitivities(folded, few, warnings));
        let front = self.options.front.then_some(&self.options.limits);
        let choose = |limits| pipeline::choose(&packing, &options, &*self.engine, &candidates, limits, front);
        let by_default = Limits { max_error: rebuilds.then_some(DEFAULT_ERROR), ..Limits::default() };
        let (found, met) = match choose(if limited { &self.options.limits } else { &by_default }) {
            Ok(found) => (found, limited || rebuilds),
            // Nothing meets the default limit: then accuracy comes first, with the default degree everywhere.
            Err(e) if !limited && rebuilds => {
                let reason = e.issues.iter().map(|issue| issue.reason.clone()).collect::<Vec<_>>().join("; ");
                let degree = approximate.degree;
                warnings.push(Warning::DefaultErrorUnmet { allowed: DEFAULT_ERROR, degree, reason }.to_string());
                (choose(&Limits::default())?, false)
            }
            Err(e) => return Err(e.into()),
        };
        let named = folded.func.iter().map(|(v, node)| (v, node.loc.name()));
        let choices = named.filter_map(|(v, name)| Some((v, *found.choices.get(name)?)));
        let front = found.front.iter().map(|(plan, spec)| FrontPoint {
            seconds: plan.latency_us / 1e6,
            error: plan.error,
            bootstraps: plan.bootstraps.len(),
            levels: spec.levels,
            choices: pipeline::Chosen::choices(plan, &candidates),
            accuracy: None,
        });
        Ok(Chosen {
            choices: if met { choices.collect() } else { Choices::new() },
            front: front.collect(),
            error: met.then_some(found.placement.plan.error),
            placement: Some(found.placement),
            forms: alternatives.to_string(),
        })
    }

    /// Why the polynomials of this network are not chosen one by one, whatever it takes to run it.
    fn given(&self, folded: &Module<Nn>) -> Option<String> {
        let strategy = self.options.plan.strategy;
        if !has_activation(folded) {
            Some("the network has no activation".into())
        } else if self.calibration.is_none() {
            Some("polynomials are chosen on calibration data, give --calibration".into())
        } else if self.options.uniform {
            Some("--degree sets all polynomials".into())
        } else if self.options.approximate.composite.is_some() {
            Some("a composite stands in place of all polynomials".into())
        } else if strategy == Strategy::Greedy {
            // The walk takes polynomials as they are.
            Some(format!("--place {} takes polynomials as they are", refused::name(strategy)))
        } else {
            None
        }
    }

    /// No choice, unless a front of them is asked for.
    fn without_front(&self, reason: String) -> Result<Chosen, Error> {
        if !self.options.front {
            return Ok(Chosen::default());
        }
        let repair = "leave --pareto out".into();
        Err(Refused::Idle { option: "--pareto".into(), reason, repair }.into())
    }

    /// Whether weights are rebuilt: a composite leaves no errors to make up for, and few samples no room.
    pub(super) fn rebuilds(&self, samples: &[Vec<Tensor>]) -> bool {
        let enough = self.calibration.is_some() && samples.len() >= RECONSTRUCTION_SAMPLES;
        enough && !self.options.keep_weights && self.options.approximate.composite.is_none()
    }

    /// What is left undone for want of calibration data; `bootstraps`: in a network that has some.
    pub(super) fn undone(&self, folded: &Module<Nn>, samples: &[Vec<Tensor>], bootstraps: bool) -> Option<Warning> {
        let enough = samples.len() >= RECONSTRUCTION_SAMPLES || self.calibration.is_none();
        let unwanted = self.options.keep_weights || self.options.approximate.composite.is_some();
        if enough || unwanted || !has_activation(folded) {
            return None;
        }
        let limited = self.options.limits != Limits::default();
        let bootstraps = bootstraps && !limited && self.given(folded).is_none();
        Some(Warning::NotRebuilt { samples: samples.len(), needed: RECONSTRUCTION_SAMPLES, bootstraps })
    }

    /// The network with polynomials in place of its activations, and with rebuilt weights where there is enough calibration
    /// data for it.
    pub(super) fn polynomials(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
        choices: &Choices,
    ) -> Result<Reconstructed, Error> {
        if !self.rebuilds(samples) || !has_activation(folded) {
            let (module, activations) = ApproximateActivations::calibrated_with(folded, samples, approximate, choices)?;
            return Ok(Reconstructed { module, activations, layers: Vec::new() });
        }
        let options = ReconstructOptions { approximate, choices: choices.clone(), ..Default::default() };
        Ok(reconstruct(folded, samples, &options, &mut |_, _, _| ())?)
    }

    /// The front with the accuracy of some of its plans, where there are inputs to measure it on.
    pub(super) fn measured(
        &self,
        mut front: Vec<FrontPoint>,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
    ) -> Result<Vec<FrontPoint>, Error> {
        let Some(validation) = &self.validation else { return Ok(front) };
        for pick in validation.picks(&front) {
            let point = &mut front[pick];
            let choice = |(value, name): (Value, &str)| Some((value, *point.choices.get(name)?));
            let choices = folded.func.iter().filter_map(|(v, node)| choice((v, node.loc.name()))).collect();
            let polynomial = self.polynomials(folded, samples, approximate, &choices)?.module;
            point.accuracy = Some(validation.accuracy(&polynomial)?);
        }
        Ok(front)
    }
}

/// How much the loss depends on every activation; where that cannot be told, nothing, and a warning.
pub(super) fn sensitivities(folded: &Module<Nn>, samples: &[Vec<Tensor>], warnings: &mut Vec<String>) -> Sensitivities {
    Sensitivities::measure(folded, samples, None).unwrap_or_else(|e| {
        warnings.push(Warning::NoSensitivity { reason: e.to_string() }.to_string());
        Sensitivities::default()
    })
}
