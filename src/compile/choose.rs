//! Chooses the polynomials of a network, and decides whether its weights are rebuilt.

use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::activations::rebuild::{ReconstructOptions, Reconstructed, reconstruct};
use fhec_passes::activations::sensitivity::Sensitivities;
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions, Approximated, Choices};
use fhec_passes::bootstraps::Strategy;
use fhec_passes::bootstraps::offer::{Decision, FrontPlan, Offer, Request, SENSITIVITY_SAMPLES};
use fhec_passes::pipeline::Placed;
use fhec_passes::planner::Limits;

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
    /// Where it is bootstrapped; `before` holds the activations that the polynomials stand for.
    pub(super) placed: Option<Placed>,
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
        let request = Request { samples, approximate: &approximate, plan: &self.options.asked_of_plans() };
        let offer = Offer::new(folded, request)?;
        if offer.runs_leveled() {
            return self.without_front("this network runs without bootstraps, so there is one plan".into());
        }
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        let offer = offer.weighed(&sensitivities(folded, few, warnings));
        let front = self.options.front.then_some(&self.options.limits);
        let choose = |limits| offer.choose(&*self.engine, limits, front);
        let by_default = Limits { max_error: rebuilds.then_some(DEFAULT_ERROR), ..Limits::default() };
        let (found, met) = match choose(if limited { &self.options.limits } else { &by_default }) {
            Ok(found) => (found, limited || rebuilds),
            // Nothing meets the default limit: then accuracy comes first, with the default degree everywhere.
            Err(e) if !limited && rebuilds => {
                let reason = e.issues.iter().map(|issue| issue.reason.clone()).collect::<Vec<_>>().join("; ");
                let degree = approximate.default.degree;
                warnings.push(Warning::DefaultErrorUnmet { allowed: DEFAULT_ERROR, degree, reason }.to_string());
                (choose(&Limits::default())?, false)
            }
            Err(e) => return Err(e.into()),
        };
        let Decision { choices, placed, front } = found;
        let point = |FrontPlan { plan, spec, choices }| FrontPoint::new(&plan, spec.levels, choices, folded);
        Ok(Chosen {
            choices: if met { choices } else { Choices::new() },
            front: front.into_iter().map(point).collect(),
            error: met.then_some(placed.placement.plan.error),
            // Forms that were not chosen are placed anew.
            placed: met.then_some(placed),
            forms: offer.forms(),
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
        } else if self.options.approximate.is_precise() {
            Some(format!("`{}` stands in place of all polynomials", self.options.approximate.default.family))
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

    /// Whether weights are rebuilt: precise approximations leave no errors to make up for, and few samples no room.
    pub(super) fn rebuilds(&self, samples: &[Vec<Tensor>]) -> bool {
        let enough = self.calibration.is_some() && samples.len() >= RECONSTRUCTION_SAMPLES;
        enough && !self.options.keep_weights && !self.options.approximate.is_precise()
    }

    /// What is left undone for want of calibration data; `bootstraps`: in a network that has some.
    pub(super) fn undone(&self, folded: &Module<Nn>, samples: &[Vec<Tensor>], bootstraps: bool) -> Option<Warning> {
        let enough = samples.len() >= RECONSTRUCTION_SAMPLES || self.calibration.is_none();
        let unwanted = self.options.keep_weights || self.options.approximate.is_precise();
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
            let Approximated { module, activations, polynomials } =
                ApproximateActivations::calibrated_with(folded, samples, approximate, choices)?;
            return Ok(Reconstructed { module, activations, layers: Vec::new(), polynomials });
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
            let polynomial = self.polynomials(folded, samples, approximate.clone(), &point.by_value)?.module;
            point.accuracy = Some(validation.accuracy(&polynomial)?);
        }
        Ok(front)
    }
}

/// How much the loss depends on every activation; where that cannot be measured, nothing, and a warning.
pub(super) fn sensitivities(folded: &Module<Nn>, samples: &[Vec<Tensor>], warnings: &mut Vec<String>) -> Sensitivities {
    Sensitivities::measure(folded, samples, None).unwrap_or_else(|e| {
        warnings.push(Warning::NoSensitivity { reason: e.to_string() }.to_string());
        Sensitivities::default()
    })
}
