//! From a polynomial network to an encrypted program: pack, lower, choose parameters.

use std::collections::BTreeSet;

use fhec_ir::cost::predict;
use fhec_ir::text::{AnyModule, print_module};
use fhec_ir::{Ckks, Issue, Module, Nn, ParamSpec, Port, Slot, Value, batches};

use crate::batch::Batch;
use crate::bootstraps::{Candidates, Placement, Placer, RangeSamples, Strategy, bootstrap_before};
use crate::lower::{LowerToCkks, depth};
use crate::pack::{LinearCost, Pack, Packed, PackedTensor};
use crate::parameters::{self, Estimate, ParamOptions};
use crate::pass::{Lower, Pass, PassError};
use crate::planner::Limits;
use crate::program::{Facts, TensorFact};
use crate::target::Target;

/// A module after a pass.
#[derive(Clone, Copy, Debug)]
pub enum Snapshot<'a> {
    /// Tensors.
    Nn(&'a Module<Nn>),
    /// Slots.
    Slot(&'a Module<Slot>),
    /// Ciphertexts.
    Ckks(&'a Module<Ckks>),
}

impl Snapshot<'_> {
    /// The module as text; large constants appear by digest.
    pub fn text(&self) -> String {
        match self {
            Self::Nn(m) => print_module(m),
            Self::Slot(m) => print_module(m),
            Self::Ckks(m) => print_module(m),
        }
    }

    /// The module itself.
    pub fn module(&self) -> AnyModule {
        match *self {
            Self::Nn(m) => AnyModule::Nn(m.clone()),
            Self::Slot(m) => AnyModule::Slot(m.clone()),
            Self::Ckks(m) => AnyModule::Ckks(m.clone()),
        }
    }
}

/// How to plan.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// What the parameters must achieve.
    pub params: ParamOptions,
    /// What rotations cost.
    pub cost: LinearCost,
    /// How bootstraps are placed.
    pub strategy: Strategy,
    /// Images in the slots of one ciphertext, a power of two.
    pub batch: usize,
    /// Levels of a program at most: with fewer, keys and memory are smaller.
    pub most_levels: Option<u32>,
    /// What the sizes of values are measured on that no polynomial reads: only with it can they be bootstrapped.
    pub ranges: Option<RangeSamples>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            params: Default::default(),
            cost: Default::default(),
            strategy: Default::default(),
            batch: 1,
            most_levels: None,
            ranges: None,
        }
    }
}

/// An encrypted program.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The program, with its parameters.
    pub module: Module<Ckks>,
    /// The slot module it was lowered from.
    pub slot: Module<Slot>,
    /// Its tensors, where no bootstraps were placed in it.
    pub tensors: Vec<PackedTensor>,
    /// Where and why it is bootstrapped, if it is.
    pub placement: Option<Placement>,
    /// Remarks, one sentence each.
    pub notes: Vec<String>,
}

/// Most slots considered: half of the largest ring that leveled programs use.
pub const MOST_SLOTS: usize = 1 << 15;
/// Smaller ciphertexts are tried up to this factor below what holds every tensor in one.
const MOST_SPLIT: usize = 4;

/// A network in slots and what its values are like: where every plan of it starts. It takes longer to make than anything that
/// is done with it.
#[derive(Clone, Debug)]
pub struct Packing {
    packed: Packed,
    estimate: Estimate,
}

impl Packing {
    /// The network in ciphertexts as large as leveled programs use, each of as many images as the options say.
    ///
    /// # Errors
    /// Every node that has no encrypted form.
    pub fn new(module: &Module<Nn>, options: &PlanOptions) -> Result<Self, PassError> {
        Self::within(module, MOST_SLOTS, options)
    }

    /// The network in ciphertexts of at most `max_slots` slots.
    fn within(module: &Module<Nn>, max_slots: usize, options: &PlanOptions) -> Result<Self, PassError> {
        let batch = Batch { images: options.batch };
        let pack = Pack {
            max_slots: (max_slots / options.batch.max(1)).max(1),
            cost: options.cost,
            result_exponent: parameters::result_exponent(options.params.result_bound),
        };
        let packed = pack.pack(module)?;
        let packed = Packed { module: batch.run(&packed.module)?, ..packed };
        let estimate = Self::estimate(&packed.module, options);
        Ok(Self { packed, estimate })
    }

    /// What is known of the results of a slot program before it is run.
    pub(crate) fn estimate(module: &Module<Slot>, options: &PlanOptions) -> Estimate {
        let ParamOptions { input_bound, samples, .. } = &options.params;
        parameters::estimate(module, *input_bound, &batches(samples, options.batch))
    }

