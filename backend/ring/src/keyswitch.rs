//! Hybrid key switching: digits of several primes, special primes, lazy inner products.
//!
//! A polynomial `x` modulo `Q = q_0..q_{l}` is cut into digits `d_j = [x]_{Q_j}`, `Q_j` the product of the primes
//! `j alpha .. (j + 1) alpha`. With the gadget `g_j` (1 modulo the primes of `Q_j`, 0 modulo the other `q`) it is
//! `x = sum_j d_j g_j mod Q`, and a key holds encryptions of `P g_j s'` under `s`: the inner product of digits and
//! key over `Q P`, divided by `P`, encrypts `x s'` (Han and Ki, Better bootstrapping for approximate homomorphic
//! encryption, 2020).

use crate::automorphism::Automorphism;
use crate::buffer::RnsPoly;
use crate::convert::{BaseConverter, Lift};
use crate::error::RingError;
use crate::moddown::ModDown;
use crate::parallel;
use crate::ring::Ring;
use crate::scratch::Scratch;
use std::ops::Range;

/// The digits of a polynomial, each in evaluation form over the `q` primes of the level, then the special primes.
#[derive(Debug, Clone, Default)]
pub struct Digits {
    polys: Vec<RnsPoly>,
}

impl Digits {
    /// No digits yet; [`KeySwitcher::decompose`] fills it and reuses its memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The digits.
    pub fn polys(&self) -> &[RnsPoly] {
        &self.polys
    }
}

/// One digit's row of a switching key, both halves in evaluation form, limb after limb: `q_limbs` limbs of the `q`
/// primes (at least those of the level of use), then the special primes.
#[derive(Debug, Clone, Copy)]
pub struct KeyHalves<'a> {
    /// The half without and the half with the factor of the secret (`b` and `a`).
    pub halves: [&'a [u64]; 2],
    /// How many `q` limbs stand before the special limbs.
    pub q_limbs: usize,
}

/// Tables for key switching at one level.
#[derive(Debug)]
pub struct KeySwitcher {
    q_limbs: usize,
    special: Range<usize>,
    digits: Vec<Range<usize>>,
    converters: Vec<BaseConverter>,
    mod_down: ModDown,
}

impl KeySwitcher {
    /// Tables for ciphertexts over the primes `0..q_limbs` of `ring`, special primes `special` (indices, beyond
    /// `q_limbs`), digits of `alpha` primes (the last may have fewer).
    pub fn new(ring: &Ring, q_limbs: usize, special: Range<usize>, alpha: usize) -> Result<Self, RingError> {
        let chain = ring.moduli().len();
        if q_limbs == 0 || alpha == 0 || special.is_empty() || special.start < q_limbs || special.end > chain {
            return Err(RingError::LimbSet(chain));
        }
        let digits: Vec<Range<usize>> =
            (0..q_limbs).step_by(alpha).map(|start| start..(start + alpha).min(q_limbs)).collect();
        let converters = digits
            .iter()
            .map(|digit| {
                let from: Vec<usize> = digit.clone().collect();
                let to: Vec<usize> = (0..q_limbs).filter(|i| !digit.contains(i)).chain(special.clone()).collect();
                BaseConverter::new(ring, &from, &to)
            })
            .collect::<Result<_, _>>()?;
        let keep: Vec<usize> = (0..q_limbs).collect();
        let drop: Vec<usize> = special.clone().collect();
        let mod_down = ModDown::new(ring, &keep, &drop)?;
        Ok(Self { q_limbs, special, digits, converters, mod_down })
    }

    /// Number of `q` primes at this level.
    pub fn q_limbs(&self) -> usize {
        self.q_limbs
    }

    /// Limbs of a polynomial over `Q P` at this level: the `q` limbs, then the special ones.
    pub fn qp_limbs(&self) -> usize {
        self.q_limbs + self.special.len()
    }

    /// The ring's prime index of limb `limb` of a polynomial over `Q P`.
    pub fn prime_index(&self, limb: usize) -> usize {
        if limb < self.q_limbs { limb } else { self.special.start + limb - self.q_limbs }
    }

    /// The primes of each digit.
    pub fn digits(&self) -> &[Range<usize>] {
        &self.digits
    }

    /// The division by the special primes.
    pub fn mod_down(&self) -> &ModDown {
        &self.mod_down
    }

