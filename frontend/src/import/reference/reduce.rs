//! Reductions.

use fhec_ir::{Shape, Tensor};

use super::super::context::Context;
use super::super::node::NodeView;
use super::super::reduce::Reduced;
use crate::error::{Refusal, Result};
use crate::known::{Ints, Known};

/// A fold over the elements that one result is made of.
struct ReduceFold {
    name: &'static str,
    start: f64,
    step: fn(f64, f64) -> f64,
    /// The result of the last step and the number of elements.
    end: fn(f64, f64) -> f64,
}

const TABLE: &[ReduceFold] = &[
    ReduceFold { name: "ReduceSum", start: 0.0, step: |s, x| s + x, end: |s, _| s },
    ReduceFold { name: "ReduceMean", start: 0.0, step: |s, x| s + x, end: |s, n| s / n },
    ReduceFold { name: "ReduceProd", start: 1.0, step: |s, x| s * x, end: |s, _| s },
    ReduceFold {
        name: "ReduceMax",
        start: f64::NEG_INFINITY,
        step: |s, x| if x > s || x.is_nan() { x } else { s },
        end: |s, _| s,
    },
    ReduceFold {
        name: "ReduceMin",
        start: f64::INFINITY,
        step: |s, x| if x < s || x.is_nan() { x } else { s },
        end: |s, _| s,
    },
    ReduceFold { name: "ReduceL1", start: 0.0, step: |s, x| s + x.abs(), end: |s, _| s },
    ReduceFold { name: "ReduceL2", start: 0.0, step: |s, x| s + x * x, end: |s, _| s.sqrt() },
    ReduceFold { name: "ReduceSumSquare", start: 0.0, step: |s, x| s + x * x, end: |s, _| s },
    ReduceFold { name: "ReduceLogSum", start: 0.0, step: |s, x| s + x, end: |s, _| s.ln() },
    ReduceFold { name: "ReduceLogSumExp", start: 0.0, step: |s, x| s + x.exp(), end: |s, _| s.ln() },
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|fold| fold.name)
}

pub(super) fn has(name: &str) -> bool {
    TABLE.iter().any(|fold| fold.name == name)
}

/// The elements as numbers.
pub(super) fn numbers(known: &Known) -> Vec<f64> {
    match known {
        Known::Floats(t) => t.data().iter().map(|&x| f64::from(x)).collect(),
        Known::Ints(t) => t.data.iter().map(|&i| i as f64).collect(),
    }
}

pub(super) fn evaluate(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let known = node.known().and_then(|known| known.into_iter().next().flatten());
    let x = known.ok_or_else(|| Refusal::invalid("its operand is missing"))?;
    let Some(fold) = TABLE.iter().find(|fold| fold.name == node.proto.op_type) else {
        return Err(Refusal::invalid("it is no reduction"));
    };
    let shape = x.shape().clone();
    let Some(Reduced { axes, keepdims }) = Reduced::read(node, shape.rank())? else { return Ok(vec![x.clone()]) };
    let kept = Shape((0..shape.rank()).map(|d| if axes.contains(&d) { 1 } else { shape.0[d] }).collect());
    cx.take_elements(&shape)?;
    let own = kept.strides();
    let mut sums = vec![fold.start; kept.len()];
    let mut index = vec![0; shape.rank()];
    for x in numbers(x) {
        let at: usize = (0..shape.rank()).filter(|d| !axes.contains(d)).map(|d| index[d] * own[d]).sum();
        sums[at] = (fold.step)(sums[at], x);
        for d in (0..shape.rank()).rev() {
            index[d] += 1;
            if index[d] < shape.0[d] {
                break;
            }
            index[d] = 0;
        }
    }
    let count: usize = axes.iter().map(|&d| shape.0[d]).product();
    let results = sums.into_iter().map(|s| (fold.end)(s, count as f64));
    let out = if keepdims {
        kept
    } else {
        Shape((0..shape.rank()).filter(|d| !axes.contains(d)).map(|d| shape.0[d]).collect())
    };
    Ok(vec![match x {
        Known::Floats(_) => Known::Floats(Tensor::new(out, results.map(|x| x as f32).collect::<Vec<_>>())),
        Known::Ints(t) => {
            let data: Vec<i64> = results.map(|x| t.ty.wrap(x as i64)).collect();
            Known::Ints(Ints { shape: out, data: data.into(), ty: t.ty })
        }
    }])
}
