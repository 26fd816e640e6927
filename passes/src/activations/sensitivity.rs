//! How much the results depend on every activation: A_i = Σ_j E\[g_ij²\], the surrogate of OLA (arXiv 2310.10349) with a
//! yardstick that has no scale.
//!
//! OLA takes for g_ij the gradient of the cross-entropy loss with respect to element j of activation i. That vanishes on networks
//! that are confident on their calibration data, and it depends on the scale of the scores. Here g_ij is the gradient of a
//! relative quantity instead: of a classifier's lead, the difference between the two largest scores, over the lead; of any other
//! network ([`ResultKind`]), of its results over how much they vary. Errors of mean square E_i and uncorrelated elements change that
//! quantity with variance Σ A_i·E_i, to first order: a share of the lead, or of the result, that multiplying the scores by a
//! number does not change.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use miette::Diagnostic;
use rayon::prelude::*;
use thiserror::Error;

use super::channels;
use super::result_kind::{ResultKind, spreads};

/// Why sensitivities cannot be measured.
#[derive(Debug, Error, Diagnostic)]
pub enum SensitivityError {
    /// The model does not run on the samples, or has no derivative.
    #[error("the results have no gradient on the calibration data: {0}")]
    #[diagnostic(help(
        "sensitivities need a network of the ops that convolutional networks use, and data of its input's shape"
    ))]
    Eval(#[from] eval::EvalError),
    /// No samples.
    #[error("there is no calibration sample")]
    #[diagnostic(help("give at least a few dozen training inputs"))]
    NoSamples,
}

/// Sensitivities per channel (dimension 1, or a single one where no dimension follows), by the activation's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sensitivities {
    channels: BTreeMap<Value, Vec<f64>>,
}

/// Samples whose squares are added before those of others: sums do not depend on the number of threads.
const BLOCK: usize = 8;
/// Leads below that of this share of the samples count as if they had it: a lead close to zero says nothing of the others.
const LEAST_LEAD: f64 = 0.1;
/// Seed of the directions in which results other than scores are looked at.
const SEED: u64 = 0x5EED;

impl Sensitivities {
    /// Measures every activation and polynomial of `module` on `samples` over the threads of the current rayon pool. With several
    /// results, their sensitivities add up. Results are taken for what is `asked`, or for what they look like.
    ///
    /// # Errors
    /// When there are no samples, the module does not run on them, or an op has no derivative.
    pub fn measure(
        module: &Module<Nn>,
        samples: &[Vec<Tensor>],
        asked: Option<ResultKind>,
    ) -> Result<Self, SensitivityError> {
        let _span = tracing::debug_span!("sensitivities").entered();
        let func = &module.func;
        if samples.is_empty() {
            return Err(SensitivityError::NoSamples);
        }
        let live = func.live();
        let watched = |n: &NnOp| n.is_function() || matches!(n, NnOp::Polynomial { .. });
        let of: Vec<Value> = func.iter().filter(|(v, n)| live[v.index()] && watched(&n.op)).map(|(v, _)| v).collect();
        let mut all = Self::default();
        for &result in func.results() {
            let (scores, yardstick) = yardstick(module, result, samples, asked)?;
            let block = |(b, block): (usize, &[Vec<Tensor>])| -> Result<Vec<Vec<f64>>, SensitivityError> {
                let mut sums: Vec<Vec<f64>> = of.iter().map(|v| vec![0.0; channels(&func.ty(*v).0)]).collect();
                for (i, sample) in block.iter().enumerate() {
                    let number = (b * BLOCK + i) as u64;
                    let grads = eval::gradients(module, sample, scores, |s| yardstick.gradient(s, number), &of)?;
                    grads.iter().zip(&mut sums).for_each(|(grad, sums)| add_squares(grad, sums));
                }
                Ok(sums)
            };
            let blocks: Vec<_> = samples.par_chunks(BLOCK).enumerate().map(block).collect::<Result<_, _>>()?;
            for (i, value) in of.iter().enumerate() {
                let sums = all.channels.entry(*value).or_insert_with(|| vec![0.0; channels(&func.ty(*value).0)]);
                for block in &blocks {
                    sums.iter_mut().zip(&block[i]).for_each(|(sum, b)| *sum += b / samples.len() as f64);
                }
            }
        }
        Ok(all)
    }

    /// A_i of activation `value`.
    pub fn of(&self, value: Value) -> Option<f64> {
        self.channels_of(value).map(|c| c.iter().sum())
    }

    /// The share of each channel in A_i.
    pub fn channels_of(&self, value: Value) -> Option<&[f64]> {
        self.channels.get(&value).map(Vec::as_slice)
    }

    /// The activations measured, in definition order.
    pub fn activations(&self) -> impl Iterator<Item = Value> + '_ {
        self.channels.keys().copied()
    }
}

