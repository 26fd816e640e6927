//! The functions, their derivatives, kinks, symmetries and domains.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use serde::Serialize;

use crate::erf::{erf, erfc};
use crate::expression::Expression;
use crate::parity::Parity;

/// A real function of one variable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// max(x, 0)
    Relu,
    /// x for x ≥ 0, else slope·x
    LeakyRelu {
        /// Slope below zero.
        slope: f64,
    },
    /// min(max(x, lo), hi)
    Clip {
        /// Lower bound.
        lo: f64,
        /// Upper bound.
        hi: f64,
    },
    /// |x|
    Abs,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// tanh(x)
    Tanh,
    /// ln(1 + exp(x))
    Softplus,
    /// erf(x)
    Erf,
    /// x·Φ(x), Φ the normal distribution function
    Gelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
    GeluTanh,
    /// x / (1 + exp(-x))
    Silu,
    /// x·min(max(x + 3, 0), 6)/6
    HardSwish,
    /// min(max(slope·x + shift, 0), 1)
    HardSigmoid {
        /// Slope in the middle.
        slope: f64,
        /// Value at 0.
        shift: f64,
    },
    /// x for x ≥ 0, else alpha·(exp(x) - 1)
    Elu {
        /// Negated limit at -∞.
        alpha: f64,
    },
    /// gamma·x for x ≥ 0, else gamma·alpha·(exp(x) - 1)
    Selu {
        /// Negated limit at -∞ over gamma.
        alpha: f64,
        /// Slope above zero.
        gamma: f64,
    },
    /// x·tanh(ln(1 + exp(x)))
    Mish,
    /// exp(x)
    Exp,
    /// ln(x), x > 0
    Log,
    /// 1/x, on intervals that leave out 0
    Reciprocal,
    /// 1/√x, x > 0
    InvSqrt,
    /// √x, x ≥ 0
    Sqrt,
    /// x^exponent: any x for integer exponents ≥ 0, x ≠ 0 for negative ones, x ≥ 0 or x > 0 for others
    Pow {
        /// The exponent.
        exponent: f64,
    },
    /// x / (1 + |x|)
    Softsign,
    /// x for x > threshold, else 0
    ThresholdedRelu {
        /// The threshold.
        threshold: f64,
    },
    /// 1 for x > 0, else 0
    Step,
    /// sin(x)
    Sin,
    /// cos(x)
    Cos,
    /// What an expression of other functions says.
    Composed(Expression),
}

