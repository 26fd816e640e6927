//! What lies beyond the values seen: an estimate from what single inputs had at most.
//!
//! Each input of a network has a largest value at a site. The largest of these, less a threshold, follow a generalised Pareto
//! distribution (Pickands, The Annals of Statistics 3(1), 1975, theorem 7), whose parameters are estimated by
//! probability-weighted moments (Hosking and Wallis, Technometrics 29(3), 1987, section 2.3). It says what one input in many
//! reaches, where a fixed factor on the hull of what was seen is too little for heavy tails and few inputs, and too much for
//! values that are bounded.

use std::fmt;

use serde::Serialize;

/// An interval holds what all but one input in this many have.
const PERIOD: f64 = 1e5;
/// The share of inputs whose largest values are taken for the tail, and the fewest of them.
const SHARE: usize = 10;
const FEWEST: usize = 8;
/// The most that are kept of them.
const KEPT: usize = 512;
/// Ten exceedances say next to nothing about the shape of a tail: this many of shape [`USUAL_SHAPE`] are added to the estimate.
const PRIOR: f64 = 30.0;
/// What sites of convolutional networks have on average.
const USUAL_SHAPE: f64 = 0.1;
/// From this shape on the variance is infinite and an estimate from moments has no meaning.
const MOST_SHAPE: f64 = 0.5;
/// So many inputs are believed half as much as any number.
const DOUBT: f64 = 200.0;
/// Where single inputs are not told apart, the length of an interval over that of the hull of what was seen.
const UNTOLD: f64 = 1.3;

/// How far an interval goes beyond the values seen on calibration data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub enum Margin {
    /// To where the tails of what single inputs had let one input in a hundred thousand go.
    #[default]
    Expected,
    /// The length of the interval over that of the hull of the values, with the same centre.
    Factor(f64),
}

impl Margin {
    /// The factor on the hull where there is no more to go by.
    pub fn factor(self) -> f64 {
        match self {
            Margin::Expected => UNTOLD,
            Margin::Factor(factor) => factor,
        }
    }
}

impl From<f64> for Margin {
    fn from(factor: f64) -> Self {
        Margin::Factor(factor)
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Margin::Expected => f.write_str("expected"),
            Margin::Factor(factor) => write!(f, "{factor}"),
        }
    }
}

/// The largest value of each of several inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    inputs: usize,
    /// The largest of them, in no order; more than [`KEPT`] only until the next cut.
    largest: Vec<f64>,
}

impl Tail {
    /// Adds the largest value of one input.
    pub fn add(&mut self, largest: f64) {
        self.inputs += 1;
        self.largest.push(largest);
        if self.largest.len() >= 2 * KEPT {
            self.cut();
        }
    }

    /// Adds all inputs of `other`.
    pub fn merge(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.largest.extend(other.largest);
        self.cut();
    }

    fn cut(&mut self) {
        self.largest.sort_by(|a, b| b.total_cmp(a));
        self.largest.truncate(KEPT);
    }

    /// The largest value seen; 0 of none.
    pub fn largest(&self) -> f64 {
        self.largest.iter().copied().reduce(f64::max).unwrap_or(0.0)
    }

    /// [`Tail::expected`], as far as it is believed beyond the largest value seen: the fewer inputs there are, the smaller a share
    /// of `length`, that of the hull of what was seen, from a half down to a tenth.
    pub fn within(&self, places: usize, length: f64) -> Option<f64> {
        let inputs = self.inputs as f64;
        let believed = (0.5 * inputs / (inputs + DOUBT)).max(0.1);
        Some(self.expected(places)?.min(self.largest() + believed * length))
    }

