//! Bootstrapping gives a ciphertext of the same slots at a higher level.
//!
//! 1. At level 0 the ciphertext is switched to an ephemeral sparse secret, read over a large modulus, where it decrypts
//!    to `m + q_0 I` with small `I`, and switched back (Bossuat, Troncoso-Pastoriza and Hubaux, Bootstrapping for
//!    Approximate Homomorphic Encryption with Negligible Failure-Probability by Using Sparse-Secret Encapsulation, 2022).
//!    For fewer than N/2 slots a trace removes all of `I` but the coefficients that slots live on.
//! 2. CoeffsToSlots brings the coefficients into slots; EvalMod removes `q_0 I`; SlotsToCoeffs brings them back.
//!
//! Slots are real numbers in [-1, 1]. The polynomial of a real vector is fixed under `X -> X^-1`, so one half of its
//! coefficients gives the other: `m = h + conj(h) - h_0`. EvalMod therefore runs once, on the `n` coefficients of `h`, for
//! full slots as for fewer; the conjugate is added at the end, at the output level, where it costs least.

mod distortion;
mod evalmod;
mod factors;
pub(crate) mod failure;
mod scaled;
mod work;

use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::{CkksError, KeyName, Result};
use crate::eval::{Diagonal, Evaluator, LinearTransform, for_limbs, truncated};
use crate::keys::KeyRequest;
use crate::params::Params;
use evalmod::EvalMod;
use factors::{FactorDiagonals, babies_and_giants, factor_count, factor_steps, factors};
use fhec_parameters::Circuit;
use fhec_ring::RnsPoly;
use rayon::prelude::*;
use scaled::{Machine, Scaled};
use std::sync::Arc;

pub use distortion::Distortion;
pub use failure::MAX_FAILURE;
pub use work::{BootstrapStage, BootstrapWork, EngineStep, KeyShape, StageWork};

/// A bootstrap prepared for one number of slots and one output level.
#[derive(Debug)]
pub struct Bootstrapper {
    ctx: Arc<Context>,
    slots: usize,
    target: usize,
    /// The level the modulus is raised to.
    start: usize,
    sparse: bool,
    /// The integer that brings the message to its share of `q_0`.
    factor: i128,
    /// Scale of EvalMod's input.
    input_scale: f64,
    cts: Vec<LinearTransform>,
    eval_mod: EvalMod,
    stc: Vec<LinearTransform>,
}

/// The levels it passes through.
impl std::fmt::Display for Bootstrapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let levels = &self.eval_mod.levels;
        write!(f, "raise to {}, EvalMod at {levels:?} from scale 2^{:.1}, ", self.start, self.input_scale.log2())?;
        write!(f, "output at {}", self.target)
    }
}

impl Bootstrapper {
    /// Prepares the bootstrap of vectors of `slots` slots (a power of two) to level `target`.
    ///
    /// # Errors
    /// Parameters without bootstrapping, or a target above their highest program level.
    pub fn new(ctx: &Arc<Context>, slots: usize, target: usize) -> Result<Self> {
        let params = ctx.params();
        let Course { circuit, levels, input_bits, start } = Course::new(params, slots, target)?;
        let cts_count = factor_count(slots, circuit.cts_levels as usize);
        let q0 = params.q()[0] as f64;
        let factor = message_factor(circuit.ratio_bits, q0 / params.scale(0));
        let eval_mod = EvalMod::new(circuit, slots, levels);
        let input_scale = 2f64.powf(input_bits);
        // A dry run tells the scale at which EvalMod ends.
        let books = Machine { ctx, eval: None };
        let input = Scaled { parts: Vec::new(), level: eval_mod.levels[0], scale: input_scale };
        let output = eval_mod.apply(&books, input)?;

        let gap = params.max_slots() / slots;
        let cts_total = input_scale / (2.0 * gap as f64 * q0 * eval_mod.width);
        let cts = encode_factors(ctx, factors(ctx.fft(), slots, cts_count, true), start, cts_total)?;
        let stc_count = factor_count(slots, circuit.stc_levels as usize);
        let mut stc = factors(ctx.fft(), slots, stc_count, false);
        // The conjugate added at the end counts coefficient 0 twice. Halving it in the matrix costs transforms: its
        // diagonals then no longer repeat.
        if let Some(first) = stc.first_mut().filter(|_| !eval_mod.halves_slot_0()) {
            let mut halves = vec![1.0; slots];
            halves[0] = 0.5;
            first.scale_input(&halves);
        }
        let message = eval_mod.output_factor() * q0 / (factor * params.scale(0));
        let stc_total = message * params.scale(target) / output.scale;
        let stc = encode_factors(ctx, stc, output.level, stc_total)?;
        let sparse = circuit.sparse_weight > 0;
        let factor = factor as i128;
        Ok(Self { ctx: ctx.clone(), slots, target, start, sparse, factor, input_scale, cts, eval_mod, stc })
    }

