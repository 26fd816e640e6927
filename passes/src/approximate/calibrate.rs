//! What the inputs of activations look like on calibration data.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use rayon::prelude::*;

use super::ApproximateError;
use crate::approx::Histogram;

/// The distribution of every activation's input, keyed by the activation's value.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    inputs: BTreeMap<usize, Histogram>,
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
                    let histogram = part.inputs.entry(activation.index()).or_default();
                    if histogram.extend(tensor.data().iter().map(|&x| f64::from(x))).is_err() {
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
                std::collections::btree_map::Entry::Occupied(mut e) => e.get_mut().merge(histogram),
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(histogram);
                }
            }
        }
    }

    /// Sets what activation `value` has seen.
    pub(super) fn set(&mut self, value: Value, histogram: Histogram) {
        self.inputs.insert(value.index(), histogram);
    }

    /// The inputs that activation `value` has seen.
    pub fn input_of(&self, value: Value) -> Option<&Histogram> {
        self.inputs.get(&value.index())
    }
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
