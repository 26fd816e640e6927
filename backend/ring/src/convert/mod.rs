//! Base conversion gives residues modulo one set of primes from residues modulo another.
//!
//! For sources `q_1..q_k` with product `Q`, an integer is `x = sum_i y_i Q/q_i - v Q` with
//! `y_i = x (Q/q_i)^-1 mod q_i`; the sum is taken modulo every target with lazy accumulation, and `v` comes from
//! `sum_i y_i/q_i` in double precision (Halevi, Polyakov and Shoup, An improved RNS variant of BFV, 2019).

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::error::RingError;
use crate::isa::Isa;
use crate::modulus::{MAX_TERMS, Modulus};
use crate::parallel;
use crate::ring::Ring;

/// Which integer the residues of the source stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lift {
    /// Some representative in `[0, k Q)`: one term less per output.
    Approximate,
    /// The representative in `(-Q/2, Q/2)`. A value within about `k 2^-52 Q` of `Q/2` may come out as its
    /// neighbour of the other sign; which, is the same on every instruction set.
    Centred,
}

/// Tables to convert from the primes `from` to the primes `to` of one ring.
#[derive(Debug)]
pub struct BaseConverter {
    isa: Isa,
    n: usize,
    from: Vec<usize>,
    to: Vec<usize>,
    sources: Vec<Modulus>,
    targets: Vec<Modulus>,
    /// `(Q/q_i)^-1 mod q_i`.
    punctured_inverse: Vec<u64>,
    /// `1/q_i`.
    reciprocals: Vec<f64>,
    /// For every target `k + 1` constants: `Q/q_i mod p`, then `-Q mod p`; times 2^52 for the vector kernel.
    constants: Vec<u64>,
}

/// Coefficients handled at a time: the sources of a block stay in the first-level cache over all targets.
const BLOCK: usize = 512;

impl BaseConverter {
    /// Tables for the primes of `ring` with the indices `from` (distinct) and `to`.
    ///
    /// # Errors
    /// An index beyond the chain, no source, or one that stands twice.
    pub fn new(ring: &Ring, from: &[usize], to: &[usize]) -> Result<Self, RingError> {
        let bad = RingError::LimbSet(ring.moduli().len());
        let distinct = from.iter().enumerate().all(|(i, f)| !from[..i].contains(f));
        // A sum has a term for every source and one for the multiple of Q.
        if from.is_empty()
            || from.len() >= MAX_TERMS
            || !distinct
            || from.iter().chain(to).any(|&i| i >= ring.moduli().len())
        {
            return Err(bad);
        }
        let sources: Vec<Modulus> = from.iter().map(|&i| ring.modulus(i)).collect();
        let targets: Vec<Modulus> = to.iter().map(|&i| ring.modulus(i)).collect();
        let punctured = |m: &Modulus, skip: usize| {
            let others = sources.iter().enumerate().filter(|&(i, _)| i != skip);
            others.fold(m.reduce_u64(1), |acc, (_, q)| m.mul(acc, m.reduce_u64(q.value())))
        };
        let punctured_inverse = sources
            .iter()
            .enumerate()
            .map(|(i, m)| m.inv(punctured(m, i)).ok_or(bad.clone()))
            .collect::<Result<_, _>>()?;
        let mut constants = Vec::with_capacity(targets.len() * (sources.len() + 1));
        for m in &targets {
            constants.extend((0..sources.len()).map(|i| punctured(m, i)));
            constants.push(m.neg(punctured(m, sources.len())));
        }
        if ring.isa() == Isa::Avx512Ifma && ring.n().is_multiple_of(8) {
            for (row, m) in constants.chunks_exact_mut(sources.len() + 1).zip(&targets) {
                row.iter_mut().for_each(|c| *c = m.to_mont52(*c));
            }
        }
        let reciprocals = sources.iter().map(|q| 1.0 / q.value() as f64).collect();
        Ok(Self {
            isa: ring.isa(),
            n: ring.n(),
            from: from.to_vec(),
            to: to.to_vec(),
            sources,
            targets,
            punctured_inverse,
            reciprocals,
            constants,
        })
    }

    /// Indices of the source primes.
    pub fn from(&self) -> &[usize] {
        &self.from
    }

    /// Indices of the target primes.
    pub fn to(&self) -> &[usize] {
        &self.to
    }

    /// `(Q/q_i)^-1 mod q_i` of source `i`: what its residues must be multiplied with before
    /// [`convert`](Self::convert); [`Limb::inverse_scaled`](crate::Limb::inverse_scaled) does it for nothing.
    pub fn punctured_inverse(&self, i: usize) -> u64 {
        self.punctured_inverse[i]
    }

    /// Multiplies each source limb by its [`punctured_inverse`](Self::punctured_inverse).
    pub fn prepare(&self, ring: &Ring, sources: &mut [&mut [u64]]) {
        assert_eq!(sources.len(), self.from.len());
        for ((limb, &i), &w) in sources.iter_mut().zip(&self.from).zip(&self.punctured_inverse) {
            ring.limb(i).mul_scalar_assign(limb, w);
        }
    }

    /// Converts prepared coefficients `sources` to all targets.
    ///
    /// # Panics
    /// When the numbers of limbs are not those of the tables, or lengths are not `N`.
    pub fn convert(&self, sources: &[&[u64]], lift: Lift, out: &mut [&mut [u64]]) {
        assert!(sources.len() == self.from.len() && out.len() == self.to.len());
        let n = self.n;
        assert!(sources.iter().all(|s| s.len() == n) && out.iter().all(|s| s.len() == n));
        let tasks = rayon::current_num_threads().min(n.div_ceil(BLOCK)).max(1);
        let per_task = n.div_ceil(tasks).next_multiple_of(BLOCK);
        let mut parts: Vec<Vec<&mut [u64]>> = Vec::new();
        parts.resize_with(n.div_ceil(per_task), || Vec::with_capacity(out.len()));
        for limb in out.iter_mut() {
            for (part, chunk) in parts.iter_mut().zip(limb.chunks_mut(per_task)) {
                part.push(chunk);
            }
        }
        parallel::for_each(parts, |task, mut part| self.run(sources, task * per_task, lift, 0, &mut part));
    }

    /// Converts to the targets from number `first` on, as many as `out` has, on the calling thread: for callers that
    /// work on some targets while these are in the cache.
    ///
    /// # Panics
    /// As [`convert`](Self::convert), or when there are fewer targets.
    pub fn convert_some(&self, first: usize, sources: &[&[u64]], lift: Lift, out: &mut [&mut [u64]]) {
        assert!(sources.len() == self.from.len() && first + out.len() <= self.to.len());
        assert!(sources.iter().all(|s| s.len() == self.n) && out.iter().all(|s| s.len() == self.n));
        self.run(sources, 0, lift, first, out);
    }

    /// Converts the coefficients from `start` on to the targets from `first` on, as many as `out` has of either.
    fn run(&self, sources: &[&[u64]], start: usize, lift: Lift, first: usize, out: &mut [&mut [u64]]) {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa` values in a ring are supported by this machine; the callers have compared all lengths,
            // and lengths and starts of parts are multiples of eight where N is.
            Isa::Avx512Ifma if self.n.is_multiple_of(8) => unsafe {
                avx512::convert(self, sources, start, lift, first, out);
            },
            _ => portable::convert(self, sources, start, lift, first, out),
        }
    }

    /// Constants of target `j`.
    fn row(&self, j: usize) -> &[u64] {
        let width = self.sources.len() + 1;
        &self.constants[j * width..(j + 1) * width]
    }
}
