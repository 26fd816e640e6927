//! Polynomials of least mean square error under the calibrated distribution.

use super::{Approximation, Family, Site};
use crate::distribution::Distribution;
use crate::error::ApproxError;
use crate::interval::Interval;
use crate::least_squares::least_squares;

/// Least squares, with one polynomial for all channels or one for each.
#[derive(Clone, Copy, Debug)]
pub struct LeastSquares {
    /// One polynomial per channel.
    pub per_channel: bool,
}

/// Bits by which coefficients may grow where polynomials of narrow channels are expressed on the interval of the widest:
/// packed constants have 24.
const GROWTH_BITS: f64 = 10.0;

/// The largest degree of each depth from two levels up, and degrees below it that cost fewer products.
const OFFERED: [usize; 7] = [3, 5, 7, 11, 15, 23, 31];

/// Polynomials per channel cost a product with a vector per coefficient, which pays where there are few.
const MOST_PER_CHANNEL: usize = 7;

impl LeastSquares {
    /// Name of the family with one polynomial for all channels.
    pub const SHARED: &'static str = "least-squares";
    /// Name of the family with one polynomial per channel.
    pub const PER_CHANNEL: &'static str = "least-squares-per-channel";

    /// Distribution and interval of every polynomial.
    fn parts(self, site: &Site, widest: Interval, degree: usize) -> Vec<(Distribution, Interval)> {
        if !self.per_channel || site.channels.len() < 2 {
            return vec![(site.inputs.clone(), widest)];
        }
        let growth = (GROWTH_BITS / degree.max(1) as f64).exp2();
        let part = |channel: &Distribution| {
            // A channel that is always zero has no interval of its own.
            let own = site.interval_of(channel).unwrap_or(widest);
            let narrow = if site.own_intervals {
                own.length() < 1e-3 * widest.length()
            } else {
                own.length() * growth < widest.length()
            };
            let own = match narrow {
                true if site.own_intervals => widest,
                true => {
                    let stretched = widest.stretched(1.0 / growth).ok();
                    stretched.filter(|i| i.lo() <= own.lo() && own.hi() <= i.hi()).unwrap_or(widest)
                }
                false => own,
            };
            (channel.clone(), own)
        };
        site.channels.iter().map(part).collect()
    }
}

impl Family for LeastSquares {
    fn name(&self) -> &str {
        if self.per_channel { Self::PER_CHANNEL } else { Self::SHARED }
    }

    fn equation(&self) -> &str {
        if self.per_channel {
            "f(x_c) ≈ p_c(x_c), p_c the least-squares polynomial under the calibrated distribution of channel c"
        } else {
            "f(x) ≈ p(x), p the least-squares polynomial under the calibrated distribution"
        }
    }

    fn offers(&self, site: &Site) -> Vec<usize> {
        match self.per_channel {
            false => OFFERED.to_vec(),
            true if site.channels.len() < 2 => Vec::new(),
            true => OFFERED.into_iter().filter(|&degree| degree <= MOST_PER_CHANNEL).collect(),
        }
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        let widest = site.interval()?;
        let parts = self.parts(site, widest, degree);
        let fit = |(d, i): &(Distribution, Interval)| least_squares(site.function, d, *i, degree, site.fit);
        let polynomials = parts.iter().map(fit).collect::<Result<Vec<_>, _>>()?;
        Ok(site.polynomials(self, widest, &parts, polynomials))
    }
}
