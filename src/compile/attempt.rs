//! The stages of a compilation: what is done once, and what is done again where a plan is larger than it may be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use fhec_passes::activations::given::{self, Measured as MeasuredRanges};
use fhec_passes::activations::rebuild::Reconstructed;
use fhec_passes::activations::result_kind::ResultKind;
use fhec_passes::activations::{ApproximateError, ApproximateOptions, Polynomials};
use fhec_passes::compose::{ComposeFunctions, Composed};
use fhec_passes::ends::Ends;
use fhec_passes::pipeline::Placed;
use fhec_passes::program::Facts;

use super::agreement::{self, Agreement};
use super::choose::Chosen;
use super::precision::Made;
use super::samples::guessed_ranges;
use super::sizes::nearest;
use super::warning::Warning;
use super::{Compiler, Model, Observer, Snapshot, after};
use crate::error::Error;

/// Seconds per stage.
pub(super) struct Laps {
    clock: Instant,
    cancelled: Arc<AtomicBool>,
    pub(super) seconds: Vec<(String, f64)>,
}

impl Laps {
    pub(super) fn start(cancelled: Arc<AtomicBool>) -> Self {
        Self { clock: Instant::now(), cancelled, seconds: Vec::new() }
    }

    /// Ends a stage; one of the same name goes on.
    ///
    /// # Errors
    /// When the compilation is to stop.
    pub(super) fn lap(&mut self, stage: &str) -> Result<(), Error> {
        let took = std::mem::replace(&mut self.clock, Instant::now()).elapsed().as_secs_f64();
        match self.seconds.iter_mut().find(|(name, _)| name == stage) {
            Some((_, seconds)) => *seconds += took,
            None => self.seconds.push((stage.to_string(), took)),
        }
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// The network before its activations are looked at, and the inputs that it is measured on.
pub(super) struct Prepared {
    pub(super) folded: Module<Nn>,
    /// The chain of rewrites.
    pub(super) rewrites: String,
    pub(super) samples: Vec<Vec<Tensor>>,
    pub(super) approximate: ApproximateOptions,
    pub(super) warnings: Vec<String>,
    facts: Facts,
}

/// A plan, and what it was made of.
pub(super) struct Attempt {
    pub(super) chosen: Chosen,
    pub(super) rebuilt: Reconstructed,
    pub(super) agreement: Option<Agreement>,
    pub(super) made: Made,
    pub(super) warnings: Vec<String>,
}

impl Compiler {
    /// Folds the network, and measures where the operands of its own polynomials lie.
    pub(super) fn prepared(
        &self,
        model: &Model,
        laps: &mut Laps,
        observe: &mut Observer<'_>,
    ) -> Result<Prepared, Error> {
        let mut warnings = Vec::new();
        let mut facts = Facts::default();
        observe("import", Snapshot::Nn(&model.module), &facts);
        let folded = self.options.fold.fold(&model.module)?;
        warnings.extend(folded.warning());
        let (folded, mut rewrites) = (folded.module, folded.explanation.to_string());
        facts.passes.push("fold".into());
        observe("fold", Snapshot::Nn(&folded), &facts);
        laps.lap("fold")?;
        let folded = self.passes.run(folded, |name, module| {
            facts.passes.push(name.into());
            observe(name, Snapshot::Nn(module), &facts);
        })?;
        let Composed { module: folded, functions } = self.composed(folded)?;
        if !functions.is_empty() {
            facts.passes.push("compose-functions".into());
            observe("compose-functions", Snapshot::Nn(&folded), &facts);
        }
        rewrites.extend(functions.iter().map(|function| function.to_string()));
        warnings.extend(pairwise_maxima(&model.module, &folded).map(|w| w.to_string()));
        warnings.extend(self.options.results.and_then(|asked| no_scores(&folded, asked)).map(|w| w.to_string()));
        let (mut samples, approximate) = self.samples(&folded, self.options.guess_ranges, &mut warnings)?;
        let MeasuredRanges { module: folded, runaway } = given::measured(&folded, &samples, approximate.margin)?;
        if !runaway.is_empty() {
            let (count, of) = (runaway.len(), samples.len());
            warnings.push(Warning::RunsAway { count, of }.to_string());
            let left_out: BTreeSet<usize> = runaway.into_iter().collect();
            let mut place = 0..;
            samples.retain(|_| place.next().is_none_or(|i| !left_out.contains(&i)));
        }
        if given::has_given(&folded) {
            facts.passes.push("measure-ranges".into());
            observe("measure-ranges", Snapshot::Nn(&folded), &facts);
        }
        Ok(Prepared { folded, rewrites, samples, approximate, warnings, facts })
    }

    /// The network with its clusters of ops on one value as functions. Composite signs stand for single functions, so that where
    /// they are asked for, functions stay single.
    fn composed(&self, module: Module<Nn>) -> Result<Composed, Error> {
        if self.options.approximate.is_precise() {
            return Ok(Composed { module, functions: Vec::new() });
        }
        Ok(ComposeFunctions.compose(&module)?)
    }

    /// The plan that is best within the limits of its size.
    ///
    /// # Errors
    /// Also when the smallest plan that can be made is larger: then with its size.
    pub(super) fn attempt(
        &self,
        prepared: &Prepared,
        laps: &mut Laps,
        observe: &mut Observer<'_>,
    ) -> Result<Attempt, Error> {
        let mut attempt = self.unbounded(prepared, laps, observe)?;
        let Some(mut refused) = self.options.sizes.exceeded(&attempt.made.plan) else { return Ok(attempt) };
        let mut narrower = self.clone();
        loop {
            let levels = attempt.made.plan.spec().levels;
            narrower.options.plan.most_levels = Some(levels.saturating_sub(1));
            let found = narrower.unbounded(prepared, laps, observe);
            attempt = match found {
                // With so few levels there is no plan, so the last one was the smallest.
                Err(e) if is_unplanned(&e) => return Err(refused.into()),
                found => found?,
            };
            match self.options.sizes.exceeded(&attempt.made.plan) {
                Some(larger) => refused = nearest(refused, larger),
                None => return Ok(attempt),
            }
            if attempt.made.plan.spec().levels >= levels {
                return Err(refused.into());
            }
        }
    }

    /// The plan that is best, whatever its size.
    fn unbounded(&self, prepared: &Prepared, laps: &mut Laps, observe: &mut Observer<'_>) -> Result<Attempt, Error> {
        let Prepared { folded, samples, approximate, facts, .. } = prepared;
        let (mut warnings, mut facts) = (Vec::new(), facts.clone());
        let chosen = self.choose(folded, samples, approximate.clone(), &mut warnings)?;
        laps.lap("choose-polynomials")?;
        let mut rebuilt = self.polynomials(folded, samples, approximate.clone(), &chosen.choices)?;
        let ends = Ends::measure(&rebuilt.module, samples)?;
        let mut options = self.plan_options(&ends, samples);
        options.most_levels = chosen.most_levels.or(options.most_levels);
        if self.calibration.is_some() {
            ends.describe(&mut rebuilt.module, options.params.precision.allows(ends.magnitudes.result));
        }
        let Reconstructed { module: polynomial, activations, layers, polynomials } = &rebuilt;
        facts.passes.push(if layers.is_empty() { "approximate-activations" } else { "reconstruct" }.into());
        facts.magnitudes = Some(ends.magnitudes);
        observe("approximate-activations", Snapshot::Nn(polynomial), &facts);
        self.check_fits(activations)?;
        warnings.extend(Self::jumps(folded, activations).iter().map(|w| w.to_string()));
        self.check_error(folded, samples, activations, &chosen, &mut warnings)?;
        let agreement = self.agreement(&chosen, folded, polynomial, samples)?;
        warnings.extend(agreement.filter(|a| a.measured < a.asked).map(|a| Warning::Disagrees(a).to_string()));
        laps.lap("approximate-activations")?;
        let placed = chosen.placed.as_ref().map(|placed| placed_in(placed, polynomials));
        let made = self.plan(polynomial, samples, placed, options, &mut after(&facts, observe), &mut warnings)?;
        if self.calibration.is_none() {
            let guessed = guessed_ranges(folded, made.placement.as_ref(), approximate.margin);
            warnings.extend(guessed.map(|w| w.to_string()));
        }
        laps.lap("plan")?;
        Ok(Attempt { chosen, rebuilt, agreement, made, warnings })
    }
}

/// Whether no plan was found of a network whose every node can be compiled.
fn is_unplanned(error: &Error) -> bool {
    let (Error::Compile(e) | Error::Approximate(ApproximateError::Pass(e))) = error else { return false };
    e.issues.iter().all(|issue| issue.node.is_none())
}

/// The outputs that cannot be compared as they are said to be.
fn no_scores(folded: &Module<Nn>, asked: ResultKind) -> Option<Warning> {
    let outputs = agreement::no_scores(folded, asked);
    let named = outputs.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    (!outputs.is_empty()).then_some(Warning::NoScores { outputs: named, asked })
}

/// What became of maxima over windows.
fn pairwise_maxima(given: &Module<Nn>, folded: &Module<Nn>) -> Option<Warning> {
    let maxima = |module: &Module<Nn>| -> Vec<String> {
        let live = module.func.live();
        let live = module.func.iter().filter(|(v, _)| live[v.index()]);
        let maxima = live.filter(|(_, node)| matches!(node.op, NnOp::MaxPool { .. }));
        maxima.map(|(_, node)| format!("`{}`", node.loc.name())).collect()
    };
    let nodes = maxima(given);
    let replaced = !nodes.is_empty() && maxima(folded).is_empty();
    replaced.then(|| Warning::MaxPool { nodes: nodes.join(", ") })
}

/// The placement in terms of the polynomials that became of the activations before which it bootstraps.
fn placed_in(placed: &Placed, polynomials: &Polynomials) -> Placed {
    let first = |activation: &Value| polynomials.get(activation)?.first().copied();
    Placed { before: placed.before.iter().filter_map(first).collect(), ..placed.clone() }
}
