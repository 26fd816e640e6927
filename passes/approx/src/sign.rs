//! Composite minimax sign, and ReLU from it.
//!
//! sgn ≈ p_k(… p_1(u)) with odd p_i: p_1 is minimax for the constant 1 on [ε, 1], each further stage on the image
//! [1 - τ, 1 + τ] of its predecessor (Lee et al. 2021). For ReLU, x·(1 + s(x))/2, the error is x·|1 - s|/2: inside (0, ε) it grows
//! with ε; outside it is at most τ/2 and falls steeply with ε. ε is chosen so that the error inside is τ: against equal errors this
//! costs a few hundredths of a bit of the maximum and halves the error outside, where most inputs lie.

use std::sync::OnceLock;

use serde::Serialize;

use super::error::ApproxError;
use super::interval::{Affine, Interval};
use super::polynomial::Polynomial;
use super::remez::minimax;
use super::scheme::min_depth;
use fhec_functions::Parity;

/// Degrees of published composites: for each α the ones of least depth that bring ReLU's error on `[-1, 1]` to about 2^-α.
pub const PUBLISHED: [(u32, &[usize]); 11] = [
    (4, &[5]),
    (5, &[13]),
    (6, &[3, 7]),
    (7, &[7, 7]),
    (8, &[7, 15]),
    (9, &[15, 15]),
    (10, &[7, 7, 13]),
    (11, &[7, 7, 27]),
    (12, &[7, 15, 27]),
    (13, &[15, 15, 27]),
    (14, &[15, 27, 29]),
];

/// An approximation of the sign on `[-1, 1]` by a composition of odd polynomials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompositeSign {
    stages: Vec<Polynomial>,
    epsilon: f64,
    error: f64,
    relu_error: f64,
}

impl CompositeSign {
    /// The published composite of these degrees, if there is one; computed once per process.
    pub fn of_degrees(degrees: &[usize]) -> Option<&'static CompositeSign> {
        PUBLISHED.iter().find(|(_, d)| *d == degrees).and_then(|(alpha, _)| Self::published(*alpha))
    }

    /// The composite of these odd degrees for ReLU on `[-1, 1]`.
    ///
    /// # Errors
    /// No degrees, even or too high ones.
    pub fn new(degrees: &[usize]) -> Result<Self, ApproxError> {
        if degrees.is_empty() {
            return Err(ApproxError::Degree { degree: 0, reason: "a composite needs at least one stage" });
        }
        if let Some(degree) = degrees.iter().find(|d| *d % 2 == 0) {
            return Err(ApproxError::Degree { degree: *degree, reason: "stages of a composite sign are odd" });
        }
        // Bisection on log ε: the error inside the gap grows with ε, the one outside falls.
        let (mut lo, mut hi) = (-24.0f64, -0.5f64);
        let mut last: Option<CompositeSign> = None;
        for _ in 0..24 {
            let middle = 0.5 * (lo + hi);
            match Self::with_gap(degrees, middle.exp2()) {
                Ok((found, inside)) => {
                    *(if inside > found.error { &mut hi } else { &mut lo }) = middle;
                    last = Some(found);
                }
                // A gap too narrow for the degree: the error is close to 1 and the exchange does not level.
                Err(ApproxError::NoConvergence { .. }) => lo = middle,
                Err(e) => return Err(e),
            }
        }
        last.ok_or(ApproxError::NoConvergence { degree: degrees.iter().sum(), intervals: 1 })
    }

    /// The composite with gap (-ε, ε), and ReLU's error inside the gap.
    fn with_gap(degrees: &[usize], epsilon: f64) -> Result<(Self, f64), ApproxError> {
        let mut range = Interval::new(epsilon, 1.0)?;
        let mut stages = Vec::with_capacity(degrees.len());
        let mut error = 1.0;
        for degree in degrees {
            let m = minimax(|_| 1.0, &[], &[range], *degree, Parity::Odd)?;
            error = m.error;
            stages.push(m.polynomial);
            range = Interval::new(1.0 - error, 1.0 + error)?;
        }
        let mut sign = CompositeSign { stages, epsilon, error, relu_error: 0.0 };
        let worst = |lo: f64, hi: f64| {
            (0..=400)
                .map(|k| lo + (hi - lo) * f64::from(k) / 400.0)
                .map(|x| 0.5 * x * (1.0 - sign.eval(x)).abs())
                .fold(0.0, f64::max)
        };
        let inside = worst(0.0, epsilon);
        sign.relu_error = inside.max(worst(epsilon, (4.0 * epsilon).min(1.0))).max(0.5 * error);
        Ok((sign, inside))
    }

    /// The published composite for ReLU errors of 2^-α, α = 4 to 14, by own computation; computed once per process.
    pub fn published(alpha: u32) -> Option<&'static CompositeSign> {
        static TABLE: [OnceLock<Option<CompositeSign>>; PUBLISHED.len()] = [const { OnceLock::new() }; PUBLISHED.len()];
        let at = PUBLISHED.iter().position(|(a, _)| *a == alpha)?;
        TABLE[at].get_or_init(|| CompositeSign::new(PUBLISHED[at].1).ok()).as_ref()
    }

    /// The stages in order of evaluation; the first lives on `[-1, 1]`, each further one on the range of its predecessor.
    pub fn stages(&self) -> &[Polynomial] {
        &self.stages
    }

    /// Half the gap around zero in which the sign is not approximated.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Largest distance from ±1 outside the gap.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Largest error of x·(1 + s(x))/2 against max(x, 0) on `[-1, 1]`.
    pub fn relu_error(&self) -> f64 {
        self.relu_error
    }

    /// The value at `u` in `[-1, 1]`.
    pub fn eval(&self, u: f64) -> f64 {
        self.stages.iter().fold(u, |v, p| p.eval(v))
    }

    /// The degrees of the stages.
    pub fn degrees(&self) -> Vec<usize> {
        self.stages.iter().map(Polynomial::degree).collect()
    }

    /// Levels of the composition, without the product by x.
    pub fn depth(&self) -> u32 {
        self.stages.iter().map(|p| min_depth(p.degree())).sum()
    }
}