    /// What one input in a hundred thousand reaches in any of as many places as `places`, of which this is one; at least the
    /// largest value seen. `None` of fewer than two inputs.
    pub fn expected(&self, places: usize) -> Option<f64> {
        let mut largest = self.largest.clone();
        largest.sort_by(|a, b| b.total_cmp(a));
        let over = (self.inputs / SHARE).max(FEWEST).min(largest.len().min(KEPT).checked_sub(1)?);
        if over == 0 {
            return None;
        }
        let threshold = largest[over];
        let count = over as f64;
        // Probability-weighted moments of the exceedances; the largest comes first, with weight 0 in the second.
        let (mut mean, mut weighted) = (0.0, 0.0);
        for (k, x) in largest[..over].iter().enumerate() {
            mean += (x - threshold) / count;
            weighted += (x - threshold) / count * (k as f64 / (count - 1.0).max(1.0));
        }
        if mean <= 0.0 {
            return Some(largest[0]);
        }
        let measured = 2.0 - mean / (mean - 2.0 * weighted).max(f64::MIN_POSITIVE);
        let shape = (count * measured.clamp(-MOST_SHAPE, 1.0) + PRIOR * USUAL_SHAPE) / (count + PRIOR);
        let shape = shape.clamp(0.0, MOST_SHAPE);
        let scale = mean * (1.0 - shape);
        let times = (PERIOD * places as f64 * count / self.inputs as f64).max(1.0).ln();
        // (timesˢ − 1)/s, which is ln(times) at s = 0.
        let quantile = if shape * times < 1e-6 { times } else { (shape * times).exp_m1() / shape };
        Some(largest[0].max(threshold + scale * quantile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` inputs whose largest values are the quantiles `value(u)`, u in (0, 1).
    fn of(count: usize, value: impl Fn(f64) -> f64) -> Tail {
        let mut tail = Tail::default();
        // In an order that is not that of the values.
        (0..count).for_each(|k| tail.add(value(((k * 7919 % count) as f64 + 0.5) / count as f64)));
        tail
    }

    #[test]
    fn an_exponential_tail_is_met() {
        let expected = of(4096, |u| 3.0 - 2.0 * (1.0 - u).ln()).expected(1).unwrap();
        let exact = 3.0 + 2.0 * PERIOD.ln();
        assert!((expected / exact - 1.0).abs() < 0.05, "{expected} for {exact}");
    }

    #[test]
    fn a_heavy_tail_is_met_and_a_light_one_not_stretched_much() {
        let shape = 0.25;
        let expected = of(4096, |u| ((1.0 - u).powf(-shape) - 1.0) / shape).expected(1).unwrap();
        let exact = (PERIOD.powf(shape) - 1.0) / shape;
        assert!(expected > 0.7 * exact && expected < 1.4 * exact, "{expected} for {exact}");
        // Uniform maxima: the end of their range is at 1.
        let bounded = of(4096, |u| u).expected(1).unwrap();
        assert!((1.0..1.5).contains(&bounded), "{bounded}");
    }

    #[test]
    fn fewer_inputs_say_less() {
        let value = |u: f64| -(1.0 - u).ln();
        let (many, few) = (of(4096, value), of(32, value));
        let beyond = |t: &Tail| t.expected(1).unwrap() / t.largest.iter().fold(0.0, |m: f64, x| m.max(*x));
        assert!(beyond(&few) > 1.5 * beyond(&many), "{} {}", beyond(&few), beyond(&many));
        assert_eq!(of(1, value).expected(1), None);
        assert_eq!(Tail::default().expected(1), None);
        // Two inputs, and inputs that are all alike.
        assert!(of(2, value).expected(1).unwrap().is_finite());
        assert_eq!(of(100, |_| 4.0).expected(1), Some(4.0));
        // In one of many places something is rarer than in each.
        assert!(many.expected(64) > many.expected(1));
    }

    #[test]
    fn merged_tails_are_those_of_all_inputs() {
        let value = |u: f64| (1.0 - u).powf(-0.2);
        let mut parts = Tail::default();
        for part in 0..4 {
            let mut tail = Tail::default();
            (0..1000).for_each(|k| tail.add(value((f64::from(4 * k + part) + 0.5) / 4000.0)));
            parts.merge(tail);
        }
        assert_eq!(parts.expected(1), of(4000, value).expected(1));
    }

    #[test]
    fn the_estimate_moves_and_scales_with_the_values() {
        let value = |u: f64| -(1.0 - u).ln();
        let plain = of(500, value).expected(1).unwrap();
        let moved = of(500, |u| 1e3 * value(u) - 50.0).expected(1).unwrap();
        assert!((moved - (1e3 * plain - 50.0)).abs() < 1e-6 * moved.abs());
    }
}
