//! The linear `nn` ops on affine values.

use fhec_ir::nn::{Nn, NnOp, PadMode};
use fhec_ir::{Issue, Node, OpInfo, Shape};

use super::affine::AffineMap;
use super::maps::{self, Windows};
use super::sparse::Sparse;

fn dim(axis: i64, rank: usize) -> usize {
    if axis < 0 { (axis + rank as i64) as usize } else { axis as usize }
}

/// The value repeated to `shape`.
pub(crate) fn broadcast(a: &AffineMap, op: &NnOp, shape: &Shape) -> AffineMap {
    if a.shape == *shape {
        a.clone()
    } else if a.shape.len() == shape.len() {
        a.clone().reshaped(op, shape)
    } else {
        a.mapped(maps::expand(&a.shape, shape), op, shape)
    }
}

/// Whether the op's results read many elements, so that doing it together with what comes before may cost more than one
/// after the other.
pub(super) fn mixes(op: &NnOp) -> bool {
    matches!(op, NnOp::Conv { .. } | NnOp::MatMul {})
}

/// The operand of a convolution or of a product with a constant matrix that holds its weights; `None` for other ops.
pub(super) fn weights(op: &NnOp, operands: &[AffineMap]) -> Option<usize> {
    match op {
        NnOp::Conv { .. } => Some(1),
        NnOp::MatMul {} => [1, 0].into_iter().find(|&k| operands[k].is_constant()),
        _ => None,
    }
}

/// The map of a convolution or matrix product `node`, of which operand `at` holds the weights, with `values` for these.
pub(super) fn weighted(node: &Node<Nn>, operands: &[AffineMap], at: usize, values: &[f64]) -> Sparse {
    let (out, w) = (&node.ty.0, &operands[at]);
    let x = &operands[1 - at];
    match &node.op {
        NnOp::Conv { strides, pads, dilations, groups } => {
            let windows = Windows { kernel: &w.shape.0[2..], strides, pads, dilations };
            maps::conv(&x.shape, out, values, *groups as usize, &windows)
        }
        _ => maps::matmul(&operands[0].shape, &operands[1].shape, out, values, at == 1),
    }
}

/// The result of linear op `node`.
pub(crate) fn apply(node: &Node<Nn>, operands: &[AffineMap]) -> Result<AffineMap, Issue> {
    let out = &node.ty.0;
    let x = &operands[0];
    let through = |map: Sparse| x.mapped(map, &node.op, out);
    let spread = |a: &AffineMap| broadcast(a, &node.op, out);
    if let Some(at) = weights(&node.op, operands) {
        let y = operands[1 - at].mapped(weighted(node, operands, at, &operands[at].bias), &node.op, out);
        let per_filter: usize = out.0.iter().skip(2).product();
        return Ok(match operands.get(2) {
            Some(b) => y.rescaled(|_| 1.0, |e| b.bias[e / per_filter % out.0[1]]),
            None => y,
        });
    }
    Ok(match &node.op {
        NnOp::BatchNorm { epsilon } => {
            let inner: usize = out.0[2..].iter().product();
            let channel = |e: usize| e / inner % out.0[1];
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|k| &operands[k].bias);
            let factor = |c: usize| scale[c] / (variance[c] + epsilon.0).sqrt();
            x.rescaled(|e| factor(channel(e)), |e| bias[channel(e)] - mean[channel(e)] * factor(channel(e)))
        }
        NnOp::Add {} | NnOp::Sub {} => {
            let (a, b) = (spread(x), spread(&operands[1]));
            let b = if matches!(node.op, NnOp::Sub {}) { b.rescaled(|_| -1.0, |_| 0.0) } else { b };
            a.plus(&b)
        }
        NnOp::Mul {} => {
            let (value, factor) = if x.is_constant() { (&operands[1], x) } else { (x, &operands[1]) };
            let factor = spread(factor);
            spread(value).rescaled(|e| factor.bias[e], |_| 0.0)
        }
        NnOp::Div {} => {
            let divisor = spread(&operands[1]);
            if divisor.bias.contains(&0.0) {
                return Err(Issue::new(
                    &node.loc,
                    node.op.mnemonic(),
                    "division by zero",
                    "check the model's constants",
                ));
            }
            spread(x).rescaled(|e| 1.0 / divisor.bias[e], |_| 0.0)
        }
        NnOp::Neg {} => x.rescaled(|_| -1.0, |_| 0.0),
        NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad, .. } => {
            let kernel: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
            let windows = Windows { kernel: &kernel, strides, pads, dilations };
            through(maps::avg_pool(&x.shape, out, &windows, *count_include_pad))
        }
        NnOp::ReduceMean { axes, .. } | NnOp::ReduceSum { axes, .. } => {
            let axes: Vec<usize> = axes.iter().map(|&a| dim(a, x.shape.rank())).collect();
            let count: usize = axes.iter().map(|&a| x.shape.0[a]).product();
            let factor = if matches!(node.op, NnOp::ReduceMean { .. }) { 1.0 / count as f64 } else { 1.0 };
            through(maps::reduce(&x.shape, &axes, factor))
        }
        NnOp::Reshape { .. } => x.clone().reshaped(&node.op, out),
        NnOp::Transpose { perm } => {
            let perm: Vec<usize> = perm.iter().map(|&p| dim(p, x.shape.rank())).collect();
            through(maps::transpose(&x.shape, &perm))
        }
        NnOp::Slice { starts, steps, .. } => through(maps::slice(&x.shape, out, starts, steps)),
        NnOp::Pad { pads, mode, value } => {
            let begin = &pads[..x.shape.rank()];
            let map = maps::pad(&x.shape, out, begin, |i, extent| match mode {
                PadMode::Constant => (0..extent).contains(&i).then_some(i),
                PadMode::Edge => Some(i.clamp(0, extent - 1)),
                PadMode::Wrap => Some(i.rem_euclid(extent)),
                PadMode::Reflect => {
                    let period = (2 * (extent - 1)).max(1);
                    let i = i.rem_euclid(period);
                    Some(i.min(period - i).min(extent - 1))
                }
            });
            let padding: Vec<f64> =
                (0..map.rows()).map(|r| if map.row(r).next().is_none() { value.0 } else { 0.0 }).collect();
            through(map).rescaled(|_| 1.0, |e| padding[e])
        }
        NnOp::Concat { axis } => {
            let shapes: Vec<Shape> = operands.iter().map(|a| a.shape.clone()).collect();
            let axis = dim(*axis, out.rank());
            let mut parts =
                operands.iter().enumerate().map(|(k, a)| a.mapped(maps::concat(&shapes, k, axis, out), &node.op, out));
            let first = parts.next().unwrap_or_else(|| AffineMap::constant(out.clone(), vec![0.0; out.len()]));
            parts.fold(first, |sum, part| sum.plus(&part))
        }
        NnOp::Gather { axis, indices, .. } => through(maps::gather(&x.shape, dim(*axis, x.shape.rank()), indices)),
        NnOp::Expand { .. } => spread(x),
        op => {
            let reason = format!("`{}` has no form on packed slots", op.mnemonic());
            return Err(Issue::new(&node.loc, op.mnemonic(), reason, "remove the node or compute it in the clear"));
        }
    })
}
