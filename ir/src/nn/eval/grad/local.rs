//! Derivatives of functions of one variable.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

use crate::nn::{Activation, Basis};

impl Activation {
    /// The derivative at `x`, at a kink the one of its right side; absent parameters take their defaults.
    pub fn derivative(self, x: f64, alpha: Option<f64>, beta: Option<f64>) -> f64 {
        let value = |f: Self, x: f64| f.eval(x, None, None);
        let alpha = alpha.unwrap_or_else(|| self.default_alpha());
        let beta = beta.unwrap_or_else(|| self.default_beta());
        let step = |inside: bool| f64::from(u8::from(inside));
        match self {
            Self::Relu => step(x >= 0.0),
            Self::LeakyRelu => {
                if x < 0.0 {
                    alpha
                } else {
                    1.0
                }
            }
            Self::Clip => step(alpha <= x && x < beta),
            Self::Sigmoid => {
                let s = value(Self::Sigmoid, x);
                s * (1.0 - s)
            }
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Softplus => value(Self::Sigmoid, x),
            Self::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            // Φ(x) + x·φ(x)
            Self::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
                0.5 * (1.0 + value(Self::Erf, x / SQRT_2)) + x * density
            }
            Self::GeluTanh => {
                let root = (2.0 / PI).sqrt();
                let t = (root * (x + 0.044_715 * x.powi(3))).tanh();
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044_715 * x * x)
            }
            Self::Silu => {
                let s = value(Self::Sigmoid, x);
                s * (1.0 + x * (1.0 - s))
            }
            Self::HardSwish if x < -3.0 => 0.0,
            Self::HardSwish if x >= 3.0 => 1.0,
            Self::HardSwish => x / 3.0 + 0.5,
            Self::HardSigmoid => alpha * step((0.0..1.0).contains(&(alpha * x + beta))),
            Self::Elu => {
                if x < 0.0 {
                    alpha * x.exp()
                } else {
                    1.0
                }
            }
            Self::Selu => beta * if x >= 0.0 { 1.0 } else { alpha * x.exp() },
            Self::Mish => {
                let t = value(Self::Softplus, x).tanh();
                t + x * (1.0 - t * t) * value(Self::Sigmoid, x)
            }
            Self::Exp => x.exp(),
            Self::Log => 1.0 / x,
            Self::Sqrt => 0.5 / x.sqrt(),
            Self::Reciprocal => -1.0 / (x * x),
            Self::Abs => {
                if x < 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Self::Pow => alpha * x.powf(alpha - 1.0),
            Self::Softsign => (1.0 + x.abs()).powi(-2),
            Self::ThresholdedRelu => step(x > alpha),
            Self::Step => 0.0,
            Self::Sin => x.cos(),
            Self::Cos => -x.sin(),
        }
    }
}

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
