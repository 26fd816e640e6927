//! Quadratics: completed squares (one level) and power-of-two coefficients.

use serde::Serialize;

use super::error::ApproxError;
use super::interval::{Affine, Interval};
use super::polynomial::Polynomial;
use super::remez::minimax_function;
use super::tree::EvalTree;
use fhec_functions::Function;

/// sign·(scale·x + shift)² + constant.
///
/// With scale and shift folded into the layer before, it costs one level, one square and no plaintext product. Not for
/// inputs that also feed a skip connection, unless that branch undoes the shift.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CompletedSquare {
    /// 1 or -1.
    pub sign: i32,
    /// What is squared.
    pub input: Affine,
    /// Added after the square.
    pub constant: f64,
}

/// The largest ratio of the square to the polynomial it is part of: a larger one loses digits in the subtraction of the constant.
const MAX_CANCELLATION: f64 = 256.0;

impl CompletedSquare {
    /// Completes the square of a quadratic.
    ///
    /// # Errors
    /// A degree other than 2, or a leading coefficient so small that the square exceeds the polynomial's values by more
    /// than 256 on its interval.
    pub fn new(p: &Polynomial) -> Result<Self, ApproxError> {
        let degree = p.degree();
        let [c0, c1, c2] = p.coefficients() else {
            return Err(ApproxError::Degree { degree, reason: "only quadratics have a completed square" });
        };
        // c2·(2u² - 1) + c1·u + c0 = 2·c2·(u + c1/(4·c2))² + c0 - c2 - c1²/(8·c2).
        let (root, centre) = ((2.0 * c2.abs()).sqrt(), c1 / (4.0 * c2));
        let map = p.interval().unit_map();
        let square = CompletedSquare {
            sign: if *c2 > 0.0 { 1 } else { -1 },
            input: Affine { scale: root * map.scale, shift: root * (map.shift + centre) },
            constant: c0 - c2 - c1 * c1 / (8.0 * c2),
        };
        let largest = (root * (1.0 + centre.abs())).powi(2);
        let size = c0.abs() + c1.abs() + c2.abs();
        if largest.is_finite() && largest <= MAX_CANCELLATION * size {
            Ok(square)
        } else {
            Err(ApproxError::Degree {
                degree,
                reason: "the leading coefficient is too small to complete the square; use the Chebyshev form",
            })
        }
    }

    /// The square of c + b·x + a·x², given as `[c, b, a]` with a other than 0.
    pub fn of_powers([c, b, a]: [f64; 3]) -> Self {
        let scale = a.abs().sqrt();
        Self {
            sign: if a > 0.0 { 1 } else { -1 },
            input: Affine { scale, shift: scale * b / (2.0 * a) },
            constant: c - b * b / (4.0 * a),
        }
    }

    /// The value at `x`.
    pub fn eval(&self, x: f64) -> f64 {
        f64::from(self.sign) * self.input.apply(x).powi(2) + self.constant
    }

    /// One step for one square, or one per channel.
    ///
    /// # Errors
    /// No squares, or signs that differ.
    pub fn tree(squares: &[CompletedSquare]) -> Result<EvalTree, ApproxError> {
        let Some(first) = squares.first() else {
            return Err(ApproxError::Degree { degree: 0, reason: "no quadratic was given" });
        };
        if squares.iter().any(|s| s.sign != first.sign) {
            return Err(ApproxError::Degree {
                degree: 2,
                reason: "squares of both signs cannot share a step; use the Chebyshev form",
            });
        }
        let input = squares.iter().map(|s| s.input).collect();
        Ok(EvalTree::square(input, first.sign, squares.iter().map(|s| s.constant).collect()))
    }
}

/// a·x² + b·x + c with each coefficient zero or a power of two with sign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PowerOfTwoQuadratic {
    /// `[c, b, a]`.
    pub coefficients: [f64; 3],
    /// Largest error on the interval.
    pub error: f64,
}

/// The minimax quadratic of `f` on `interval` as `[c, b, a]` in powers of x, and its error.
///
/// # Errors
/// As [`minimax_function`].
pub fn minimax_quadratic(f: &Function, interval: Interval) -> Result<([f64; 3], f64), ApproxError> {
    let m = minimax_function(f, interval, 2)?;
    let mut powers = m.polynomial.to_monomial()?;
    powers.resize(3, 0.0);
    Ok(([powers[0], powers[1], powers[2]], m.error))
}

