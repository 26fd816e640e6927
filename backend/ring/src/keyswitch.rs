//! Hybrid key switching works with digits of several primes, special primes and lazy inner products.
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
    /// Absent for one prime, below which there is no level.
    rescaling: Option<Rescaling>,
}

/// Tables to divide by the last prime together with the special ones.
#[derive(Debug)]
struct Rescaling {
    mod_down: ModDown,
    /// `P` modulo the last prime.
    special_product: u64,
    /// Inverse of the last prime modulo each prime below it.
    last_inverse: Vec<u64>,
}

impl Rescaling {
    fn new(ring: &Ring, last: usize, special: &[usize]) -> Result<Self, RingError> {
        let keep: Vec<usize> = (0..last).collect();
        let drop: Vec<usize> = [last].into_iter().chain(special.iter().copied()).collect();
        let (m, q) = (ring.modulus(last), ring.modulus(last).value());
        let special_product = special.iter().fold(1, |acc, &s| m.mul(acc, m.reduce_u64(ring.modulus(s).value())));
        let inverse = |&i: &usize| {
            let m = ring.modulus(i);
            m.inv(m.reduce_u64(q)).ok_or(RingError::LimbSet(ring.moduli().len()))
        };
        let last_inverse = keep.iter().map(inverse).collect::<Result<_, _>>()?;
        Ok(Self { mod_down: ModDown::new(ring, &keep, &drop)?, special_product, last_inverse })
    }
}

impl KeySwitcher {
    /// Tables for ciphertexts over the primes `0..q_limbs` of `ring`, special primes `special` (indices, beyond
    /// `q_limbs`), digits of `alpha` primes (the last may have fewer).
    ///
    /// # Errors
    /// No ciphertext prime, no special prime, an `alpha` of 0, or special primes that overlap the others or leave the
    /// chain.
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
        let rescaling = if q_limbs > 1 { Some(Rescaling::new(ring, q_limbs - 1, &drop)?) } else { None };
        Ok(Self { q_limbs, special, digits, converters, mod_down, rescaling })
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
            own.copy_from_slice(x.limb(i));
            limb.copy_from_slice(own);
            self.to_prepared(ring, i, limb);
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

