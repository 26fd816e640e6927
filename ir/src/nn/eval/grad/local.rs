//! Derivatives of polynomials.

use crate::nn::Basis;

impl Basis {
    /// The derivative of [`Basis::eval`] at `x`: its recurrence, differentiated.
    pub fn derivative(self, coeffs: &[f64], lo: f64, hi: f64, x: f64) -> f64 {
        let Some((first, rest)) = coeffs.split_first() else { return 0.0 };
        match self {
            Self::Monomial => {
                let (mut sum, mut slope) = (0.0, 0.0);
                for c in rest.iter().rev().chain([first]) {
                    (sum, slope) = (sum * x + c, slope * x + sum);
                }
                slope
            }
            Self::Chebyshev => {
                let t = (2.0 * x - lo - hi) / (hi - lo);
                let (mut b, mut slope) = ([0.0; 2], [0.0; 2]);
                for c in rest.iter().rev() {
                    slope = [2.0 * (b[0] + t * slope[0]) - slope[1], slope[0]];
                    b = [c + 2.0 * t * b[0] - b[1], b[0]];
                }
                (b[0] + t * slope[0] - slope[1]) * 2.0 / (hi - lo)
            }
        }
    }
}
