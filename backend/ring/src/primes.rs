//! Primes for the transforms: `q = 1 mod 2N`.

use crate::error::RingError;
use crate::modulus::Modulus;

/// Whether `n` is prime: Miller-Rabin with the first twelve primes as bases, which is exact below 2^64
/// (Sorenson and Webster, Strong pseudoprimes to twelve prime bases, 2017).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let pow = |mut base: u64, mut e: u64| {
        let mut acc = 1;
        while e > 0 {
            if e & 1 == 1 {
                acc = mul(acc, base);
            }
            base = mul(base, base);
            e >>= 1;
        }
        acc
    };
    let shift = (n - 1).trailing_zeros();
    let odd = (n - 1) >> shift;
    BASES.iter().all(|&base| {
        let mut x = pow(base, odd);
        if x == 1 || x == n - 1 {
            return true;
        }
        for _ in 1..shift {
            x = mul(x, x);
            if x == n - 1 {
                return true;
            }
        }
        false
    })
}

/// The unused prime `q = 1 mod 2^(log_n + 1)`, `q < 2^50`, nearest to `target`; of two equally near ones the
/// smaller. `used` holds the primes that may not be returned.
///
/// # Errors
/// No such prime is left.
pub fn nearest_ntt_prime(log_n: u32, target: u64, used: &[u64]) -> Result<u64, RingError> {
    let order = 2u64 << log_n.min(48);
    let limit = 1u64 << Modulus::MAX_BITS;
    let none = RingError::NoPrime { target, order };
    let admitted = |q: u64| q > order && q < limit && is_prime(q) && !used.contains(&q);
    // Candidates 1 + k * order, walked outwards from the target.
    let clamped = target.clamp(order + 1, limit - 1);
    let below = (clamped - 1) / order;
    let (mut down, mut up) = (below, below + 1);
    loop {
        let low = (down >= 1).then(|| 1 + down * order);
        let high = (1 + up * order < limit).then(|| 1 + up * order);
        let take_low = match (low, high) {
            (None, None) => return Err(none),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(h)) => l.abs_diff(target) <= h.abs_diff(target),
        };
        let q = if take_low {
            down -= 1;
            low
        } else {
            up += 1;
            high
        };
        if let Some(q) = q
            && admitted(q)
        {
            return Ok(q);
        }
    }
}

/// `count` distinct primes `= 1 mod 2^(log_n + 1)`, the nearest to `target` first, none of them in `used`.
///
/// # Errors
/// Fewer such primes are left.
pub fn ntt_primes(log_n: u32, target: u64, count: usize, used: &[u64]) -> Result<Vec<u64>, RingError> {
    let mut taken = used.to_vec();
    let mut out = Vec::new();
    for _ in 0..count {
        let q = nearest_ntt_prime(log_n, target, &taken)?;
        taken.push(q);
        out.push(q);
    }
    Ok(out)
}

/// A primitive `2N`-th root of unity modulo the prime `q`, `N = 2^log_n`; always the same one.
pub(crate) fn primitive_root(q: &Modulus, log_n: u32) -> Result<u64, RingError> {
    let order = 2u64 << log_n;
    let refused = RingError::NotNttPrime { q: q.value(), order };
    if !is_prime(q.value()) || !(q.value() - 1).is_multiple_of(order) {
        return Err(refused);
    }
    // Half of all residues are non-squares, and each gives an element of exact order 2N.
    (2..q.value())
        .map(|g| q.pow(g, (q.value() - 1) / order))
        .find(|&psi| q.pow(psi, order / 2) == q.value() - 1)
        .ok_or(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primality_agrees_with_trial_division() {
        for n in 0..20_000u64 {
            let naive = n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
            assert_eq!(is_prime(n), naive, "{n}");
        }
        // Strong pseudoprimes to many small bases, and the largest prime below 2^64.
        for composite in [3_215_031_751, 341_550_071_728_321, 3_825_123_056_546_413_051] {
            assert!(!is_prime(composite));
        }
        assert!(is_prime(18_446_744_073_709_551_557));
    }

    #[test]
    fn nearest_is_nearest() {
        for (log_n, target) in [(4u32, 1000u64), (10, 1 << 30), (16, 1 << 49), (12, 1 << 50), (3, 5)] {
            let order = 2u64 << log_n;
            let q = nearest_ntt_prime(log_n, target, &[]).unwrap();
            assert!(is_prime(q) && q % order == 1);
            let gap = q.abs_diff(target);
            let nearer = (target.saturating_sub(gap.saturating_sub(1))..target + gap)
                .step_by(1)
                .filter(|c| c % order == 1 && *c < 1 << 50)
                .take(10_000);
            for c in nearer {
                assert!(!is_prime(c), "{c} is nearer to {target} than {q}");
            }
            let next = nearest_ntt_prime(log_n, target, &[q]).unwrap();
            assert!(next != q && next.abs_diff(target) >= gap);
        }
        assert_eq!(ntt_primes(16, 1 << 49, 40, &[]).unwrap().len(), 40);
        assert!(matches!(ntt_primes(47, 1 << 49, 40, &[]), Err(RingError::NoPrime { .. })));
    }
}
