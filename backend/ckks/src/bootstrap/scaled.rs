//! EvalMod runs on arithmetic with explicit scales.
//!
//! The scale of a program's ciphertext follows from its level. Inside a bootstrap scales are higher than that and chosen
//! freely. When a bootstrap is set up, the same code makes a dry run that only tracks the scales.

use crate::context::Context;
use crate::error::{KeyName, Result};
use crate::eval::{Evaluator, for_limbs, truncated};
use fhec_ring::{Modulus, RnsPoly};

/// A ciphertext (two parts, or three of a product until it is rescaled), or, in a dry run, what is known of it beforehand
/// (no parts).
#[derive(Debug, Clone)]
pub(super) struct Scaled {
    pub parts: Vec<RnsPoly>,
    pub level: usize,
    pub scale: f64,
}

/// Computes on [`Scaled`] values; without an evaluator it makes a dry run that tracks scales and levels.
pub(super) struct Machine<'a> {
    pub ctx: &'a Context,
    pub eval: Option<&'a Evaluator>,
}

/// Integers that stand for factors are at least this large where it can be arranged: 50 bits exact.
pub(super) const EXACT: f64 = (1u64 << 50) as f64;

impl Machine<'_> {
    /// `a * b` at the lower of the two levels; [`rescale`](Self::rescale) relinearises it.
    pub fn mul(&self, a: &Scaled, b: &Scaled) -> Scaled {
        let level = a.level.min(b.level);
        let parts = match (self.eval, &a.parts[..], &b.parts[..]) {
            (Some(eval), [a0, a1], [b0, b1]) => eval.tensor([a0, a1], [b0, b1], level + 1),
            _ => Vec::new(),
        };
        Scaled { parts, level, scale: a.scale * b.scale }
    }

    /// `2 x - c`.
    pub fn double_minus(&self, x: &mut Scaled, c: f64) {
        self.times(x, 2.0);
        self.add_constant(x, -c);
    }

    /// `x` times an integer that is part of the value.
    fn times(&self, x: &mut Scaled, k: f64) {
        let ring = self.ctx.ring();
        for part in &mut x.parts {
            for_limbs(part, |i, limb| ring.limb(i).mul_scalar_assign(limb, residue(&ring.modulus(i), k)));
        }
    }

    /// `x + c`.
    pub fn add_constant(&self, x: &mut Scaled, c: f64) {
        let (ring, k) = (self.ctx.ring(), (c * x.scale).round());
        if let Some(part) = x.parts.first_mut() {
            for_limbs(part, |i, limb| ring.limb(i).add_scalar_assign(limb, residue(&ring.modulus(i), k)));
        }
    }

    /// `x + c`, but `x + first` in slot 0.
    pub fn add_constants(&self, x: &mut Scaled, c: f64, first: f64, slots: usize) -> Result<()> {
        self.add_constant(x, c);
        let Some(part) = x.parts.first_mut() else { return Ok(()) };
        let mut difference = vec![0.0; slots];
        difference[0] = first - c;
        // What does not fit a coefficient is put back as a power of two.
        let shift = (x.scale.log2() - 55.0).max(0.0).floor() as i32;
        let coefficients = self.ctx.encode_coefficients(&difference, &[], x.scale / 2f64.powi(shift))?;
        let ring = self.ctx.ring();
        for_limbs(part, |i, limb| {
            let mut buffer = self.ctx.scratch().take(limb.len());
            self.ctx.coefficient_limb(&coefficients, i, &mut buffer);
            let factor = residue(&ring.modulus(i), 2f64.powi(shift));
            ring.limb(i).mul_scalar_add(limb, &buffer, factor);
        });
        Ok(())
    }

    /// `x += c y`; `y` has at least the level of `x`.
    ///
    /// The factor becomes an integer next to `c x.scale / y.scale`. Where that is too small to be exact, `y` is used at
    /// one more limb and the prime of that limb goes into the integer.
    pub fn add_multiple(&self, x: &mut Scaled, y: &Scaled, c: f64) -> Result<()> {
        let (ring, ratio, level) = (self.ctx.ring(), c * x.scale / y.scale, x.level);
        let extend = x.scale / y.scale < EXACT && y.level > level;
        let k = if extend { ratio * self.ctx.params().q()[level + 1] as f64 } else { ratio }.round();
        for (x, y) in x.parts.iter_mut().zip(&y.parts) {
            match self.eval {
                Some(eval) if extend => {
                    let mut y = truncated(y, level + 2);
                    for_limbs(&mut y, |i, limb| ring.limb(i).mul_scalar_assign(limb, residue(&ring.modulus(i), k)));
                    eval.divide_last(&mut y, level + 1)?;
                    for_limbs(x, |i, limb| ring.limb(i).add_assign(limb, y.limb(i)));
                }
                _ => for_limbs(x, |i, limb| {
                    ring.limb(i).mul_scalar_add(limb, y.limb(i), residue(&ring.modulus(i), k));
                }),
            }
        }
        Ok(())
    }

    /// Divides by the primes above `level`. Where that would leave a scale below `2^least`, an integer factor goes
    /// into the scale first. A product is relinearised on the way, in one division by the special primes and the first.
    pub fn rescale(&self, x: &mut Scaled, level: usize, least: f64) -> Result<()> {
        let dropped: f64 = self.ctx.params().q()[level + 1..=x.level].iter().map(|&q| q as f64).product();
        let lift = (2f64.powf(least) * dropped / x.scale).ceil();
        if lift >= 2.0 {
            self.times(x, lift);
            x.scale *= lift;
        }
        while x.level > level {
            match (self.eval, &mut x.parts[..]) {
                (Some(eval), [p0, p1, p2]) => {
                    let key = eval.keys().get(self.ctx, KeyName::Relin, x.level)?;
                    x.parts = eval.switch_rescale(p2, x.level, &key, [p0, p1])?.into();
                }
                (Some(eval), parts) => parts.iter_mut().try_for_each(|part| eval.divide_last(part, x.level))?,
                (None, _) => {}
            }
            x.scale /= self.ctx.params().q()[x.level] as f64;
            x.level -= 1;
        }
        if let (Some(eval), [p0, p1, p2]) = (self.eval, &x.parts[..]) {
            let key = eval.keys().get(self.ctx, KeyName::Relin, x.level)?;
            let mut out = eval.switch(p2, x.level, &key, None)?;
            let ring = self.ctx.ring();
            for (out, part) in out.iter_mut().zip([p0, p1]) {
                for_limbs(out, |i, limb| ring.limb(i).add_assign(limb, part.limb(i)));
            }
            x.parts = out.into();
        }
        Ok(())
    }
}

/// The residue of a float that holds an integer of any size.
pub(super) fn residue(m: &Modulus, value: f64) -> u64 {
    let bits = value.abs().to_bits();
    let exponent = (bits >> 52) as i32 - 1075;
    let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
    let r = if value.abs() < 1.0 {
        0
    } else if exponent <= 0 {
        m.reduce_u64(mantissa >> -exponent)
    } else {
        m.mul(m.reduce_u64(mantissa), m.pow(2, exponent as u64))
    };
    if value < 0.0 { m.neg(r) } else { r }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_residues_of_their_integers() {
        let m = Modulus::new(1_000_003).unwrap();
        for v in [0i128, 1, 2, 3, 1_000_002, 1_000_003, (1 << 53) - 1, 3 << 60, 5 << 100] {
            assert_eq!(residue(&m, v as f64), m.reduce_i128(v), "{v}");
            assert_eq!(residue(&m, -(v as f64)), m.reduce_i128(-v), "-{v}");
        }
    }
}
