//! From a polynomial network to an encrypted program: pack, lower, choose parameters.

use fhec_ir::cost::predict;
use fhec_ir::text::print_module;
use fhec_ir::{Ckks, Issue, Module, Nn, Slot};

use crate::lower::{LowerToCkks, depth};
use crate::pack::{LinearCost, Pack, Packed};
use crate::params::{self, ParamOptions};
use crate::pass::{Lower, PassError};
use crate::place::{Options, Placement, Placer};
use crate::placement::Limits;
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
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// What the parameters must achieve.
    pub params: ParamOptions,
    /// What rotations cost.
    pub cost: LinearCost,
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
const MOST_SLOTS: usize = 1 << 15;
/// Smaller ciphertexts are tried up to this factor below what holds every tensor in one.
const MOST_SPLIT: usize = 4;

/// Packs, lowers and chooses parameters for a network whose activations are polynomials. Among ciphertext sizes (fewer slots in a
/// smaller ring against several ciphertexts per tensor) the predicted fastest is taken. A network too deep for the levels
/// of smaller rings is bootstrapped, if `target` can and that is faster. `observe` sees the module after every pass of the
/// choice made.
///
/// # Errors
/// Every node that has no encrypted form, or the parameters that cannot be had.
pub fn plan(
    module: &Module<Nn>,
    options: &PlanOptions,
    target: Option<&dyn Target>,
    mut observe: impl FnMut(&str, Snapshot<'_>),
) -> Result<Planned, PassError> {
    let leveled = leveled(module, options);
    let planned = match target.filter(|_| options.params.log_n.is_none()) {
        Some(target) => with_bootstraps(module, options, target, leveled)?,
        None => leveled?,
    };
    observe("pack", Snapshot::Slot(&planned.slot));
    observe("lower", Snapshot::Ckks(&planned.module));
    Ok(planned)
}

/// The least log2 N at which bootstrapping is worth a try.
const BOOTSTRAPPING_RING: u32 = 16;

/// The faster of the leveled program, if there is one, and the bootstrapped one.
fn with_bootstraps(
    module: &Module<Nn>,
    options: &PlanOptions,
    target: &dyn Target,
    leveled: Result<Planned, PassError>,
) -> Result<Planned, PassError> {
    let spec = |planned: &Planned| planned.module.params.clone();
    if let Ok(planned) = &leveled
        && spec(planned).is_some_and(|s| s.log_n < BOOTSTRAPPING_RING)
    {
        return leveled;
    }
    let packed = Pack { max_slots: MOST_SLOTS, cost: options.cost }.pack(module)?;
    let bootstrapped = bootstrapped(packed, options, target);
    match (leveled, bootstrapped) {
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

/// The program with bootstraps.
fn bootstrapped(packed: Packed, options: &PlanOptions, target: &dyn Target) -> Result<Planned, PassError> {
    let estimate = params::estimate(&packed.module, options.params.input_bound, &options.params.samples);
    let result_level = u32::from(!params::bootstrapped_fits_level_zero(&estimate, &options.params, target));
    let placer = Placer::new(&packed, &Options::new(), target, result_level)?;
    let placement = placer.place(&Limits::default())?;
    let slot = placer.apply(&placement.plan);
    let mut module = LowerToCkks { result_level }.run(&slot)?;
    module.params = target.bootstrapping(depth(&module));
    if module.params.is_none() {
        let reason = format!("{} levels and a bootstrap do not fit", depth(&module));
        let issue = Issue::new(&Default::default(), "module", reason, "report this as a bug");
        return Err(PassError { pass: "plan", issues: vec![issue] });
    }
    Ok(Planned { module, slot, placement: Some(placement), notes: packed.notes })
}

/// The program without bootstraps.
fn leveled(module: &Module<Nn>, options: &PlanOptions) -> Result<Planned, PassError> {
    let mut best: Option<(f64, Planned)> = None;
    let mut failure = None;
    let (mut max_slots, mut least) = (MOST_SLOTS, 1);
    while max_slots >= least {
        let pack = Pack { max_slots, cost: options.cost };
        let packed = pack.pack(module)?;
        let slots = packed.module.func.iter().next().map_or(1, |(_, node)| node.ty.0);
        match lowered(&packed.module, slots, &options.params) {
            Ok(lowered) => {
                let spec = lowered.params.clone();
                let time = spec.as_ref().map_or(f64::INFINITY, |s| params::predicted_time(&lowered, s));
                let full = spec.as_ref().is_some_and(|s| s.slots() == slots);
                if best.as_ref().is_none_or(|b| time < b.0) {
                    best = Some((
                        time,
                        Planned { module: lowered, slot: packed.module, placement: None, notes: packed.notes },
                    ));
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
        max_slots = slots / 2;
    }
    match (best, failure) {
        (Some((_, planned)), _) => Ok(planned),
        (None, Some(e)) => Err(e),
        (None, None) => Err(PassError { pass: "plan", issues: Vec::new() }),
    }
}

/// The lowered module with its parameters; results stay at level 1 when the first prime alone cannot hold them.
fn lowered(module: &Module<Slot>, slots: usize, options: &ParamOptions) -> Result<Module<Ckks>, PassError> {
    let estimate = params::estimate(module, options.input_bound, &options.samples);
    let mut lowered = LowerToCkks::default().run(module)?;
    let mut spec = params::choose(&lowered, slots, &estimate, options);
    let small = options.log_n.unwrap_or(slots.trailing_zeros() + 1).max(12);
    if spec.is_err() && !params::fits_level_zero(&estimate, options, slots, small) {
        lowered = LowerToCkks { result_level: 1 }.run(module)?;
        spec = params::choose(&lowered, slots, &estimate, options);
    }
    lowered.params = Some(spec?);
    Ok(lowered)
}
