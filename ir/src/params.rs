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
    /// The circuit of bootstrapping; its primes lie above those of `levels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapSpec>,
    /// Set when the parameters are below 128-bit security at the user's explicit request.
    #[serde(default)]
    pub insecure: bool,
}

/// How ciphertexts are bootstrapped: the numbers that the engine builds its circuit and its primes from, under the engine's
/// names (`fhec_ckks::BootstrapSpec` explains each).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSpec {
    /// Levels that a bootstrap consumes above the one it restores.
    pub levels: u32,
    /// Factors of CoeffsToSlots, one level each.
    pub cts_levels: u32,
    /// Factors of SlotsToCoeffs, one level each.
    pub stc_levels: u32,
    /// Bits of the primes of SlotsToCoeffs.
    pub stc_bits: u32,
    /// Bits of the primes of EvalMod and CoeffsToSlots.
    pub mod_bits: u32,
    /// Least bits of the scale of EvalMod's Chebyshev polynomials.
    pub mod_scale_bits: u32,
    /// Least bits of the scale of their sums.
    pub sum_scale_bits: u32,
    /// Bound on the multiples of q_0 that EvalMod removes.
    pub k: u32,
    /// Degree of the interpolant of the cosine.
    pub degree: u32,
    /// Double-angle steps.
    pub double_angle: u32,
    /// Degree of the arcsine polynomial.
    pub arcsine_degree: u32,
    /// log2 of q_0 over the largest message.
    pub ratio_bits: u32,
    /// Non-zero coefficients of the ephemeral secret; 0: none is used.
    pub sparse_weight: u32,
}

impl BootstrapSpec {
    /// log2 of the product of its primes.
    pub fn log_q(&self) -> u32 {
        self.stc_levels * self.stc_bits + self.levels.saturating_sub(self.stc_levels) * self.mod_bits
    }
}

impl ParamSpec {
    /// Upper bound on log2(Q·P): every prime is counted with its full bit size.
    pub fn log_qp(&self) -> u32 {
        let bootstrap = self.bootstrap.as_ref().map_or(0, BootstrapSpec::log_q);
        self.first_bits + self.levels * self.scale_bits + bootstrap + self.special * self.special_bits
    }
    /// The bound on log2(Q·P) for this ring degree; `None` when no secure choice is tabulated.
    pub fn max_log_qp(&self) -> Option<u32> {
        fhec_security::max_log_qp(self.log_n)
    }
    /// Number of slots of a full ciphertext.
    pub fn slots(&self) -> usize {
        1 << (self.log_n - 1)
    }
}
