//! Polynomials of least largest error on the interval.

use super::{Approximation, Family, Site};
use crate::error::ApproxError;
use crate::remez::minimax_function;

/// One polynomial for all channels whose largest error on the interval is the least. It is offered to no planner: mean square
/// errors, by which planners choose, are what least squares is better at.
#[derive(Clone, Copy, Debug)]
pub struct Minimax;

impl Family for Minimax {
    fn name(&self) -> &str {
        "minimax"
    }

    fn equation(&self) -> &str {
        "f(x) ≈ p(x), p the polynomial of least largest error on the interval"
    }

    fn offers(&self, _: &Site) -> Vec<usize> {
        Vec::new()
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        let interval = site.interval()?;
        Ok(site.shared(self, minimax_function(&site.function, interval, degree)?.polynomial))
    }
}
