//! Quadratics whose coefficients are powers of two (Faster CryptoNets, arXiv 1811.09953).

use super::{Approximation, Family, Site};
use crate::error::ApproxError;
use crate::polynomial::Polynomial;
use crate::quadratic::power_of_two_quadratic;

/// a·x² + b·x + c with coefficients 0 or ±2^k and least largest error on the interval, one for all channels. It is offered to
/// no planner: networks keep their accuracy under it only when they are trained with it.
#[derive(Clone, Copy, Debug)]
pub struct PowerOfTwo;

impl Family for PowerOfTwo {
    fn name(&self) -> &str {
        "power-of-two"
    }

    fn equation(&self) -> &str {
        "f(x) ≈ a·x² + b·x + c with a, b and c powers of two, or zero"
    }

    fn offers(&self, _: &Site) -> Vec<usize> {
        Vec::new()
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        if degree != 2 {
            return Err(ApproxError::Degree { degree, reason: "power-of-two polynomials are quadratics" });
        }
        let interval = site.interval()?;
        let quadratic = power_of_two_quadratic(&site.function, interval)?;
        Ok(site.shared(self, Polynomial::from_monomial(interval, &quadratic.coefficients)?))
    }
}
