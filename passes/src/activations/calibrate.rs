//! What the inputs of activations look like on calibration data.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Shape, Tensor, Value};
use rayon::prelude::*;

use super::ApproximateError;
use crate::approx::{ApproxError, Histogram};

/// The distribution of every activation's input per channel, keyed by the activation's value.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    inputs: BTreeMap<usize, Vec<Histogram>>,
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
        for (value, histogram) in other.inputs {
            match self.inputs.entry(value) {
                std::collections::btree_map::Entry::Occupied(mut e) => {
                    e.get_mut().iter_mut().zip(histogram).for_each(|(a, b)| a.merge(b));
                }
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(histogram);
                }
            }
        }
    }

    /// Sets what activation `value` has seen.
    pub(super) fn set(&mut self, value: Value, channels: Vec<Histogram>) {
        self.inputs.insert(value.index(), channels);
    }

    /// The inputs that each channel of activation `value` has seen: one histogram per entry of dimension 1, or a single one
    /// for tensors without dimensions beyond it.
    pub fn channels_of(&self, value: Value) -> Option<&[Histogram]> {
        self.inputs.get(&value.index()).map(Vec::as_slice)
    }
}

/// Channels of a tensor of this shape: the extent of dimension 1, where each has several elements.
pub(crate) fn channels(shape: &Shape) -> usize {
    match shape.0.as_slice() {
        [_, channels, rest @ ..] if !rest.is_empty() => *channels,
        _ => 1,
    }
}

/// Adds the elements of tensors of one shape, channel by channel.
pub(crate) fn gather(into: &mut Vec<Histogram>, tensors: &[Tensor]) -> Result<(), ApproxError> {
    let Some(first) = tensors.first() else { return Ok(()) };
    let channels = channels(first.shape());
    into.resize_with(channels, Histogram::default);
    let plane = if channels == 1 { first.data().len() } else { first.shape().0[2..].iter().product() };
    for (channel, histogram) in into.iter_mut().enumerate() {
        for tensor in tensors {
            let planes = tensor.data().chunks_exact(plane.max(1)).skip(channel).step_by(channels);
            planes.into_iter().try_for_each(|plane| histogram.extend(plane.iter().map(|&x| f64::from(x))))?;
        }
    }
    Ok(())
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
