//! The bounds of 128-bit security.

/// Largest log2(QP) for 128-bit classical security with a uniform ternary secret and errors of sigma = 3.2, by log2(N):
/// table 5.2 of Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, 2024.
const MAX_LOG_QP: [(u32, u32); 8] =
    [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

/// Largest log2 of the modulus under which the ephemeral secret of bootstrapping (at least [`SPARSE_WEIGHT`] non-zero
/// coefficients) may have key-switching keys: two primes below 2^50. No published table covers so sparse a secret; the lattice
/// estimator puts every attack it knows on 2^16 samples modulo 2^100 above 2^169 operations (`docs/bootstrapping.md`, where the
/// larger moduli that others take at this weight stand too).
///
/// At N = 2^17 a secret of the same weight under the same modulus is no easier to find among more coefficients. Other degrees
/// have no bound.
const MAX_LOG_QP_SPARSE: [(u32, u32); 2] = [(16, 100), (17, 100)];

/// The fewest non-zero coefficients of the ephemeral secret for which [`max_log_qp_sparse`] holds.
pub const SPARSE_WEIGHT: u32 = 32;

/// The largest log2(QP) with 128-bit security at ring degree `2^log_n`; `None` where no bound is known.
pub fn max_log_qp(log_n: u32) -> Option<u32> {
    rings().find(|&(n, _)| n == log_n).map(|(_, bits)| bits)
}

/// The degrees with a known bound, as (log2 of the degree, largest log2(QP)), smallest degree first.
pub fn rings() -> impl Iterator<Item = (u32, u32)> + Clone {
    MAX_LOG_QP.into_iter()
}

/// log2 of the smallest ring degree that admits a modulus of `log_qp` bits; `None` where none does.
pub fn least_log_n(log_qp: f64) -> Option<u32> {
    rings().find(|&(_, bits)| log_qp <= f64::from(bits)).map(|(log_n, _)| log_n)
}

/// The largest log2 of the modulus of keys under the ephemeral sparse secret at ring degree `2^log_n`; `None` where no bound
/// is known.
pub fn max_log_qp_sparse(log_n: u32) -> Option<u32> {
    MAX_LOG_QP_SPARSE.into_iter().find(|&(n, _)| n == log_n).map(|(_, bits)| bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_degree_from_2_10_to_2_17_has_a_bound_and_larger_ones_admit_more() {
        assert!(rings().map(|(log_n, _)| log_n).eq(10..=17));
        // Twice the degree admits slightly more than twice the modulus.
        assert!(rings().zip(rings().skip(1)).all(|((_, a), (_, b))| (2 * a..=2 * a + 30).contains(&b)));
        assert_eq!((max_log_qp(9), max_log_qp(18)), (None, None));
        for (log_n, bits) in rings() {
            assert_eq!(max_log_qp(log_n), Some(bits));
            assert_eq!(least_log_n(f64::from(bits)), Some(log_n));
            assert_eq!(least_log_n(f64::from(bits) + 0.1), (log_n < 17).then_some(log_n + 1));
        }
    }

    #[test]
    fn the_sparse_secret_meets_far_less_than_the_dense_one() {
        for log_n in 0..20 {
            match (max_log_qp_sparse(log_n), max_log_qp(log_n)) {
                (Some(sparse), Some(dense)) => assert!(10 * sparse < dense),
                (sparse, _) => assert_eq!(sparse, None),
            }
        }
    }
}
