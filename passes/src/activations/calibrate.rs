//! What the inputs of activations look like on calibration data.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Shape, Tensor, Value};
use rayon::prelude::*;

use super::ApproximateError;
use crate::approx::{ApproxError, Seen};

/// The distribution of every activation's input per channel, keyed by the activation's value.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    inputs: BTreeMap<usize, Seen>,
}

/// Samples whose tensors wait for each other: a channel's histogram is fetched once for all of them.
const GATHERED_AT_ONCE: usize = 16;

impl Calibration {
    /// Runs `module` on `samples` (one set of input tensors each) over the threads of the current rayon pool and gathers
    /// the inputs of every activation and polynomial.
    ///
    /// # Errors
    /// When a sample does not fit the module, or a value is not finite.
    pub fn measure(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<Self, ApproximateError> {
        let _span = tracing::debug_span!("calibrate").entered();
        let watched = watched(module);
        let share = samples.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts: Vec<Result<Self, ApproximateError>> =
            samples.par_chunks(share).map(|part| Self::measure_part(module, &watched, part)).collect();
        let mut all = Self::default();
        for part in parts {
            all.merge(part?);
        }
        Ok(all)
    }

    fn measure_part(
        module: &Module<Nn>,
        watched: &BTreeMap<usize, Vec<Value>>,
        samples: &[Vec<Tensor>],
    ) -> Result<Self, ApproximateError> {
        let mut part = Self::default();
        for block in samples.chunks(GATHERED_AT_ONCE) {
            let mut seen: BTreeMap<usize, Vec<Tensor>> = BTreeMap::new();
            for sample in block {
                eval::eval_observed(module, sample, |value, tensor| {
                    if watched.contains_key(&value.index()) {
                        seen.entry(value.index()).or_default().push(tensor.clone());
                    }
                })?;
            }
            for (value, tensors) in &seen {
                for &activation in &watched[value] {
                    if gather(part.inputs.entry(activation.index()).or_default(), tensors).is_err() {
                        let node = module.func.node(activation).loc.name().to_string();
                        return Err(ApproximateError::NotFinite { node });
                    }
                }
            }
        }
        Ok(part)
    }

    /// Adds what `other` has seen.
    pub fn merge(&mut self, other: Self) {
        for (value, seen) in other.inputs {
            self.inputs.entry(value).or_default().merge(seen);
        }
    }

    /// Sets what activation `value` has seen.
    pub(super) fn set(&mut self, value: Value, seen: Seen) {
        self.inputs.insert(value.index(), seen);
    }

    /// The inputs that activation `value` has seen: one channel per entry of dimension 1, or a single one for tensors without
    /// dimensions beyond it.
    pub fn inputs_of(&self, value: Value) -> Option<&Seen> {
        self.inputs.get(&value.index())
    }
}

/// Channels of a tensor of this shape: the extent of dimension 1, where each has several elements.
pub(crate) fn channels(shape: &Shape) -> usize {
    match shape.0.as_slice() {
        [_, channels, rest @ ..] if !rest.is_empty() => *channels,
        _ => 1,
    }
}

/// Adds the elements of tensors of one shape, each of a network input.
pub(crate) fn gather(into: &mut Seen, tensors: &[Tensor]) -> Result<(), ApproxError> {
    let Some(first) = tensors.first() else { return Ok(()) };
    let channels = channels(first.shape());
    let plane: usize = if channels == 1 { first.data().len() } else { first.shape().0[2..].iter().product() };
    into.add(channels, tensors.len(), |channel, input| {
        let planes = tensors[input].data().chunks_exact(plane.max(1)).skip(channel).step_by(channels);
        planes.flatten().map(|&x| f64::from(x))
    })
}

/// For every value that feeds an activation or polynomial, those it feeds.
fn watched(module: &Module<Nn>) -> BTreeMap<usize, Vec<Value>> {
    let mut watched: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for (value, node) in module.func.iter() {
        if node.op.is_function() || matches!(node.op, NnOp::Polynomial { .. }) {
            watched.entry(node.operands[0].index()).or_default().push(value);
        }
    }
    watched
}
