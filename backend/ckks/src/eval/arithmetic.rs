//! The evaluator's sums, products and rescaling.

use super::counters::count;
use super::{Evaluator, for_limbs, for_limbs_of, truncated};
use crate::ciphertext::Ciphertext;
use crate::encode::{Plaintext, Role};
use crate::error::{CkksError, KeyName, Result};
use fhec_ring::RnsPoly;

/// Integers that stand for real constants stay below `2^CONSTANT_BITS`.
const CONSTANT_BITS: i32 = 120;

impl Evaluator {
    /// `a + b`, at equal level and scale degree.
    ///
    /// # Errors
    /// Ciphertexts of other parameters, of two keys, or of unequal level or scale degree.
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.check_pair("add", a, b)?;
        let (long, short) = if a.parts.len() >= b.parts.len() { (a, b) } else { (b, a) };
        let ring = self.ctx.ring();
        let mut parts: Vec<RnsPoly> = short.parts.iter().map(|p| RnsPoly::unspecified(p.n(), p.limb_count())).collect();
        for (out, (x, y)) in parts.iter_mut().zip(long.parts.iter().zip(&short.parts)) {
            for_limbs(out, |i, limb| ring.limb(i).add(x.limb(i), y.limb(i), limb));
        }
        parts.extend_from_slice(&long.parts[parts.len()..]);
        let mut out = self.with_parts(long, parts, long.level, long.sd);
        out.slots = a.slots.max(b.slots);
        Ok(out)
    }

    /// `a += b`, at equal level and scale degree.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check_pair("add", a, b)?;
        self.pad(a, b.parts.len());
        self.combine(a, b, |limb, x, y| limb.add_assign(x, y));
        Ok(())
    }

    /// `a - b`, at equal level and scale degree.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.check_pair("sub", a, b)?;
        let mut out = a.clone();
        self.pad(&mut out, b.parts.len());
        self.combine(&mut out, b, |limb, x, y| limb.sub_assign(x, y));
        Ok(out)
    }

    fn pad(&self, ct: &mut Ciphertext, parts: usize) {
        let (n, limbs) = (self.ctx.params().n(), ct.level + 1);
        while ct.parts.len() < parts {
            ct.parts.push(RnsPoly::zero(n, limbs));
        }
    }

    fn combine(
        &self,
        out: &mut Ciphertext,
        b: &Ciphertext,
        f: impl Fn(&fhec_ring::Limb<'_>, &mut [u64], &[u64]) + Sync + Send,
    ) {
        let ring = self.ctx.ring();
        for (x, y) in out.parts.iter_mut().zip(&b.parts) {
            for_limbs(x, |i, limb| f(&ring.limb(i), limb, y.limb(i)));
        }
        out.slots = out.slots.max(b.slots);
        out.seed = None;
    }

    /// `-x`.
    ///
    /// # Errors
    /// A ciphertext of other parameters.
    pub fn neg(&self, x: &Ciphertext) -> Result<Ciphertext> {
        self.check(x)?;
        let mut out = x.clone();
        out.seed = None;
        for part in &mut out.parts {
            for_limbs(part, |i, limb| self.ctx.ring().limb(i).neg_assign(limb));
        }
        Ok(out)
    }

    /// `x + plain`; the plaintext must be encoded as [`Role::Term`] at the level and scale degree of `x`.
    ///
    /// # Errors
    /// A ciphertext of other parameters, or a plaintext of another role, level or scale degree.
    pub fn add_plain(&self, x: &Ciphertext, plain: &Plaintext) -> Result<Ciphertext> {
        self.check(x)?;
        let Role::Term { level, sd } = plain.role() else {
            return Err(CkksError::Format {
                what: "add_plain",
                reason: "the plaintext was encoded as a factor".into(),
            });
        };
        if level != x.level {
            return Err(CkksError::LevelMismatch { op: "add_plain", left: x.level, right: level });
        }
        if sd != x.sd {
            return Err(CkksError::ScaleDegree { op: "add_plain", found: sd, wanted: x.sd });
        }
        let mut out = x.clone();
        out.seed = None;
        out.slots = out.slots.max(plain.slots());
        let (ring, n) = (self.ctx.ring(), self.ctx.params().n());
        for_limbs(&mut out.parts[0], |i, limb| {
            let mut buffer = self.ctx.scratch().take(n);
            ring.limb(i).add_assign(limb, self.ctx.plain_limb(plain, i, &mut buffer));
        });
        count(&self.counters.transforms, x.level + 1);
        Ok(out)
    }

    /// `x + value` in every slot.
    ///
    /// # Errors
    /// A ciphertext of other parameters, or a number too large for its scale.
    pub fn add_scalar(&self, x: &Ciphertext, value: f64) -> Result<Ciphertext> {
        self.check(x)?;
        let scale = self.ctx.plain_scale(Role::Term { level: x.level, sd: x.sd })?;
        let mut out = x.clone();
        out.seed = None;
        self.add_constant(&mut out.parts[0], integer(value, scale)?);
        Ok(out)
    }

    /// Adds an integer to the constant coefficient.
    pub(crate) fn add_constant(&self, poly: &mut RnsPoly, k: i128) {
        let ring = self.ctx.ring();
        for_limbs(poly, |i, limb| ring.limb(i).add_scalar_assign(limb, ring.modulus(i).reduce_i128(k)));
    }

    /// Slot-wise product with a plaintext encoded as [`Role::Factor`] for the level of `x`; the result is at the
    /// factor's level `at`, scale degree 2.
    ///
    /// # Errors
    /// A ciphertext of other parameters or of scale degree 2, or a plaintext that is no factor for its level.
    pub fn mul_plain(&self, x: &Ciphertext, plain: &Plaintext) -> Result<Ciphertext> {
        self.check(x)?;
        self.check_sd("mul_plain", x, 1)?;
        let Role::Factor { operand, at } = plain.role() else {
            return Err(CkksError::Format { what: "mul_plain", reason: "the plaintext was encoded as a term".into() });
        };
        if operand != x.level {
            return Err(CkksError::LevelMismatch { op: "mul_plain", left: x.level, right: operand });
        }
        let (ring, n) = (self.ctx.ring(), self.ctx.params().n());
        let mut parts: Vec<RnsPoly> = x.parts.iter().map(|_| RnsPoly::unspecified(n, at + 1)).collect();
        for_limbs_of(&mut parts, |i, outs| {
            let mut buffer = self.ctx.scratch().take(n);
            let evaluated = self.ctx.plain_limb(plain, i, &mut buffer);
            for (out, part) in outs.iter_mut().zip(&x.parts) {
                ring.limb(i).mul(part.limb(i), evaluated, out);
            }
        });
        count(&self.counters.plain_products, 1);
        count(&self.counters.transforms, at + 1);
        let mut out = self.with_parts(x, parts, at, 2);
        out.slots = x.slots.max(plain.slots());
        Ok(out)
    }

    /// Product with one number, made at level `at`; scale degree 2.
    ///
    /// # Errors
    /// A ciphertext of other parameters or of scale degree 2, a level `at` above its own, or a number too large for its
    /// scale.
    pub fn mul_scalar(&self, x: &Ciphertext, value: f64, at: usize) -> Result<Ciphertext> {
        self.check(x)?;
        self.check_sd("mul_scalar", x, 1)?;
        let scale = self.ctx.plain_scale(Role::Factor { operand: x.level, at })?;
        let k = integer(value, scale)?;
        let parts = x.parts.iter().map(|part| self.times_integer(&truncated(part, at + 1), k)).collect();
        count(&self.counters.plain_products, 1);
        Ok(self.with_parts(x, parts, at, 2))
    }

    /// Multiple by a small integer: scale and level stay.
    ///
    /// # Errors
    /// A ciphertext of other parameters.
    pub fn mul_int(&self, x: &Ciphertext, by: i64) -> Result<Ciphertext> {
        self.check(x)?;
        let parts = x.parts.iter().map(|part| self.times_integer(part, i128::from(by))).collect();
        Ok(self.with_parts(x, parts, x.level, x.sd))
    }

    pub(crate) fn times_integer(&self, poly: &RnsPoly, k: i128) -> RnsPoly {
        let mut out = poly.clone();
        let ring = self.ctx.ring();
        for_limbs(&mut out, |i, limb| ring.limb(i).mul_scalar_assign(limb, ring.modulus(i).reduce_i128(k)));
        out
    }

    /// Product of two ciphertexts of scale degree 1 and equal level: three parts, scale degree 2.
    ///
    /// # Errors
    /// As [`add`](Self::add), and operands of scale degree 2 or of three parts.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.check_pair("mul", a, b)?;
        self.check_sd("mul", a, 1)?;
        self.check_parts("mul", a, 2)?;
        self.check_parts("mul", b, 2)?;
        let parts = self.tensor([&a.parts[0], &a.parts[1]], [&b.parts[0], &b.parts[1]], a.level + 1);
        count(&self.counters.products, 1);
        let mut out = self.with_parts(a, parts, a.level, 2);
        out.slots = a.slots.max(b.slots);
        Ok(out)
    }

    /// Square of a ciphertext of scale degree 1: three parts, scale degree 2.
    ///
    /// # Errors
    /// As [`mul`](Self::mul).
    pub fn square(&self, x: &Ciphertext) -> Result<Ciphertext> {
        self.mul(x, x)
    }

    /// The three parts of a product over the first `limbs` limbs.
    pub(crate) fn tensor(&self, a: [&RnsPoly; 2], b: [&RnsPoly; 2], limbs: usize) -> Vec<RnsPoly> {
        let (ring, n) = (self.ctx.ring(), self.ctx.params().n());
        let mut out: Vec<RnsPoly> = (0..3).map(|_| RnsPoly::unspecified(n, limbs)).collect();
        for_limbs_of(&mut out, |i, outs| {
            if let [o0, o1, o2] = outs {
                ring.limb(i).tensor([a[0].limb(i), a[1].limb(i)], [b[0].limb(i), b[1].limb(i)], [o0, o1, o2]);
            }
        });
        out
    }

    /// Three parts to two, with the relinearisation key.
    ///
    /// # Errors
    /// A ciphertext of other parameters, of another key than the evaluation keys', or of two parts; no key for its
    /// level.
    pub fn relinearize(&self, x: &Ciphertext) -> Result<Ciphertext> {
        let mut out = x.clone();
        self.relinearize_assign(&mut out)?;
        Ok(out)
    }

    /// [`relinearize`](Self::relinearize) in place.
    ///
    /// # Errors
    /// As [`relinearize`](Self::relinearize).
    pub fn relinearize_assign(&self, x: &mut Ciphertext) -> Result<()> {
        self.check(x)?;
        self.check_key(x)?;
        self.check_parts("relinearize", x, 3)?;
        let key = self.keys.get(&self.ctx, KeyName::Relin, x.level)?;
        let [d0, d1] = self.switch(&x.parts[2], x.level, &key, None)?;
        x.parts.truncate(2);
        let ring = self.ctx.ring();
        for_limbs(&mut x.parts[0], |i, limb| ring.limb(i).add_assign(limb, d0.limb(i)));
        for_limbs(&mut x.parts[1], |i, limb| ring.limb(i).add_assign(limb, d1.limb(i)));
        Ok(())
    }

    /// Product, relinearised and rescaled: from level `l`, scale degree 1, to level `l - 1`, scale degree 1. Both divisions
    /// are one, in less time and with one rounding instead of two: the last bits of the result are not those of
    /// [`relinearize`](Self::relinearize) and [`rescale`](Self::rescale), which plans state as two ops.
    ///
    /// # Errors
    /// As [`mul`](Self::mul), [`relinearize`](Self::relinearize) and [`rescale`](Self::rescale).
    pub fn mul_rescale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let x = self.mul(a, b)?;
        self.check_key(&x)?;
        if x.level == 0 {
            return Err(CkksError::Level { op: "rescale", level: 0, max: self.ctx.params().top_level() });
        }
        let key = self.keys.get(&self.ctx, KeyName::Relin, x.level)?;
        let parts = self.switch_rescale(&x.parts[2], x.level, &key, [&x.parts[0], &x.parts[1]])?;
        Ok(self.with_parts(&x, parts.into(), x.level - 1, 1))
    }

    /// Division by the last prime: scale degree 2 to 1, one level less.
    ///
    /// # Errors
    /// A ciphertext of other parameters, of scale degree 1, or at level 0.
    pub fn rescale(&self, x: &Ciphertext) -> Result<Ciphertext> {
        let mut out = x.clone();
        self.rescale_assign(&mut out)?;
        Ok(out)
    }

    /// [`rescale`](Self::rescale) in place.
    ///
    /// # Errors
    /// As [`rescale`](Self::rescale).
    pub fn rescale_assign(&self, x: &mut Ciphertext) -> Result<()> {
        self.check(x)?;
        self.check_sd("rescale", x, 2)?;
        let level = x.level;
        for part in &mut x.parts {
            self.divide_last(part, level)?;
        }
        (x.level, x.sd, x.seed) = (level - 1, 1, None);
        Ok(())
    }

    /// Divides a polynomial by its last prime, rounding.
    pub(crate) fn divide_last(&self, poly: &mut RnsPoly, level: usize) -> Result<()> {
        self.ctx.rescaler(level)?.apply(self.ctx.ring(), poly, self.ctx.scratch());
        count(&self.counters.rescales, 1);
        count(&self.counters.transforms, level + 1);
        Ok(())
    }

    /// The same value at level `to`, at its canonical scale: the limbs between are dropped, the rest is multiplied by
    /// the integer next to `S_to q_(to+1) / S_(to+1)` and divided by `q_(to+1)`.
    ///
    /// # Errors
    /// A ciphertext of other parameters, of scale degree 2, or below level `to`, and one at a level that only
    /// bootstraps use.
    pub fn level_drop(&self, x: &Ciphertext, to: usize) -> Result<Ciphertext> {
        self.check(x)?;
        self.check_sd("level_drop", x, 1)?;
        if to > x.level {
            return Err(CkksError::Level { op: "level_drop", level: to, max: x.level });
        }
        if to == x.level {
            return Ok(x.clone());
        }
        let params = self.ctx.params();
        if x.level > params.max_level() {
            return Err(CkksError::Level { op: "level_drop", level: x.level, max: params.max_level() });
        }
        // The limbs above to + 1 carry no scale of their own: the message stays at S_(x.level).
        let factor = params.scale(to) * params.q()[to + 1] as f64 / params.scale(x.level);
        let mut parts = Vec::with_capacity(x.parts.len());
        for part in &x.parts {
            let mut out = self.times_integer(&truncated(part, to + 2), factor.round() as i128);
            self.divide_last(&mut out, to + 1)?;
            parts.push(out);
        }
        Ok(self.with_parts(x, parts, to, 1))
    }
}

/// The integer next to `value * scale`.
pub(crate) fn integer(value: f64, scale: f64) -> Result<i128> {
    let product = value * scale;
    // Also refuses NaN.
    if product.abs() < 2f64.powi(CONSTANT_BITS) {
        Ok(product.round() as i128)
    } else {
        Err(CkksError::Encode { slot: 0, value, log_scale: scale.log2() })
    }
}
