//! What the planner is offered for a network, and what it decides: polynomials and bootstraps together, or polynomials alone.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::{Ckks, Module, Nn, ParamSpec, Tensor, Value};

use super::{Candidates, Placer, WeighedForm};
use crate::activations::sensitivity::Sensitivities;
use crate::activations::{
    ApproximateError, ApproximateOptions, Calibration, Choices, Extracted, Form, FormGraph, Polynomials,
};
use crate::approx::{Approximation, Choice};
use crate::ends::Ends;
use crate::pass::PassError;
use crate::pipeline::{BOOTSTRAPPING_RING, Packing, Placed, PlanOptions};
use crate::planner::{Limits, Plan};
use crate::target::Target;

const NAME: &str = "choose-polynomials";
/// Calibration inputs on which the errors of forms are measured.
const FORM_SAMPLES: usize = 256;
/// Calibration inputs on which magnitudes, and the sensitivity of the loss to each activation, are measured.
pub const SENSITIVITY_SAMPLES: usize = 64;

/// What polynomials are chosen for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Calibration data.
    pub samples: &'a [Vec<Tensor>],
    /// How activations are fitted.
    pub approximate: &'a ApproximateOptions,
    /// How the network is packed.
    pub plan: &'a PlanOptions,
}

/// The forms of every activation of a network, and the network in slots, from which plans are chosen.
pub struct Offer<'a> {
    forms: FormGraph<'a>,
    /// The polynomials that were packed, by the activation that they stand for.
    polynomials: Polynomials,
    packing: Packing,
    options: PlanOptions,
    leveled_ring: Option<u32>,
    candidates: Candidates,
}

/// A plan of a front, in terms of the activations of the network.
#[derive(Clone, Debug)]
pub struct FrontPlan {
    /// Bootstraps, levels and times.
    pub plan: Plan,
    /// The parameters it was planned for.
    pub spec: ParamSpec,
    /// The form of every activation.
    pub choices: Choices,
}

/// What was chosen for a network, in terms of its activations.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The form of every activation.
    pub choices: Choices,
    /// Where the network is bootstrapped: before these activations.
    pub placed: Placed,
    /// Whether the plan is one of programs that bootstrap; otherwise nothing is placed, and only the activations are chosen.
    pub bootstraps: bool,
    /// All Pareto-optimal plans in time and error, if a front was asked for.
    pub front: Vec<FrontPlan>,
}

impl<'a> Offer<'a> {
    /// The forms of the activations of `folded`, whose batch norms are folded; all errors count alike.
    ///
    /// # Errors
    /// A network that does not run on the samples, that has no encrypted form, or an activation that cannot be approximated.
    pub fn new(folded: &'a Module<Nn>, request: Request<'a>) -> Result<Self, ApproximateError> {
        let Request { samples, approximate, plan } = request;
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        let calibration = Calibration::measure(folded, &samples[..samples.len().min(FORM_SAMPLES)])?;
        let forms = FormGraph::offered(folded, &calibration, approximate)?;
        // Layouts, and with them costs, do not depend on which forms there are.
        let Extracted { module: first, polynomials } = forms.extract(|_| 0)?;
        let options = Ends::measure(&first, few)?.magnitudes.complete(plan, few);
        let packing = Packing::new(&first, &options)?;
        // The forms in place may be of more levels than a limit allows, and others of fewer.
        let leveled_ring = packing.leveled_ring(&first, &PlanOptions { most_levels: None, ..options.clone() });
        let offer = Self { forms, polynomials, packing, options, leveled_ring, candidates: Candidates::new() };
        Ok(offer.weighed(&Sensitivities::default()))
    }

    /// The offer with the errors of every activation weighed by its sensitivity, or by 1 where that is not known.
    #[must_use]
    pub fn weighed(mut self, weights: &Sensitivities) -> Self {
        let weighed = |(v, of): (&Value, &Vec<Form>)| {
            let first = *self.polynomials.get(v)?.first()?;
            Some((first, weighed_forms(of, weights.of(*v).unwrap_or(1.0))))
        };
        self.candidates = self.forms.forms().iter().filter_map(weighed).collect();
        self
    }