    /// Slots of every ciphertext.
    fn slots(&self) -> usize {
        self.packed.module.func.iter().next().map_or(1, |(_, node)| node.ty.0)
    }

    /// The network in slots.
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Level of the results of the bootstrapped program.
    pub(crate) fn bootstrapped_result_level(&self, options: &PlanOptions, target: &dyn Target) -> u32 {
        bootstrapped_result_level(&self.packed.module.outputs, &self.estimate, options, target)
    }

    /// The level at which leveled programs keep their results, and the parameters of every number of levels in rings no larger
    /// than those that bootstrap.
    pub(crate) fn leveled_parameters(&self, options: &PlanOptions) -> (u32, Vec<ParamSpec>) {
        let (slots, estimate, most_levels) = (self.slots(), &self.estimate, options.most_levels);
        let options = options.params.of_parts(&self.packed.module.outputs);
        let result_level = u32::from(!parameters::fits_level_zero(estimate, &options, slots));
        let of_levels = |levels| parameters::of_levels(levels, result_level, slots, estimate, &options);
        let offered = (1..=most_levels.unwrap_or(u32::MAX)).map_while(of_levels);
        (result_level, offered.take_while(|spec| spec.log_n <= BOOTSTRAPPING_RING).collect())
    }

    /// log2 N of the leveled program of `module`, which this holds, if there is one.
    pub fn leveled_ring(&self, module: &Module<Nn>, options: &PlanOptions) -> Option<u32> {
        leveled(module, options, self).ok()?.module.params.map(|spec| spec.log_n)
    }
}

/// Bootstraps that were placed before a network got its last weights and polynomials.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Where and why.
    pub placement: Placement,
    /// The polynomials of the network before which it is bootstrapped.
    pub before: BTreeSet<Value>,
    /// Whether `before` tells of all bootstraps. Those of values that no polynomial reads, or polynomials of the network's own,
    /// it does not: these have no name in a network whose weights and polynomials are others.
    pub whole: bool,
    /// Whether there is a program without bootstraps too, with which the bootstrapped one is to be compared.
    pub leveled: bool,
}

