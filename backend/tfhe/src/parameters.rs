//! The parameter sets, as the crate `tfhe` publishes them.

use crate::error::TfheError;

/// A standard parameter set: 128 bits of security, and a failure probability below 2^-128 for a table that is applied to a sum
/// within `bits` and `norm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterSet {
    /// Bits of the message space: a sum that a table is applied to takes 2^bits values.
    pub bits: u32,
    /// Dimension of the key that is switched to before a bootstrap.
    pub lwe_dimension: usize,
    /// Polynomials of a GLWE key.
    pub glwe_dimension: usize,
    /// Coefficients of each.
    pub polynomial_size: usize,
    /// Digits of a bootstrap.
    pub pbs_level: usize,
    /// Bits of each.
    pub pbs_base_log: usize,
    /// Digits of the key switch.
    pub ks_level: usize,
    /// Bits of each.
    pub ks_base_log: usize,
    /// The largest Euclidean norm of the weights of a sum that a table is applied to.
    pub norm: f64,
    /// log2 of the standard deviation that a bootstrap leaves, over the torus: the formula of
    /// `tfhe::core_crypto::commons::noise_formulas`.
    pub log2_deviation: f64,
}

/// The sets, smallest first: those of `tfhe` 1.8 named `V1_8_PARAM_MESSAGE_m_CARRY_m_KS_PBS_TUNIFORM_2M128`, whose message and carry
/// make up one message space of 2·m bits here.
pub const SETS: [ParameterSet; 4] = [
    ParameterSet {
        bits: 2,
        lwe_dimension: 879,
        glwe_dimension: 4,
        polynomial_size: 512,
        pbs_level: 1,
        pbs_base_log: 23,
        ks_level: 3,
        ks_base_log: 5,
        norm: 3.0,
        log2_deviation: -15.01,
    },
    ParameterSet {
        bits: 4,
        lwe_dimension: 918,
        glwe_dimension: 1,
        polynomial_size: 2048,
        pbs_level: 1,
        pbs_base_log: 23,
        ks_level: 4,
        ks_base_log: 4,
        norm: 5.0,
        log2_deviation: -14.82,
    },
    ParameterSet {
        bits: 6,
        lwe_dimension: 1077,
        glwe_dimension: 1,
        polynomial_size: 8192,
        pbs_level: 2,
        pbs_base_log: 15,
        ks_level: 5,
        ks_base_log: 4,
        norm: 9.0,
        log2_deviation: -20.66,
    },
    ParameterSet {
        bits: 8,
        lwe_dimension: 1117,
        glwe_dimension: 1,
        polynomial_size: 65536,
        pbs_level: 3,
        pbs_base_log: 11,
        ks_level: 7,
        ks_base_log: 3,
        norm: 17.0,
        log2_deviation: -21.32,
    },
];

/// Standard deviations that the error of a result must stay below: a normally distributed error lies beyond with probability 2^-130.
const DEVIATIONS: f64 = 13.2;
/// log2 of the standard deviation of a fresh ciphertext, over the torus, at most: uniform numbers of up to 18 bits in words of 64.
const LOG2_FRESH: f64 = -46.0;

impl ParameterSet {
    /// The set with a message space of so many bits.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_bits(bits: u32) -> Result<&'static Self, TfheError> {
        SETS.iter().find(|set| set.bits == bits).ok_or(TfheError::NoParameters(bits))
    }
    /// The largest norm of the weights of a result of so many bits, whose noise is that of its operands alone: no table follows.
    pub fn result_norm(&self, bits: u32) -> f64 {
        2f64.powf(-f64::from(bits) - 2.0 - self.log2_deviation) / DEVIATIONS
    }
    /// Bits that results may have for weights of a norm of 4 at least, more bits for smaller norms.
    pub fn result_bits(&self) -> impl Iterator<Item = u32> + '_ {
        (1..=20).filter(|&bits| (4.0..64.0).contains(&self.result_norm(bits)))
    }
    /// The noise of a fresh ciphertext, as a share of what a bootstrap leaves.
    pub fn fresh(&self) -> f64 {
        2f64.powf(LOG2_FRESH - self.log2_deviation)
    }
    /// Elements of the mask of a ciphertext.
    pub fn mask(&self) -> usize {
        self.glwe_dimension * self.polynomial_size
    }
    /// Words of a ciphertext.
    pub fn ciphertext_words(&self) -> usize {
        self.mask() + 1
    }
    /// Words of the key switching key in a file.
    pub fn ks_words(&self) -> usize {
        self.mask() * self.ks_level
    }
    /// Words of the bootstrapping key in a file.
    pub fn pbs_words(&self) -> usize {
        self.lwe_dimension * self.pbs_level * (self.glwe_dimension + 1) * self.polynomial_size
    }
    /// Bytes of the evaluation keys in a file.
    pub fn key_bytes(&self) -> u64 {
        ((self.ks_words() + self.pbs_words()) * size_of::<u64>()) as u64
    }
    /// Bytes of the evaluation keys in the memory of a server.
    pub fn key_memory(&self) -> u64 {
        let ks = self.ks_words() * (self.lwe_dimension + 1);
        // The polynomials of the bootstrapping key are kept transformed, masks among them.
        let pbs = self.pbs_words() * (self.glwe_dimension + 1);
        ((ks + pbs) * size_of::<u64>()) as u64
    }
}

/// The distance of two neighbours in a message space of so many bits in a word of 64, whose highest bit stays free.
#[cfg(feature = "engine")]
pub(crate) fn delta(bits: u32) -> u64 {
    1 << (u64::BITS - 1 - bits)
}
