//! What a CKKS instance is built from: bit sizes, from which an engine derives its primes.

use serde::{Deserialize, Serialize};

use crate::circuit::Circuit;
use crate::security::max_log_qp;

/// The largest bit size of a prime: residues below 2^50 are what the transforms of AVX-512-IFMA and of double precision
/// multiply exactly.
pub const MAX_PRIME_BITS: u32 = 50;

/// The most levels that the engine takes: beyond, what a program saves by its small scale is lost in precision.
pub const MAX_LEVELS: u32 = 80;

/// Parameters of a CKKS instance. The same parameters give the same primes.
///
/// ```
/// use fhec_parameters::{Circuit, ParamSpec};
/// let spec = ParamSpec {
///     log_n: 16,
///     first_bits: 50,
///     scale_bits: 40,
///     levels: 10,
///     special_bits: 50,
///     special: 5,
///     bootstrap: Some(Circuit::compact(40).into()),
///     insecure: false,
/// };
/// assert_eq!((spec.slots(), spec.primes(), spec.log_qp()), (1 << 15, 27, 50 + 10 * 40 + 3 * 42 + 13 * 50 + 5 * 50));
/// assert!(spec.max_log_qp().is_some_and(|most| spec.log_qp() < most));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// log2 of the ring degree N; N/2 slots.
    pub log_n: u32,
    /// Bits of the first prime q_0: `first_bits - scale_bits - 1` bits is the largest magnitude at level 0.
    pub first_bits: u32,
    /// log2 of the scale, and the size of the primes of levels 1..=levels.
    pub scale_bits: u32,
    /// The highest level of programs: the number of rescalings that a fresh ciphertext allows.
    pub levels: u32,
    /// Bits of each special prime; at least those of any other prime.
    pub special_bits: u32,
    /// Number of special primes; also the most limbs of one key-switching digit.
    pub special: u32,
    /// How ciphertexts are bootstrapped; the primes for it lie above those of `levels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapSpec>,
    /// Set when the parameters are below 128-bit security at the user's explicit request. The mark stays with everything
    /// that is made under them.
    #[serde(default)]
    pub insecure: bool,
}

/// What a bootstrap takes, and the circuit that the engine builds for it. Compilers read the levels and
/// [`log_q`](Self::log_q); the circuit is the engine's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSpec {
    /// Levels that a bootstrap consumes above the one it restores.
    pub levels: u32,
    /// The circuit. An engine refuses one that consumes another number of levels.
    #[serde(flatten)]
    pub circuit: Circuit,
}

impl From<Circuit> for BootstrapSpec {
    fn from(circuit: Circuit) -> Self {
        Self { levels: circuit.levels(), circuit }
    }
}

impl BootstrapSpec {
    /// log2 of the product of its primes, each counted with its full bit size.
    pub fn log_q(&self) -> u32 {
        let Circuit { stc_levels, stc_bits, mod_bits, .. } = self.circuit;
        let others = self.levels.saturating_sub(stc_levels);
        stc_levels.saturating_mul(stc_bits).saturating_add(others.saturating_mul(mod_bits))
    }
}

impl ParamSpec {
    /// Upper bound on log2(Q·P): every prime is counted with its full bit size.
    pub fn log_qp(&self) -> u32 {
        let bootstrap = self.bootstrap.as_ref().map_or(0, BootstrapSpec::log_q);
        let primes = self.first_bits + self.levels * self.scale_bits + self.special * self.special_bits;
        primes.saturating_add(bootstrap)
    }
    /// The bound on log2(Q·P) for this ring degree; `None` when no secure choice is tabulated.
    pub fn max_log_qp(&self) -> Option<u32> {
        max_log_qp(self.log_n)
    }
    /// Number of primes beside the special ones: those of programs, and those of bootstrapping above them.
    pub fn primes(&self) -> usize {
        (1 + self.levels + self.bootstrap.as_ref().map_or(0, |b| b.levels)) as usize
    }
    /// Number of slots of a full ciphertext.
    pub fn slots(&self) -> usize {
        1 << (self.log_n - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans state these fields in this order.
    #[test]
    fn the_written_form_has_the_fields_of_the_circuit_beside_its_levels() {
        let bootstrap = BootstrapSpec::from(Circuit::compact(42));
        let text = serde_json::to_string(&bootstrap).unwrap();
        assert!(
            text.starts_with(r#"{"levels":16,"cts_levels":4,"stc_levels":3,"stc_bits":42,"mod_bits":50,"#),
            "{text}"
        );
        assert!(text.ends_with(r#""arcsine_degree":1,"ratio_bits":8,"sparse_weight":32}"#), "{text}");
        assert_eq!(serde_json::from_str::<BootstrapSpec>(&text).unwrap(), bootstrap);
    }
}
