//! Distributions of activation inputs: normal, or measured.

use serde::Serialize;

use super::error::ApproxError;
use super::interval::Interval;
use super::quadrature;
use super::tail::{Margin, Tail};

/// How the inputs of an activation are distributed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Distribution {
    /// A normal density.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation, > 0.
        deviation: f64,
    },
    /// Weighted points, ascending.
    Measured {
        /// The points.
        points: Vec<f64>,
        /// Their weights, > 0, in sum 1.
        weights: Vec<f64>,
        /// Between which values all but one network input in a hundred thousand are expected to stay, where inputs were told
        /// apart.
        expected: Option<(f64, f64)>,
    },
}

/// Weighted points for sums that stand for integrals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    /// Points.
    pub x: Vec<f64>,
    /// Weights, ≥ 0.
    pub w: Vec<f64>,
}

impl Distribution {
    /// A normal density.
    ///
    /// # Errors
    /// A mean or deviation that is not finite, or a `deviation` not above 0.
    pub fn normal(mean: f64, deviation: f64) -> Result<Self, ApproxError> {
        if !mean.is_finite() {
            return Err(ApproxError::NotFinite { what: "the mean" });
        }
        if deviation > 0.0 && deviation.is_finite() {
            Ok(Distribution::Normal { mean, deviation })
        } else {
            Err(ApproxError::Parameter { what: "standard deviation", value: deviation, expected: "finite and above 0" })
        }
    }

    /// From samples of equal weight; more than [`Histogram::BINS`] are gathered into bins.
    ///
    /// # Errors
    /// No samples, or one that is not finite.
    pub fn samples(values: &[f64]) -> Result<Self, ApproxError> {
        if values.len() > Histogram::BINS {
            let mut h = Histogram::default();
            h.extend(values.iter().copied())?;
            return h.distribution();
        }
        Self::weighted(values.iter().map(|x| (*x, 1.0)).collect())
    }

    /// From (value, weight) pairs; weights are scaled to sum 1.
    ///
    /// # Errors
    /// No positive weight, or a value or weight that is not finite.
    pub fn weighted(mut pairs: Vec<(f64, f64)>) -> Result<Self, ApproxError> {
        if pairs.iter().any(|(x, w)| !x.is_finite() || !w.is_finite() || *w < 0.0) {
            return Err(ApproxError::NotFinite { what: "a calibration sample or its weight" });
        }
        pairs.retain(|(_, w)| *w > 0.0);
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = pairs.iter().map(|(_, w)| w).sum();
        if pairs.is_empty() || !total.is_finite() {
            return Err(ApproxError::NoData { lo: f64::NEG_INFINITY, hi: f64::INFINITY });
        }
        let (points, weights) = pairs.into_iter().map(|(x, w)| (x, w / total)).unzip();
        Ok(Distribution::Measured { points, weights, expected: None })
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        match self {
            Distribution::Normal { mean, .. } => *mean,
            Distribution::Measured { points, weights, .. } => points.iter().zip(weights).map(|(x, w)| x * w).sum(),
        }
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        match self {
            Distribution::Normal { deviation, .. } => *deviation,
            Distribution::Measured { points, weights, .. } => {
                let mean = self.mean();
                points.iter().zip(weights).map(|(x, w)| w * (x - mean).powi(2)).sum::<f64>().sqrt()
            }
        }
    }

    /// The smallest and largest value; six deviations each way for a normal density.
    pub fn extremes(&self) -> (f64, f64) {
        match self {
            Distribution::Normal { mean, deviation } => (mean - 6.0 * deviation, mean + 6.0 * deviation),
            Distribution::Measured { points, .. } => (points[0], points[points.len() - 1]),
        }
    }

    /// The distribution with what is expected beyond the values it has.
    pub fn expecting(mut self, ends: Option<(f64, f64)>) -> Self {
        if let Distribution::Measured { expected, .. } = &mut self {
            *expected = ends;
        }
        self
    }

    /// Between which values all but one network input in a hundred thousand are expected to stay, where inputs were told apart.
    pub fn expected(&self) -> Option<(f64, f64)> {
        match self {
            Distribution::Normal { .. } => None,
            Distribution::Measured { expected, .. } => *expected,
        }
    }