    /// Slots of the vectors it takes.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The output level.
    pub fn target(&self) -> usize {
        self.target
    }

    /// The level that the modulus is raised to: what the largest keys are made for.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The keys that a bootstrap of `slots` slots to level `target` needs.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn keys(params: &Params, slots: usize, target: usize) -> Result<Vec<KeyRequest>> {
        let mut out = Self::key_steps(params, slots, target)?.concat();
        out.sort_unstable_by_key(|r| (r.name, std::cmp::Reverse(r.level)));
        out.dedup_by_key(|r| r.name);
        Ok(out)
    }

    /// The keys it uses at which levels, in order; those of one step are in use together.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn key_steps(params: &Params, slots: usize, target: usize) -> Result<Vec<Vec<KeyRequest>>> {
        let Course { circuit, levels, start, .. } = Course::new(params, slots, target)?;
        let request = |name, level| KeyRequest { name, level };
        let matrices = |top: usize, count: u32, to_coefficients: bool| {
            let factors = factor_steps(slots, count as usize, to_coefficients).into_iter().enumerate();
            factors.flat_map(move |(i, steps)| {
                let [babies, giants] = babies_and_giants(&steps, slots);
                let babies = babies.into_iter().map(|name| request(name, top - i)).collect();
                [babies].into_iter().chain(giants.into_iter().map(move |name| vec![request(name, top - i)]))
            })
        };
        let mut out = Vec::new();
        if circuit.sparse_weight > 0 {
            out.push(vec![request(KeyName::ToSparse, 0)]);
            out.push(vec![request(KeyName::FromSparse, start)]);
        }
        out.extend(trace(params, slots).map(|name| vec![request(name, start)]));
        out.extend(matrices(start, circuit.cts_levels, true));
        out.push(vec![request(KeyName::Conj, levels[0] + 1)]);
        let end = levels.last().copied().unwrap_or(target);
        out.extend((end..=levels[0]).rev().map(|level| vec![request(KeyName::Relin, level)]));
        out.extend(matrices(end, circuit.stc_levels, false));
        out.push(vec![request(KeyName::Conj, target)]);
        Ok(out)
    }

    /// Bytes of the encoded matrices.
    pub fn bytes(&self) -> usize {
        self.cts.iter().chain(&self.stc).map(LinearTransform::bytes).sum()
    }

    /// Bootstraps a ciphertext of real slots in [-1, 1], scale degree 1, any level. The slots of larger vectors come
    /// out wrong, as do imaginary parts: the caller must know the range.
    ///
    /// # Errors
    /// A ciphertext of more slots, parts or scale degree, or a missing key.
    pub fn apply(&self, eval: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        eval.check_operand("bootstrap", x)?;
        if x.slots() > self.slots {
            let wanted = format!("at most {}", self.slots);
            return Err(CkksError::Slots { op: "bootstrap", found: x.slots(), wanted });
        }
        let low = eval.level_drop(x, 0)?;
        let [c0, c1] = self.raise(eval, &low)?;
        let [c0, c1] = self.project(eval, [c0, c1])?;
        let parts = self.coefficients_to_slots(eval, [c0, c1])?;
        let input = Scaled { parts: parts.into(), level: self.eval_mod.levels[0], scale: self.input_scale };
        let machine = Machine { ctx: &self.ctx, eval: Some(eval) };
        let output = self.eval_mod.apply(&machine, input)?;
        let parts = self.slots_to_coefficients(eval, output)?;
        eval.count_bootstrap();
        Ok(Ciphertext { parts, level: self.target, sd: 1, slots: self.slots, params: x.params, key: x.key, seed: None })
    }

    /// From level 0 to the start level: decrypts to `m + q_0 I`.
    fn raise(&self, eval: &Evaluator, low: &Ciphertext) -> Result<[RnsPoly; 2]> {
        let (ctx, ring) = (&*self.ctx, self.ctx.ring());
        let mut parts = [0, 1].map(|i| eval.times_integer(&low.parts()[i], self.factor));
        if self.sparse {
            let key = eval.keys().get(ctx, KeyName::ToSparse, 0)?;
            let [mut d0, d1] = eval.switch(&parts[1], 0, &key, None)?;
            for_limbs(&mut d0, |i, limb| ring.limb(i).add_assign(limb, parts[0].limb(i)));
            parts = [d0, d1];
        }
        let mut raised = parts.map(|mut part| {
            ring.limb(0).inverse(part.limb_mut(0));
            let m = ring.modulus(0);
            let centred: Vec<i64> = part.limb(0).iter().map(|&v| m.centre(v)).collect();
            let mut out = RnsPoly::unspecified(ring.n(), self.start + 1);
            for_limbs(&mut out, |i, limb| {
                ring.limb(i).reduce_signed(&centred, limb);
                ring.limb(i).forward(limb);
            });
            out
        });
        if self.sparse {
            let key = eval.keys().get(ctx, KeyName::FromSparse, self.start)?;
            let [mut d0, d1] = eval.switch(&raised[1], self.start, &key, None)?;
            for_limbs(&mut d0, |i, limb| ring.limb(i).add_assign(limb, raised[0].limb(i)));
            raised = [d0, d1];
        }
        Ok(raised)
    }

    /// Keeps the coefficients of the slots' subring, N / 2n times as large.
    fn project(&self, eval: &Evaluator, mut x: [RnsPoly; 2]) -> Result<[RnsPoly; 2]> {
        for name in trace(self.ctx.params(), self.slots) {
            let moved = eval.automorph_parts([&x[0], &x[1]], self.start, name)?;
            for (x, moved) in x.iter_mut().zip(&moved) {
                for_limbs(x, |i, limb| self.ctx.ring().limb(i).add_assign(limb, moved.limb(i)));
            }
        }
        Ok(x)
    }

    /// Twice the real parts of the folded coefficients.
    fn coefficients_to_slots(&self, eval: &Evaluator, mut x: [RnsPoly; 2]) -> Result<[RnsPoly; 2]> {
        for (i, transform) in self.cts.iter().enumerate() {
            x = eval.linear_parts([&x[0], &x[1]], transform)?;
            if i + 1 == self.cts.len() {
                // Before the division, which makes the error of this key switch small: EvalMod amplifies it.
                x = self.add_conjugate(eval, x, transform.at())?;
            }
            for part in &mut x {
                eval.divide_last(part, transform.at())?;
            }
        }
        Ok(x)
    }

    fn add_conjugate(&self, eval: &Evaluator, x: [RnsPoly; 2], level: usize) -> Result<[RnsPoly; 2]> {
        let mut out = eval.automorph_parts([&x[0], &x[1]], level, KeyName::Conj)?;
        for (out, x) in out.iter_mut().zip(&x) {
            for_limbs(out, |i, limb| self.ctx.ring().limb(i).add_assign(limb, x.limb(i)));
        }
        Ok(out)
    }

    fn slots_to_coefficients(&self, eval: &Evaluator, x: Scaled) -> Result<Vec<RnsPoly>> {
        let mut parts: Vec<RnsPoly> = x.parts;
        for transform in &self.stc {
            if let [c0, c1] = &parts[..] {
                let mut out = eval.linear_parts([c0, c1], transform)?;
                for part in &mut out {
                    eval.divide_last(part, transform.at())?;
                }
                parts = out.into();
            }
        }
        match <[RnsPoly; 2]>::try_from(parts) {
            Ok(parts) => {
                Ok(self.add_conjugate(eval, parts, self.target)?.map(|p| truncated(&p, self.target + 1)).into())
            }
            Err(parts) => Err(CkksError::Parts { op: "bootstrap", found: parts.len(), wanted: 2 }),
        }
    }
}

