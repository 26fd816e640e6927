//! Counts what the arguments of a program's polynomials are.

use serde::Serialize;

use super::backend::{LANES, Lanes};

/// How often the argument of a polynomial is where, over all images. A polynomial holds on [-1, 1]; its interval in the
/// network's own units is folded into the layer before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArgumentHistogram {
    /// The value, as numbered in the plan.
    pub value: String,
    /// The model's node.
    pub node: String,
    /// Values in each of the bins of equal width between -[`REACH`](Self::REACH) and `REACH`.
    pub counts: Vec<u64>,
    /// Values below all bins.
    pub below: u64,
    /// Values above all bins, and those that are no numbers.
    pub above: u64,
}

impl ArgumentHistogram {
    /// How far the bins reach: a quarter beyond the interval.
    pub const REACH: f64 = 1.25;
    /// Bins.
    pub const BINS: usize = 100;

    /// A histogram without values.
    pub(super) fn new(value: usize, node: &str) -> Self {
        Self { value: format!("%{value}"), node: node.into(), counts: vec![0; Self::BINS], below: 0, above: 0 }
    }

    /// Adds the slots of the first `images` lanes. A slot that holds the same in all of them is padding, and is not counted.
    pub(super) fn add(&mut self, slots: &[Lanes<f64>], images: usize) {
        let images = images.min(LANES);
        let scale = Self::BINS as f64 / (2.0 * Self::REACH);
        for lanes in slots {
            let lanes = &lanes[..images];
            let padding = if images > 1 { lanes.iter().all(|x| *x == lanes[0]) } else { lanes == [0.0] };
            if padding {
                continue;
            }
            for &x in lanes {
                let bin = ((x + Self::REACH) * scale).floor();
                match bin {
                    bin if bin < 0.0 => self.below += 1,
                    bin if bin < Self::BINS as f64 => self.counts[bin as usize] += 1,
                    _ => self.above += 1,
                }
            }
        }
    }

    /// Adds the values of another histogram of the same argument.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, new)| *own += new);
        self.below += other.below;
        self.above += other.above;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_bins_and_padding_into_none() {
        let mut histogram = ArgumentHistogram::new(7, "relu");
        let lanes = |values: [f64; 3]| std::array::from_fn(|i| values.get(i).copied().unwrap_or(9.0));
        let slots = [lanes([0.5, 0.5, 0.5]), lanes([-1.25, 0.0, 1.2499]), lanes([-1.3, 1.25, f64::NAN])];
        histogram.add(&slots, 3);
        let filled: Vec<usize> = (0..100).filter(|&i| histogram.counts[i] > 0).collect();
        assert_eq!((filled, histogram.below, histogram.above), (vec![0, 50, 99], 1, 2));
        let other = histogram.clone();
        histogram.merge(&other);
        assert_eq!((histogram.counts[50], histogram.below, histogram.above), (2, 2, 4));
        histogram.add(&[lanes([0.0; 3]), lanes([1e-9; 3])], 1);
        assert_eq!(histogram.counts[50], 3, "of one image, zeros are padding");
    }
}
