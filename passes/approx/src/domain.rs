//! Where a function may be approximated.

use fhec_functions::Function;

use super::error::ApproxError;
use super::interval::Interval;

/// Refuses a function that is not finite on the whole of `interval`, or whose parameters are not.
///
/// # Errors
/// [`ApproxError::Domain`] with the interval it is finite on; a parameter that is not finite or out of order.
pub fn check_domain(function: &Function, interval: Interval) -> Result<(), ApproxError> {
    let parameters = match *function {
        Function::LeakyRelu { slope } => [slope, 0.0],
        Function::Clip { lo, hi } if lo > hi => {
            return Err(ApproxError::Parameter {
                what: "lower bound of clip",
                value: lo,
                expected: "at most the upper bound",
            });
        }
        Function::Clip { lo, hi } => [if lo.is_infinite() { 0.0 } else { lo }, if hi.is_infinite() { 0.0 } else { hi }],
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
    let centre = interval.centre();
    let allowed = function.domain((centre, centre), (lo, hi));
    let inside = allowed.holds((lo, hi));
    if inside && function.eval(lo).is_finite() && function.eval(hi).is_finite() {
        Ok(())
    } else {
        Err(ApproxError::Domain {
            function: function.to_string(),
            lo,
            hi,
            allowed_lo: allowed.lo,
            allowed_hi: allowed.hi,
        })
    }
}

/// `interval`, the values `seen` with a margin, cut where the margin leaves the domain: towards an end of it the distance from
/// what was seen shrinks by `margin` instead.
///
/// # Errors
/// Values seen outside the domain.
pub fn within_domain(
    function: &Function,
    interval: Interval,
    seen: (f64, f64),
    margin: f64,
) -> Result<Interval, ApproxError> {
    let allowed = function.domain(seen, (interval.lo(), interval.hi()));
    let lo = if interval.lo() > allowed.lo { interval.lo() } else { allowed.lo + (seen.0 - allowed.lo) / margin };
    let hi = if interval.hi() < allowed.hi { interval.hi() } else { allowed.hi - (allowed.hi - seen.1) / margin };
    Interval::new(lo, hi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_functions::Expression;

    #[test]
    fn domains_are_checked() {
        let i = |lo, hi| Interval::new(lo, hi).unwrap();
        assert!(
            check_domain(&Function::Reciprocal, i(0.1, 2.0)).is_ok()
                && check_domain(&Function::Reciprocal, i(-2.0, -0.1)).is_ok()
        );
        assert!(
            check_domain(&Function::Reciprocal, i(-1.0, 2.0)).is_err()
                && check_domain(&Function::InvSqrt, i(0.0, 2.0)).is_err()
        );
        assert!(
            check_domain(&Function::Sqrt, i(0.0, 2.0)).is_ok() && check_domain(&Function::Sqrt, i(-0.1, 2.0)).is_err()
        );
        assert!(check_domain(&Function::Exp, i(0.0, 1000.0)).is_err());
        assert!(check_domain(&Function::Pow { exponent: -2.0 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(&Function::Pow { exponent: 0.5 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(&Function::Clip { lo: 1.0, hi: 0.0 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(&Function::Clip { lo: 0.0, hi: f64::INFINITY }, i(-1.0, 1.0)).is_ok());
        let message = check_domain(&Function::InvSqrt, i(-1.0, 1.0)).unwrap_err().to_string();
        let shifted = |text: &str| Function::Composed(Expression::parse(text).unwrap());
        assert!(check_domain(&shifted("1/(1 + x*x)"), i(-9.0, 9.0)).is_ok());
        assert!(check_domain(&shifted("1/(1 - x*x)"), i(-9.0, 9.0)).is_err());
        // A margin stops before a pole and at a root's zero, as that of the functions does that have a name.
        let named = [(Function::Reciprocal, "1/x", 0.5), (Function::Sqrt, "sqrt(x) + 0*x", 0.0)];
        for (function, text, seen) in named {
            for f in [function, shifted(text)] {
                let cut = within_domain(&f, i(-0.25, 3.0), (seen, 2.5), 1.25).unwrap();
                assert!((cut.lo() - seen / 1.25).abs() < 1e-8 && cut.hi() == 3.0, "{f}: {cut:?}");
                assert!(check_domain(&f, cut).is_ok(), "{f}");
            }
        }
        assert!(message.contains("inv_sqrt") && message.contains("narrow the range"), "{message}");
    }
}
