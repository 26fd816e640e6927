//! Randomness and the distributions drawn from it.

use fhec_ckks::{CkksError, Result, Seed};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
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
        Ok(Self::from_seed(&seed))
    }

    /// The stream of a given seed: whoever knows the seed knows all that is drawn. For tests and reproductions.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { rng: ChaCha20Rng::from_seed(*seed) }
    }

    /// A seed for something public or secret.
    pub(crate) fn seed(&mut self) -> Seed {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    /// `n` errors: centred binomial, sigma 3.24.
    pub(crate) fn errors(&mut self, n: usize) -> Zeroizing<Vec<i64>> {
        let mask = (1u64 << BINOMIAL) - 1;
        let draw = |word: u64| (word & mask).count_ones() as i64 - (word >> BINOMIAL & mask).count_ones() as i64;
        Zeroizing::new((0..n).map(|_| draw(self.rng.next_u64())).collect())
    }

    /// `n` uniform values of -1, 0 and 1.
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
    pub(crate) fn sparse_ternary(&mut self, n: usize, weight: usize) -> Zeroizing<Vec<i64>> {
        let mut out = Zeroizing::new(vec![0; n]);
        let mut placed = 0;
        while placed < weight.min(n) {
            let word = self.rng.next_u64();
            // n is a power of two: the low bits are a uniform position.
            let position = word as usize & (n - 1);
            if out[position] == 0 {
                out[position] = if word >> 63 == 0 { 1 } else { -1 };
                placed += 1;
            }
        }
        out
    }
}
