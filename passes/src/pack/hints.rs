//! How `nn` ops carry layouts from operand to result.

use fhec_ir::Shape;
use fhec_ir::nn::NnOp;

use super::layout::{self, Digits};

/// No value keeps more layouts than this in view.
const MOST: usize = 3;

fn dim(axis: i64, rank: usize) -> usize {
    if axis < 0 { (axis + rank as i64) as usize } else { axis as usize }
}

/// Layouts that suit the result of `op`, given those of its operands. Only layouts that hold the result are returned.
pub(super) fn carry(op: &NnOp, shapes: &[&Shape], out: &Shape, operands: &[&[Digits]]) -> Vec<Digits> {
    let Some((&x, &from)) = shapes.first().zip(operands.first()) else { return Vec::new() };
    let each = |f: &dyn Fn(&Digits) -> Option<Digits>| from.iter().filter_map(f).collect::<Vec<_>>();
    let found = match op {
        NnOp::Conv { strides, .. } | NnOp::AvgPool { strides, .. } => {
            from.iter().flat_map(|d| layout::windowed(d, x, out, strides)).collect()
        }
        NnOp::ReduceMean { axes, .. } | NnOp::ReduceSum { axes, .. } => {
            let axes: Vec<usize> = axes.iter().map(|&a| dim(a, x.rank())).collect();
            each(&|d| layout::reduced(d, x, &axes))
        }
        NnOp::Slice { starts, steps, .. } if starts.iter().all(|&s| s >= 0) => {
            each(&|d| layout::sliced(d, x, out, steps))
        }
        NnOp::Pad { .. } if x.rank() == out.rank() => each(&|d| layout::grown(d, x, out)),
        NnOp::Concat { .. } => each(&|d| layout::grown(d, x, out)),
        NnOp::Transpose { perm } => {
            let perm: Vec<usize> = perm.iter().map(|&p| dim(p, x.rank())).collect();
            each(&|d| layout::transposed(d, x, out, &perm))
        }
        NnOp::Reshape { .. }
        | NnOp::Polynomial { .. }
        | NnOp::Neg {}
        | NnOp::BatchNorm { .. }
        | NnOp::Softmax { .. } => from.to_vec(),
        NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} | NnOp::Div {} => operands
            .iter()
            .zip(shapes)
            .filter(|(_, s)| s.len() == out.len())
            .flat_map(|(list, _)| list.iter().cloned())
            .collect(),
        _ => Vec::new(),
    };
    let mut kept: Vec<Digits> = Vec::new();
    for d in found {
        if kept.len() < MOST && !kept.contains(&d) && layout::extent(&d, out.len()).is_some() {
            kept.push(d);
        }
    }
    kept
}
