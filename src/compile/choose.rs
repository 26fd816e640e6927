//! Chooses the polynomials of a network, and decides whether its weights are rebuilt.

use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::activations::rebuild::{ReconstructOptions, Reconstructed, reconstruct};
use fhec_passes::activations::sensitivity::Sensitivities;
use fhec_passes::activations::{
    ApproximateActivations, ApproximateOptions, Approximated, Calibration, Choices, Extracted, Form, FormGraph,
};
use fhec_passes::approx::{Approximation, Choice};
use fhec_passes::bootstraps::{Candidates, Strategy, WeighedForm};
use fhec_passes::pipeline::{self, BOOTSTRAPPING_RING, FrontPlan, Packing, Placed};
use fhec_passes::planner::Limits;

use super::refused::{self, Refused};
use super::samples::has_activation;
use super::warning::Warning;
use super::{Compiler, DEFAULT_ERROR};
use crate::ends::Ends;
use crate::error::Error;
use crate::front::FrontPoint;

/// Least number of calibration inputs for rebuilding weights: fewer fit the inputs rather than the network.
const RECONSTRUCTION_SAMPLES: usize = 512;
/// Calibration inputs on which the errors of candidates are measured.
const CANDIDATE_SAMPLES: usize = 256;
/// Calibration inputs on which the sensitivity of the loss to each activation is measured.
pub(super) const SENSITIVITY_SAMPLES: usize = 64;

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
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        let calibration = Calibration::measure(folded, &samples[..samples.len().min(CANDIDATE_SAMPLES)])?;
        let forms = FormGraph::offered(folded, &calibration, &approximate)?;
        // Layouts, and with them costs, do not depend on which forms there are.
        let Extracted { module: first, polynomials } = forms.extract(|_| 0)?;
        let options = self.plan_options(&Ends::measure(&first, few)?, few);
        let packing = Packing::new(&first, &options)?;
        let leveled = packing.leveled_ring(&first, &options);
        if leveled.is_some_and(|log_n| log_n < BOOTSTRAPPING_RING) {
            return self.without_front("this network runs without bootstraps, so there is one plan".into());
        }
        let weights = sensitivities(folded, few, warnings);
        let weighed = |(v, of): (&Value, &Vec<Form>)| {
            let first = *polynomials.get(v)?.first()?;
            Some((first, weighed_forms(of, weights.of(*v).unwrap_or(1.0))))
        };
        let candidates: Candidates = forms.forms().iter().filter_map(weighed).collect();
        let front = self.options.front.then_some(&self.options.limits);
        let choose = |limits| pipeline::choose(&packing, &options, &*self.engine, &candidates, limits, front);
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
        // From the polynomials that were planned with to the activations that they stand for.
        let of_activations = |choices: &Choices| -> Choices {
            let choice = |(v, stages): (&Value, &Vec<Value>)| Some((*v, choices.get(stages.first()?)?.clone()));
            polynomials.iter().filter_map(choice).collect()
        };
        let front = found.front.iter().map(|FrontPlan { plan, spec, choices }| {
            FrontPoint::new(plan, spec.levels, of_activations(choices), folded)
        });
        let is_before = |(_, stages): &(&Value, &Vec<Value>)| stages.iter().any(|stage| found.before.contains(stage));
        let before = polynomials.iter().filter(is_before).map(|(v, _)| *v).collect();
        let error = met.then_some(found.placement.plan.error);
        Ok(Chosen {
            choices: if met { of_activations(&found.choices) } else { Choices::new() },
            front: front.collect(),
            error,
            // Forms that were not chosen are placed anew.
            placed: met.then(|| Placed { placement: found.placement, before, leveled: leveled.is_some() }),
            forms: forms.to_string(),
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

/// What the planner may choose from at one activation, whose errors count with `weight`.
///
/// A bootstrap needs its operand in [-1, 1], which the completed squares of quadratics do not keep; and the planner takes
/// single polynomials.
fn weighed_forms(forms: &[Form], weight: f64) -> Vec<WeighedForm> {
    let offered =
        forms.iter().map(|form| &form.approximation).filter(|a| a.degree > 2 && a.stages.len() == 1 && !a.gated);
    let mut offered: Vec<_> = offered.collect();
    offered.sort_by(|a, b| a.levels.cmp(&b.levels).then(a.rms_error.total_cmp(&b.rms_error)));
    let weighed = |a: &Approximation| WeighedForm {
        choice: Choice { family: a.family.clone(), degree: a.degree },
        per_channel: a.is_per_channel(),
        error: weight * a.rms_error.powi(2),
        max_error: a.max_error,
    };
    offered.into_iter().map(weighed).collect()
}

/// How much the loss depends on every activation; where that cannot be measured, nothing, and a warning.
pub(super) fn sensitivities(folded: &Module<Nn>, samples: &[Vec<Tensor>], warnings: &mut Vec<String>) -> Sensitivities {
    Sensitivities::measure(folded, samples, None).unwrap_or_else(|e| {
        warnings.push(Warning::NoSensitivity { reason: e.to_string() }.to_string());
        Sensitivities::default()
    })
}