/// The integer that brings messages to `2^-ratio_bits q_0`, when `q_0` is so many times the scale.
fn message_factor(ratio_bits: u32, q0_by_scale: f64) -> f64 {
    (q0_by_scale / 2f64.powi(ratio_bits as i32)).round().max(1.0)
}

/// The levels a bootstrap passes through.
struct Course<'a> {
    circuit: &'a Circuit,
    /// The level after every product of EvalMod, its input's first.
    levels: Vec<usize>,
    /// log2 of the scale of EvalMod's input.
    input_bits: f64,
    /// The level the modulus is raised to.
    start: usize,
}

impl<'a> Course<'a> {
    fn new(params: &'a Params, slots: usize, target: usize) -> Result<Self> {
        let none = || CkksError::Params("these parameters have no levels for bootstrapping".into());
        let circuit = &params.spec().bootstrap.as_ref().ok_or_else(none)?.circuit;
        params.check_slots("bootstrap", slots)?;
        let too_high = |level, max| Err(CkksError::Level { op: "bootstrap", level, max });
        if target > params.max_level() {
            return too_high(target, params.max_level());
        }
        let end = target + factor_count(slots, circuit.stc_levels as usize);
        // Beyond the chain any size will do: the start level is found to be too high afterwards.
        let bits = |i: usize| params.q().get(end + 1 + i).map_or(f64::from(circuit.mod_bits), |&q| (q as f64).log2());
        let (drops, input_bits) = circuit.drops(circuit.end_bits(), bits, 0);
        let mut levels = vec![end];
        levels.extend(drops.iter().scan(end, |level, drop| {
            *level += drop;
            Some(*level)
        }));
        levels.reverse();
        let start = levels[0] + factor_count(slots, circuit.cts_levels as usize);
        if start > params.top_level() {
            return too_high(start, params.top_level());
        }
        Ok(Self { circuit, levels, input_bits, start })
    }
}

/// Rotations whose sum over a vector of N/2 slots leaves the part that repeats every `slots`.
fn trace(params: &Params, slots: usize) -> impl Iterator<Item = KeyName> {
    let end = params.max_slots();
    std::iter::successors(Some(slots), |by| Some(2 * by))
        .take_while(move |&by| by < end)
        .map(|by| KeyName::Rotation(by as u32))
}

/// Encodes matrices for consecutive levels from `level` down; together they multiply by `total` beyond their entries.
fn encode_factors(
    ctx: &Context,
    matrices: Vec<FactorDiagonals>,
    level: usize,
    total: f64,
) -> Result<Vec<LinearTransform>> {
    let share = total.powf(1.0 / matrices.len() as f64);
    matrices
        .into_par_iter()
        .enumerate()
        .map(|(i, matrix)| {
            let at = level - i;
            let diagonals: Vec<Diagonal<'_>> = matrix
                .steps()
                .into_iter()
                .zip(matrix.by_rotation.values())
                .map(|((rotation, giant), [re, im])| Diagonal { rotation, giant, re, im })
                .collect();
            let scale = share * ctx.params().q()[at] as f64;
            LinearTransform::at_scale(ctx, matrix.slots, at, scale, &diagonals)
        })
        .collect()
}