    /// `[-b, b]`, b the largest magnitude that `margin` allows for.
    ///
    /// # Errors
    /// All values are zero.
    pub fn symmetric_interval(&self, margin: impl Into<Margin>) -> Result<Interval, ApproxError> {
        let margin = margin.into();
        let largest = |(lo, hi): (f64, f64)| lo.abs().max(hi.abs());
        match self.expected().filter(|_| margin == Margin::Expected) {
            Some(ends) => Interval::symmetric(largest(ends)),
            None => Interval::symmetric(margin.factor() * largest(self.extremes())),
        }
    }

    /// The hull of the values with `margin`.
    ///
    /// # Errors
    /// A single value.
    pub fn hull_interval(&self, margin: impl Into<Margin>) -> Result<Interval, ApproxError> {
        let margin = margin.into();
        match self.expected().filter(|_| margin == Margin::Expected) {
            Some((lo, hi)) => Interval::new(lo, hi),
            None => {
                let (lo, hi) = self.extremes();
                Interval::new(lo, hi)?.stretched(margin.factor())
            }
        }
    }

    /// The distribution with distances from the mean times `factor` > 0, to weigh the tails more.
    pub fn inflated(&self, factor: f64) -> Self {
        match self {
            Distribution::Normal { mean, deviation } => {
                Distribution::Normal { mean: *mean, deviation: factor * deviation }
            }
            Distribution::Measured { points, weights, expected } => {
                let mean = self.mean();
                let away = |x: f64| mean + factor * (x - mean);
                Distribution::Measured {
                    points: points.iter().map(|&x| away(x)).collect(),
                    weights: weights.clone(),
                    expected: expected.map(|(lo, hi)| (away(lo), away(hi))),
                }
            }
        }
    }

    /// The weight inside `interval`, as nodes; a density is integrated piecewise between `breaks`. The total is at most 1.
    pub fn nodes(&self, interval: Interval, breaks: &[f64]) -> Nodes {
        match self {
            Distribution::Normal { mean, deviation } => {
                let reach = 20.0 * deviation;
                let (lo, hi) = (interval.lo().max(mean - reach), interval.hi().min(mean + reach));
                let Ok(inside) = Interval::new(lo, hi) else { return Nodes::default() };
                let mut nodes = quadrature::panels(inside, breaks, 128);
                let norm = 1.0 / (deviation * (2.0 * std::f64::consts::PI).sqrt());
                for (x, w) in nodes.x.iter().zip(&mut nodes.w) {
                    *w *= norm * (-0.5 * ((x - mean) / deviation).powi(2)).exp();
                }
                nodes
            }
            Distribution::Measured { points, weights, .. } => {
                let inside = |(x, _): &(&f64, &f64)| interval.contains(**x);
                let (x, w) = points.iter().zip(weights).filter(inside).map(|(x, w)| (*x, *w)).unzip();
                Nodes { x, w }
            }
        }
    }
}

/// Gathers samples in one pass: bins of equal width over `[-2^e, 2^e]`, where e grows with the data, and each bin keeps its mean.
///
/// The result depends on the order of samples only through rounding, and two histograms merge exactly bin by bin. Beside the bins
/// are the extremes of every network input whose samples came in one call of [`Histogram::extend`].
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bound: f64,
    /// `BINS / (2 · bound)`, exact as both are powers of two.
    bins_per_unit: f64,
    bins: Vec<Bin>,
    extremes: (f64, f64),
    /// The largest of every input, and of its negative.
    tails: [Tail; 2],
}

/// The samples of one bin: their weight and weighted sum, side by side as one sample changes both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    weight: f64,
    sum: f64,
}

impl Bin {
    fn add(&mut self, other: Bin) {
        self.weight += other.weight;
        self.sum += other.sum;
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let bound = 2.0f64.powi(-20);
        Histogram {
            bound,
            bins_per_unit: Self::BINS as f64 / (2.0 * bound),
            bins: vec![Bin::default(); Self::BINS],
            extremes: (f64::INFINITY, f64::NEG_INFINITY),
            tails: [Tail::default(), Tail::default()],
        }
    }
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 4096;

