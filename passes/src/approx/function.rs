//! The functions to be approximated.

use std::fmt;

use serde::Serialize;

use super::error::ApproxError;
use super::interval::Interval;
use super::polynomial::Parity;

/// A real function of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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
}

impl Function {
    /// The value at `x`: NaN or infinite outside the domain.
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Function::Relu => x.max(0.0),
            Function::LeakyRelu { slope } => {
                if x >= 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Function::Clip { lo, hi } => x.max(lo).min(hi),
            Function::Abs => x.abs(),
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => x.tanh(),
            Function::Softplus => softplus(x),
            Function::Erf => erf(x),
            Function::Gelu => 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Function::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
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
                if x > threshold {
                    x
                } else {
                    0.0
                }
            }
            Function::Step => f64::from(u8::from(x > 0.0)),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
        }
    }

    /// Points where the function or its derivative jumps, ascending.
    pub fn breaks(self) -> Vec<f64> {
        match self {
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
            _ => Vec::new(),
        }
    }

    /// The symmetry about zero that its best approximations on `[-b, b]` under symmetric weights share.
    pub fn parity(self) -> Parity {
        match self {
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

    /// Errors unless the function is finite on the whole of `interval` and its parameters are finite.
    pub fn check(self, interval: Interval) -> Result<(), ApproxError> {
        let parameters = match self {
            Function::LeakyRelu { slope } => [slope, 0.0],
            Function::Clip { lo, hi } if lo > hi => {
                return Err(ApproxError::Parameter {
                    what: "lower bound of clip",
                    value: lo,
                    expected: "at most the upper bound",
                });
            }
            Function::Clip { lo, hi } => {
                [if lo.is_infinite() { 0.0 } else { lo }, if hi.is_infinite() { 0.0 } else { hi }]
            }
            Function::HardSigmoid { slope, shift } => [slope, shift],
            Function::Elu { alpha } => [alpha, 0.0],
            Function::ThresholdedRelu { threshold } => [threshold, 0.0],
            Function::Selu { alpha, gamma } => [alpha, gamma],
            Function::Pow { exponent } => [exponent, 0.0],
            _ => [0.0; 2],
        };
        if parameters.iter().any(|p| !p.is_finite()) {
            return Err(ApproxError::NotFinite { what: "a parameter of the function" });
        }
        let (lo, hi) = (interval.lo(), interval.hi());
        let (allowed, zero_too) = self.domain(interval.centre());
        let inside = if zero_too { allowed.0 <= lo && hi <= allowed.1 } else { allowed.0 < lo && hi < allowed.1 };
        if inside && self.eval(lo).is_finite() && self.eval(hi).is_finite() {
            Ok(())
        } else {
            Err(ApproxError::Domain {
                function: self.to_string(),
                lo,
                hi,
                allowed_lo: allowed.0,
                allowed_hi: allowed.1,
            })
        }
    }

    /// `interval`, the values `seen` with a margin, cut where the margin leaves the domain: towards an end of it the distance
    /// from what was seen shrinks by `margin` instead.
    pub fn within_domain(self, interval: Interval, seen: (f64, f64), margin: f64) -> Result<Interval, ApproxError> {
        let (allowed, _) = self.domain(0.5 * (seen.0 + seen.1));
        let lo = if interval.lo() > allowed.0 { interval.lo() } else { allowed.0 + (seen.0 - allowed.0) / margin };
        let hi = if interval.hi() < allowed.1 { interval.hi() } else { allowed.1 - (allowed.1 - seen.1) / margin };
        Interval::new(lo, hi)
    }

    /// The side of zero on which the function is finite around `centre`, and whether zero belongs to it.
    fn domain(self, centre: f64) -> ((f64, f64), bool) {
        let everywhere = (f64::NEG_INFINITY, f64::INFINITY);
        let side = if centre < 0.0 { (f64::NEG_INFINITY, 0.0) } else { (0.0, f64::INFINITY) };
        let right = (0.0, f64::INFINITY);
        match self {
            Function::Reciprocal => (side, false),
            Function::InvSqrt | Function::Log => (right, false),
            Function::Sqrt => (right, true),
            Function::Pow { exponent } => match (exponent.fract() == 0.0, exponent >= 0.0) {
                (true, true) => (everywhere, true),
                (true, false) => (side, false),
                (false, positive) => (right, positive),
            },
            _ => (everywhere, true),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Function::Relu => f.write_str("relu"),
            Function::LeakyRelu { slope } => write!(f, "leaky_relu({slope})"),
            Function::Clip { lo, hi } => write!(f, "clip({lo}, {hi})"),
            Function::Abs => f.write_str("abs"),
            Function::Sigmoid => f.write_str("sigmoid"),
            Function::Tanh => f.write_str("tanh"),
            Function::Softplus => f.write_str("softplus"),
            Function::Erf => f.write_str("erf"),
            Function::Gelu => f.write_str("gelu"),
            Function::GeluTanh => f.write_str("gelu_tanh"),
            Function::Silu => f.write_str("silu"),
            Function::HardSwish => f.write_str("hard_swish"),
            Function::HardSigmoid { slope, shift } => write!(f, "hard_sigmoid({slope}, {shift})"),
            Function::Elu { alpha } => write!(f, "elu({alpha})"),
            Function::Selu { alpha, gamma } => write!(f, "selu({alpha}, {gamma})"),
            Function::Mish => f.write_str("mish"),
            Function::Exp => f.write_str("exp"),
            Function::Log => f.write_str("log"),
            Function::Reciprocal => f.write_str("reciprocal"),
            Function::InvSqrt => f.write_str("inv_sqrt"),
            Function::Sqrt => f.write_str("sqrt"),
            Function::Pow { exponent } => write!(f, "pow({exponent})"),
            Function::Softsign => f.write_str("softsign"),
            Function::ThresholdedRelu { threshold } => write!(f, "thresholded_relu({threshold})"),
            Function::Step => f.write_str("step"),
            Function::Sin => f.write_str("sin"),
            Function::Cos => f.write_str("cos"),
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

/// The error function, to about 1e-15.
pub fn erf(x: f64) -> f64 {
    if x.abs() < 2.0 { erf_series(x) } else { (1.0 - erfc_fraction(x.abs())).copysign(x) }
}

/// 1 - erf(x), to about 1e-14 relatively.
pub fn erfc(x: f64) -> f64 {
    if x >= 2.0 {
        erfc_fraction(x)
    } else if x > -2.0 {
        1.0 - erf_series(x)
    } else {
        2.0 - erfc_fraction(-x)
    }
}

/// 2/√π·exp(-x²)·Σ 2ⁿ·x^(2n+1)/(2n+1)!!, whose terms all have one sign.
fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    let mut odd = 1.0;
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// Laplace's continued fraction for x ≥ 2: exp(-x²)/√π / (x + (1/2)/(x + 1/(x + (3/2)/(x + …)))).
fn erfc_fraction(x: f64) -> f64 {
    if x > 27.0 {
        return 0.0;
    }
    let tail = (1..=120).rev().fold(x, |t, k| x + 0.5 * f64::from(k) / t);
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_meets_tabulated_values() {
        // Abramowitz and Stegun, table 7.1, and erfc from higher-precision arithmetic.
        for (x, want) in
            [(0.5, 0.5204998778130465), (1.0, 0.8427007929497149), (1.99, 0.995111413199617), (2.5, 0.999593047982555)]
        {
            assert!((erf(x) - want).abs() < 2e-15 && (erf(-x) + want).abs() < 2e-15, "erf({x}) = {}", erf(x));
        }
        for (x, want) in [(2.0f64, 4.677734981047266e-3), (3.0, 2.209049699858544e-5), (5.0, 1.537459794428035e-12)] {
            assert!((erfc(x) / want - 1.0).abs() < 1e-12, "erfc({x}) = {}", erfc(x));
        }
    }

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

    #[test]
    fn domains_are_checked() {
        let i = |lo, hi| Interval::new(lo, hi).unwrap();
        assert!(Function::Reciprocal.check(i(0.1, 2.0)).is_ok() && Function::Reciprocal.check(i(-2.0, -0.1)).is_ok());
        assert!(Function::Reciprocal.check(i(-1.0, 2.0)).is_err() && Function::InvSqrt.check(i(0.0, 2.0)).is_err());
        assert!(Function::Sqrt.check(i(0.0, 2.0)).is_ok() && Function::Sqrt.check(i(-0.1, 2.0)).is_err());
        assert!(Function::Exp.check(i(0.0, 1000.0)).is_err());
        assert!(Function::Pow { exponent: -2.0 }.check(i(-1.0, 1.0)).is_err());
        assert!(Function::Pow { exponent: 0.5 }.check(i(-1.0, 1.0)).is_err());
        assert!(Function::Clip { lo: 1.0, hi: 0.0 }.check(i(-1.0, 1.0)).is_err());
        assert!(Function::Clip { lo: 0.0, hi: f64::INFINITY }.check(i(-1.0, 1.0)).is_ok());
        let message = Function::InvSqrt.check(i(-1.0, 1.0)).unwrap_err().to_string();
        assert!(message.contains("inv_sqrt") && message.contains("narrow the range"), "{message}");
    }
}