/// What errors of a result are measured by.
enum Yardstick {
    /// The lead of the largest score in each row, at least this much.
    Lead(f64),
    /// How much each value varies.
    Spread(Vec<f64>),
}

/// The value whose gradients are taken for `result`, and its yardstick: scores before what is left to the client, of a classifier.
fn yardstick(
    module: &Module<Nn>,
    result: Value,
    samples: &[Vec<Tensor>],
    asked: Option<ResultKind>,
) -> Result<(Value, Yardstick), SensitivityError> {
    let node = module.func.node(result);
    let is_head = matches!(node.op, NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. });
    let scores = if is_head { node.operands[0] } else { result };
    let shape = &module.func.ty(scores).0.0;
    let row = match shape[..] {
        [_, classes] if classes > 1 => Some(classes),
        _ => None,
    };
    // Each result is as long as all others.
    let results_of = |sample: &Vec<Tensor>| {
        let mut found = Vec::new();
        eval::eval_observed(module, sample, |value, tensor| {
            if value == scores {
                found.extend_from_slice(tensor.data());
            }
        })?;
        Ok(found)
    };
    let results: Vec<Vec<f32>> = samples.par_iter().map(results_of).collect::<Result<_, eval::EvalError>>()?;
    if let Some(classes) = row {
        let rows = || results.iter().flat_map(|r| r.chunks_exact(classes));
        let kind = asked.unwrap_or_else(|| ResultKind::of_rows(module.func.node(scores), rows()));
        let mut leads: Vec<f64> = rows().map(|row| lead(row).2).collect();
        leads.sort_by(f64::total_cmp);
        let least = leads[(leads.len() as f64 * LEAST_LEAD) as usize];
        // Scores that are all alike lead nowhere.
        if kind == ResultKind::Classes && least > 0.0 {
            return Ok((scores, Yardstick::Lead(least)));
        }
    }
    let results: Vec<&[f32]> = results.iter().map(Vec::as_slice).collect();
    Ok((scores, Yardstick::Spread(spreads(&results, row.is_some()))))
}

impl Yardstick {
    /// The gradient, with respect to a result, of what it is measured by; `number` of the sample.
    fn gradient(&self, result: &Tensor, number: u64) -> Tensor {
        let data = match self {
            Self::Lead(least) => {
                let mut data = vec![0.0; result.data().len()];
                let classes = result.shape().0[1];
                for (row, scores) in data.chunks_exact_mut(classes).zip(result.data().chunks_exact(classes)) {
                    let (first, second, lead) = lead(scores);
                    let share = (1.0 / lead.max(*least)) as f32;
                    (row[first], row[second]) = (share, -share);
                }
                data
            }
            Self::Spread(spreads) => {
                // The mean square along directions of random signs is the sum over all elements.
                let mut state = SEED ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let count = spreads.len().max(1) as f64;
                let sign = |spread: &f64| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let share = (1.0 / (count.sqrt() * spread)) as f32;
                    if state >> 63 == 0 { share } else { -share }
                };
                spreads.iter().map(sign).collect()
            }
        };
        Tensor::new(result.shape().clone(), data)
    }
}

/// The places of the two largest scores and the difference between them.
fn lead(scores: &[f32]) -> (usize, usize, f64) {
    let (mut first, mut second) = if scores[1] > scores[0] { (1, 0) } else { (0, 1) };
    for (i, &score) in scores.iter().enumerate().skip(2) {
        if score > scores[first] {
            (first, second) = (i, first);
        } else if score > scores[second] {
            second = i;
        }
    }
    (first, second, f64::from(scores[first]) - f64::from(scores[second]))
}

/// Adds the squares of a gradient channel by channel.
fn add_squares(grad: &Tensor, sums: &mut [f64]) {
    let dims = &grad.shape().0;
    let plane: usize = if sums.len() == 1 { grad.data().len() } else { dims[2..].iter().product() };
    for (i, plane) in grad.data().chunks_exact(plane.max(1)).enumerate() {
        sums[i % sums.len()] += plane.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_between_the_two_largest() {
        assert_eq!(lead(&[1.0, 4.0, 2.5, -3.0]), (1, 2, 1.5));
        assert_eq!(lead(&[4.0, 1.0]), (0, 1, 3.0));
        assert_eq!(lead(&[2.0, 2.0, 2.0]), (0, 1, 0.0));
        let gradient = |scores: [f32; 4], scale: f32| {
            let scores = Tensor::new([1, 4], scores.map(|s| s * scale).to_vec());
            Yardstick::Lead(0.5 * f64::from(scale)).gradient(&scores, 0).data().to_vec()
        };
        assert_eq!(gradient([1.0, 4.0, 2.0, -3.0], 1.0), [0.0, 0.5, -0.5, 0.0]);
        // Ten times the scores move a share of the lead by a tenth as much.
        assert_eq!(gradient([1.0, 4.0, 2.0, -3.0], 10.0), [0.0, 0.05, -0.05, 0.0]);
    }
}
