//! Polynomials of least mean square error under the calibrated distribution.

use super::{Approximation, Family, Site};
use crate::distribution::Distribution;
use crate::error::ApproxError;
use crate::interval::Interval;
use crate::least_squares::least_squares;
use crate::polynomial::Polynomial;

/// Least squares, with one polynomial for all channels or one for each.
#[derive(Clone, Copy, Debug)]
pub struct LeastSquares {
    /// One polynomial per channel.
    pub per_channel: bool,
}

/// Bits by which coefficients may grow where polynomials of narrow channels are expressed on the interval of the widest:
/// packed constants have 24.
const GROWTH_BITS: f64 = 10.0;

/// The growth beyond the interval up to which a fit is left as it is in any network: with twice the largest value of the
/// function, one layer that is left does not drive the next out by more, and an image that leaves the intervals of a few layers
/// keeps its class. With six times it was lost: 1.17, 1.36, 2.0, 10^12 half widths over the first four layers of a ResNet-20.
const GROWTH: f64 = 2.0;
/// The growth that a few activations in sequence may come to together: what five of [`GROWTH`] do. Where there are fewer, each may
/// have more, which costs less accuracy inside: cubics of the digit CNN of `models/`, which has two, are right on 95.4 % of 2,000
/// held-back images with three times or more, on 91.6 % with twice.
const GROWTH_TOGETHER: f64 = 32.0;
/// The weight beyond the interval from which it is raised no further: it takes accuracy from the values inside.
const MOST_SHARE: f64 = 5e-2;

/// The largest degree of each depth from two levels up, and degrees below it that cost fewer products.
const OFFERED: [usize; 7] = [3, 5, 7, 11, 15, 23, 31];
/// The same of six levels. Of seven levels no fit is tame beyond its interval: at 1.25 half widths a Chebyshev polynomial of degree 95 is
/// 10^28, so that what rounding leaves of a coefficient decides what a value there becomes.
const OFFERED_BEYOND: [usize; 2] = [47, 63];

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

/// The growth up to which a fit is left as it is, with so many activations in sequence.
fn bound(in_sequence: usize) -> f64 {
    GROWTH_TOGETHER.powf(1.0 / in_sequence.max(1) as f64).max(GROWTH)
}

/// The fit with as little weight beyond the interval as keeps its growth within the bound.
fn tame(
    site: &Site,
    distribution: &Distribution,
    interval: Interval,
    degree: usize,
) -> Result<Polynomial, ApproxError> {
    let mut options = site.fit;
    let fit = |options| least_squares(&site.function, distribution, interval, degree, options);
    let mut polynomial = fit(options)?;
    while options.reach_share > 0.0
        && options.reach_share < MOST_SHARE
        && site.growth(interval, |x| polynomial.eval(x)) > bound(site.in_sequence)
    {
        options.reach_share *= 5.0;
        polynomial = fit(options)?;
    }
    Ok(polynomial)
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

    fn offers_beyond(&self, _: &Site) -> Vec<usize> {
        if self.per_channel { Vec::new() } else { OFFERED_BEYOND.to_vec() }
    }

    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError> {
        let widest = site.interval()?;
        let parts = self.parts(site, widest, degree);
        let fit = |(d, i): &(Distribution, Interval)| tame(site, d, *i, degree);
        let polynomials = parts.iter().map(fit).collect::<Result<Vec<_>, _>>()?;
        Ok(site.polynomials(self, widest, &parts, polynomials))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Histogram;
    use crate::least_squares::FitOptions;
    use fhec_functions::Function;

    /// 64 blocks of values with this quantile function.
    fn seen(quantile: impl Fn(f64) -> f64) -> Histogram {
        let mut h = Histogram::default();
        for block in 0..64 {
            h.extend((0..256).map(|i| quantile((f64::from(64 * i + block) + 0.5) / 16384.0))).unwrap();
        }
        h
    }

    /// Values outside of the interval stay small errors at every degree offered, and what that costs inside is bounded.
    #[test]
    fn fits_are_tame_beyond_the_interval() {
        // A logistic distribution, and exponential ones to either side, with a part of their mass on the other side of 0.
        let quantiles: [fn(f64) -> f64; 3] =
            [|p| 0.5 * (p / (1.0 - p)).ln(), |p| -1.0 - (1.0 - p).ln(), |p| 1.0 + p.ln()];
        for quantile in quantiles {
            for function in [Function::Relu, Function::Silu, Function::Gelu] {
                for uniform_share in [2e-4, 2e-2] {
                    let fit = FitOptions { uniform_share, ..FitOptions::default() };
                    let site = Site::new(function.clone(), &seen(quantile).into(), 1.2, fit).unwrap();
                    let wild = FitOptions { reach_share: 0.0, ..fit };
                    let wild = Site { fit: wild, ..site.clone() };
                    let family = LeastSquares { per_channel: false };
                    for degree in family.offers(&site).into_iter().chain(family.offers_beyond(&site)) {
                        let tame = family.approximate(&site, degree).unwrap();
                        let free = family.approximate(&wild, degree).unwrap();
                        assert!(tame.growth <= GROWTH, "{function} at {degree}: growth {}", tame.growth);
                        let last = Site { in_sequence: 1, ..site.clone() };
                        let last = family.approximate(&last, degree).unwrap();
                        assert!(last.growth <= GROWTH_TOGETHER, "{function} at {degree}: growth {}", last.growth);
                        // Smooth functions leave hardly more than rounding at the degrees beyond.
                        let rounding = if OFFERED.contains(&degree) { 0.0 } else { 1e-6 };
                        assert!(last.rms_error <= 1.001 * tame.rms_error + rounding, "{function} at {degree}");
                        assert!(
                            degree < 15 || function != Function::Relu || free.growth > 2.0 * GROWTH,
                            "{}",
                            free.growth
                        );
                        assert!(tame.rms_error >= 0.999 * free.rms_error - rounding, "{function} at {degree}");
                    }
                }
            }
        }
    }
}
