//! New weights for one layer: rows sampled from the calibration runs, and the regression over them.

use fhec_ir::matrix::{View, multiply_add};
use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Nn, Node, Shape, Tensor};
use rayon::prelude::*;

use super::ridge::{Change, Normal};
use crate::activations::ApproximateError;

/// LayerWeights and bias of an affine layer.
#[derive(Clone, Debug)]
pub(super) struct LayerWeights {
    pub(super) w: Tensor,
    pub(super) b: Option<Tensor>,
}

/// What one layer sees: per sample its input, and what its result should be.
pub(super) struct Regression<'a> {
    pub(super) node: &'a Node<Nn>,
    /// Inputs, one tensor per sample.
    pub(super) inputs: &'a [Tensor],
    /// The teacher's values at the target.
    pub(super) targets: &'a [Tensor],
    /// What is added to the layer's result before it is compared.
    pub(super) skips: Option<&'a [Tensor]>,
    /// Rows to sample in all.
    pub(super) positions: usize,
    pub(super) lambda: f64,
    pub(super) seed: u64,
}

/// A matrix product over rows of a tensor, as a layer's groups see it.
#[derive(Clone, Copy)]
struct PatchGeometry {
    groups: usize,
    /// Inputs per group, without the constant.
    inputs: usize,
    /// Outputs per group.
    outputs: usize,
    /// Positions per sample.
    positions: usize,
    /// Elements between outputs at one position.
    stride: usize,
}

impl Regression<'_> {
    /// Rows taken from each sample.
    fn positions_of(&self, geometry: PatchGeometry) -> usize {
        (self.positions / self.inputs.len().max(1)).clamp(1, geometry.positions)
    }
}

/// Parts in which samples are summed, each in order: the sums must not depend on the number of threads.
const PARTS: usize = 8;
/// Rows per batch of a part.
const BATCH: usize = 1024;

/// Rows wanted per unknown: with fewer, a regression learns its samples rather than the layer.
const ROWS_PER_UNKNOWN: usize = 8;

/// New weights with the mean square errors before and after; `None` where there is nothing to learn, or too little
/// to learn it from.
pub(super) fn rebuild(
    sight: &Regression<'_>,
    old: &LayerWeights,
) -> Result<Option<(LayerWeights, f64, f64)>, ApproximateError> {
    let geometry = geometry(sight, &old.w);
    let rows = sight.inputs.len() * sight.positions_of(geometry);
    if rows < ROWS_PER_UNKNOWN * (geometry.inputs + 1) {
        return Ok(None);
    }
    let share = sight.inputs.len().div_ceil(PARTS).max(1);
    let starts: Vec<usize> = (0..sight.inputs.len()).step_by(share).collect();
    let parts: Vec<Result<Vec<Normal>, ApproximateError>> = starts
        .into_par_iter()
        .map(|start| part(sight, old, geometry, start..(start + share).min(sight.inputs.len())))
        .collect();
    let mut sums: Option<Vec<Normal>> = None;
    for part in parts {
        let part = part?;
        match &mut sums {
            Some(sums) => sums.iter_mut().zip(&part).for_each(|(a, b)| a.merge(b)),
            None => sums = Some(part),
        }
    }
    let changes: Vec<Option<Change>> =
        sums.unwrap_or_default().into_par_iter().map(|normal| normal.solve(sight.lambda)).collect();
    let known: Vec<&Change> = changes.iter().flatten().collect();
    if known.is_empty() || known.iter().any(|c| c.weights.iter().any(|x| !x.is_finite())) {
        return Ok(None);
    }
    let mean = |f: fn(&Change) -> f64| known.iter().map(|c| f(c)).sum::<f64>() / known.len() as f64;
    let errors = (mean(|c| c.before), mean(|c| c.after));
    Ok(Some((changed(old, geometry, &changes, matches!(sight.node.op, NnOp::Conv { .. })), errors.0, errors.1)))
}

fn geometry(sight: &Regression<'_>, w: &Tensor) -> PatchGeometry {
    let out = &sight.node.ty.0;
    match &sight.node.op {
        NnOp::Conv { groups, .. } => {
            let (groups, filters) = (*groups as usize, w.shape().0[0]);
            let pixels: usize = out.0[2..].iter().product();
            PatchGeometry {
                groups,
                inputs: w.shape().len() / filters,
                outputs: filters / groups,
                positions: out.0[0] * pixels,
                stride: pixels,
            }
        }
        _ => {
            let outputs = w.shape().0[1];
            PatchGeometry { groups: 1, inputs: w.shape().0[0], outputs, positions: out.len() / outputs, stride: 1 }
        }
    }
}

/// `count` of `0..total`, the same for the same state, ascending.
fn sample(total: usize, count: usize, state: &mut u64) -> Vec<usize> {
    if count >= total {
        return (0..total).collect();
    }
    // One from each of `count` equal stretches: spread over the image, without repetition.
    (0..count)
        .map(|i| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (from, to) = (i * total / count, (i + 1) * total / count);
            from + (*state >> 33) as usize % (to - from)
        })
        .collect()
}

