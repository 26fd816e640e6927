//! Divides by a set of primes with rounding.

use crate::buffer::RnsPoly;
use crate::convert::{BaseConverter, Lift};
use crate::error::RingError;
use crate::parallel;
use crate::ring::Ring;
use crate::scratch::Scratch;

/// Tables to divide by the product `P` of some primes, rounding to the nearest integer: from residues modulo the
/// primes `keep` and `drop` to residues of `round(x / P)` modulo `keep`.
///
/// With the special primes as `drop` it ends a key switch; with the last prime alone it is the rescale.
#[derive(Debug)]
pub struct ModDown {
    converter: BaseConverter,
    /// `P^-1` modulo each kept prime.
    inverse: Vec<u64>,
}

/// Up to so many dropped limbs are converted target by target: they and one target fit the second-level cache.
const FEW: usize = 2;

impl ModDown {
    /// Tables for primes of `ring` by index; the two sets must not meet.
    ///
    /// # Errors
    /// An index beyond the chain, nothing to drop, or sets that meet.
    pub fn new(ring: &Ring, keep: &[usize], drop: &[usize]) -> Result<Self, RingError> {
        let converter = BaseConverter::new(ring, drop, keep)?;
        let inverse = keep
            .iter()
            .map(|&i| {
                let m = ring.modulus(i);
                let p = drop.iter().fold(1, |acc, &d| m.mul(acc, m.reduce_u64(ring.modulus(d).value())));
                m.inv(p).ok_or(RingError::LimbSet(ring.moduli().len()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { converter, inverse })
    }

    /// Indices of the primes that stay.
    pub fn keep(&self) -> &[usize] {
        self.converter.to()
    }

    /// Indices of the primes divided by.
    pub fn drop(&self) -> &[usize] {
        self.converter.from()
    }

    /// Divides a polynomial in evaluation form whose limbs are those of `keep`, then those of `drop`; it is
    /// left with the limbs of `keep`.
    ///
    /// # Panics
    /// When the number of limbs is another.
    pub fn apply(&self, ring: &Ring, x: &mut RnsPoly, scratch: &Scratch) {
        let (keep, n) = (self.keep().len(), ring.n());
        assert!(x.limb_count() == keep + self.drop().len() && x.n() == n);
        let (kept, dropped) = x.as_mut_slice().split_at_mut(keep * n);
        self.remainder(ring, dropped);
        let sources: Vec<&[u64]> = dropped.chunks_exact(n).collect();
        if sources.len() <= FEW {
            parallel::for_each(kept.chunks_exact_mut(n), |i, out| {
                let mut r = scratch.take(n);
                self.converter.convert_some(i, &sources, Lift::Centred, &mut [&mut r]);
                self.finish(ring, i, out, &mut r);
            });
        } else {
            let mut lifted = scratch.take(keep * n);
            let mut targets: Vec<&mut [u64]> = lifted.chunks_exact_mut(n).collect();
            self.converter.convert(&sources, Lift::Centred, &mut targets);
            parallel::for_each(kept.chunks_exact_mut(n).zip(targets), |i, (out, r)| self.finish(ring, i, out, r));
        }
        x.set_limb_count(keep);
    }

    /// Evaluations modulo the dropped primes to prepared coefficients.
    fn remainder(&self, ring: &Ring, dropped: &mut [u64]) {
        parallel::for_each(dropped.chunks_exact_mut(ring.n()), |i, limb| self.prepare(ring, i, limb));
    }

    /// Evaluations modulo dropped prime `i` to prepared coefficients.
    pub(crate) fn prepare(&self, ring: &Ring, i: usize, limb: &mut [u64]) {
        ring.limb(self.drop()[i]).inverse_scaled(limb, self.converter.punctured_inverse(i));
    }

    /// `out = (out - r) / P` modulo kept prime `i`, for coefficients `r`.
    pub(crate) fn finish(&self, ring: &Ring, i: usize, out: &mut [u64], r: &mut [u64]) {
        let limb = ring.limb(self.keep()[i]);
        limb.forward(r);
        limb.sub_mul_assign(out, r, self.inverse[i]);
    }

    /// The conversion from the dropped primes to the kept ones.
    pub(crate) fn converter(&self) -> &BaseConverter {
        &self.converter
    }
}
