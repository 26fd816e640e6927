//! Element-wise functions of one variable, and polynomials.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

use crate::nn::{Activation, Basis};
use crate::tensor::Tensor;

impl Activation {
    /// `alpha` where the op does not state it: the default of the ONNX operator.
    pub fn default_alpha(self) -> f64 {
        match self {
            Self::LeakyRelu => 0.01,
            Self::HardSigmoid => 0.2,
            Self::Selu => 1.673_263_192_176_818_8,
            Self::Clip => f64::NEG_INFINITY,
            _ => 1.0,
        }
    }
    /// `beta` where the op does not state it: the default of the ONNX operator.
    pub fn default_beta(self) -> f64 {
        match self {
            Self::HardSigmoid => 0.5,
            Self::Selu => 1.050_701_022_148_132_3,
            Self::Clip => f64::INFINITY,
            _ => 1.0,
        }
    }
    /// The function at `x`; absent parameters take their defaults.
    pub fn eval(self, x: f64, alpha: Option<f64>, beta: Option<f64>) -> f64 {
        let alpha = alpha.unwrap_or_else(|| self.default_alpha());
        let beta = beta.unwrap_or_else(|| self.default_beta());
        match self {
            // Comparisons rather than `max`: they let NaN through.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::LeakyRelu => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Clip => {
                let x = if x < alpha { alpha } else { x };
                if x > beta { beta } else { x }
            }
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Softplus => softplus(x),
            Self::Erf => erf(x),
            Self::Gelu => 0.5 * x * erfc(-x / SQRT_2),
            Self::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
            Self::Silu => x * sigmoid(x),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            Self::Elu => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Selu => beta * if x > 0.0 { x } else { alpha * x.exp_m1() },
            Self::Mish => x * softplus(x).tanh(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Abs => x.abs(),
            Self::Pow => x.powf(alpha),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::ThresholdedRelu => {
                if x <= alpha {
                    0.0
                } else {
                    x
                }
            }
            Self::Step if x.is_nan() => x,
            Self::Step => f64::from(u8::from(x > 0.0)),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
        }
    }
}

/// `function` on every element.
pub(super) fn map(x: &Tensor, function: Activation, alpha: Option<f64>, beta: Option<f64>) -> Tensor {
    match function {
        Activation::Relu => x.map(|x| if x < 0.0 { 0.0 } else { x }),
        _ => x.map(|x| function.eval(f64::from(x), alpha, beta) as f32),
    }
}

/// The polynomial of its channel on every element (`rows` = 1: of all channels).
pub(super) fn polynomial(x: &Tensor, basis: Basis, lo: f64, hi: f64, rows: usize, coeffs: &[f64]) -> Tensor {
    let per_row = coeffs.len() / rows;
    let inner: usize = if rows == 1 { x.shape().len() } else { x.shape().0[2..].iter().product() };
    let mut data = Vec::with_capacity(x.data().len());
    for (plane, x) in x.data().chunks(inner.max(1)).enumerate() {
        let row = plane % rows;
        basis.eval_each(&coeffs[row * per_row..(row + 1) * per_row], lo, hi, x, &mut data);
    }
    Tensor::new(x.shape().clone(), data)
}

/// Elements whose recurrences run side by side.
const LANES: usize = 16;

impl Basis {
    /// Appends the values of [`Basis::eval`] at every element of `x`.
    fn eval_each(self, coeffs: &[f64], lo: f64, hi: f64, x: &[f32], out: &mut Vec<f32>) {
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            out.extend(self.eval_lanes(coeffs, lo, hi, &chunk.map(f64::from)).map(|y| y as f32));
        }
        out.extend(rest.iter().map(|&x| self.eval(coeffs, lo, hi, f64::from(x)) as f32));
    }
    /// [`Basis::eval`] at several points, in the same arithmetic: one recurrence waits for its own last step, several fill
    /// vector registers.
    fn eval_lanes(self, coeffs: &[f64], lo: f64, hi: f64, x: &[f64; LANES]) -> [f64; LANES] {
        match self {
            Self::Monomial => {
                let mut sum = [0.0; LANES];
                for c in coeffs.iter().rev() {
                    for i in 0..LANES {
                        sum[i] = sum[i] * x[i] + c;
                    }
                }
                sum
            }
            Self::Chebyshev => {
                let Some((first, rest)) = coeffs.split_first() else { return [0.0; LANES] };
                let t = x.map(|x| (2.0 * x - lo - hi) / (hi - lo));
                let (mut b1, mut b2) = ([0.0; LANES], [0.0; LANES]);
                for c in rest.iter().rev() {
                    for i in 0..LANES {
                        (b1[i], b2[i]) = (c + 2.0 * t[i] * b1[i] - b2[i], b1[i]);
                    }
                }
                std::array::from_fn(|i| first + t[i] * b1[i] - b2[i])
            }
        }
    }
    /// The polynomial with these coefficients (lowest first) at `x`: Horner's rule, or Clenshaw's on `[lo, hi]`.
    pub fn eval(self, coeffs: &[f64], lo: f64, hi: f64, x: f64) -> f64 {
        match self {
            Self::Monomial => coeffs.iter().rev().fold(0.0, |sum, c| sum * x + c),
            Self::Chebyshev => {
                let t = (2.0 * x - lo - hi) / (hi - lo);
                let Some((first, rest)) = coeffs.split_first() else { return 0.0 };
                let (b1, b2) = rest.iter().rev().fold((0.0, 0.0), |(b1, b2), c| (c + 2.0 * t * b1 - b2, b1));
                first + t * b1 - b2
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// From here on `1 - erf` comes from the continued fraction rather than the series.
const SERIES_END: f64 = 2.5;

/// The error function, to about 1e-15.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x.abs() < SERIES_END {
        erf_series(x)
    } else {
        (1.0 - erfc_fraction(x.abs())).copysign(x)
    }
}

/// `1 - erf(x)` without cancellation for large `x`.
fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x >= SERIES_END {
        erfc_fraction(x)
    } else {
        1.0 - erf(x)
    }
}

/// `erf(x) = 2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!`: all terms of one sign (Abramowitz and Stegun 7.1.6).
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut n = 1.0;
    while term.abs() > 1e-17 * sum.abs() {
        n += 2.0;
        term *= 2.0 * x * x / n;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `erfc(x) = exp(-x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …))))` (Abramowitz and Stegun 7.1.14).
fn erfc_fraction(x: f64) -> f64 {
    if x > 27.0 {
        return 0.0;
    }
    let tail = (1..=80).rev().fold(x, |tail, k| x + 0.5 * f64::from(k) / tail);
    0.5 * FRAC_2_SQRT_PI * (-x * x).exp() / tail
}
