//! From a polynomial network to an encrypted program: pack, lower, choose parameters.

use fhec_ir::text::print_module;
use fhec_ir::{Ckks, Module, Nn, Slot};

use crate::lower::LowerToCkks;
use crate::pack::{LinearCost, Pack};
use crate::params::{self, ParamOptions};
use crate::pass::{Lower, PassError};

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
    /// Remarks, one sentence each.
    pub notes: Vec<String>,
}

/// Most slots considered: half of the largest ring that leveled programs use.
const MOST_SLOTS: usize = 1 << 15;
/// Smaller ciphertexts are tried up to this factor below what holds every tensor in one.
const MOST_SPLIT: usize = 4;

/// Packs, lowers and chooses parameters for a network whose activations are polynomials. Among ciphertext sizes (fewer slots in a
/// smaller ring against several ciphertexts per tensor) the predicted fastest is taken. `observe` sees the module after
/// every pass of the choice made.
///
/// # Errors
/// Every node that has no encrypted form, or the parameters that cannot be had.
pub fn plan(
    module: &Module<Nn>,
    options: &PlanOptions,
    mut observe: impl FnMut(&str, Snapshot<'_>),
) -> Result<Planned, PassError> {
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
                    best = Some((time, Planned { module: lowered, slot: packed.module, notes: packed.notes }));
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
        (Some((_, planned)), _) => {
            observe("pack", Snapshot::Slot(&planned.slot));
            observe("lower", Snapshot::Ckks(&planned.module));
            Ok(planned)
        }
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
