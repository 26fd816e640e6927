//! The security gate, by the bounds of [`fhec_parameters`].

use crate::error::{CkksError, Result};
use fhec_parameters::{SPARSE_WEIGHT, least_log_n, max_log_qp, max_log_qp_sparse};

/// Refuses a modulus that is too large for 128-bit security.
pub(crate) fn check(log_n: u32, log_qp: f64) -> Result<()> {
    let limit =
        max_log_qp(log_n).ok_or_else(|| CkksError::Params(format!("no security bound is known for N = 2^{log_n}")))?;
    if log_qp <= f64::from(limit) {
        return Ok(());
    }
    Err(CkksError::Security { log_n, log_qp, limit, needed: least_log_n(log_qp).unwrap_or(18) })
}

/// Refuses an ephemeral sparse secret that has too few non-zero coefficients or meets too large a modulus for 128-bit
/// security.
pub(crate) fn check_sparse(log_n: u32, weight: u32, log_qp: f64) -> Result<()> {
    if weight < SPARSE_WEIGHT {
        let reason = format!("the ephemeral secret needs at least {SPARSE_WEIGHT} non-zero coefficients");
        return Err(CkksError::Params(reason));
    }
    match max_log_qp_sparse(log_n) {
        Some(limit) if log_qp <= f64::from(limit) => Ok(()),
        Some(limit) => Err(CkksError::Params(format!(
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
            assert!(check_sparse(log_n, 32, 100.0).is_ok());
            let refused = check_sparse(log_n, 32, 150.0);
            assert!(
                matches!(refused, Err(CkksError::Params(m)) if m.contains("150.0 bits") && m.contains("up to 100"))
            );
        }
        assert!(matches!(check_sparse(15, 32, 60.0), Err(CkksError::Params(_))));
        assert!(matches!(check_sparse(16, 31, 60.0), Err(CkksError::Params(m)) if m.contains("32 non-zero")));
    }
}