    /// Cuts `x` (evaluation form, at least `q_limbs` limbs) into digits over `Q P`.
    pub fn decompose(&self, ring: &Ring, x: &RnsPoly, digits: &mut Digits, scratch: &Scratch) {
        let n = ring.n();
        assert!(x.n() == n && x.limb_count() >= self.q_limbs);
        digits.polys.resize_with(self.digits.len(), || RnsPoly::zero(n, 0));
        for poly in &mut digits.polys {
            if poly.n() != n {
                *poly = RnsPoly::zero(n, 0);
            }
            poly.resize(self.qp_limbs());
        }
        let mut coefficients = scratch.take(self.q_limbs * n);
        // Within its own primes a digit is x itself.
        let own = digits
            .polys
            .iter_mut()
            .zip(&self.digits)
            .flat_map(|(poly, digit)| poly.limbs_mut().skip(digit.start).take(digit.len()));
        parallel::for_each(own.zip(coefficients.chunks_exact_mut(n)), |i, (own, limb)| {
            let digit = self.digits.partition_point(|d| d.end <= i);
            own.copy_from_slice(x.limb(i));
            limb.copy_from_slice(own);
            let scale = self.converters[digit].punctured_inverse(i - self.digits[digit].start);
            ring.limb(i).inverse_scaled(limb, scale);
        });
        for ((poly, digit), converter) in digits.polys.iter_mut().zip(&self.digits).zip(&self.converters) {
            let sources: Vec<&[u64]> = coefficients[digit.start * n..digit.end * n].chunks_exact(n).collect();
            let others = poly.limbs_mut().enumerate().filter(|(t, _)| !digit.contains(t));
            let mut targets: Vec<&mut [u64]> = others.map(|(_, limb)| limb).collect();
            converter.convert(&sources, Lift::Centred, &mut targets);
            parallel::for_each(targets, |i, limb| ring.limb(converter.to()[i]).forward(limb));
        }
    }

    /// `(out0, out1) = [(out0, out1) +] sum_j d_j (b_j, a_j)` over `Q P`, the digits read through `permutation`
    /// (hoisted rotation), the bracket when `accumulate`.
    ///
    /// # Panics
    /// When the key has fewer rows than there are digits or lacks limbs, or an output has not `qp_limbs` limbs.
    #[expect(clippy::too_many_arguments)]
    pub fn inner_product(
        &self,
        ring: &Ring,
        digits: &Digits,
        key: &[KeyHalves<'_>],
        permutation: Option<&Automorphism>,
        accumulate: bool,
        out0: &mut RnsPoly,
        out1: &mut RnsPoly,
    ) {
        let count = self.digits.len();
        assert!(digits.polys.len() == count && key.len() >= count);
        assert!(out0.limb_count() == self.qp_limbs() && out1.limb_count() == self.qp_limbs());
        parallel::for_each(out0.limbs_mut().zip(out1.limbs_mut()), |t, (o0, o1)| {
            let d: Vec<&[u64]> = digits.polys.iter().map(|p| p.limb(t)).collect();
            let [x0, x1] = self.key_limbs(ring.n(), &key[..count], t);
            ring.limb(self.prime_index(t)).inner_product(&d, &x0, &x1, permutation, accumulate, o0, o1);
        });
    }

    /// The whole switch: `(out0, out1)`, over `q_limbs` limbs, encrypts `permutation(x) s'` for a key of `s'`.
    #[expect(clippy::too_many_arguments)]
    pub fn switch(
        &self,
        ring: &Ring,
        x: &RnsPoly,
        key: &[KeyHalves<'_>],
        permutation: Option<&Automorphism>,
        digits: &mut Digits,
        [out0, out1]: [&mut RnsPoly; 2],
        scratch: &Scratch,
    ) {
        self.decompose(ring, x, digits, scratch);
        out0.resize(self.qp_limbs());
        out1.resize(self.qp_limbs());
        self.inner_product(ring, digits, key, permutation, false, out0, out1);
        self.mod_down.apply(ring, out0, scratch);
        self.mod_down.apply(ring, out1, scratch);
    }

    /// Limb `t` over `Q P` of both halves of every row.
    fn key_limbs<'a>(&self, n: usize, key: &[KeyHalves<'a>], t: usize) -> [Vec<&'a [u64]>; 2] {
        [0, 1].map(|half| {
            key.iter()
                .map(|row| {
                    let limb = if t < self.q_limbs { t } else { row.q_limbs + t - self.q_limbs };
                    assert!(row.q_limbs >= self.q_limbs);
                    &row.halves[half][limb * n..(limb + 1) * n]
                })
                .collect()
        })
    }
}
