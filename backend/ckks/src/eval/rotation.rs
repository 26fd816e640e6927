//! The evaluator's rotations and conjugation.

use super::counters::count;
use super::{Evaluator, for_limbs};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::{KeyName, Result};
use fhec_ring::{Automorphism, RnsPoly};
use std::sync::Arc;

impl KeyName {
    /// The key that rotates a vector of `slots` slots to the left by `by`, or `None` where nothing moves.
    pub fn rotation(by: i64, slots: usize) -> Option<Self> {
        match by.rem_euclid(slots.max(1) as i64) {
            0 => None,
            r => Some(Self::Rotation(r as u32)),
        }
    }
}

impl Context {
    /// The exponent `g` of `X -> X^g` that goes with a key: what its rows carry the secret through.
    pub fn automorphism_exponent(&self, name: KeyName) -> u64 {
        let order = 2 * self.params().n() as u64;
        match name {
            KeyName::Rotation(r) => (0..u64::BITS).filter(|bit| u64::from(r) >> bit & 1 == 1).fold(1, |acc, bit| {
                let power = (0..bit).fold(5u64, |p, _| p * p % order);
                acc * power % order
            }),
            KeyName::Conj => order - 1,
            KeyName::Relin | KeyName::ToSparse | KeyName::FromSparse => 1,
        }
    }

    /// The automorphism that goes with a key.
    pub(crate) fn automorphism(&self, name: KeyName) -> Result<Arc<Automorphism>> {
        Ok(self.ring().automorphism(self.automorphism_exponent(name))?)
    }
}

impl Evaluator {
    /// Rotates the slots to the left by `by` (right if negative).
    ///
    /// # Errors
    /// A ciphertext of other parameters, of another key than the evaluation keys', or of three parts; no key for this
    /// rotation at its level.
    pub fn rotate(&self, x: &Ciphertext, by: i64) -> Result<Ciphertext> {
        match KeyName::rotation(by, x.slots) {
            None => {
                self.check(x)?;
                Ok(x.clone())
            }
            Some(name) => self.automorph(x, name),
        }
    }

    /// Conjugates every slot.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), of the key for conjugation.
    pub fn conjugate(&self, x: &Ciphertext) -> Result<Ciphertext> {
        self.automorph(x, KeyName::Conj)
    }

    fn automorph(&self, x: &Ciphertext, name: KeyName) -> Result<Ciphertext> {
        self.check(x)?;
        self.check_key(x)?;
        self.check_parts("rotate", x, 2)?;
        let parts = self.automorph_parts([&x.parts[0], &x.parts[1]], x.level, name)?;
        Ok(self.with_parts(x, parts.into(), x.level, x.sd))
    }

    pub(crate) fn automorph_parts(&self, [c0, c1]: [&RnsPoly; 2], level: usize, name: KeyName) -> Result<[RnsPoly; 2]> {
        let key = self.keys.get(&self.ctx, name, level)?;
        let automorphism = self.ctx.automorphism(name)?;
        let mut out = self.switch(c1, level, &key, Some(&automorphism))?;
        self.add_permuted(&mut out[0], c0, &automorphism);
        count(&self.counters.rotations, 1);
        Ok(out)
    }

    /// `out += permutation(x)`.
    fn add_permuted(&self, out: &mut RnsPoly, x: &RnsPoly, automorphism: &Automorphism) {
        let (ring, n) = (self.ctx.ring(), self.ctx.params().n());
        for_limbs(out, |i, limb| {
            let mut moved = self.ctx.scratch().take(n);
            automorphism.apply(x.limb(i), &mut moved);
            ring.limb(i).add_assign(limb, &moved);
        });
    }

    /// Several rotations of one ciphertext; it is cut into digits once.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), of any of the rotations.
    pub fn rotate_many(&self, x: &Ciphertext, by: &[i64]) -> Result<Vec<Ciphertext>> {
        self.check(x)?;
        self.check_key(x)?;
        self.check_parts("rotate", x, 2)?;
        let mut decomposed = std::collections::BTreeMap::new();
        let mut out = Vec::with_capacity(by.len());
        for &r in by {
            let Some(name) = KeyName::rotation(r, x.slots) else {
                out.push(x.clone());
                continue;
            };
            let key = self.keys.get(&self.ctx, name, x.level)?;
            let automorphism = self.ctx.automorphism(name)?;
            let switcher = self.ctx.switcher(x.level, key.alpha())?;
            let digits = decomposed.entry(key.alpha()).or_insert_with(|| self.decompose(&x.parts[1], &switcher));
            let mut parts = [0, 1].map(|_| RnsPoly::unspecified(self.ctx.params().n(), switcher.qp_limbs()));
            let [o0, o1] = &mut parts;
            let ring = self.ctx.ring();
            switcher.inner_product(ring, digits, &key.rows(), Some(&automorphism), false, o0, o1);
            switcher.mod_down().apply(ring, o0, self.ctx.scratch());
            switcher.mod_down().apply(ring, o1, self.ctx.scratch());
            self.add_permuted(o0, &x.parts[0], &automorphism);
            count(&self.counters.rotations, 1);
            count(&self.counters.key_switches, 1);
            count(&self.counters.transforms, 2 * switcher.qp_limbs());
            out.push(self.with_parts(x, parts.into(), x.level, x.sd));
        }
        decomposed.into_values().for_each(|d| self.ctx.put_digits(d));
        Ok(out)
    }
}
