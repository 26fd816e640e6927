//! Encryption parameters as the compiler chooses them: bit sizes, from which the engine derives the primes.

use serde::{Deserialize, Serialize};

/// Parameters of a CKKS instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// log2 of the ring degree N; N/2 slots.
    pub log_n: u32,
    /// Bits of the first prime q_0, which bounds the message at level 0.
    pub first_bits: u32,
    /// log2 of the scale, and the size of the primes of levels 1..=levels.
    pub scale_bits: u32,
    /// The highest level.
    pub levels: u32,
    /// Bits of each special prime.
    pub special_bits: u32,
    /// Number of special primes; also the limbs of one key-switching digit.
    pub special: u32,
    /// Set when the parameters are below 128-bit security at the user's explicit request.
    #[serde(default)]
    pub insecure: bool,
}

/// Largest log2(Q·P) for 128-bit classical security with a ternary secret, as `(log2 N, bits)`.
/// Source: Security Guidelines for Implementing Homomorphic Encryption (Bossuat et al., 2024), table 5.2.
pub const MAX_LOG_QP: &[(u32, u32)] = &[(12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

impl ParamSpec {
    /// Upper bound on log2(Q·P): every prime is counted with its full bit size.
    pub fn log_qp(&self) -> u32 {
        self.first_bits + self.levels * self.scale_bits + self.special * self.special_bits
    }
    /// The bound on log2(Q·P) for this ring degree; `None` when no secure choice is tabulated.
    pub fn max_log_qp(&self) -> Option<u32> {
        MAX_LOG_QP.iter().find(|(n, _)| *n == self.log_n).map(|&(_, bits)| bits)
    }
    /// Number of slots of a full ciphertext.
    pub fn slots(&self) -> usize {
        1 << (self.log_n - 1)
    }
}
