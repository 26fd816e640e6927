//! The security gate.

use crate::error::{CkksError, Result};

/// Largest log2(QP) for 128-bit classical security with ternary secrets and sigma = 3.2, by log2(N): table 5.2 of
/// Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, 2024.
const LIMITS: [(u32, u32); 8] =
    [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

/// Largest log2 of the modulus under which the ephemeral secret of bootstrapping (32 non-zero coefficients) may
/// have key-switching keys. No published table covers so sparse a secret; these are the largest moduli of published sets.
///
/// - N = 2^16: `q_0 p_0` of 60 + 61 bits, in every set of this degree that the authors of the sparse-secret encapsulation
///   (Bossuat, Troncoso-Pastoriza and Hubaux, Bootstrapping for Approximate Homomorphic Encryption with Negligible
///   Failure-Probability by Using Sparse-Secret Encapsulation, 2022, <https://eprint.iacr.org/2022/024>) ship in Lattigo
///   (`circuits/ckks/bootstrapping/default_parameters.go`, keys for the secret under `Q[:1]`, `P[:1]`). OpenFHE goes
///   further with the same weight: first moduli up to 60 bits and 66 special ones (its pull request 1318, 2026).
/// - N = 2^17: no set is known; a secret of the same weight under the same modulus is no easier to find among more
///   coefficients.
///
/// Parameters here stay below: two primes below 2^50. Other degrees are refused.
const SPARSE_LIMITS: [(u32, u32); 2] = [(16, 121), (17, 121)];

/// The admitted bits of QP at ring degree `2^log_n`, or `None` where no bound is known.
pub fn max_log_qp(log_n: u32) -> Option<u32> {
    LIMITS.iter().find(|(n, _)| *n == log_n).map(|(_, bits)| *bits)
}

/// Refuses a modulus that is too large for 128-bit security.
pub(crate) fn check(log_n: u32, log_qp: f64) -> Result<()> {
    let limit =
        max_log_qp(log_n).ok_or_else(|| CkksError::Params(format!("no security bound is known for N = 2^{log_n}")))?;
    if log_qp <= f64::from(limit) {
        return Ok(());
    }
    let needed = LIMITS.iter().find(|(_, bits)| log_qp <= f64::from(*bits)).map_or(18, |(n, _)| *n);
    Err(CkksError::Security { log_n, log_qp, limit, needed })
}

/// Refuses a modulus of the ephemeral sparse secret that is too large for 128-bit security.
pub(crate) fn check_sparse(log_n: u32, log_qp: f64) -> Result<()> {
    match SPARSE_LIMITS.iter().find(|(n, _)| *n == log_n) {
        Some((_, limit)) if log_qp <= f64::from(*limit) => Ok(()),
        Some((_, limit)) => Err(CkksError::Params(format!(
            "keys of the sparse ephemeral secret would have a modulus of {log_qp:.1} bits, but 128-bit security is known up \
             to {limit} only"
        ))),
        None => Err(CkksError::Params(format!(
            "the sparse ephemeral secret of bootstrapping has no known 128-bit bound at N = 2^{log_n}; take N = 2^16"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sparse_secret_meets_two_primes_and_not_three() {
        for log_n in [16, 17] {
            assert!(check_sparse(log_n, 100.0).is_ok());
            let refused = check_sparse(log_n, 150.0);
            assert!(matches!(refused, Err(CkksError::Params(m)) if m.contains("150.0 bits") && m.contains("121")));
        }
        assert!(matches!(check_sparse(15, 60.0), Err(CkksError::Params(_))));
    }
}
