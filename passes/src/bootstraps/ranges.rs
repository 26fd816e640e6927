//! How large the values of a packed program get: a bootstrap takes slots in [-1, 1] alone.
//!
//! What a polynomial reads lies there, since packing maps it to the interval of the polynomial. Values that no polynomial reads
//! may be of any size. It is measured where it counts, in slots: these hold what packing makes of the network's tensors, which
//! is not always the tensors themselves.

use std::sync::Arc;

use fhec_ir::slot::eval;
use fhec_ir::{Entity, Tensor, batches, largest_magnitude};
use rayon::prelude::*;

use crate::approx::{Margin, Tail};
use crate::pack::Packed;

/// Calibration inputs that the packed program is run on at most. It takes many times as long in slots as in tensors, and the
/// estimate of what lies beyond the largest value seen gains little from more.
const MOST_INPUTS: usize = 256;

/// Calibration inputs on which values are measured that are to be bootstrapped, and how far beyond them they may go.
#[derive(Clone, Debug)]
pub struct RangeSamples {
    inputs: Arc<[Vec<Tensor>]>,
    margin: Margin,
}

impl RangeSamples {
    /// The first of these inputs; nothing where there are none.
    pub fn new(inputs: &[Vec<Tensor>], margin: Margin) -> Option<Self> {
        let inputs: Arc<[Vec<Tensor>]> = inputs.iter().take(MOST_INPUTS).cloned().collect();
        (!inputs.is_empty()).then_some(Self { inputs, margin })
    }

    /// How many inputs there are.
    pub fn count(&self) -> usize {
        self.inputs.len()
    }

    /// The largest magnitude to be expected in the slots of every tensor of `packed`, which takes `batch` inputs at a time;
    /// nothing where it does not run on them.
    pub(super) fn magnitudes(&self, packed: &Packed, batch: usize) -> Option<Vec<f64>> {
        let _span = tracing::debug_span!("measure-slots").entered();
        let owners = owners(packed);
        let run = |inputs: &Vec<Tensor>| -> Option<Vec<f64>> {
            let ports = packed.module.inputs.iter().zip(inputs);
            let vectors: Option<Vec<_>> = ports.map(|(port, tensor)| port.layout.as_ref()?.pack(tensor).ok()).collect();
            let vectors: Vec<Vec<f64>> = vectors?.into_iter().flatten().collect();
            let mut largest = vec![0.0; packed.tensors.len()];
            let observed = eval::eval_slots(&packed.module, &vectors, |value, slots| {
                for &tensor in &owners[value.index()] {
                    largest[tensor] = largest_magnitude(slots.iter().copied().chain([largest[tensor]]));
                }
            });
            observed.ok().map(|_| largest)
        };
        let runs: Vec<Vec<f64>> = batches(&self.inputs, batch).par_iter().map(run).collect::<Option<_>>()?;
        Some((0..packed.tensors.len()).map(|tensor| self.expected(runs.iter().map(|run| run[tensor]))).collect())
    }

    /// What is to be expected of a value whose largest magnitude was so much in each run.
    fn expected(&self, largest: impl Iterator<Item = f64> + Clone) -> f64 {
        let seen = largest_magnitude(largest.clone());
        // What is not finite says nothing of a tail.
        if !seen.is_finite() {
            return seen;
        }
        let mut tail = Tail::default();
        largest.for_each(|largest| tail.add(largest));
        match self.margin {
            Margin::Expected => tail.within(1, 2.0 * seen).unwrap_or(self.margin.factor() * seen),
            Margin::Factor(factor) => factor * seen,
        }
    }
}

/// The tensors that each value of the program belongs to.
fn owners(packed: &Packed) -> Vec<Vec<usize>> {
    let mut owners = vec![Vec::new(); packed.module.func.len()];
    for (number, tensor) in packed.tensors.iter().enumerate() {
        tensor.values.iter().for_each(|value| owners[value.index()].push(number));
    }
    owners
}
