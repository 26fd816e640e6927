//! Activations on tensors, and polynomials.

use fhec_functions::Function;
use pulp::{Arch, NullaryFnOnce};

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
    /// The function with these parameters; absent ones take their defaults.
    pub fn function(self, alpha: Option<f64>, beta: Option<f64>) -> Function {
        let alpha = alpha.unwrap_or_else(|| self.default_alpha());
        let beta = beta.unwrap_or_else(|| self.default_beta());
        match self {
            Self::Relu => Function::Relu,
            Self::LeakyRelu => Function::LeakyRelu { slope: alpha },
            Self::Clip => Function::Clip { lo: alpha, hi: beta },
            Self::Sigmoid => Function::Sigmoid,
            Self::Tanh => Function::Tanh,
            Self::Softplus => Function::Softplus,
            Self::Erf => Function::Erf,
            Self::Gelu => Function::Gelu,
            Self::GeluTanh => Function::GeluTanh,
            Self::Silu => Function::Silu,
            Self::HardSwish => Function::HardSwish,
            Self::HardSigmoid => Function::HardSigmoid { slope: alpha, shift: beta },
            Self::Elu => Function::Elu { alpha },
            Self::Selu => Function::Selu { alpha, gamma: beta },
            Self::Mish => Function::Mish,
            Self::Exp => Function::Exp,
            Self::Log => Function::Log,
            Self::Sqrt => Function::Sqrt,
            Self::Reciprocal => Function::Reciprocal,
            Self::Abs => Function::Abs,
            Self::Pow => Function::Pow { exponent: alpha },
            Self::Softsign => Function::Softsign,
            Self::ThresholdedRelu => Function::ThresholdedRelu { threshold: alpha },
            Self::Step => Function::Step,
            Self::Sin => Function::Sin,
            Self::Cos => Function::Cos,
        }
    }
}

/// `function` on every element.
pub(super) fn map(x: &Tensor, function: &Function) -> Tensor {
    match function {
        Function::Relu => x.map(|x| if x < 0.0 { 0.0 } else { x }),
        _ => x.map(|x| function.eval(f64::from(x)) as f32),
    }
}

/// The polynomial of its channel on every element (`rows` = 1: of all channels).
pub(super) fn polynomial(x: &Tensor, basis: Basis, lo: f64, hi: f64, rows: usize, coeffs: &[f64]) -> Tensor {
    let per_row = coeffs.len() / rows;
    let inner: usize = if rows == 1 { x.shape().len() } else { x.shape().0[2..].iter().product() };
    let mut data = Vec::with_capacity(x.data().len());
    for (plane, x) in x.data().chunks(inner.max(1)).enumerate() {
        let coeffs = &coeffs[plane % rows * per_row..][..per_row];
        Arch::new().dispatch(Each { basis, coeffs, lo, hi, x, out: &mut data });
    }
    Tensor::new(x.shape().clone(), data)
}

/// Elements whose recurrences run side by side.
const LANES: usize = 32;

/// Appends the values of [`Basis::eval`] at every element of `x`.
struct Each<'a> {
    basis: Basis,
    coeffs: &'a [f64],
    lo: f64,
    hi: f64,
    x: &'a [f32],
    out: &'a mut Vec<f32>,
}

// What is called here is inlined, so that it is compiled for several instruction sets.
impl NullaryFnOnce for Each<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { basis, coeffs, lo, hi, x, out } = self;
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            out.extend_from_slice(&basis.eval_lanes(coeffs, lo, hi, &chunk.map(f64::from)).map(|y| y as f32));
        }
        out.extend(rest.iter().map(|&x| basis.eval(coeffs, lo, hi, f64::from(x)) as f32));
    }
}

impl Basis {
    /// [`Basis::eval`] at several points, in the same arithmetic: one recurrence waits for its own last step, several fill
    /// vector registers.
    #[inline(always)]
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