    /// The whole switch: `(out0, out1)`, over `q_limbs` limbs, encrypts `permutation(x) s'` for a key of `s'`. Equal
    /// to [`decompose`](Self::decompose), [`inner_product`](Self::inner_product) and the division by the special
    /// primes, but a group of limbs goes through all of that before the next is begun: the digits, of which all
    /// together are the largest data here, never leave the cache.
    ///
    /// # Panics
    /// As those methods.
    pub fn switch(
        &self,
        ring: &Ring,
        x: &RnsPoly,
        key: &[KeyHalves<'_>],
        permutation: Option<&Automorphism>,
        [out0, out1]: [&mut RnsPoly; 2],
        scratch: &Scratch,
    ) {
        self.switch_and_divide(ring, x, key, permutation, None, [out0, out1], scratch);
    }

    /// [`switch`](Self::switch) and the rescale after it, with one rounding: `(out0, out1)`, over `q_limbs - 1` limbs,
    /// is `(add0, add1)` plus the switch of `x`, divided by the last prime. Both divisions are one, which saves the
    /// transforms of the limbs between them.
    ///
    /// # Errors
    /// [`RingError::LimbSet`] at one limb, which cannot be dropped.
    ///
    /// # Panics
    /// As [`switch`](Self::switch).
    pub fn switch_rescale(
        &self,
        ring: &Ring,
        x: &RnsPoly,
        key: &[KeyHalves<'_>],
        add: [&RnsPoly; 2],
        outs: [&mut RnsPoly; 2],
        scratch: &Scratch,
    ) -> Result<(), RingError> {
        let rescaling = self.rescaling.as_ref().ok_or(RingError::LimbSet(ring.moduli().len()))?;
        assert!(add.iter().all(|a| a.n() == ring.n() && a.limb_count() >= self.q_limbs));
        self.switch_and_divide(ring, x, key, None, Some((rescaling, add)), outs, scratch);
        Ok(())
    }

    #[expect(clippy::too_many_arguments)]
    fn switch_and_divide(
        &self,
        ring: &Ring,
        x: &RnsPoly,
        key: &[KeyHalves<'_>],
        permutation: Option<&Automorphism>,
        rescale: Option<(&Rescaling, [&RnsPoly; 2])>,
        [out0, out1]: [&mut RnsPoly; 2],
        scratch: &Scratch,
    ) {
        let n = ring.n();
        assert!(x.n() == n && x.limb_count() >= self.q_limbs && key.len() >= self.digits.len());
        assert!(out0.n() == n && out1.n() == n);
        let mod_down = rescale.map_or(&self.mod_down, |(r, _)| &r.mod_down);
        let (kept, dropped) = (mod_down.keep().len(), mod_down.drop().len());
        let mut coefficients = scratch.take(self.q_limbs * n);
        parallel::for_each(coefficients.chunks_exact_mut(n), |i, limb| {
            limb.copy_from_slice(x.limb(i));
            self.to_prepared(ring, i, limb);
        });
        let product = KeyProduct { switcher: self, ring, x, coefficients: &coefficients, key, permutation };
        // What is to be divided by: its residues modulo the primes that go, as prepared coefficients.
        let mut remainder = scratch.take(2 * dropped * n);
        let (remainder0, remainder1) = remainder.split_at_mut(dropped * n);
        let size = group_size(dropped);
        let groups = remainder0.chunks_mut(size * n).zip(remainder1.chunks_mut(size * n));
        parallel::for_each(groups, |g, (o0, o1)| {
            let mut digits = scratch.take(self.digits.len() * o0.len());
            product.group(kept + g * size, &mut digits, o0, o1);
            if let Some((r, add)) = rescale.filter(|_| g == 0) {
                // The last prime comes first. Modulo the others that go, P times anything is zero.
                for (out, add) in [&mut *o0, &mut *o1].into_iter().zip(add) {
                    ring.limb(kept).mul_scalar_add(&mut out[..n], add.limb(kept), r.special_product);
                }
            }
            for (i, limb) in o0.chunks_exact_mut(n).enumerate().chain(o1.chunks_exact_mut(n).enumerate()) {
                mod_down.prepare(ring, g * size + i, limb);
            }
        });
        let remainder: [Vec<&[u64]>; 2] = [&*remainder0, &*remainder1].map(|s| s.chunks_exact(n).collect());
        out0.resize(kept);
        out1.resize(kept);
        let size = group_size(kept);
        let groups = out0.as_mut_slice().chunks_mut(size * n).zip(out1.as_mut_slice().chunks_mut(size * n));
        parallel::for_each(groups, |g, (o0, o1)| {
            let mut digits = scratch.take(self.digits.len() * o0.len());
            product.group(g * size, &mut digits, o0, o1);
            for (half, (sources, out)) in remainder.iter().zip([o0, o1]).enumerate() {
                // The digits are no longer needed.
                let lifted = &mut digits[..out.len()];
                let mut targets: Vec<&mut [u64]> = lifted.chunks_exact_mut(n).collect();
                mod_down.converter().convert_some(g * size, sources, Lift::Centred, &mut targets);
                for (i, (out, r)) in out.chunks_exact_mut(n).zip(targets).enumerate() {
                    let t = g * size + i;
                    mod_down.finish(ring, t, out, r);
                    if let Some((rescaling, add)) = rescale {
                        ring.limb(t).mul_scalar_add(out, add[half].limb(t), rescaling.last_inverse[t]);
                    }
                }
            }
        });
    }

    /// Evaluations modulo prime `i` to coefficients prepared for the conversion of its digit.
    fn to_prepared(&self, ring: &Ring, i: usize, limb: &mut [u64]) {
        let digit = self.digits.partition_point(|d| d.end <= i);
        let scale = self.converters[digit].punctured_inverse(i - self.digits[digit].start);
        ring.limb(i).inverse_scaled(limb, scale);
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

/// Limbs that go through a key switch together: their digits, and the sources, which every group reads again, should
/// fit the last-level cache.
const GROUP: usize = 8;

/// Limbs per group for `limbs` of them, so that the threads of the pool get equal numbers of groups.
fn group_size(limbs: usize) -> usize {
    let threads = rayon::current_num_threads().max(1);
    let rounds = limbs.div_ceil(GROUP * threads);
    limbs.div_ceil(rounds * threads).max(1)
}

/// The operands of one switch.
struct KeyProduct<'a> {
    switcher: &'a KeySwitcher,
    ring: &'a Ring,
    x: &'a RnsPoly,
    /// Prepared coefficients of `x`.
    coefficients: &'a [u64],
    key: &'a [KeyHalves<'a>],
    permutation: Option<&'a Automorphism>,
}

impl KeyProduct<'_> {
    /// The inner products modulo the primes of the limbs from `first` on, as many as `out0` holds; `digits` has room
    /// for those limbs of every digit.
    fn group(&self, first: usize, digits: &mut [u64], out0: &mut [u64], out1: &mut [u64]) {
        let (s, n, size) = (self.switcher, self.ring.n(), out0.len());
        let limbs = first..first + size / n;
        for ((digit, converter), buffer) in s.digits.iter().zip(&s.converters).zip(digits.chunks_exact_mut(size)) {
            let sources: Vec<&[u64]> = self.coefficients[digit.start * n..digit.end * n].chunks_exact(n).collect();
            let others = limbs.clone().zip(buffer.chunks_exact_mut(n)).filter(|(t, _)| !digit.contains(t));
            let mut targets: Vec<&mut [u64]> = others.map(|(_, limb)| limb).collect();
            // Targets are numbered without the digit's own primes.
            let before = (0..first).filter(|t| !digit.contains(t)).count();
            converter.convert_some(before, &sources, Lift::Centred, &mut targets);
        }
        let outputs = out0.chunks_exact_mut(n).zip(out1.chunks_exact_mut(n));
        for ((i, t), (o0, o1)) in limbs.enumerate().zip(outputs) {
            let limb = self.ring.limb(s.prime_index(t));
            let mut d: Vec<&[u64]> = Vec::with_capacity(s.digits.len());
            for (digit, buffer) in s.digits.iter().zip(digits.chunks_exact_mut(size)) {
                if digit.contains(&t) {
                    d.push(self.x.limb(t));
                } else {
                    let values = &mut buffer[i * n..(i + 1) * n];
                    limb.forward(values);
                    d.push(values);
                }
            }
            let [x0, x1] = s.key_limbs(n, &self.key[..d.len()], t);
            limb.inner_product(&d, &x0, &x1, self.permutation, false, o0, o1);
        }
    }
}
