//! What the tests of kernels work on: words, primes, and a ring for every instruction set.

use fhec_ring::{Isa, Modulus, Ring, ntt_primes};

/// A deterministic stream of words (splitmix64).
pub struct Words(pub u64);

impl Words {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Residues, of which some are the extreme ones.
    pub fn residues(&mut self, m: &Modulus, len: usize) -> Vec<u64> {
        (0..len)
            .map(|_| match self.word() % 16 {
                0 => m.value() - 1,
                1 => 0,
                _ => self.word() % m.value(),
            })
            .collect()
    }
}

/// Primes of every kind that the kernels distinguish: near powers of two on both sides, at the limits of what counts
/// as near (1/40), far from any (about 2^49.5), below 2^46.8, and the smallest there are.
pub fn assorted_primes(log_n: u32) -> Vec<u64> {
    let mut primes = Vec::new();
    let (high, low) = (1u64 << 50, 1u64 << 49);
    let targets = [
        high - 1,
        high - high / 41,
        796_131_459_065_721,
        low + low / 41,
        low,
        low - low / 41,
        3 << 47,
        1 << 48,
        1 << 47,
        (1 << 46) + (1 << 45),
        1 << 40,
        1,
    ];
    for target in targets {
        primes.extend(ntt_primes(log_n, target, 2, &primes).unwrap());
    }
    primes
}

/// The same ring for every instruction set of this machine, the portable one first.
pub fn rings(log_n: u32, primes: &[u64]) -> Vec<Ring> {
    Isa::available().into_iter().map(|isa| Ring::new(log_n, primes, isa).unwrap()).collect()
}
