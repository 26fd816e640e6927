//! How `nn` ops carry layouts from operand to result.

use fhec_ir::nn::NnOp;

use super::affine::{Trail, TrailStep};
use super::layout::{self, Digits};

/// No value has more layouts by one trail than this.
const MOST: usize = 3;

fn dim(axis: i64, rank: usize) -> usize {
    if axis < 0 { (axis + rank as i64) as usize } else { axis as usize }
}

/// Layouts at the end of a trail that starts in layout `digits`, the likeliest first.
pub(super) fn follow(trail: &Trail, digits: &Digits) -> Vec<Digits> {
    let mut found = vec![digits.clone()];
    for step in &trail.steps {
        let mut next: Vec<Digits> = Vec::new();
        for d in found.iter().flat_map(|d| carry(step, d)) {
            if next.len() < MOST && !next.contains(&d) && layout::extent(&d, step.to.len()).is_some() {
                next.push(d);
            }
        }
        found = next;
    }
    found
}

/// Layouts that suit the result of one op on an operand in layout `digits`.
fn carry(step: &TrailStep, digits: &Digits) -> Vec<Digits> {
    let TrailStep { op, from, to } = step;
    match op {
        NnOp::Conv { strides, .. } | NnOp::AvgPool { strides, .. } => layout::windowed(digits, from, to, strides),
        NnOp::ReduceMean { axes, .. } | NnOp::ReduceSum { axes, .. } => {
            let axes: Vec<usize> = axes.iter().map(|&a| dim(a, from.rank())).collect();
            layout::reduced(digits, from, &axes).into_iter().collect()
        }
        NnOp::Slice { steps, .. } => layout::sliced(digits, from, to, steps).into_iter().collect(),
        NnOp::Pad { .. } | NnOp::Concat { .. } => layout::grown(digits, from, to).into_iter().collect(),
        NnOp::Transpose { perm } => {
            let perm: Vec<usize> = perm.iter().map(|&p| dim(p, from.rank())).collect();
            layout::transposed(digits, from, to, &perm).into_iter().collect()
        }
        _ if from.len() == to.len() => vec![digits.clone()],
        _ => Vec::new(),
    }
}
