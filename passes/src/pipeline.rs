//! From a polynomial network to an encrypted program: pack, lower, choose parameters.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::cost::predict;
use fhec_ir::text::print_module;
use fhec_ir::{Ckks, Issue, Module, Nn, Slot, Value, batches};

use crate::approx::Choice;
use crate::batch::Batch;
use crate::bootstraps::{Candidates, Placement, Placer, Strategy, bootstrap_before};
use crate::lower::{LowerToCkks, depth};
use crate::pack::{LinearCost, Pack, Packed};
use crate::parameters::{self, Estimate, ParamOptions};
use crate::pass::{Lower, Pass, PassError};
use crate::planner::Limits;
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
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { params: Default::default(), cost: Default::default(), strategy: Default::default(), batch: 1 }
    }
}

/// An encrypted program.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The program, with its parameters.
    pub module: Module<Ckks>,
    /// The slot module it was lowered from.
    pub slot: Module<Slot>,
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
        let packed = Pack { max_slots: (max_slots / options.batch.max(1)).max(1), cost: options.cost }.pack(module)?;
        let packed = Packed { module: batch.run(&packed.module)?, ..packed };
        let ParamOptions { input_bound, samples, .. } = &options.params;
        let estimate = parameters::estimate(&packed.module, *input_bound, &batches(samples, options.batch));
        Ok(Self { packed, estimate })
    }

    /// Slots of every ciphertext.
    fn slots(&self) -> usize {
        self.packed.module.func.iter().next().map_or(1, |(_, node)| node.ty.0)
    }

    /// Level of the results of a program that bootstraps: above 0 when the first prime alone cannot hold them.
    fn bootstrapped_result_level(&self, options: &PlanOptions, target: &dyn Target) -> u32 {
        u32::from(!parameters::bootstrapped_fits_level_zero(&self.estimate, &options.params, target))
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
    observe: impl FnMut(&str, Snapshot<'_>),
) -> Result<Planned, PassError> {
    Packing::new(module, options)?.plan(module, options, target, None, observe)
}

impl Packing {
    /// Lowers and chooses parameters for `module`, which this holds. Among ciphertext sizes (fewer slots in a smaller ring against
    /// several ciphertexts per tensor) the predicted fastest is taken. A network too deep for the levels of smaller rings is
    /// bootstrapped, if `target` can and that is faster: where `placed` says, or else where that is best. `observe` sees the
    /// module after every pass of the choice made.
    ///
    /// # Errors
    /// The parameters that cannot be had.
    pub fn plan(
        &self,
        module: &Module<Nn>,
        options: &PlanOptions,
        target: Option<&dyn Target>,
        placed: Option<&Placed>,
        mut observe: impl FnMut(&str, Snapshot<'_>),
    ) -> Result<Planned, PassError> {
        let _span = tracing::debug_span!("plan").entered();
        let leveled = || leveled(module, options, self);
        let planned = match target.filter(|_| options.params.log_n.is_none()) {
            Some(target) => match placed.filter(|placed| !placed.leveled) {
                Some(placed) => bootstrapped(self, options, target, Some(placed))?,
                None => with_bootstraps(self, options, target, leveled(), placed)?,
            },
            None => leveled()?,
        };
        observe("pack", Snapshot::Slot(&planned.slot));
        observe("lower", Snapshot::Ckks(&planned.module));
        Ok(planned)
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
    match (leveled, bootstrapped) {
        // What is compared with other placements has one.
        (Ok(_), Ok(bootstrapped)) if options.strategy != Strategy::Joint => Ok(bootstrapped),
        (Ok(leveled), Ok(bootstrapped)) => {
            let time = |planned: &Planned| {
                let spec = spec(planned)?;
                let slots = planned.slot.func.iter().next().map_or(1, |(_, node)| node.ty.0);
                predict(&planned.module, &target.costs(&spec, slots)?).ok().map(|p| p.micros)
            };
            let faster = time(&leveled).is_some_and(|l| time(&bootstrapped).is_none_or(|b| l <= b));
            Ok(if faster { leveled } else { bootstrapped })
        }
        (Ok(planned), Err(_)) | (Err(_), Ok(planned)) => Ok(planned),
        (Err(mut error), Err(more)) => {
            error.issues.extend(more.issues);
            Err(error)
        }
    }
}

/// What was chosen for a network's activations, together with its bootstraps.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The plan within the limits.
    pub placement: Placement,
    /// The polynomials before which it is bootstrapped.
    pub before: BTreeSet<Value>,
    /// The form of every activation, by the polynomial that stands in its place.
    pub choices: BTreeMap<Value, Choice>,
    /// All plans that no other one beats in time and error.
    pub front: Vec<FrontPlan>,
}

/// A plan of a front.
#[derive(Clone, Debug)]
pub struct FrontPlan {
    /// Bootstraps, levels and times.
    pub plan: crate::planner::Plan,
    /// The parameters it was planned for.
    pub spec: fhec_ir::ParamSpec,
    /// As those of [`Chosen`].
    pub choices: BTreeMap<Value, Choice>,
}

/// Chooses polynomials and bootstraps of a deep network together: of all plans within `limits` the fastest, or with a limit
/// of time alone the most accurate; and the front within limits of its own, if one is asked for. The network has some
/// polynomial for every activation; which one does not matter, as layouts do not depend on it.
///
/// # Errors
/// A network that cannot be planned, or no plan within the limits.
pub fn choose(
    packing: &Packing,
    options: &PlanOptions,
    target: &dyn Target,
    candidates: &Candidates,
    limits: &Limits,
    front: Option<&Limits>,
) -> Result<Chosen, PassError> {
    let _span = tracing::debug_span!("choose-polynomials").entered();
    let result_level = packing.bootstrapped_result_level(options, target);
    let placer = Placer::new(&packing.packed, candidates, target, result_level)?.with_strategy(options.strategy);
    let placement = placer.place(limits)?;
    let front = front.map(|limits| placer.front(limits)).transpose()?.unwrap_or_default();
    let of_front = |(plan, spec)| FrontPlan { choices: placer.choices(&plan, candidates), plan, spec };
    let front = front.into_iter().map(of_front).collect();
    let choices = placer.choices(&placement.plan, candidates);
    let before = placer.origins(&placement.plan);
    Ok(Chosen { placement, before, choices, front })
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
            let placer = placer.with_strategy(options.strategy);
            let placement = placer.place(&Limits::default())?;
            let slot = placer.apply(&placement.plan);
            (placement, slot)
        }
    };
    let mut module = LowerToCkks { result_level, single_chain: options.strategy.single_chain() }.run(&slot)?;
    module.params = target.bootstrapping(depth(&module));
    if module.params.is_none() {
        let reason = format!("{} levels and a bootstrap do not fit", depth(&module));
        let issue = Issue::new(&Default::default(), "module", reason, "report this as a bug");
        return Err(PassError { pass: "plan", issues: vec![issue] });
    }
    Ok(Planned { module, slot, placement: Some(placement), notes: packed.notes.clone() })
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
                    let Packed { module: slot, notes, .. } = packing.packed;
                    best = Some((time, Planned { module: lowered, slot, placement: None, notes }));
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

/// The lowered module with its parameters; results stay at level 1 when the first prime alone cannot hold them.
fn lowered(packing: &Packing, options: &PlanOptions) -> Result<Module<Ckks>, PassError> {
    let _span = tracing::debug_span!("lower").entered();
    let Packing { packed: Packed { module, .. }, estimate } = packing;
    let (slots, options) = (packing.slots(), &options.params);
    let mut lowered = LowerToCkks::default().run(module)?;
    let mut spec = parameters::choose(&lowered, slots, estimate, options);
    if spec.is_err() && !parameters::fits_level_zero(estimate, options, slots) {
        lowered = LowerToCkks { result_level: 1, ..LowerToCkks::default() }.run(module)?;
        spec = parameters::choose(&lowered, slots, estimate, options);
    }
    lowered.params = Some(spec?);
    Ok(lowered)
}