/// x·((1 + slope)/2 + (1 - slope)/2·s(x/bound)): ReLU (slope 0), leaky ReLU or |x| (slope -1).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompositeRelu {
    sign: CompositeSign,
    bound: f64,
    slope: f64,
}

impl CompositeRelu {
    /// For inputs in `[-bound, bound]`.
    ///
    /// # Errors
    /// A `bound` not above 0, or a `slope` that is not finite.
    pub fn new(sign: CompositeSign, bound: f64, slope: f64) -> Result<Self, ApproxError> {
        Interval::symmetric(bound)?;
        if !slope.is_finite() {
            return Err(ApproxError::NotFinite { what: "the slope" });
        }
        Ok(Self { sign, bound, slope })
    }

    /// The sign.
    pub fn sign(&self) -> &CompositeSign {
        &self.sign
    }

    /// Largest input magnitude.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// The value at `x`.
    pub fn eval(&self, x: f64) -> f64 {
        x * (0.5 * (1.0 + self.slope) + 0.5 * (1.0 - self.slope) * self.sign.eval(x / self.bound))
    }

    /// Largest error on `[-bound, bound]`.
    pub fn max_error(&self) -> f64 {
        (1.0 - self.slope).abs() * self.bound * self.sign.relu_error
    }

    /// Polynomials whose composition, times x, is the function: the first on `[-bound, bound]`, all others on `[-1, 1]`. The
    /// map of each further stage's interval is in the coefficients of the stage before it, and what is done to the sign in
    /// those of the last, so that the stages take no levels but their own.
    ///
    /// # Errors
    /// A coefficient that would not be finite.
    pub fn stages(&self) -> Result<Vec<Polynomial>, ApproxError> {
        let stages = &self.sign.stages;
        let gate = Affine { scale: 0.5 * (1.0 - self.slope), shift: 0.5 * (1.0 + self.slope) };
        let stage = |(k, p): (usize, &Polynomial)| {
            let after = stages.get(k + 1).map_or(gate, |next| next.interval().unit_map());
            let on = if k == 0 { Interval::symmetric(self.bound)? } else { Interval::UNIT };
            Polynomial::new(on, p.mapped(after)?.coefficients().to_vec())
        };
        stages.iter().enumerate().map(stage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distribution, EvalTree, TreeOptions, Weights};

    /// α, degrees, depth with the final product, -log2 of the error on [-1, 1], rms under N(0, 1) at bound 5 and 20.
    const TABLE: [(u32, u32, f64, f64, f64); 11] = [
        (4, 4, 3.7, 0.264, 0.433),
        (5, 5, 4.9, 0.124, 0.357),
        (6, 6, 6.0, 0.0425, 0.221),
        (7, 7, 7.0, 0.0161, 0.107),
        (8, 8, 8.0, 0.0061, 0.043),
        (9, 9, 9.0, 0.0024, 0.016),
        (10, 11, 10.1, 8.6e-4, 5.2e-3),
        (11, 12, 11.1, 2.9e-4, 2.0e-3),
        (12, 13, 12.1, 1.3e-4, 6.8e-4),
        (13, 14, 13.1, 4.6e-5, 2.4e-4),
        (14, 15, 14.0, 3.0e-5, 9.5e-5),
    ];

    #[test]
    fn alpha_table_is_reproduced() {
        let d = Distribution::normal(0.0, 1.0).unwrap();
        for (alpha, depth, bits, rms5, rms20) in TABLE {
            let sign = CompositeSign::published(alpha).unwrap();
            let got = -sign.relu_error().log2();
            // The published single-stage rows are not the best for ReLU; ours may only be better there.
            let single = sign.stages().len() == 1;
            assert!(got > bits - 0.15 && (single || got < bits + 0.15), "α = {alpha}: {got} bits, table {bits}");
            for (bound, table) in [(5.0, rms5), (20.0, rms20)] {
                let relu = CompositeRelu::new(sign.clone(), bound, 0.0).unwrap();
                let n = d.nodes(Interval::symmetric(bound).unwrap(), &[0.0]);
                let square = |(x, w): (&f64, &f64)| w * (relu.eval(*x) - x.max(0.0)).powi(2);
                let rms = n.x.iter().zip(&n.w).map(square).sum::<f64>().sqrt();
                assert!(
                    rms < 1.2 * table && (single || rms > 0.8 * table),
                    "α = {alpha}, bound {bound}: rms {rms}, table {table}"
                );
            }
            assert_eq!(sign.depth() + 1, depth);
        }
    }

    #[test]
    fn products_are_as_published() {
        // 8 + 8 + 10 for {15, 15, 27}, and one by x.
        let options = TreeOptions { weights: Weights::PRODUCTS, depth: None };
        let relu = CompositeRelu::new(CompositeSign::published(13).unwrap().clone(), 40.0, 0.0).unwrap();
        let products =
            |p: &Polynomial| EvalTree::chebyshev(std::slice::from_ref(p), options).unwrap().counts().products;
        assert_eq!(relu.stages().unwrap().iter().map(products).sum::<usize>(), 26);
    }

    #[test]
    fn stages_are_the_function_without_its_factor() {
        for (alpha, slope, bound) in [(6, 0.0, 3.0), (13, 0.1, 20.0), (7, -1.0, 0.5)] {
            let relu = CompositeRelu::new(CompositeSign::published(alpha).unwrap().clone(), bound, slope).unwrap();
            let stages = relu.stages().unwrap();
            assert!(stages[1..].iter().all(|p| p.interval() == Interval::UNIT));
            for k in 0..=50 {
                let x = bound * (f64::from(k) / 25.0 - 1.0);
                let gate = stages.iter().fold(x, |v, p| p.eval(v));
                assert!((x * gate - relu.eval(x)).abs() < 1e-9 * bound);
                let want = if x >= 0.0 { x } else { slope * x };
                assert!((relu.eval(x) - want).abs() <= 1.01 * relu.max_error());
            }
        }
        assert_eq!(CompositeSign::of_degrees(&[15, 15, 27]), CompositeSign::published(13));
        assert!(CompositeSign::of_degrees(&[15, 27]).is_none());
    }

    #[test]
    fn bad_degrees_are_errors() {
        assert!(
            CompositeSign::new(&[]).is_err()
                && CompositeSign::new(&[4]).is_err()
                && CompositeSign::new(&[999]).is_err()
        );
        assert!(CompositeSign::published(3).is_none());
        let sign = CompositeSign::published(6).unwrap();
        assert!(CompositeRelu::new(sign.clone(), 0.0, 0.0).is_err());
        assert!(CompositeRelu::new(sign.clone(), 1.0, f64::NAN).is_err());
    }
}
