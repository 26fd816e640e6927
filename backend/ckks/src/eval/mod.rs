//! The evaluator carries out homomorphic operations.

mod arithmetic;
mod counters;
mod diagonals;
mod linear;
mod rotation;
mod switching;

pub use counters::{Counters, EngineCounts};
pub use diagonals::{Diagonal, LinearTransform};

use crate::bootstrap::Bootstrapper;
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::{CkksError, Result};
use crate::keys::KeySet;
use fhec_ring::RnsPoly;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Computes on ciphertexts with the evaluation keys of their owner.
///
/// Every operation checks levels, scale degrees, parts, parameters and keys, and returns an error rather than a wrong
/// result. Work runs on the `rayon` pool the caller is in; results do not depend on its size.
#[derive(Debug)]
pub struct Evaluator {
    ctx: Arc<Context>,
    keys: Arc<KeySet>,
    counters: Counters,
    /// By slots and output level.
    bootstrappers: Mutex<BTreeMap<(usize, usize), Arc<Bootstrapper>>>,
}

impl Evaluator {
    /// The same slots at level `to`: [`Bootstrapper::apply`], prepared at first use and kept.
    ///
    /// # Errors
    /// As [`Bootstrapper::new`] and [`Bootstrapper::apply`].
    pub fn bootstrap(&self, x: &Ciphertext, to: usize) -> Result<Ciphertext> {
        let key = (x.slots, to);
        let known = self.bootstrappers.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let prepared = match known {
            Some(found) => found,
            None => {
                let built = Arc::new(Bootstrapper::new(&self.ctx, x.slots, to)?);
                self.bootstrappers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, built.clone());
                built
            }
        };
        prepared.apply(self, x)
    }

    /// An evaluator with these keys; an empty set serves programs without products of ciphertexts and rotations.
    ///
    /// # Errors
    /// Keys of other parameters.
    pub fn new(ctx: Arc<Context>, keys: Arc<KeySet>) -> Result<Self> {
        ctx.params().check_digest("the evaluation key set", keys.params_digest())?;
        Ok(Self { ctx, keys, counters: Counters::default(), bootstrappers: Mutex::default() })
    }

    /// The tables it works with.
    pub fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    /// The keys it works with.
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// What was done so far.
    pub fn counts(&self) -> EngineCounts {
        self.counters.read()
    }

    /// Refuses what cannot be worked on with the evaluation keys.
    pub(crate) fn check_operand(&self, op: &'static str, ct: &Ciphertext) -> Result<()> {
        self.check(ct)?;
        self.check_key(ct)?;
        self.check_parts(op, ct, 2)?;
        self.check_sd(op, ct, 1)
    }

    pub(crate) fn count_bootstrap(&self) {
        counters::count(&self.counters.bootstraps, 1);
    }

    /// Refuses ciphertexts of other parameters.
    fn check(&self, ct: &Ciphertext) -> Result<()> {
        self.ctx.params().check_digest("the ciphertext", ct.params)
    }

    /// Refuses ciphertexts of another secret key than the evaluation keys'.
    fn check_key(&self, ct: &Ciphertext) -> Result<()> {
        if ct.key == self.keys.key_id() {
            return Ok(());
        }
        Err(CkksError::KeyMismatch { what: "the ciphertext", found: ct.key, expected: self.keys.key_id() })
    }

    /// Refuses operands that cannot meet.
    fn check_pair(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check(a)?;
        self.check(b)?;
        if a.key != b.key {
            return Err(CkksError::KeyMismatch { what: "the right operand", found: b.key, expected: a.key });
        }
        if a.level != b.level {
            return Err(CkksError::LevelMismatch { op, left: a.level, right: b.level });
        }
        if a.sd != b.sd {
            return Err(CkksError::ScaleDegree { op, found: b.sd, wanted: a.sd });
        }
        Ok(())
    }

    fn check_sd(&self, op: &'static str, ct: &Ciphertext, wanted: u8) -> Result<()> {
        if ct.sd == wanted { Ok(()) } else { Err(CkksError::ScaleDegree { op, found: ct.sd, wanted }) }
    }

    fn check_parts(&self, op: &'static str, ct: &Ciphertext, wanted: usize) -> Result<()> {
        let found = ct.parts.len();
        if found == wanted { Ok(()) } else { Err(CkksError::Parts { op, found, wanted }) }
    }

    /// `ct` with other polynomials.
    fn with_parts(&self, ct: &Ciphertext, parts: Vec<RnsPoly>, level: usize, sd: u8) -> Ciphertext {
        Ciphertext { parts, level, sd, slots: ct.slots, params: ct.params, key: ct.key, seed: None }
    }
}

/// Runs `f(i, limb)` over the limbs, on the caller's pool if it has several threads.
pub(crate) fn for_limbs(poly: &mut RnsPoly, f: impl Fn(usize, &mut [u64]) + Sync + Send) {
    if rayon::current_num_threads() <= 1 {
        poly.limbs_mut().enumerate().for_each(|(i, limb)| f(i, limb));
    } else {
        poly.par_limbs_mut().enumerate().for_each(|(i, limb)| f(i, limb));
    }
}

/// Runs `f(i, limbs)` over the limbs of several polynomials of equal size, the `i`-th of each together.
pub(crate) fn for_limbs_of(polys: &mut [RnsPoly], f: impl Fn(usize, &mut [&mut [u64]]) + Sync + Send) {
    let mut rows: Vec<Vec<&mut [u64]>> = Vec::new();
    for poly in polys {
        rows.resize_with(poly.limb_count(), Vec::new);
        rows.iter_mut().zip(poly.limbs_mut()).for_each(|(row, limb)| row.push(limb));
    }
    if rayon::current_num_threads() <= 1 {
        rows.iter_mut().enumerate().for_each(|(i, row)| f(i, row));
    } else {
        rows.par_iter_mut().enumerate().for_each(|(i, row)| f(i, row));
    }
}

/// The first `limbs` limbs.
pub(crate) fn truncated(poly: &RnsPoly, limbs: usize) -> RnsPoly {
    let mut out = RnsPoly::unspecified(poly.n(), limbs);
    let len = out.as_slice().len();
    out.as_mut_slice().copy_from_slice(&poly.as_slice()[..len]);
    out
}