/// The sums of one stretch of samples, per group.
fn part(
    sight: &Regression<'_>,
    old: &LayerWeights,
    g: PatchGeometry,
    samples: std::ops::Range<usize>,
) -> Result<Vec<Normal>, ApproximateError> {
    let mut normals: Vec<Normal> = (0..g.groups).map(|_| Normal::new(g.inputs + 1, g.outputs)).collect();
    let mut state = sight.seed ^ (samples.start as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let per_sample = sight.positions_of(g);
    let mut batch: Vec<(Vec<f32>, Vec<f32>)> = vec![(Vec::new(), Vec::new()); g.groups];
    let mut rows = 0;
    let last = samples.end;
    for i in samples {
        let positions = sample(g.positions, per_sample, &mut state);
        let unfolded = rows_of(sight, old.w.shape(), g, &sight.inputs[i], &positions)?;
        let width = g.groups * g.inputs;
        for (row, &p) in unfolded.chunks_exact(width).zip(&positions) {
            for (group, (x, misses)) in batch.iter_mut().enumerate() {
                x.extend_from_slice(&row[group * g.inputs..(group + 1) * g.inputs]);
                x.push(1.0);
                misses.extend((0..g.outputs).map(|o| {
                    let outputs = g.groups * g.outputs;
                    let at = if g.stride == 1 && sight.node.op == (NnOp::MatMul {}) {
                        p * outputs + o
                    } else {
                        (p / g.stride * outputs + group * g.outputs + o) * g.stride + p % g.stride
                    };
                    let skip = sight.skips.map_or(0.0, |s| s[i].data()[at]);
                    sight.targets[i].data()[at] - skip
                }));
            }
        }
        rows += positions.len();
        if rows >= BATCH || i + 1 == last {
            for (group, (normal, (x, misses))) in normals.iter_mut().zip(&mut batch).enumerate() {
                subtract_results(sight.node, old, g, group, x, misses);
                normal.add(x, misses, rows);
                x.clear();
                misses.clear();
            }
            rows = 0;
        }
    }
    Ok(normals)
}

/// Takes what the old weights of a group give on rows `x`, [rows, inputs and the constant], from `misses`, [rows, outputs].
fn subtract_results(
    node: &Node<Nn>,
    old: &LayerWeights,
    g: PatchGeometry,
    group: usize,
    x: &[f32],
    misses: &mut [f32],
) {
    let rows = misses.len() / g.outputs;
    let x = View::new(x, rows, g.inputs + 1).block((0, rows), (0, g.inputs));
    let weights = match node.op {
        NnOp::Conv { .. } => {
            let filters = &old.w.data()[group * g.outputs * g.inputs..];
            View::new(filters, g.outputs, g.inputs).transposed()
        }
        _ => View::new(old.w.data(), g.inputs, g.outputs),
    };
    let mut results = match &old.b {
        Some(b) => b.data()[group * g.outputs..][..g.outputs].repeat(rows),
        None => vec![0.0; misses.len()],
    };
    multiply_add(1.0, x, weights, &mut results, g.outputs);
    misses.iter_mut().zip(results).for_each(|(miss, result)| *miss -= result);
}

/// The inputs at `positions`, row-major, without the constant.
fn rows_of(
    sight: &Regression<'_>,
    weights: &Shape,
    g: PatchGeometry,
    x: &Tensor,
    positions: &[usize],
) -> Result<Vec<f32>, ApproximateError> {
    if let NnOp::Conv { .. } = sight.node.op {
        return eval::unfold(&sight.node.op, x, weights, positions).map_err(|reason| node_error(sight.node, reason));
    }
    Ok(positions.iter().flat_map(|p| &x.data()[p * g.inputs..(p + 1) * g.inputs]).copied().collect())
}

/// The result of affine `node` with these weights on `x`.
pub(super) fn apply(node: &Node<Nn>, weights: &LayerWeights, x: &Tensor) -> Result<Tensor, ApproximateError> {
    let none = fhec_ir::ConstPool::default();
    let error = |reason| node_error(node, reason);
    match (&node.op, &weights.b) {
        (NnOp::Conv { .. }, Some(b)) => eval::apply(&node.op, &[x, &weights.w, b], &none).map_err(error),
        (_, None) => eval::apply(&node.op, &[x, &weights.w], &none).map_err(error),
        (_, Some(b)) => {
            let product = eval::apply(&node.op, &[x, &weights.w], &none).map_err(error)?;
            eval::apply(&NnOp::Add {}, &[&product, b], &none).map_err(error)
        }
    }
}

/// Evaluation of `node` failed.
pub(super) fn node_error(node: &Node<Nn>, reason: fhec_ir::TypeError) -> ApproximateError {
    use fhec_ir::OpInfo;
    eval::EvalError::Node { node: node.loc.name().to_string(), op: node.op.mnemonic(), reason }.into()
}

/// The old weights plus the changes of their groups.
fn changed(old: &LayerWeights, g: PatchGeometry, changes: &[Option<Change>], conv: bool) -> LayerWeights {
    let mut w = old.w.data().to_vec();
    let outputs = g.groups * g.outputs;
    let mut b = old.b.as_ref().map_or_else(|| vec![0.0; outputs], |b| b.data().to_vec());
    for (group, change) in changes.iter().enumerate() {
        let Some(change) = change else { continue };
        for o in 0..g.outputs {
            let output = group * g.outputs + o;
            for i in 0..g.inputs {
                let at = if conv { output * g.inputs + i } else { i * outputs + output };
                w[at] += change.weights[i * g.outputs + o] as f32;
            }
            b[output] += change.weights[g.inputs * g.outputs + o] as f32;
        }
    }
    let shape = old.b.as_ref().map_or_else(|| Shape(vec![outputs]), |b| b.shape().clone());
    LayerWeights { w: Tensor::new(old.w.shape().clone(), w), b: Some(Tensor::new(shape, b)) }
}