    /// Adds samples of weight 1, all of one network input; the least and the largest of them.
    ///
    /// # Errors
    /// A sample is not finite.
    pub fn extend(&mut self, values: impl IntoIterator<Item = f64>) -> Result<(f64, f64), ApproxError> {
        let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
        for x in values {
            self.add(x, 1.0)?;
            (least, largest) = (least.min(x), largest.max(x));
        }
        if least <= largest {
            self.tails[0].add(largest);
            self.tails[1].add(-least);
        }
        Ok((least, largest))
    }

    /// Adds one sample.
    ///
    /// # Errors
    /// A sample that is not finite, or a negative weight.
    pub fn add(&mut self, x: f64, weight: f64) -> Result<(), ApproxError> {
        if !x.is_finite() || !weight.is_finite() || weight < 0.0 {
            return Err(ApproxError::NotFinite { what: "a calibration sample or its weight" });
        }
        while x.abs() >= self.bound {
            self.widen();
        }
        let at = ((x + self.bound) * self.bins_per_unit) as usize;
        let at = at.min(Self::BINS - 1);
        self.bins[at].add(Bin { weight, sum: weight * x });
        self.extremes = (self.extremes.0.min(x), self.extremes.1.max(x));
        Ok(())
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, mut other: Histogram) {
        while self.bound < other.bound {
            self.widen();
        }
        while other.bound < self.bound {
            other.widen();
        }
        self.bins.iter_mut().zip(&other.bins).for_each(|(a, b)| a.add(*b));
        self.extremes = (self.extremes.0.min(other.extremes.0), self.extremes.1.max(other.extremes.1));
        self.tails.iter_mut().zip(other.tails).for_each(|(a, b)| a.merge(b));
    }

    /// Doubles the range; pairs of bins become one.
    fn widen(&mut self) {
        if self.extremes.0 <= self.extremes.1 {
            let quarter = Self::BINS / 4;
            let mut join = |k: usize| {
                let mut pair = self.bins[2 * k];
                pair.add(self.bins[2 * k + 1]);
                self.bins[quarter + k] = pair;
            };
            // From the middle outwards no bin is overwritten before it is read.
            (0..quarter).rev().for_each(&mut join);
            (quarter..Self::BINS / 2).for_each(&mut join);
            self.bins[..quarter].fill(Bin::default());
            self.bins[Self::BINS - quarter..].fill(Bin::default());
        }
        self.bound *= 2.0;
        self.bins_per_unit /= 2.0;
    }

    /// The distribution: one point per bin in use, at the mean of its samples, and the two extremes exactly.
    ///
    /// # Errors
    /// No samples.
    pub fn distribution(&self) -> Result<Distribution, ApproxError> {
        Ok(self.weighted()?.expecting(expected(&self.tails, 1, self.extremes)))
    }

    /// The same, with nothing said of what lies beyond.
    fn weighted(&self) -> Result<Distribution, ApproxError> {
        let mut pairs: Vec<(f64, f64)> =
            self.bins.iter().filter(|b| b.weight > 0.0).map(|b| (b.sum / b.weight, b.weight)).collect();
        let total: f64 = pairs.iter().map(|p| p.1).sum();
        // The extremes set the interval of a fit; their own weight is too small to matter.
        for x in [self.extremes.0, self.extremes.1] {
            if x.is_finite() && total > 0.0 {
                pairs.push((x, 1e-12 * total));
            }
        }
        Distribution::weighted(pairs)
    }
}

/// What the inputs of an activation are on several network inputs: each channel on its own, and how far all of them go together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    channels: Vec<Histogram>,
    /// The largest of every network input over all channels, and of its negative.
    together: [Tail; 2],
}

impl Seen {
    /// Adds `inputs` network inputs of `channels` channels: `values(channel, input)` are those of one channel on one of them.
    ///
    /// # Errors
    /// A value is not finite.
    pub fn add<V: IntoIterator<Item = f64>>(
        &mut self,
        channels: usize,
        inputs: usize,
        values: impl Fn(usize, usize) -> V,
    ) -> Result<(), ApproxError> {
        self.channels.resize_with(channels, Histogram::default);
        let mut hulls = vec![(f64::INFINITY, f64::NEG_INFINITY); inputs];
        // Channel by channel: its bins are fetched once for all inputs.
        for (channel, histogram) in self.channels.iter_mut().enumerate() {
            for (input, hull) in hulls.iter_mut().enumerate() {
                let (least, largest) = histogram.extend(values(channel, input))?;
                *hull = (hull.0.min(least), hull.1.max(largest));
            }
        }
        for (least, largest) in hulls.into_iter().filter(|hull| hull.0 <= hull.1) {
            self.together[0].add(largest);
            self.together[1].add(-least);
        }
        Ok(())
    }

