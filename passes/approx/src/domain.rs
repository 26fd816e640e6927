//! Where a function may be approximated.

use fhec_functions::Function;

use super::error::ApproxError;
use super::interval::Interval;

/// Refuses a function that is not finite on the whole of `interval`, or whose parameters are not.
///
/// # Errors
/// [`ApproxError::Domain`] with the interval it is finite on; a parameter that is not finite or out of order.
pub fn check_domain(function: Function, interval: Interval) -> Result<(), ApproxError> {
    let parameters = match function {
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
    let (allowed, zero_too) = domain(function, interval.centre());
    let inside = if zero_too { allowed.0 <= lo && hi <= allowed.1 } else { allowed.0 < lo && hi < allowed.1 };
    if inside && function.eval(lo).is_finite() && function.eval(hi).is_finite() {
        Ok(())
    } else {
        Err(ApproxError::Domain {
            function: function.to_string(),
            lo,
            hi,
            allowed_lo: allowed.0,
            allowed_hi: allowed.1,
        })
    }
}

/// `interval`, the values `seen` with a margin, cut where the margin leaves the domain: towards an end of it the distance from
/// what was seen shrinks by `margin` instead.
///
/// # Errors
/// Values seen outside the domain.
pub fn within_domain(
    function: Function,
    interval: Interval,
    seen: (f64, f64),
    margin: f64,
) -> Result<Interval, ApproxError> {
    let (allowed, _) = domain(function, 0.5 * (seen.0 + seen.1));
    let lo = if interval.lo() > allowed.0 { interval.lo() } else { allowed.0 + (seen.0 - allowed.0) / margin };
    let hi = if interval.hi() < allowed.1 { interval.hi() } else { allowed.1 - (allowed.1 - seen.1) / margin };
    Interval::new(lo, hi)
}

/// The side of zero on which the function is finite around `centre`, and whether zero belongs to it.
fn domain(function: Function, centre: f64) -> ((f64, f64), bool) {
    let everywhere = (f64::NEG_INFINITY, f64::INFINITY);
    let side = if centre < 0.0 { (f64::NEG_INFINITY, 0.0) } else { (0.0, f64::INFINITY) };
    let right = (0.0, f64::INFINITY);
    match function {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_checked() {
        let i = |lo, hi| Interval::new(lo, hi).unwrap();
        assert!(
            check_domain(Function::Reciprocal, i(0.1, 2.0)).is_ok()
                && check_domain(Function::Reciprocal, i(-2.0, -0.1)).is_ok()
        );
        assert!(
            check_domain(Function::Reciprocal, i(-1.0, 2.0)).is_err()
                && check_domain(Function::InvSqrt, i(0.0, 2.0)).is_err()
        );
        assert!(
            check_domain(Function::Sqrt, i(0.0, 2.0)).is_ok() && check_domain(Function::Sqrt, i(-0.1, 2.0)).is_err()
        );
        assert!(check_domain(Function::Exp, i(0.0, 1000.0)).is_err());
        assert!(check_domain(Function::Pow { exponent: -2.0 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(Function::Pow { exponent: 0.5 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(Function::Clip { lo: 1.0, hi: 0.0 }, i(-1.0, 1.0)).is_err());
        assert!(check_domain(Function::Clip { lo: 0.0, hi: f64::INFINITY }, i(-1.0, 1.0)).is_ok());
        let message = check_domain(Function::InvSqrt, i(-1.0, 1.0)).unwrap_err().to_string();
        assert!(message.contains("inv_sqrt") && message.contains("narrow the range"), "{message}");
    }
}