/// Packs, lowers and chooses parameters for a network whose activations are polynomials: [`Packing::new`] and then
/// [`Packing::plan`].
///
/// # Errors
/// Every node that has no encrypted form, or the parameters that cannot be had.
pub fn plan(
    module: &Module<Nn>,
    options: &PlanOptions,
    target: Option<&dyn Target>,
    observe: impl FnMut(&str, Snapshot<'_>, &Facts),
) -> Result<Planned, PassError> {
    Packing::new(module, options)?.plan(module, options, target, None, observe)
}

impl Packing {
    /// Lowers and chooses parameters for `module`, which this holds. Among ciphertext sizes (fewer slots in a smaller ring against
    /// several ciphertexts per tensor) the predicted fastest is taken. A network too deep for the levels of smaller rings is
    /// bootstrapped, if `target` can and that is faster: where `placed` says, if it tells of all bootstraps, or else where that is
    /// best. `observe` sees the
    /// module after every pass of the choice made, with the facts about it that a program in a file needs to go on from there.
    ///
    /// # Errors
    /// The parameters that cannot be had.
    pub fn plan(
        &self,
        module: &Module<Nn>,
        options: &PlanOptions,
        target: Option<&dyn Target>,
        placed: Option<&Placed>,
        mut observe: impl FnMut(&str, Snapshot<'_>, &Facts),
    ) -> Result<Planned, PassError> {
        let _span = tracing::debug_span!("plan").entered();
        let leveled = || leveled(module, options, self);
        let placed = placed.filter(|placed| placed.whole);
        let planned = match target.filter(|_| options.params.log_n.is_none()) {
            Some(target) => match placed.filter(|placed| !placed.leveled) {
                Some(placed) => bootstrapped(self, options, target, Some(placed))?,
                None => with_bootstraps(self, options, target, leveled(), placed)?,
            },
            None => leveled()?,
        };
        let mut facts = Facts { bootstrapped: Some(planned.placement.is_some()), ..Facts::default() };
        let ran = |passes: &[&str]| passes.iter().map(|pass| pass.to_string()).collect::<Vec<_>>();
        facts.notes = planned.notes.clone();
        facts.passes = ran(&["pack", "batch"]);
        if planned.placement.is_some() {
            let tensors = TensorFact::all(&self.packed.module.func, &self.packed.tensors);
            observe("pack", Snapshot::Slot(&self.packed.module), &Facts { tensors, ..facts.clone() });
            facts.passes.extend(ran(&["place-bootstraps"]));
            observe("place-bootstraps", Snapshot::Slot(&planned.slot), &facts);
        } else {
            let tensors = TensorFact::all(&planned.slot.func, &planned.tensors);
            observe("pack", Snapshot::Slot(&planned.slot), &Facts { tensors, ..facts.clone() });
        }
        facts.passes.extend(ran(&["lower", "choose-parameters"]));
        observe("lower", Snapshot::Ckks(&planned.module), &facts);
        Ok(planned)
    }
}

/// As [`plan`], for a network that is packed already: its ciphertexts have the size that they have.
///
/// # Errors
/// As [`plan`].
pub fn plan_packed(packed: Packed, options: &PlanOptions, target: Option<&dyn Target>) -> Result<Planned, PassError> {
    let estimate = Packing::estimate(&packed.module, options);
    let packing = Packing { packed, estimate };
    let leveled = lowered(&packing, options).map(|module| {
        let Packed { module: slot, tensors, notes } = packing.packed.clone();
        Planned { module, slot, tensors, placement: None, notes }
    });
    match target.filter(|_| options.params.log_n.is_none()) {
        Some(target) => with_bootstraps(&packing, options, target, leveled, None),
        None => leveled,
    }
}

/// The least log2 N at which bootstrapping is worth a try.
pub const BOOTSTRAPPING_RING: u32 = 16;

/// The faster of the leveled program, if there is one, and the bootstrapped one.
fn with_bootstraps(
    packing: &Packing,
    options: &PlanOptions,
    target: &dyn Target,
    leveled: Result<Planned, PassError>,
    placed: Option<&Placed>,
) -> Result<Planned, PassError> {
    let spec = |planned: &Planned| planned.module.params.clone();
    if let Ok(planned) = &leveled
        && spec(planned).is_some_and(|s| s.log_n < BOOTSTRAPPING_RING)
    {
        return leveled;
    }
    let bootstrapped = bootstrapped(packing, options, target, placed);
    if let Err(e) = &bootstrapped {
        tracing::debug!(issues = ?e.issues, "no plan with bootstraps");
    }
    match (leveled, bootstrapped) {
        // What is compared with other placements has one.
        (Ok(_), Ok(bootstrapped)) if options.strategy != Strategy::Joint => Ok(bootstrapped),
        // A ring beyond those that bootstrap has keys and ciphertexts of many times the size.
        (Ok(leveled), Ok(bootstrapped)) if spec(&leveled).is_some_and(|s| s.log_n > BOOTSTRAPPING_RING) => {
            Ok(bootstrapped)
        }
        (Ok(leveled), Ok(bootstrapped)) => {
            let time = |planned: &Planned| {
                let spec = spec(planned)?;
                let slots = planned.slot.func.iter().next().map_or(1, |(_, node)| node.ty.0);
                predict(&planned.module, &target.costs(&spec, slots)?).ok().map(|p| p.micros)
            };
            let faster = time(&leveled).is_some_and(|l| time(&bootstrapped).is_none_or(|b| l <= b));
            Ok(if faster { leveled } else { bootstrapped })
        }
        (Ok(mut leveled), Err(error)) => {
            let log_n = spec(&leveled).map_or(0, |s| s.log_n);
            if log_n > BOOTSTRAPPING_RING {
                let why = match &options.ranges {
                    None => "how large values get, which bootstraps must know, is measured on calibration data: give --calibration".into(),
                    Some(_) => {
                        let reasons: Vec<&str> = error.issues.iter().map(|issue| issue.reason.as_str()).collect();
                        format!("with bootstraps there is no plan: {}", reasons.join("; "))
                    }
                };
                leveled.notes.push(format!(
                    "without bootstraps it takes N = 2^{log_n}, and keys and ciphertexts of many times the size; {why}"
                ));
            }
            Ok(leveled)
        }
        (Err(_), Ok(planned)) => Ok(planned),
        (Err(mut error), Err(more)) => {
            error.issues.extend(more.issues);
            Err(error)
        }
    }
}

/// The program with bootstraps: those of `placed`, or the best.
fn bootstrapped(
    packing: &Packing,
    options: &PlanOptions,
    target: &dyn Target,
    placed: Option<&Placed>,
) -> Result<Planned, PassError> {
    let _span = tracing::debug_span!("place-bootstraps").entered();
    let result_level = packing.bootstrapped_result_level(options, target);
    let packed = &packing.packed;
    let (placement, slot) = match placed {
        Some(placed) => (placed.placement.clone(), bootstrap_before(packed, &placed.before)),
        None => {
            let placer = Placer::new(packed, &Candidates::new(), target, result_level)?;
            let placer = placer.with_strategy(options.strategy).with_most_levels(options.most_levels);
            let placer = placer.with_ranges(options.ranges.as_ref(), options.batch);
            let placement = placer.place(&Limits::default())?;
            let slot = placer.apply(&placement.plan);
            (placement, slot)
        }
    };
    let mut module = LowerToCkks { result_level, single_chain: options.strategy.single_chain() }.run(&slot)?;
    module.params = Some(bootstrapping_parameters(&module, target)?);
    let measured = options.ranges.as_ref().map_or(0, RangeSamples::count);
    let notes = packed.notes.iter().cloned().chain(placement.doubt()).chain(placement.ranges(measured)).collect();
    Ok(Planned { module, slot, tensors: Vec::new(), placement: Some(placement), notes })
}

/// Level of the results, `outputs`, of a program that bootstraps: above 0 when the first prime alone cannot hold them.
pub(crate) fn bootstrapped_result_level(
    outputs: &[Port],
    estimate: &Estimate,
    options: &PlanOptions,
    target: &dyn Target,
) -> u32 {
    u32::from(!parameters::bootstrapped_fits_level_zero(estimate, &options.params.of_parts(outputs), target))
}

/// The parameters of a lowered program that bootstraps.
pub(crate) fn bootstrapping_parameters(module: &Module<Ckks>, target: &dyn Target) -> Result<ParamSpec, PassError> {
    target.bootstrapping(depth(module)).ok_or_else(|| {
        let reason = format!("{} levels and a bootstrap do not fit", depth(module));
        let issue = Issue::of_network(reason, "report this as a bug");
        PassError { pass: parameters::NAME, issues: vec![issue] }
    })
}

/// The program without bootstraps; `widest` holds the network.
fn leveled(module: &Module<Nn>, options: &PlanOptions, widest: &Packing) -> Result<Planned, PassError> {
    let mut best: Option<(f64, Planned)> = None;
    let mut failure = None;
    let mut packing = widest.clone();
    let mut least = 1;
    loop {
        let slots = packing.slots();
        match lowered(&packing, options) {
            Ok(lowered) => {
                let spec = lowered.params.clone();
                let time = spec.as_ref().map_or(f64::INFINITY, |s| parameters::predicted_time(&lowered, s));
                let full = spec.as_ref().is_some_and(|s| s.slots() == slots);
                if best.as_ref().is_none_or(|b| time < b.0) {
                    let Packed { module: slot, tensors, notes } = packing.packed;
                    best = Some((time, Planned { module: lowered, slot, tensors, placement: None, notes }));
                }
                // Fewer slots only help when they, not the levels, decided on the ring.
                if !full || options.params.log_n.is_some() {
                    break;
                }
            }
            Err(e) => {
                // A ring that was asked for may be too small for this many slots.
                failure = Some(e);
                if options.params.log_n.is_none() {
                    break;
                }
            }
        }
        if least == 1 {
            least = (slots / MOST_SPLIT).max(1);
        }
        if slots / 2 < least {
            break;
        }
        packing = Packing::within(module, slots / 2, options)?;
    }
    match (best, failure) {
        (Some((_, planned)), _) => Ok(planned),
        (None, Some(e)) => Err(e),
        (None, None) => Err(PassError { pass: "plan", issues: Vec::new() }),
    }
}

/// The lowered module with its parameters.
fn lowered(packing: &Packing, options: &PlanOptions) -> Result<Module<Ckks>, PassError> {
    let _span = tracing::debug_span!("lower").entered();
    let Packing { packed: Packed { module, .. }, estimate } = packing;
    let (mut lowered, spec) = lower_to_fit(module, estimate, options)?;
    let spec = spec?;
    if let Some(most) = options.most_levels.filter(|&most| spec.levels > most) {
        let reason = format!("it needs {} levels, of {most} at most", spec.levels);
        let issue = Issue::of_network(reason, "lower the degrees, or allow larger keys");
        return Err(PassError { pass: parameters::NAME, issues: vec![issue] });
    }
    lowered.params = Some(spec);
    Ok(lowered)
}

/// The lowered module, and its parameters where there are any; results stay at level 1 when the first prime alone cannot hold
/// them.
pub(crate) fn lower_to_fit(
    module: &Module<Slot>,
    estimate: &Estimate,
    options: &PlanOptions,
) -> Result<(Module<Ckks>, Result<ParamSpec, PassError>), PassError> {
    let slots = module.func.iter().next().map_or(1, |(_, node)| node.ty.0);
    let options = &options.params.of_parts(&module.outputs);
    let mut lowered = LowerToCkks::default().run(module)?;
    let mut spec = parameters::choose(&lowered, slots, estimate, options);
    if spec.is_err() && !parameters::fits_level_zero(estimate, options, slots) {
        lowered = LowerToCkks { result_level: 1, ..LowerToCkks::default() }.run(module)?;
        spec = parameters::choose(&lowered, slots, estimate, options);
    }
    Ok((lowered, spec))
}
