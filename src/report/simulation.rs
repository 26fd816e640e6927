//! What a simulation told of a plan: the part of the JSON of `fhec simulate --per-op` that a report shows.

use serde::{Deserialize, Serialize};

use super::model::Noise;
use super::polynomial::Data;

/// What `fhec simulate` printed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Simulation {
    /// The digest of the plan, in hexadecimal.
    #[serde(default)]
    pub plan_digest: Option<String>,
    /// Images.
    pub images: u64,
    /// Images that have a label.
    #[serde(default)]
    pub labelled: Option<u64>,
    /// Of these, images whose class is the label's, with noise.
    #[serde(default)]
    pub right: Option<u64>,
    /// The same without noise.
    #[serde(default)]
    pub right_exact: Option<u64>,
    /// Images whose largest result is the same with and without noise; none for a simulation without noise.
    #[serde(default)]
    pub same_argmax: Option<u64>,
    /// Largest difference of a result from the program without noise.
    #[serde(default)]
    pub max_error: Option<f64>,
    /// The errors of every op, in program order; empty without `--per-op`.
    #[serde(default)]
    pub ops: Vec<Op>,
    /// Where the arguments of polynomials are; empty without `--per-op`.
    #[serde(default)]
    pub arguments: Vec<Argument>,
}

/// The error of an op.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Op {
    /// The model's node.
    pub node: String,
    /// Largest magnitude of the result; not a number where it was not finite.
    #[serde(default)]
    pub magnitude: Option<f64>,
    /// Root mean square of the error.
    #[serde(default)]
    pub rms_error: Option<f64>,
    /// Largest error.
    #[serde(default)]
    pub max_error: Option<f64>,
}

impl Op {
    /// The error of the op, where all of it is finite.
    pub(super) fn noise(&self) -> Option<Noise> {
        let Self { magnitude, rms_error, max_error, .. } = *self;
        Some(Noise { magnitude: magnitude?, rms_error: rms_error?, max_error: max_error? })
    }
}

/// A histogram of the argument of a polynomial.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Argument {
    /// The value of the program.
    pub value: String,
    /// Values by bin, from -1.25 to 1.25.
    pub counts: Vec<u64>,
    /// Values below all bins.
    pub below: u64,
    /// Values above all bins.
    pub above: u64,
}

/// What a report says of a simulation as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulated {
    /// Images.
    pub images: u64,
    /// Images that have a label.
    pub labelled: Option<u64>,
    /// Of these, images whose class is the label's, with noise.
    pub right: Option<u64>,
    /// The same without noise.
    pub right_exact: Option<u64>,
    /// Images whose largest result is the same with and without noise.
    pub same_argmax: Option<u64>,
    /// Largest difference of a result from the program without noise.
    pub max_error: Option<f64>,
}

impl Simulation {
    pub(super) fn summary(&self) -> Simulated {
        let Self { images, labelled, right, right_exact, same_argmax, max_error, .. } = *self;
        // Without noise there is nothing to compare.
        let right = right.filter(|_| same_argmax.is_some());
        Simulated { images, labelled, right, right_exact, same_argmax, max_error }
    }

    /// The histograms of these values together.
    pub(super) fn data_of(&self, values: &[String]) -> Option<Data> {
        let mut found = self.arguments.iter().filter(|argument| values.contains(&argument.value));
        let first = found.next()?;
        let mut all = Data { counts: first.counts.clone(), below: first.below, above: first.above };
        for more in found.filter(|more| more.counts.len() == first.counts.len()) {
            all.counts.iter_mut().zip(&more.counts).for_each(|(sum, count)| *sum += count);
            all.below += more.below;
            all.above += more.above;
        }
        Some(all)
    }
}
