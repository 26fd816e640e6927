//! Chooses the polynomials of a network, and decides whether its weights are rebuilt.

use std::collections::BTreeMap;

use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::PassError;
use fhec_passes::activations::rebuild::Equalised;
use fhec_passes::activations::result_kind::ResultKind;
use fhec_passes::activations::sensitivity::Sensitivities;
use fhec_passes::activations::{ApproximateError, ApproximateOptions, Choices};
use fhec_passes::bootstraps::Strategy;
use fhec_passes::bootstraps::offer::{Decision, FrontPlan, Offer, Request, SENSITIVITY_SAMPLES};
use fhec_passes::pipeline::Placed;
use fhec_passes::planner::{Effort, Limits};

use super::Compiler;
use super::agreement::{Agreement, DEFAULT_AGREEMENT, Measured};
use super::forms::fastest;
use super::refused::{self, Refused};
use super::samples::has_activation;
use super::trials::{Trials, halves};
use super::warning::Warning;
use crate::error::Error;
use crate::front::FrontPoint;

/// Least number of calibration inputs for rebuilding weights: fewer fit the inputs rather than the network.
const RECONSTRUCTION_SAMPLES: usize = 128;
/// Least number of calibration inputs to try polynomials on: half of them are held back.
pub(super) const TRIAL_LEAST: usize = RECONSTRUCTION_SAMPLES;
/// Calibration inputs on which the channels of activations are brought to a common range before forms are offered.
const RANGE_SAMPLES: usize = 256;
/// Calibration inputs on which the agreement of trials is measured at most, and for which they are fitted: every other one.
pub(super) const TRIAL_SAMPLES: usize = 512;
/// Rows of each regression of a trial.
pub(super) const TRIAL_POSITIONS: usize = 12_288;
/// Trials at most.
const TRIALS: usize = 7;
/// The surrogate error that is tried first: the relative variance of a classifier's lead.
const FIRST_ERROR: f64 = 0.02;
/// Factor on the errors of a trial's results, with which it is judged once more. Calibration inputs are mostly training inputs, on
/// which a network leads by more than on new ones: the residual digit network of `models/` agreed on 99.8 % of held-back
/// calibration inputs, on 81.6 % with errors three times as large, and lost 0.8 points on new images.
pub(super) const CAUTION: f32 = 3.0;
/// How many times the disagreement that is asked for is allowed with such errors, where the network bootstraps: a little more
/// accuracy costs a bootstrap there. With 99 % asked, polynomials of ResNet-20 that agreed on 99.6 and 95.5 % cost nothing on new
/// images, and those of the residual digit network with 100 and 97.1 % a tenth of a point.
const CAUTIOUS_SHARE: f64 = 5.0;
/// The same of leveled networks, for which a higher degree costs a tenth of the time: the convolutional digit network of `models/`
/// loses 0.7 points where it agrees on 99.6 and 97.7 %, and 0.05 with 99.8 and 99.4 %.
const LEVELED_SHARE: f64 = 1.0;
/// The factor between errors that are tried until one is good enough and one is not.
const STRIDE: f64 = 4.0;
/// A larger error by less than this factor is not worth a trial, which takes as long as the rest of a compilation: a plan of half
/// the error takes a tenth more time.
const WORTH: f64 = 1.15;
/// What the next trial is to use of the disagreement that is allowed: with all of it every other one would fail.
const AIM: f64 = 0.95;

/// What the planner chose for the activations.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) choices: Choices,
    pub(super) front: Vec<FrontPoint>,
    /// Where it is bootstrapped; `before` holds the activations that the polynomials stand for.
    pub(super) placed: Option<Placed>,
    /// The surrogate error of the choices, where the planner made some.
    pub(super) error: Option<f64>,
    /// The agreement for which they were chosen, measured on inputs that they were not fitted to.
    pub(super) agreement: Option<Agreement>,
    /// The forms among which the planner chose, by rule.
    pub(super) forms: String,
    /// Levels at most, for which the polynomials were chosen.
    pub(super) most_levels: Option<u32>,
}

