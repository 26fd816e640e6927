//! The security gate.

use crate::error::{CkksError, Result};

/// Largest log2(QP) for 128-bit classical security with ternary secrets and sigma = 3.2, by log2(N): table 5.2 of
/// Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, 2024.
const LIMITS: [(u32, u32); 8] =
    [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

/// Largest log2 of the modulus under which the ephemeral secret of bootstrapping (32 non-zero coefficients) may
/// have key-switching keys. Sparse-secret encapsulation gives it keys over one ciphertext and one special prime only.
///
/// At N = 2^16 the 60 + 61 bits of these two primes in the parameter sets that the authors of the technique publish
/// (`N16QP1767H32768H32` and others, `circuits/ckks/bootstrapping/default_parameters.go` of Lattigo v6, for Bossuat,
/// Troncoso-Pastoriza and Hubaux, Bootstrapping for Approximate Homomorphic Encryption with Negligible
/// Failure-Probability by Using Sparse-Secret Encapsulation, 2022, eprint 2022/024). At N = 2^17 twice that, for the same
/// ratio of modulus bits to N; no set is published. Other degrees are refused: at N = 2^15 the same source has 40 + 56 bits
/// (`N15QP880H16384H32`), which leaves no useful preset (`docs/bootstrapping.md`).
const SPARSE_LIMITS: [(u32, u32); 2] = [(16, 121), (17, 242)];

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
        Some((_, limit)) => Err(CkksError::Security { log_n, log_qp, limit: *limit, needed: log_n + 1 }),
        None => Err(CkksError::Params(format!(
            "the sparse ephemeral secret of bootstrapping has no known 128-bit bound at N = 2^{log_n}; take N = 2^16"
        ))),
    }
}