    /// Levels of programs at most.
    pub fn most_levels(&self) -> Option<u32> {
        self.options.most_levels
    }

    /// The offer for programs of at most so many levels.
    #[must_use]
    pub fn with_most_levels(mut self, most: Option<u32>) -> Self {
        self.options.most_levels = most;
        self
    }

    /// The program that `decision`, one about the network of this offer, comes to as long as no weights are rebuilt.
    ///
    /// # Errors
    /// A choice that is not on offer, or a program without parameters: defects.
    pub fn sketch(&self, target: &dyn Target, decision: &Decision) -> Result<Module<Ckks>, PassError> {
        let number = |v: Value| {
            let chosen = decision.choices.get(&v)?;
            self.forms.forms()[&v].iter().position(|form| form.approximation.choice() == *chosen)
        };
        // What is no activation of the planner's keeps the form that was packed.
        let Extracted { module, polynomials } = self.forms.extract(|v| number(v).unwrap_or(0))?;
        let first = |v: &Value| polynomials.get(v)?.first().copied();
        let before = decision.placed.before.iter().filter_map(first).collect();
        let placed = decision.bootstraps.then(|| Placed { before, ..decision.placed.clone() });
        let packing = Packing::new(&module, &self.options)?;
        Ok(packing.plan(&module, &self.options, Some(target), placed.as_ref(), |_, _, _| ())?.module)
    }

    /// Whether the network runs without bootstraps in a ring smaller than those that bootstrap.
    pub fn runs_leveled(&self) -> bool {
        self.leveled_ring.is_some_and(|log_n| log_n < BOOTSTRAPPING_RING)
    }

    /// The forms by family, for explanations.
    pub fn forms(&self) -> String {
        self.forms.to_string()
    }

    /// The forms that a planner may choose of every activation, fewest levels first and then of the least error.
    pub fn offered(&self) -> BTreeMap<Value, &[WeighedForm]> {
        let of = |(v, stages): (&Value, &Vec<Value>)| Some((*v, self.candidates.get(stages.first()?)?.as_slice()));
        self.polynomials.iter().filter_map(of).collect()
    }

    /// Chooses polynomials and bootstraps together: of all plans within `limits` the fastest, or with a limit of time alone the
    /// most accurate; and the front within limits of its own, if one is asked for.
    ///
    /// # Errors
    /// A network that cannot be planned, or no plan within the limits.
    pub fn choose(&self, target: &dyn Target, limits: &Limits, front: Option<&Limits>) -> Result<Decision, PassError> {
        self.bootstrapped(&self.candidates, target, limits, front)
    }

    /// As [`choose`](Self::choose), for programs that do not bootstrap: polynomials alone, under the parameters of any number of
    /// levels.
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn choose_leveled(
        &self,
        target: &dyn Target,
        limits: &Limits,
        front: Option<&Limits>,
    ) -> Result<Decision, PassError> {
        self.leveled(&self.candidates, target, limits, front)
    }

    /// As [`choose`](Self::choose), or [`choose_leveled`](Self::choose_leveled) where the network runs without bootstraps, of those
    /// forms that `admits` holds of.
    ///
    /// # Errors
    /// As [`choose`](Self::choose); so it is where an activation has no such form.
    pub fn choose_among(
        &self,
        target: &dyn Target,
        limits: &Limits,
        admits: impl Fn(Value, &WeighedForm) -> bool,
    ) -> Result<Decision, PassError> {
        let admitted = |(v, stages): (&Value, &Vec<Value>)| {
            let first = *stages.first()?;
            let of = self.candidates.get(&first)?.iter().filter(|form| admits(*v, form));
            Some((first, of.cloned().collect()))
        };
        let candidates: Candidates = self.polynomials.iter().filter_map(admitted).collect();
        match self.runs_leveled() {
            true => self.leveled(&candidates, target, limits, None),
            false => self.bootstrapped(&candidates, target, limits, None),
        }
    }

