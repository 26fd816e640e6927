//! Bounds how likely a bootstrap is to fail: EvalMod is right while the multiples `I` of `q_0` that it removes stay
//! within `k`.
//!
//! A coefficient of the raised ciphertext is `q_0 (I + mu)`, `mu` the message's share, `|mu| <= 1/4`. It is `c_0` plus as many
//! signed coefficients of `c_1` as the secret has, all of them uniform modulo `q_0` and centred: in units of `q_0` a sum of
//! `h + 1` uniform numbers in [-1/2, 1/2], for a secret of weight `h`. The probability that it exceeds `k` bounds that of
//! `|I| > k`: given the `h` terms of `c_1`, whose sum is `T`, the integer is `round(T - mu)`, beyond `k` only for
//! `|T| >= k + 1/4`, and `P(|T + U| > k)` is the mean of the convex tail of `|T|` between `k - 1/2` and `k + 1/2`, no less than
//! its middle `P(|T| > k)`.
//!
//! That tail is the Irwin-Hall distribution's. Its alternating sum cancels, so it is bounded by Chernoff's inequality,
//! `P(S > k) <= E(e^(t S)) e^(-t k)`, which holds for every `t`, at the best one.

use fhec_parameters::Circuit;
use std::f64::consts::LN_2;

/// log2 of the largest probability with which bootstrapping may fail in a run.
pub const MAX_FAILURE: f64 = -60.0;

/// What cannot happen, or is less likely than this, is reported as this.
const LEAST: f64 = -1000.0;

/// log2 of a bound on the probability that one of `count` coefficients of bootstraps in a ring of degree `n` is beyond `k`.
pub(crate) fn bound(circuit: &Circuit, n: usize, count: f64) -> f64 {
    // Two tails, and the union over all coefficients.
    (tail(&UniformSum::of(circuit, n), f64::from(circuit.k)) + 1.0 + count.log2()).clamp(LEAST, 0.0)
}

/// The least `k` with which one bootstrap of all slots fails no more often than [`MAX_FAILURE`] says.
pub(crate) fn least_k(circuit: &Circuit, n: usize) -> u32 {
    let fails = |k: u32| bound(&Circuit { k, ..circuit.clone() }, n, n as f64 / 2.0) > MAX_FAILURE;
    (0..).find(|&k| !fails(k)).unwrap_or(u32::MAX)
}

/// Terms of the sum: uniform numbers in [-1/2, 1/2], `certain` of them, and `possible` ones that are there in two cases of
/// three, as coefficients of a uniform ternary secret are.
struct UniformSum {
    certain: f64,
    possible: f64,
}

impl UniformSum {
    fn of(circuit: &Circuit, n: usize) -> Self {
        match circuit.sparse_weight {
            0 => Self { certain: 1.0, possible: n as f64 },
            weight => Self { certain: f64::from(weight) + 1.0, possible: 0.0 },
        }
    }

    /// ln E(e^(t S)).
    fn cumulant(&self, t: f64) -> f64 {
        // ln(sinh(t/2) / (t/2)), without overflow for large t and without cancellation for small.
        let one = if t < 1e-3 { t * t / 24.0 } else { t / 2.0 - t.ln() + (-(-t).exp()).ln_1p() };
        self.certain * one + self.possible * (one + (2.0 / 3.0 + (-one).exp() / 3.0).ln())
    }
}

