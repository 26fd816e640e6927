//! One switching key.

use crate::context::Context;
use crate::error::{CkksError, KeyName, Result};
use crate::packing::bits_of;
use crate::params::Params;
use crate::sample::Seed;
use fhec_ring::{Buffer, KeyHalves};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A key to generate: which one, and the highest level it will be used at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRequest {
    /// Which key.
    pub name: KeyName,
    /// The highest level of use. A key serves all lower levels too, but not as fast as one made for them.
    pub level: usize,
}

/// Sizes of a key: `rows` digits of `level + 1 + alpha` limbs, the special primes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DigitShape {
    pub level: usize,
    pub alpha: usize,
}

impl DigitShape {
    pub fn new(params: &Params, level: usize) -> Result<Self> {
        if level > params.top_level() {
            return Err(CkksError::Level { op: "evaluation key", level, max: params.top_level() });
        }
        Ok(Self { level, alpha: params.key_alpha(level) })
    }

    pub fn rows(&self) -> usize {
        (self.level + 1).div_ceil(self.alpha)
    }

    pub fn row_limbs(&self) -> usize {
        self.level + 1 + self.alpha
    }

    /// Residues of one half.
    pub fn len(&self, n: usize) -> usize {
        self.rows() * self.row_limbs() * n
    }

    /// Bits of the residues of every limb of one half, row by row.
    pub fn limb_bits(&self, params: &Params) -> Vec<u32> {
        let primes = params.q()[..=self.level].iter().chain(&params.p()[..self.alpha]);
        let row: Vec<u32> = primes.map(|&q| bits_of(q)).collect();
        row.repeat(self.rows())
    }
}

/// A switching key as it is generated and stored: half of it is the seed.
///
/// Row `j` is an encryption `(b_j, a_j)` of `P g_j s'` under `s` over the primes of the level and the special primes
/// `p_0..p_alpha`; `g_j` is 1 modulo the primes of digit `j` and 0 modulo the others.
#[derive(Debug, Clone)]
pub struct SwitchingKey {
    name: KeyName,
    pub(crate) shape: DigitShape,
    pub(crate) seed: Seed,
    pub(crate) b: Arc<Buffer>,
}

impl SwitchingKey {
    /// Generates the rows: `fill(state, row, prime index, a, b)` must write the half `b` of one limb, given the uniform
    /// half `a`. Limbs are done in parallel, those that one thread does one after another with one state from `init`.
    ///
    /// # Errors
    /// A level that the parameters do not have.
    pub fn generate<S>(
        ctx: &Context,
        request: KeyRequest,
        seed: Seed,
        init: impl Fn() -> S + Sync,
        fill: impl Fn(&mut S, usize, usize, &[u64], &mut [u64]) + Sync,
    ) -> Result<Self> {
        let shape = DigitShape::new(ctx.params(), request.level)?;
        let n = ctx.params().n();
        let mut b = Buffer::exact(shape.len(n));
        b.par_chunks_exact_mut(n).enumerate().for_each_init(&init, |state, (k, limb)| {
            let (row, index) = (k / shape.row_limbs(), ctx.prime_index(shape.level, k % shape.row_limbs()));
            let mut a = ctx.scratch().take(n);
            ctx.expand_limb(&seed, row as u32, index, &mut a);
            fill(state, row, index, &a, limb);
        });
        Ok(Self { name: request.name, shape, seed, b: Arc::new(b) })
    }

    /// Which key.
    pub fn name(&self) -> KeyName {
        self.name
    }

    /// The level it was made for.
    pub fn level(&self) -> usize {
        self.shape.level
    }

    /// Special primes, and limbs per digit.
    pub fn alpha(&self) -> usize {
        self.shape.alpha
    }

    /// The half that is stored in full.
    pub fn stored_half(&self) -> &[u64] {
        &self.b
    }

    /// The seed of the other half.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }
}

/// The uniform half of a key.
pub(crate) fn expand(ctx: &Context, shape: DigitShape, seed: &Seed) -> Buffer {
    let n = ctx.params().n();
    let mut a = Buffer::exact(shape.len(n));
    a.par_chunks_exact_mut(n).enumerate().for_each(|(k, limb)| {
        let (row, index) = (k / shape.row_limbs(), ctx.prime_index(shape.level, k % shape.row_limbs()));
        ctx.expand_limb(seed, row as u32, index, limb);
    });
    a
}

/// Rows of a key as the ring's kernels take them.
pub(crate) fn rows<'a>(shape: DigitShape, n: usize, b: &'a [u64], a: &'a [u64]) -> Vec<KeyHalves<'a>> {
    let len = shape.row_limbs() * n;
    b.chunks_exact(len)
        .zip(a.chunks_exact(len))
        .map(|(b, a)| KeyHalves { halves: [b, a], q_limbs: shape.level + 1 })
        .collect()
}