    /// Adds what `other`, of as many channels, has seen.
    pub fn merge(&mut self, other: Self) {
        self.channels.resize_with(self.channels.len().max(other.channels.len()), Histogram::default);
        self.channels.iter_mut().zip(other.channels).for_each(|(a, b)| a.merge(b));
        self.together.iter_mut().zip(other.together).for_each(|(a, b)| a.merge(b));
    }

    /// The distribution of every channel.
    ///
    /// # Errors
    /// A channel without values.
    pub fn channels(&self) -> Result<Vec<Distribution>, ApproxError> {
        // Where each has an interval of its own, an input leaves one of them as seldom as it would one of all.
        let places = self.channels.len();
        self.channels.iter().map(|h| Ok(h.weighted()?.expecting(expected(&h.tails, places, h.extremes)))).collect()
    }

    /// The distribution of all channels together.
    ///
    /// # Errors
    /// No values.
    pub fn together(&self) -> Result<Distribution, ApproxError> {
        let mut all = Histogram::default();
        self.channels.iter().for_each(|h| all.merge(h.clone()));
        Ok(all.weighted()?.expecting(expected(&self.together, 1, all.extremes)))
    }
}

impl From<Histogram> for Seen {
    fn from(histogram: Histogram) -> Self {
        Seen { together: histogram.tails.clone(), channels: vec![histogram] }
    }
}

/// Between which values inputs with these extremes are expected, from the tails of the values and of their negatives.
fn expected(tails: &[Tail; 2], places: usize, (least, largest): (f64, f64)) -> Option<(f64, f64)> {
    let [above, below] = tails.each_ref().map(|tail| tail.within(places, largest - least));
    below.zip(above).map(|(below, above)| (-below, above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_nodes_integrate_moments() {
        let d = Distribution::normal(0.7, 2.0).unwrap();
        let n = d.nodes(Interval::symmetric(40.0).unwrap(), &[0.0]);
        let moment = |k: i32| n.x.iter().zip(&n.w).map(|(x, w)| w * ((x - 0.7) / 2.0).powi(k)).sum::<f64>();
        for (k, want) in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (8, 105.0)] {
            assert!((moment(k) - want).abs() < 1e-12 * (1.0 + want), "moment {k}: {}", moment(k));
        }
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        assert!(Distribution::samples(&[]).is_err() && Distribution::samples(&[f64::NAN]).is_err());
        assert!(Distribution::normal(0.0, 0.0).is_err());
        assert!(Histogram::default().distribution().is_err());
        assert!(Distribution::samples(&[3.0]).unwrap().hull_interval(1.3).is_err());
    }

    proptest! {
        #[test]
        fn histograms_keep_moments_and_merge(values in prop::collection::vec(-300.0..300.0f64, 1..200), cut in 0usize..200) {
            let exact = Distribution::samples(&values).unwrap();
            let mut a = Histogram::default();
            a.extend(values.iter().copied()).unwrap();
            let d = a.distribution().unwrap();
            prop_assert!((d.mean() - exact.mean()).abs() < 1e-8);
            prop_assert!((d.deviation() - exact.deviation()).abs() < 0.3);
            prop_assert_eq!(d.extremes(), exact.extremes());
            let cut = cut.min(values.len());
            let (mut left, mut right) = (Histogram::default(), Histogram::default());
            left.extend(values[..cut].iter().copied()).unwrap();
            right.extend(values[cut..].iter().copied()).unwrap();
            left.merge(right);
            let weights = |h: &Histogram| h.bins.iter().map(|b| b.weight).collect::<Vec<_>>();
            prop_assert_eq!(weights(&left), weights(&a));
            prop_assert_eq!(left.bound, a.bound);
        }
    }
}
