//! All randomness comes from here, with the distributions that are drawn from it.

use fhec_ckks::{CkksError, Result, Seed};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// A stream of secret random numbers: ChaCha20 under a seed of the operating system.
pub struct Randomness {
    rng: ChaCha20Rng,
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.rng = ChaCha20Rng::from_seed([0; 32]);
        // The overwritten state must not be optimised away as unused.
        std::hint::black_box(&self.rng);
    }
}

/// Coins on either side of the centred binomial error: variance 10.5, sigma 3.24.
const BINOMIAL: u32 = 21;

impl Randomness {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn system() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..])
            .map_err(|e| CkksError::System(format!("the operating system gave no randomness: {e}")))?;
        Ok(Self::of_seed(&seed))
    }

    /// The stream of a given seed: whoever knows the seed knows all that is drawn.
    #[cfg(feature = "deterministic")]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::of_seed(seed)
    }

    pub(crate) fn of_seed(seed: &[u8; 32]) -> Self {
        Self { rng: ChaCha20Rng::from_seed(*seed) }
    }

    /// Bytes that nobody foresees and that need not be secret: what tells one request from another.
    pub fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.seed()[..16]);
        nonce
    }

    /// A seed for something public.
    pub(crate) fn seed(&mut self) -> Seed {
        *self.secret_seed()
    }

    /// A seed for something secret.
    pub(crate) fn secret_seed(&mut self) -> Zeroizing<Seed> {
        let mut seed = Zeroizing::new([0; 32]);
        self.rng.fill_bytes(&mut seed[..]);
        seed
    }

    /// `n` errors: centred binomial, sigma 3.24.
    pub(crate) fn errors(&mut self, n: usize) -> Zeroizing<Vec<i64>> {
        let mask = (1u64 << BINOMIAL) - 1;
        let draw = |word: u64| (word & mask).count_ones() as i64 - (word >> BINOMIAL & mask).count_ones() as i64;
        Zeroizing::new((0..n).map(|_| draw(self.rng.next_u64())).collect())
    }

    /// A number of the discrete Gaussian of this deviation, which is below 2^58: uniform numbers of up to twelve deviations,
    /// kept with the probability that they have (beyond nine deviations less than 2^-60 is missing).
    pub(crate) fn gaussian(&mut self, deviation: i64) -> i64 {
        const DEVIATIONS: i64 = 12;
        let bound = DEVIATIONS * deviation;
        let mask = u64::MAX >> (2 * bound as u64).leading_zeros();
        loop {
            let candidate = (self.rng.next_u64() & mask) as i64 - bound;
            let z = candidate as f64 / deviation as f64;
            let coin = self.rng.next_u64() as f64 * 2f64.powi(-64);
            if candidate <= bound && coin < (-z * z / 2.0).exp() {
                return candidate;
            }
        }
    }

    /// `n` uniform values of -1, 0 and 1. What takes different time is how many coins are skipped, and these are in no
    /// value.
    pub(crate) fn ternary(&mut self, n: usize) -> Zeroizing<Vec<i64>> {
        let mut out = Zeroizing::new(Vec::with_capacity(n));
        while out.len() < n {
            let mut word = self.rng.next_u64();
            for _ in 0..32 {
                if word & 3 < 3 && out.len() < n {
                    out.push((word & 3) as i64 - 1);
                }
                word >>= 2;
            }
        }
        out
    }

    /// `n` values of which `weight`, in random places, are -1 or 1 and the rest 0.
    ///
    /// Every value is visited for every place: the addresses tell nothing of the places. What shows is how often a place was
    /// taken already, and that does not depend on where it is.
    pub(crate) fn sparse_ternary(&mut self, n: usize, weight: usize) -> Zeroizing<Vec<i64>> {
        let mut out = Zeroizing::new(vec![0i64; n]);
        let mut placed = 0;
        while placed < weight.min(n) {
            let word = self.rng.next_u64();
            // n is a power of two: the low bits are a uniform position. The top bit is the sign.
            let (position, sign) = (word & (n as u64 - 1), 1 - 2 * (word >> 63) as i64);
            let mut free = Choice::from(0);
            for (i, value) in (0u64..).zip(out.iter_mut()) {
                let here = i.ct_eq(&position) & value.ct_eq(&0);
                value.conditional_assign(&sign, here);
                free |= here;
            }
            placed += usize::from(free.unwrap_u8());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_a_look_up_would_take() {
        for (seed, n, weight) in [(1, 64, 32), (2, 1024, 32), (3, 16, 16), (4, 8, 100)] {
            let mut expected = vec![0i64; n];
            let mut random = Randomness::of_seed(&[seed; 32]);
            while expected.iter().filter(|&&v| v != 0).count() < weight.min(n) {
                let word = random.rng.next_u64();
                let value = &mut expected[word as usize % n];
                if *value == 0 {
                    *value = if word >> 63 == 0 { 1 } else { -1 };
                }
            }
            assert_eq!(*Randomness::of_seed(&[seed; 32]).sparse_ternary(n, weight), expected);
        }
    }
}
