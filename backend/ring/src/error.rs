//! Says what can be wrong with the parameters of a ring.

use thiserror::Error;

/// A ring, modulus or conversion table that cannot be built from what was given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RingError {
    /// The modulus is even, below 3, or does not fit the vector kernels.
    #[error("modulus {0} must be odd and in 3..2^50")]
    Modulus(u64),
    /// The modulus is no prime, or has no primitive root of unity of order 2N.
    #[error("modulus {q} is not a prime = 1 mod {order}, which the transform of this size needs")]
    NotNttPrime {
        /// The refused modulus.
        q: u64,
        /// The order 2N of the root of unity needed.
        order: u64,
    },
    /// The same prime was given twice: residues would not determine the value.
    #[error("prime {0} occurs twice in the chain")]
    DuplicatePrime(u64),
    /// The ring degree is outside the supported range.
    #[error("ring degree 2^{0} is outside 2^1..2^17")]
    Degree(u32),
    /// No further prime of the wanted kind exists in the admitted range.
    #[error("no unused prime = 1 mod {order} near {target} below 2^50")]
    NoPrime {
        /// The value the prime should be near to.
        target: u64,
        /// The order 2N.
        order: u64,
    },
    /// An automorphism exponent that is even or zero.
    #[error("automorphism exponent {0} must be odd")]
    AutomorphismExponent(u64),
    /// An index into the prime chain that does not exist, or a set that is empty or overlaps another.
    #[error("limb sets of a base conversion must be non-empty, distinct and within the chain of {0} primes")]
    LimbSet(usize),
}