    /// As [`choose`](Self::choose), of these candidates.
    fn bootstrapped(
        &self,
        candidates: &Candidates,
        target: &dyn Target,
        limits: &Limits,
        front: Option<&Limits>,
    ) -> Result<Decision, PassError> {
        let _span = tracing::debug_span!(NAME).entered();
        let result_level = self.packing.bootstrapped_result_level(&self.options, target);
        let placer = Placer::new(self.packing.packed(), candidates, target, result_level)?;
        let placer = placer.with_strategy(self.options.strategy).with_most_levels(self.options.most_levels);
        let placer = placer.with_ranges(self.options.ranges.as_ref(), self.options.batch);
        Ok(Decision { bootstraps: true, ..self.decision(&placer, candidates, limits, front)? })
    }

    /// As [`choose_leveled`](Self::choose_leveled), of these candidates.
    fn leveled(
        &self,
        candidates: &Candidates,
        target: &dyn Target,
        limits: &Limits,
        front: Option<&Limits>,
    ) -> Result<Decision, PassError> {
        let _span = tracing::debug_span!(NAME).entered();
        let (result_level, offered) = self.packing.leveled_parameters(&self.options);
        let placer = Placer::offering(self.packing.packed(), candidates, target, result_level, offered)?;
        self.decision(&placer, candidates, limits, front)
    }

    /// What `placer` finds among `candidates`, in terms of activations.
    fn decision(
        &self,
        placer: &Placer<'_>,
        candidates: &Candidates,
        limits: &Limits,
        front: Option<&Limits>,
    ) -> Result<Decision, PassError> {
        // Where nothing bootstraps, nothing is placed: the name of this pass says what failed.
        let chosen = |e: PassError| PassError { pass: NAME, ..e };
        let placement = placer.place(limits).map_err(chosen)?;
        let front = front.map(|limits| placer.front(limits)).transpose().map_err(chosen)?.unwrap_or_default();
        let choices = |plan: &Plan| self.of_activations(&placer.choices(plan, candidates));
        let front = front.into_iter().map(|(plan, spec)| FrontPlan { choices: choices(&plan), plan, spec }).collect();
        let polynomials: BTreeSet<Value> = placer.origins(&placement.plan);
        let is_before = |stages: &&Value| self.polynomials[*stages].iter().any(|stage| polynomials.contains(stage));
        let before = self.polynomials.keys().filter(is_before).copied().collect();
        let named: BTreeSet<&Value> = self.polynomials.values().filter_map(|stages| stages.first()).collect();
        let whole = placement.elsewhere == 0 && polynomials.iter().all(|polynomial| named.contains(polynomial));
        let choices = choices(&placement.plan);
        let placed = Placed { placement, before, whole, leveled: self.leveled_ring.is_some() };
        Ok(Decision { choices, placed, bootstraps: false, front })
    }

    /// From the polynomials that were planned with to the activations that they stand for.
    fn of_activations(&self, choices: &BTreeMap<Value, Choice>) -> Choices {
        let choice = |(v, stages): (&Value, &Vec<Value>)| Some((*v, choices.get(stages.first()?)?.clone()));
        self.polynomials.iter().filter_map(choice).collect()
    }
}

/// What the planner may choose from at one activation, whose errors count with `weight`.
///
/// A bootstrap needs its operand in [-1, 1], which the completed squares of quadratics do not keep; and the planner takes
/// single polynomials.
fn weighed_forms(forms: &[Form], weight: f64) -> Vec<WeighedForm> {
    let single = |a: &&Approximation| a.degree > 2 && a.stages.len() == 1 && !a.gated;
    let mut offered: Vec<&Approximation> = forms.iter().map(|form| &form.approximation).filter(single).collect();
    offered.sort_by(|a, b| a.levels.cmp(&b.levels).then(a.rms_error.total_cmp(&b.rms_error)));
    let weighed = |a: &Approximation| WeighedForm {
        choice: a.choice(),
        per_channel: a.is_per_channel(),
        error: weight * a.rms_error.powi(2),
        max_error: a.max_error,
    };
    offered.into_iter().map(weighed).collect()
}