/// A choice that was tried.
struct Trial {
    decision: Decision,
    /// On inputs that it was not fitted to, and cautiously with errors [`CAUTION`] times as large.
    measured: Measured,
}

impl Trial {
    /// Whether it agrees on the share that is asked for, and with larger errors on not much less.
    fn is_good(&self, asked: f64) -> bool {
        self.measured.agreement >= asked && 1.0 - self.measured.cautious <= self.share() * (1.0 - asked)
    }

    fn share(&self) -> f64 {
        if self.decision.bootstraps { CAUTIOUS_SHARE } else { LEVELED_SHARE }
    }

    /// Whether it is to be taken in place of another one: the faster of good ones, otherwise what agrees more.
    fn is_better(&self, other: &Self, asked: f64) -> bool {
        let seconds = |trial: &Self| trial.decision.placed.placement.plan.latency_us;
        match (self.is_good(asked), other.is_good(asked)) {
            (true, true) => seconds(self) < seconds(other),
            (false, false) => (self.measured.cautious, -seconds(self)) > (other.measured.cautious, -seconds(other)),
            (good, _) => good,
        }
    }

    /// How much it uses of the disagreement that is allowed, above 1 where it is not good.
    fn used(&self, asked: f64) -> f64 {
        let Measured { agreement, cautious, .. } = self.measured;
        ((1.0 - agreement) / (1.0 - asked)).max((1.0 - cautious) / (self.share() * (1.0 - asked)))
    }
}

/// Limits of the surrogate error alone.
fn of_error(most: f64) -> Limits {
    Limits { max_error: Some(most), ..Limits::default() }
}

/// The error between those of a good and a bad trial that is tried next: where what they use of the allowed disagreement,
/// a power of the error between them, comes to [`AIM`].
fn between(good: (f64, f64), bad: (f64, f64)) -> f64 {
    let least = 0.05;
    let (used, over) = (good.1.max(least), bad.1.max(1.0));
    let place = ((AIM / used).ln() / (over / used).ln()).clamp(0.1, 0.9);
    // Where nothing is allowed, one error is as good a guess as another.
    let place = if place.is_nan() { 0.5 } else { place };
    good.0 * (bad.0 / good.0).powf(place)
}