/// log2 of Chernoff's bound on the probability that the sum of the terms exceeds `k`.
fn tail(terms: &UniformSum, k: f64) -> f64 {
    let most = (terms.certain + terms.possible) / 2.0;
    if k >= most {
        return f64::NEG_INFINITY;
    }
    // The exponent is convex; at its minimum, t is below 1 / (1/2 - k / terms).
    let exponent = |t: f64| terms.cumulant(t) - t * k;
    let (mut low, mut high) = (0.0, 2.0 * most / (most - k));
    for _ in 0..200 {
        let third = (high - low) / 3.0;
        let (a, b) = (low + third, high - third);
        if exponent(a) < exponent(b) {
            high = b;
        } else {
            low = a;
        }
    }
    exponent(low) / LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(weight: u32, k: u32) -> Circuit {
        Circuit { sparse_weight: weight, k, ..Circuit::compact(42) }
    }

    /// log2 of the probability that the sum of `terms` uniform numbers exceeds `k`: the alternating sum, for few terms.
    fn irwin_hall(terms: u32, k: f64) -> f64 {
        let reach = f64::from(terms) / 2.0 - k;
        let mut binomial = 1.0;
        let mut sum = 0.0;
        for j in 0..=reach as u32 {
            sum += if j % 2 == 0 { 1.0 } else { -1.0 } * binomial * (reach - f64::from(j)).powi(terms as i32);
            binomial *= f64::from(terms - j) / f64::from(j + 1);
        }
        sum.log2() - (1..=terms).map(|i| f64::from(i).log2()).sum::<f64>()
    }

    #[test]
    fn the_bound_is_above_the_exact_tail_and_near_it() {
        // One uniform number in [-1/2, 1/2] exceeds 1/4 in a quarter of the cases.
        assert!((irwin_hall(1, 0.25) + 2.0).abs() < 1e-12);
        for (weight, ks) in [(4, 1..=2), (8, 2..=4), (16, 4..=8), (32, 12..=16)] {
            for k in ks {
                let (exact, bound) =
                    (irwin_hall(weight + 1, f64::from(k)), tail(&UniformSum::of(&spec(weight, k), 1), f64::from(k)));
                assert!(exact < bound && bound < exact + 5.0, "weight {weight}, k {k}: {exact} {bound}");
            }
        }
        // No sum of 33 halves reaches 17.
        assert_eq!(bound(&spec(32, 17), 1 << 16, 1e9), LEAST);
    }

    /// What a modulus raise gives, drawn: centred uniform `c_1`, a secret's signs, `c_0` from the message.
    #[test]
    fn the_bound_is_above_what_is_drawn() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        for (weight, k) in [(8, 1), (8, 2), (16, 2), (32, 4)] {
            let trials = 200_000;
            let beyond = (0..trials).filter(|_| {
                let sum: f64 = (0..weight).map(|_| uniform()).sum();
                (sum - uniform() / 16.0).round().abs() > f64::from(k)
            });
            let drawn = (beyond.count() as f64 / f64::from(trials)).log2();
            let bound = bound(&spec(weight, k), 1, 1.0);
            assert!(drawn < bound, "weight {weight}, k {k}: drawn {drawn}, bound {bound}");
        }
    }

    #[test]
    fn a_dense_secret_is_a_sum_of_two_thirds_of_its_terms() {
        // Nearly normal, of variance (2 N / 3 + 1) / 12: the bound of a normal variable is e^(-k^2 / 2 variance).
        let (n, k) = (1 << 16, 400);
        let variance = (2.0 * n as f64 / 3.0 + 1.0) / 12.0;
        let normal = 1.0 - f64::from(k * k) / (2.0 * variance) / LN_2;
        let bound = bound(&spec(0, k), n, 1.0);
        assert!((bound - normal).abs() < 0.02 * normal.abs(), "{bound} {normal}");
    }

    #[test]
    fn a_larger_k_fails_less_and_more_coefficients_more_often() {
        let n = 1 << 16;
        for k in 8..16 {
            assert!(bound(&spec(32, k + 1), n, 1.0) < bound(&spec(32, k), n, 1.0));
        }
        assert!((bound(&spec(32, 15), n, 1024.0) - bound(&spec(32, 15), n, 1.0) - 10.0).abs() < 1e-9);
        assert_eq!(bound(&spec(32, 1), n, 1e9), 0.0);
        let least = least_k(&spec(32, 0), n);
        let whole = |k| bound(&spec(32, k), n, n as f64 / 2.0);
        assert!(whole(least) <= MAX_FAILURE && whole(least - 1) > MAX_FAILURE, "{least}");
    }
}