impl Function {
    /// The value at `x`: NaN or infinite outside the domain.
    pub fn eval(&self, x: f64) -> f64 {
        match *self {
            // Comparisons rather than `max`: they let NaN through.
            Function::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Function::LeakyRelu { slope } => {
                if x >= 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Function::Clip { lo, hi } => {
                let x = if x < lo { lo } else { x };
                if x > hi { hi } else { x }
            }
            Function::Abs => x.abs(),
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => x.tanh(),
            Function::Softplus => softplus(x),
            Function::Erf => erf(x),
            Function::Gelu => 0.5 * x * erfc(-x * FRAC_1_SQRT_2),
            Function::GeluTanh => {
                let inner = (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Function::Silu => x * sigmoid(x),
            Function::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Function::HardSigmoid { slope, shift } => (slope * x + shift).clamp(0.0, 1.0),
            Function::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Function::Selu { alpha, gamma } => gamma * if x >= 0.0 { x } else { alpha * x.exp_m1() },
            Function::Mish => x * softplus(x).tanh(),
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Reciprocal => 1.0 / x,
            Function::InvSqrt => 1.0 / x.sqrt(),
            Function::Sqrt => x.sqrt(),
            Function::Pow { exponent } => x.powf(exponent),
            Function::Softsign => x / (1.0 + x.abs()),
            Function::ThresholdedRelu { threshold } => {
                if x <= threshold {
                    0.0
                } else {
                    x
                }
            }
            // NaN is no number on either side of zero.
            Function::Step if x.is_nan() => x,
            Function::Step => f64::from(u8::from(x > 0.0)),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Composed(ref e) => e.eval(x),
        }
    }

    /// The derivative at `x`, at a kink the one of its right side.
    pub fn derivative(&self, x: f64) -> f64 {
        let step = |inside: bool| f64::from(u8::from(inside));
        match *self {
            Function::Relu => step(x >= 0.0),
            Function::LeakyRelu { slope } => {
                if x < 0.0 {
                    slope
                } else {
                    1.0
                }
            }
            Function::Clip { lo, hi } => step(lo <= x && x < hi),
            Function::Abs => {
                if x < 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Function::Sigmoid => {
                let s = sigmoid(x);
                s * (1.0 - s)
            }
            Function::Tanh => 1.0 - x.tanh().powi(2),
            Function::Softplus => sigmoid(x),
            Function::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            // Φ(x) + x·φ(x)
            Function::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
                0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
            }
            Function::GeluTanh => {
                let root = (2.0 / PI).sqrt();
                let t = (root * (x + 0.044715 * x.powi(3))).tanh();
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044715 * x * x)
            }
            Function::Silu => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Function::HardSwish if x < -3.0 => 0.0,
            Function::HardSwish if x >= 3.0 => 1.0,
            Function::HardSwish => x / 3.0 + 0.5,
            Function::HardSigmoid { slope, shift } => slope * step((0.0..1.0).contains(&(slope * x + shift))),
            Function::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp()
                } else {
                    1.0
                }
            }
            Function::Selu { alpha, gamma } => gamma * if x >= 0.0 { 1.0 } else { alpha * x.exp() },
            Function::Mish => {
                let t = softplus(x).tanh();
                t + x * (1.0 - t * t) * sigmoid(x)
            }
            Function::Exp => x.exp(),
            Function::Log => 1.0 / x,
            Function::Reciprocal => -1.0 / (x * x),
            Function::InvSqrt => -0.5 / (x * x.sqrt()),
            Function::Sqrt => 0.5 / x.sqrt(),
            Function::Pow { exponent } => exponent * x.powf(exponent - 1.0),
            Function::Softsign => (1.0 + x.abs()).powi(-2),
            Function::ThresholdedRelu { threshold } => step(x > threshold),
            Function::Step => 0.0,
            Function::Sin => x.cos(),
            Function::Cos => -x.sin(),
            Function::Composed(ref e) => e.derivative(x),
        }
    }

    /// Points where the function or its derivative jumps, ascending.
    pub fn breaks(&self) -> Vec<f64> {
        match *self {
            Function::Relu
            | Function::LeakyRelu { .. }
            | Function::Abs
            | Function::Softsign
            | Function::Step
            | Function::Elu { .. }
            | Function::Selu { .. } => vec![0.0],
            Function::Clip { lo, hi } => vec![lo, hi],
            Function::ThresholdedRelu { threshold } => vec![threshold],
            Function::HardSwish => vec![-3.0, 3.0],
            Function::HardSigmoid { slope, shift } if slope != 0.0 => {
                let (a, b) = (-shift / slope, (1.0 - shift) / slope);
                vec![a.min(b), a.max(b)]
            }
            Function::Composed(ref e) => e.breaks(),
            _ => Vec::new(),
        }
    }

    /// Whether the function has no jump, as far as that is known: a composed one has none where the jumps of its parts cancel at
    /// arguments that are linear in x.
    pub fn is_continuous(&self) -> bool {
        match *self {
            Function::Step => false,
            Function::ThresholdedRelu { threshold } => threshold == 0.0,
            Function::Composed(ref e) => e.is_continuous(),
            _ => true,
        }
    }