/// The quadratic with power-of-two coefficients (Faster CryptoNets, arXiv 1811.09953) of least largest error on `interval`.
///
/// Exponents within three of the minimax coefficients are searched, and zero.
///
/// # Errors
/// As [`minimax_function`].
pub fn power_of_two_quadratic(f: &Function, interval: Interval) -> Result<PowerOfTwoQuadratic, ApproxError> {
    let (best, _) = minimax_quadratic(f, interval)?;
    let choices = best.map(|c| {
        let exponent = if c.abs() > 1e-9 { c.abs().log2().round() as i32 } else { -4 };
        let powers = (-3..=3).map(move |k| (2.0f64.powi(exponent + k)).copysign(c));
        powers.chain([0.0]).collect::<Vec<f64>>()
    });
    let mut points: Vec<f64> = (0..=512).map(|k| interval.from_unit(f64::from(k) / 256.0 - 1.0)).collect();
    points.extend(f.breaks().into_iter().filter(|b| interval.contains(*b)));
    let values: Vec<f64> = points.iter().map(|x| f.eval(*x)).collect();
    let mut found = PowerOfTwoQuadratic { coefficients: [0.0; 3], error: f64::INFINITY };
    for a in &choices[2] {
        for b in &choices[1] {
            for c in &choices[0] {
                let error =
                    points.iter().zip(&values).map(|(x, y)| (((a * x + b) * x + c) - y).abs()).fold(0.0, f64::max);
                if error < found.error {
                    found = PowerOfTwoQuadratic { coefficients: [*c, *b, *a], error };
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::min_depth;

    fn four() -> Interval {
        Interval::symmetric(4.0).unwrap()
    }

    #[test]
    fn minimax_quadratics_meet_the_published_constants() {
        let cases = [
            (Function::Silu, [0.153613744, 0.5, 0.12050344], 0.1536),
            (Function::Softplus, [0.75248, 0.5, 0.082812671], 0.0593),
            (Function::Relu, [0.25, 0.5, 0.125], 0.25),
        ];
        for (f, want, error) in cases {
            let (got, e) = minimax_quadratic(&f, four()).unwrap();
            for (g, w) in got.iter().zip(want) {
                // Softplus's constant is published with five digits, cut off.
                let tolerance = if w == 0.75248 { 1e-5 } else { 1e-8 };
                assert!((g - w).abs() < tolerance, "{f}: {got:?}");
            }
            assert!((e - error).abs() < 1e-4, "{f}: {e}");
        }
    }

    #[test]
    fn power_of_two_choices() {
        let cases = [
            (Function::Relu, [0.25, 0.5, 0.125], 0.25, 2.0),
            (Function::Silu, [0.125, 0.5, 0.125], 0.197, 2.0),
            (Function::Softplus, [1.0, 0.5, 0.0625], 0.307, 4.0),
        ];
        for (f, want, error, shift) in cases {
            let q = power_of_two_quadratic(&f, four()).unwrap();
            assert_eq!(q.coefficients, want, "{f}");
            assert!((q.error - error).abs() < 5e-4, "{f}: {}", q.error);
            // (x + 2)²/8 - 1/4 for ReLU: in this form the shift is the same and 1/8 is the square of the scale.
            let square = CompletedSquare::new(&Polynomial::from_monomial(four(), &want).unwrap()).unwrap();
            assert!((square.input.shift / square.input.scale - shift).abs() < 1e-12);
            assert!((square.input.scale.powi(2) - want[2]).abs() < 1e-15);
        }
    }

    #[test]
    fn squares_of_powers_are_exact() {
        for powers in [[0.0, 0.0, 1.0], [0.3, -1.5, 0.25], [1.0, 0.5, -2.0]] {
            let square = CompletedSquare::of_powers(powers);
            for x in [-3.0, 0.0, 0.7, 5.0] {
                assert!((square.eval(x) - ((powers[2] * x + powers[1]) * x + powers[0])).abs() < 1e-12, "{powers:?}");
            }
        }
        assert_eq!(CompletedSquare::of_powers([0.5, 0.0, 4.0]).input.shift, 0.0);
    }

    #[test]
    fn completed_squares_take_one_level_and_no_plaintext_product() {
        let i = Interval::new(-3.0, 5.0).unwrap();
        let channels = [[1.0, 0.5, 0.2], [0.0, -2.0, 1.5]].map(|c| Polynomial::new(i, c.to_vec()).unwrap());
        let squares: Vec<_> = channels.iter().map(|p| CompletedSquare::new(p).unwrap()).collect();
        let tree = CompletedSquare::tree(&squares).unwrap();
        let counts = tree.counts();
        assert_eq!((counts.depth, counts.products, counts.plain_products), (1, 1, 0));
        assert_eq!(min_depth(2), 2);
        for (k, p) in channels.iter().enumerate() {
            for x in [-3.0, 0.0, 1.3, 5.0, 6.0] {
                assert!((squares[k].eval(x) - p.eval(x)).abs() < 1e-12 && (tree.eval(x, k) - p.eval(x)).abs() < 1e-12);
            }
        }
        let negative = CompletedSquare::new(&Polynomial::new(i, vec![0.0, 1.0, -1.0]).unwrap()).unwrap();
        assert!(negative.sign == -1 && CompletedSquare::tree(&[squares[0], negative]).is_err());
        assert!(CompletedSquare::new(&Polynomial::new(i, vec![0.0, 1.0, 1e-9]).unwrap()).is_err());
        assert!(CompletedSquare::new(&Polynomial::new(i, vec![0.0, 1.0]).unwrap()).is_err());
    }
}
