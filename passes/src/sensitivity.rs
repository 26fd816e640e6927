//! How much the loss depends on every activation: A_i = Σ_j E\[g_ij²\], the surrogate of OLA (arXiv 2310.10349).
//!
//! g_ij is the gradient of the cross-entropy loss with respect to element j of activation i. Errors of mean square E_i and
//! uncorrelated elements change the loss with variance Σ A_i·E_i, to first order.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use miette::Diagnostic;
use rayon::prelude::*;
use thiserror::Error;

/// Why sensitivities cannot be measured.
#[derive(Debug, Error, Diagnostic)]
pub enum SensitivityError {
    /// The model does not run on the samples, or has no derivative.
    #[error("the loss has no gradient on the calibration data: {0}")]
    #[diagnostic(help(
        "sensitivities need a network of the ops that convolutional networks use, and data of its input's shape"
    ))]
    Eval(#[from] eval::EvalError),
    /// No samples.
    #[error("there is no calibration sample")]
    #[diagnostic(help("give at least a few dozen training inputs"))]
    NoSamples,
    /// Not a classifier.
    #[error("the model has {results} results, not one of scores [batch, classes]")]
    #[diagnostic(help("sensitivities are those of a classifier's cross-entropy loss"))]
    NotAClassifier {
        /// Results of the model.
        results: usize,
    },
    /// Labels that do not fit.
    #[error("{labels} labels for {rows} inputs of {classes} classes")]
    #[diagnostic(help("give one label per input, counted from zero, or none to take the model's own predictions"))]
    Labels {
        /// Labels given.
        labels: usize,
        /// Inputs, batches counted in full.
        rows: usize,
        /// Classes.
        classes: usize,
    },
}

/// Sensitivities per channel (dimension 1, or a single one where no dimension follows), by the activation's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sensitivities {
    channels: BTreeMap<Value, Vec<f64>>,
}

/// Samples whose squares are added before those of others: sums do not depend on the number of threads.
const BLOCK: usize = 8;

impl Sensitivities {
    /// Measures every activation and polynomial of `module` on `samples` over the threads of the current rayon pool. The
    /// loss is the cross entropy of the result's softmax (the result itself where it is one) against `labels`, or without
    /// labels against the class of the largest score.
    ///
    /// # Errors
    /// When there are no samples, labels do not fit, the module is no classifier, or an op has no derivative.
    pub fn measure(
        module: &Module<Nn>,
        samples: &[Vec<Tensor>],
        labels: Option<&[usize]>,
    ) -> Result<Self, SensitivityError> {
        let _span = tracing::debug_span!("sensitivities").entered();
        let func = &module.func;
        if samples.is_empty() {
            return Err(SensitivityError::NoSamples);
        }
        let not_a_classifier = || SensitivityError::NotAClassifier { results: func.results().len() };
        let [result] = func.results() else { return Err(not_a_classifier()) };
        let node = func.node(*result);
        let scores = if matches!(node.op, NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. }) {
            node.operands[0]
        } else {
            *result
        };
        let [batch, classes] = func.ty(scores).0.0[..] else { return Err(not_a_classifier()) };
        let rows = samples.len() * batch;
        if let Some(labels) = labels
            && (labels.len() != rows || labels.iter().any(|&l| l >= classes))
        {
            return Err(SensitivityError::Labels { labels: labels.len(), rows, classes });
        }
        let live = func.live();
        let of: Vec<Value> = func
            .iter()
            .filter(|(v, n)| live[v.index()] && matches!(n.op, NnOp::Activation { .. } | NnOp::Polynomial { .. }))
            .map(|(v, _)| v)
            .collect();
        let block = |(b, block): (usize, &[Vec<Tensor>])| -> Result<Vec<Vec<f64>>, SensitivityError> {
            let mut sums: Vec<Vec<f64>> = of.iter().map(|v| vec![0.0; channels(&func.ty(*v).0.0)]).collect();
            for (i, sample) in block.iter().enumerate() {
                let first = (b * BLOCK + i) * batch;
                let labels = labels.map(|l| &l[first..first + batch]);
                let grads = eval::gradients(module, sample, scores, |s| cross_entropy_gradient(s, labels), &of)?;
                grads.iter().zip(&mut sums).for_each(|(grad, sums)| add_squares(grad, sums));
            }
            Ok(sums)
        };
        let blocks: Vec<_> = samples.par_chunks(BLOCK).enumerate().map(block).collect::<Result<_, _>>()?;
        let mean = |i: usize| {
            let zero = vec![0.0; channels(&func.ty(of[i]).0.0)];
            blocks.iter().fold(zero, |sum, block| sum.iter().zip(&block[i]).map(|(s, b)| s + b / rows as f64).collect())
        };
        Ok(Self { channels: of.iter().enumerate().map(|(i, v)| (*v, mean(i))).collect() })
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

fn channels(dims: &[usize]) -> usize {
    if dims.len() > 2 { dims[1] } else { 1 }
}

/// Adds the squares of a gradient channel by channel.
fn add_squares(grad: &Tensor, sums: &mut [f64]) {
    let dims = &grad.shape().0;
    let plane: usize = if sums.len() == 1 { grad.data().len() } else { dims[2..].iter().product() };
    for (i, plane) in grad.data().chunks_exact(plane.max(1)).enumerate() {
        sums[i % sums.len()] += plane.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    }
}

/// softmax(scores) - one-hot(label), row by row; without labels that of the largest score.
fn cross_entropy_gradient(scores: &Tensor, labels: Option<&[usize]>) -> Tensor {
    let classes = scores.shape().0[1];
    let mut data = Vec::with_capacity(scores.data().len());
    for (row, scores) in scores.data().chunks_exact(classes.max(1)).enumerate() {
        let (best, max) = scores
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (i, &s)| if s > best.1 { (i, s) } else { best });
        let label = labels.map_or(best, |l| l[row]);
        let exps: Vec<f64> = scores.iter().map(|&s| f64::from(s - max).exp()).collect();
        let sum: f64 = exps.iter().sum();
        data.extend(exps.iter().enumerate().map(|(i, e)| (e / sum - f64::from(u8::from(i == label))) as f32));
    }
    Tensor::new(scores.shape().clone(), data)
}
