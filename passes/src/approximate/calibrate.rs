//! What the inputs of activations look like on calibration data.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Shape, Tensor, Value};
use rayon::prelude::*;

use super::{ApproximateError, fit::merged};
use crate::approx::{ApproxError, Histogram};

/// The distribution of every activation's input per channel, keyed by the activation's value.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    inputs: BTreeMap<usize, Vec<Histogram>>,
}

impl Calibration {
    /// Runs `module` on `samples` (one set of input tensors each) over the threads of the current rayon pool and gathers
    /// the inputs of every activation and polynomial.
    ///
    /// # Errors
    /// When a sample does not fit the module, or a value is not finite.
    pub fn measure(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<Self, ApproximateError> {
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
        for sample in samples {
            let mut bad = None;
            eval::eval_observed(module, sample, |value, tensor| {
                for activation in watched.get(&value.index()).into_iter().flatten() {
                    if gather(part.inputs.entry(activation.index()).or_default(), tensor).is_err() {
                        bad.get_or_insert(*activation);
                    }
                }
            })?;
            if let Some(value) = bad {
                return Err(ApproximateError::NotFinite { node: module.func.node(value).loc.name().to_string() });
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

    /// The inputs that activation `value` has seen, all channels together.
    pub fn input_of(&self, value: Value) -> Option<Histogram> {
        self.channels_of(value).map(merged)
    }
}

/// Channels of a tensor of this shape: the extent of dimension 1, where each has several elements.
pub(crate) fn channels(shape: &Shape) -> usize {
    match shape.0.as_slice() {
        [_, channels, rest @ ..] if !rest.is_empty() => *channels,
        _ => 1,
    }
}

/// Adds the elements of `tensor`, channel by channel.
pub(crate) fn gather(into: &mut Vec<Histogram>, tensor: &Tensor) -> Result<(), ApproxError> {
    let channels = channels(tensor.shape());
    into.resize_with(channels, Histogram::default);
    let plane = if channels == 1 { tensor.data().len() } else { tensor.shape().0[2..].iter().product() };
    let mut planes = tensor.data().chunks_exact(plane.max(1)).enumerate();
    planes.try_for_each(|(i, plane)| into[i % channels].extend(plane.iter().map(|&x| f64::from(x))))
}

/// For every value that feeds an activation or polynomial, those it feeds.
fn watched(module: &Module<Nn>) -> BTreeMap<usize, Vec<Value>> {
    let mut watched: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for (value, node) in module.func.iter() {
        if matches!(node.op, NnOp::Activation { .. } | NnOp::Polynomial { .. }) {
            watched.entry(node.operands[0].index()).or_default().push(value);
        }
    }
    watched
}