impl Compiler {
    /// The polynomials of a network, chosen together with its bootstraps where it needs some; nothing where they are given, or
    /// where there is too little calibration data to try them on.
    pub(super) fn choose(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Chosen, Error> {
        let limited = self.options.limits != Limits::default();
        if let Some(forms) = &self.options.forms {
            return self.with_forms(forms, folded, samples, &approximate);
        }
        if let Some(reason) = self.given(folded) {
            return self.without_front(reason);
        }
        let request = Request { samples, approximate: &approximate, plan: &self.asked_of_plans(samples) };
        let (network, given) = self.offered_network(folded, samples)?;
        let offer = Offer::new(&network, request)?;
        if offer.runs_leveled() && !limited && samples.len() < TRIAL_LEAST {
            let given = format!("{} calibration inputs are too few to choose polynomials on", samples.len());
            return self.without_front(format!("{given}, that takes {TRIAL_LEAST}"));
        }
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        let weights = sensitivities(&network, few, self.options.results, warnings);
        let offer = offer.weighed(&weights);
        let mut agreement = None;
        let beyond = ApproximateOptions { beyond: true, ..approximate.clone() };
        // What errors mean for the results cannot be measured on few inputs, so they are as small as they get.
        let tried = samples.len() >= TRIAL_LEAST && !limited;
        let limits = if tried { of_error(FIRST_ERROR) } else { self.options.limits };
        let (mut offer, limits) = self.narrowed(offer, &limits)?;
        let decision = if !tried {
            let front = self.options.front.then_some(&self.options.limits);
            in_terms_of(&given, self.asked(&offer, &limits, front)?)
        } else {
            let asked = self.options.min_agreement.unwrap_or(DEFAULT_AGREEMENT);
            let [fitted, held] = halves(samples);
            let trials = Trials::new(self, folded, &approximate, &fitted, &held)?;
            let mut best = self.by_trial(&offer, &given, &trials, asked, None)?;
            if best.measured.agreement < asked {
                let more = Offer::new(&network, Request { approximate: &beyond, ..request })?.weighed(&weights);
                let (more, _) = self.narrowed(more, &limits)?;
                let found = self.by_trial(&more, &given, &trials, asked, Some(&best))?;
                if found.is_better(&best, asked) {
                    (offer, best) = (more, found);
                }
            }
            let Measured { agreement: measured, of, .. } = best.measured;
            agreement = Some(Agreement { asked, measured, inputs: held.len(), held_back: true, of });
            let mut decision = best.decision;
            if self.options.front {
                decision.front = in_terms_of(&given, self.asked(&offer, &fastest(), Some(&self.options.limits))?).front;
            }
            decision
        };
        let Decision { choices, placed, bootstraps, front } = decision;
        let bound = front.iter().map(|point| point.plan.bound).fold(1.0, f64::max);
        if bound > 1.0 + Effort::default().epsilon {
            warnings.push(Warning::PartialFront { bound }.to_string());
        }
        let point = |FrontPlan { plan, spec, choices }| FrontPoint::new(&plan, spec.levels, choices, folded);
        Ok(Chosen {
            choices,
            front: front.into_iter().map(point).collect(),
            error: Some(placed.placement.plan.error),
            agreement,
            placed: bootstraps.then_some(placed),
            forms: offer.forms(),
            most_levels: offer.most_levels(),
        })
    }

    /// The network that forms are offered for, and which of the given values each of its values is: what is rebuilt has channels of
    /// common range.
    pub(super) fn offered_network(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
    ) -> Result<(Module<Nn>, BTreeMap<Value, Value>), Error> {
        if !self.rebuilds(samples) {
            return Ok((folded.clone(), folded.func.iter().map(|(v, _)| (v, v)).collect()));
        }
        let Equalised { module, moved } = Equalised::new(folded, &samples[..samples.len().min(RANGE_SAMPLES)])?;
        Ok((module, moved.into_iter().map(|(given, moved)| (moved, given)).collect()))
    }

    /// What the planner chooses: with bootstraps only where the network does not run without.
    pub(super) fn asked(
        &self,
        offer: &Offer<'_>,
        limits: &Limits,
        front: Option<&Limits>,
    ) -> Result<Decision, PassError> {
        match offer.runs_leveled() {
            true => offer.choose_leveled(&*self.engine, limits, front),
            false => offer.choose(&*self.engine, limits, front),
        }
    }

    /// The fastest plan whose polynomials agree with the network as it was given as far as asked, or the one that agrees most.
    ///
    /// The planner knows an error that is additive over activations; what a limit of that error means for the results is measured by
    /// `trials`. Where an offer of fewer forms had nothing accurate enough, `inaccurate` is the best of it: the search begins below its
    /// error.
    fn by_trial(
        &self,
        offer: &Offer<'_>,
        given: &BTreeMap<Value, Value>,
        trials: &Trials<'_>,
        asked: f64,
        inaccurate: Option<&Trial>,
    ) -> Result<Trial, Error> {
        let _span = tracing::debug_span!("search").entered();
        let mut tried: Vec<Trial> = Vec::new();
        // The largest error that was good and the smallest that was not, with what each used.
        let mut good: Option<(f64, f64)> = None;
        let mut bad = inaccurate.map(|trial| (trial.decision.placed.placement.plan.error, trial.used(asked)));
        let mut next = Some(bad.map_or(FIRST_ERROR, |(error, _)| error / STRIDE));
        while let Some(error) = next.filter(|_| tried.len() < TRIALS) {
            self.goes_on("choose-polynomials", tried.len(), TRIALS)?;
            // With the tightest limits that no plan meets, the most accurate one is what can be had.
            let (found, last) = self.asked_or_most_accurate(offer, &of_error(error))?;
            let decision = in_terms_of(given, found);
            let known = tried.iter().find(|trial| trial.decision.choices == decision.choices).map(|t| t.measured);
            let repeated = known.is_some();
            let measured = match known {
                Some(known) => known,
                None => trials.measure(&decision.choices)?,
            };
            let plan = &decision.placed.placement.plan;
            // Where no plan has so small an error, the most accurate one stands for all limits up to its own error.
            let error = error.max(if last { plan.error } else { 0.0 });
            let (seconds, bootstraps) = (plan.latency_us / 1e6, plan.bootstraps.len());
            let Measured { agreement, cautious, .. } = measured;
            tracing::debug!(error, agreement, cautious, seconds, bootstraps, "tried");
            let trial = Trial { decision, measured };
            let (is_good, used) = (trial.is_good(asked), trial.used(asked));
            tried.push(trial);
            if is_good && good.is_none_or(|(known, _)| known < error) {
                good = Some((error, used));
            } else if !is_good && bad.is_none_or(|(known, _)| known > error) {
                bad = Some((error, used));
            }
            next = match (good, bad) {
                (Some(good), Some(bad)) => Some(between(good, bad)).filter(|&next| next > WORTH * good.0),
                // A looser limit that changes nothing has the fastest plan there is.
                (Some((good, _)), None) if !repeated => Some(good * STRIDE),
                (None, Some((bad, _))) if !last => Some(bad / STRIDE),
                _ => None,
            };
        }
        let best = tried.into_iter().reduce(|best, trial| if trial.is_better(&best, asked) { trial } else { best });
        Ok(best.ok_or(ApproximateError::NoSamples)?)
    }

    /// Why the polynomials of this network are not chosen one by one, whatever it takes to run it.
    pub(super) fn given(&self, folded: &Module<Nn>) -> Option<String> {
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

    /// What is left undone for want of calibration data, or was never to be done and is forbidden all the same.
    pub(super) fn undone(&self, folded: &Module<Nn>, samples: &[Vec<Tensor>]) -> Option<Warning> {
        let (samples, needed) = (self.calibration.as_ref().map_or(0, |_| samples.len()), RECONSTRUCTION_SAMPLES);
        let few = samples < needed;
        let rebuildable = has_activation(folded) && !self.options.approximate.is_precise();
        let untried = few && self.given(folded).is_none() && self.options.limits == Limits::default();
        if self.options.keep_weights {
            let idle = few || !rebuildable;
            return idle.then_some(Warning::KeptAnyway { samples, needed, rebuildable, untried });
        }
        let undone = rebuildable && few && samples > 0;
        undone.then_some(Warning::NotRebuilt { samples, needed, untried })
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

/// A decision about the values of a network in terms of those that they were made of.
pub(super) fn in_terms_of(given: &BTreeMap<Value, Value>, decision: Decision) -> Decision {
    let choices = |choices: Choices| -> Choices {
        choices.into_iter().filter_map(|(v, choice)| Some((*given.get(&v)?, choice))).collect()
    };
    let Decision { choices: chosen, placed, bootstraps, front } = decision;
    let before = placed.before.iter().filter_map(|v| given.get(v).copied()).collect();
    Decision {
        choices: choices(chosen),
        placed: Placed { before, ..placed },
        bootstraps,
        front: front.into_iter().map(|plan| FrontPlan { choices: choices(plan.choices), ..plan }).collect(),
    }
}

/// How much the results depend on every activation; where that cannot be measured, nothing, and a warning.
pub(super) fn sensitivities(
    folded: &Module<Nn>,
    samples: &[Vec<Tensor>],
    compare: Option<ResultKind>,
    warnings: &mut Vec<String>,
) -> Sensitivities {
    Sensitivities::measure(folded, samples, compare).unwrap_or_else(|e| {
        warnings.push(Warning::NoSensitivity { reason: e.to_string() }.to_string());
        Sensitivities::default()
    })
}