    /// The symmetry about zero that its best approximations on `[-b, b]` under symmetric weights share.
    pub fn parity(&self) -> Parity {
        match *self {
            Function::Abs | Function::Cos => Parity::Even,
            Function::Tanh | Function::Erf | Function::Softsign | Function::Sin => Parity::Odd,
            Function::Clip { lo, hi } if lo == -hi => Parity::Odd,
            Function::Sigmoid | Function::Step => Parity::OddPlusConstant,
            Function::HardSigmoid { shift: 0.5, .. } => Parity::OddPlusConstant,
            // f(x) - f(-x) is linear in x.
            Function::Relu
            | Function::LeakyRelu { .. }
            | Function::Softplus
            | Function::Gelu
            | Function::GeluTanh
            | Function::Silu
            | Function::HardSwish => Parity::EvenPlusLinear,
            Function::Pow { exponent } if exponent % 2.0 == 0.0 => Parity::Even,
            Function::Pow { exponent } if exponent.abs() % 2.0 == 1.0 => Parity::Odd,
            _ => Parity::Mixed,
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    // The exponential of a negative number only, so nothing overflows.
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_meet_known_values() {
        let cases = [
            (Function::Gelu, 1.0, 0.8413447460685429),
            (Function::GeluTanh, 1.0, 0.8411919906082768),
            (Function::Silu, 1.0, 0.7310585786300049),
            (Function::Softplus, 0.0, std::f64::consts::LN_2),
            (Function::Softplus, 800.0, 800.0),
            (Function::Sigmoid, -800.0, 0.0),
            (Function::Mish, 1.0, 0.8650983882673103),
            (Function::HardSwish, 1.0, 2.0 / 3.0),
            (Function::HardSigmoid { slope: 0.2, shift: 0.5 }, 1.0, 0.7),
            (Function::Elu { alpha: 2.0 }, -1.0, -1.2642411176571153),
            (Function::Selu { alpha: 1.5, gamma: 1.25 }, -1.0, 1.875 * (-1.0f64).exp_m1()),
            (Function::LeakyRelu { slope: 0.1 }, -3.0, -0.30000000000000004),
            (Function::Clip { lo: 0.0, hi: 6.0 }, 7.0, 6.0),
            (Function::InvSqrt, 4.0, 0.5),
            (Function::Pow { exponent: 3.0 }, -2.0, -8.0),
        ];
        for (f, x, want) in cases {
            assert!((f.eval(x) - want).abs() < 1e-14, "{f}({x}) = {}", f.eval(x));
        }
        // The tail of the normal distribution keeps its relative precision.
        assert!((Function::Gelu.eval(-8.0) / (-8.0 * 6.22096057427178e-16) - 1.0).abs() < 1e-12);
        for f in [Function::Relu, Function::Clip { lo: 0.0, hi: 6.0 }, Function::Softplus, Function::Erf] {
            assert!(f.eval(f64::NAN).is_nan(), "{f} lets NaN through");
        }
    }

    #[test]
    fn derivatives_are_those_of_the_values() {
        let everywhere = [
            Function::Gelu,
            Function::GeluTanh,
            Function::Silu,
            Function::Mish,
            Function::Erf,
            Function::Elu { alpha: 0.7 },
        ];
        let positive =
            [Function::InvSqrt, Function::Sqrt, Function::Log, Function::Reciprocal, Function::Pow { exponent: 2.5 }];
        let h = 1e-5;
        let close = |f: &Function, x: f64| {
            let difference = (f.eval(x + h) - f.eval(x - h)) / (2.0 * h);
            assert!((f.derivative(x) - difference).abs() < 1e-6 * (1.0 + difference.abs()), "{f} at {x}");
        };
        for i in 1..24 {
            let x = f64::from(i) * 0.37;
            everywhere.iter().for_each(|f| [x, -x].iter().for_each(|&x| close(f, x)));
            positive.iter().for_each(|f| close(f, x));
        }
    }

    #[test]
    fn parities_hold() {
        let all = [
            Function::Abs,
            Function::Tanh,
            Function::Erf,
            Function::Clip { lo: -1.0, hi: 1.0 },
            Function::Sigmoid,
            Function::HardSigmoid { slope: 0.2, shift: 0.5 },
            Function::Relu,
            Function::LeakyRelu { slope: 0.2 },
            Function::Softplus,
            Function::Gelu,
            Function::GeluTanh,
            Function::Silu,
            Function::HardSwish,
            Function::Pow { exponent: 4.0 },
            Function::Pow { exponent: 3.0 },
        ];
        for f in all {
            let odd = |x: f64| 0.5 * (f.eval(x) - f.eval(-x));
            let even = |x: f64| 0.5 * (f.eval(x) + f.eval(-x));
            for x in [0.2, 0.9, 3.3, 7.0] {
                let broken = match f.parity() {
                    Parity::Even => odd(x),
                    Parity::Odd => even(x),
                    Parity::OddPlusConstant => even(x) - f.eval(0.0),
                    Parity::EvenPlusLinear => odd(x) - x * odd(1.0),
                    Parity::Mixed => f64::NAN,
                };
                assert!(broken.abs() < 1e-13, "{f} at {x}: {broken}");
            }
        }
        assert_eq!(Function::Mish.parity(), Parity::Mixed);
        assert_eq!(Function::Pow { exponent: 0.5 }.parity(), Parity::Mixed);
    }
}
