//! Maxima over windows, which have no form on ciphertexts, as maxima of pairs, which have one up to a ReLU.

use egg::Id;
use fhec_ir::F64;
use fhec_ir::nn::{Activation, NnOp, PadMode};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("max-pool-by-pairs", |op| matches!(op, NnOp::MaxPool { .. }), by_pairs)
            .says("a maximum over windows is one of pairs, dimension by dimension, and max(a, b) = b + relu(a - b)"),
        code("relu-after-max-pool", |op| matches!(op, NnOp::MaxPool { .. }), increasing_after)
            .says("max(f(a), f(b)) = f(max(a, b)) for f of relu, leaky_relu, of fewer elements"),
    ]
}

fn by_pairs(g: &mut RuleGraph<'_>, node: &NnNode) {
    let made = pairwise(g, node);
    g.found(made);
}

/// An increasing function of what windows hold most of, in place of one of all they hold. It works on fewer elements, and pairs
/// are not compared where both are zero: there the polynomial in place of a comparison is the furthest off, always to the same side.
fn increasing_after(g: &mut RuleGraph<'_>, node: &NnNode) {
    let class = node.children[0];
    let Some(made) = g.egraph.lookup(node.clone()).map(|made| g.shape(made)) else { return };
    if made.len() >= g.shape(class).len() {
        return;
    }
    for f in g.nodes(class).into_iter().filter(|f| is_increasing(&f.op)) {
        g.uses(class, &f);
        let largest = g.add(node.op.clone(), [f.children[0]]);
        let made = largest.and_then(|largest| g.add(f.op.clone(), [largest]));
        g.found(made);
    }
}

fn is_increasing(op: &NnOp) -> bool {
    match op {
        NnOp::Activation { function: Activation::Relu, .. } => true,
        NnOp::Activation { function: Activation::LeakyRelu, alpha, .. } => alpha.is_some_and(|alpha| alpha.0 >= 0.0),
        _ => false,
    }
}

/// The maxima along one spatial dimension after the other.
fn pairwise(g: &mut RuleGraph<'_>, node: &NnNode) -> Option<Id> {
    let NnOp::MaxPool { kernel, strides, pads, dilations, .. } = &node.op else { return None };
    let out = g.egraph.lookup(node.clone()).map(|class| g.shape(class))?;
    let mut x = node.children[0];
    for (i, (&taps, &stride)) in kernel.iter().zip(strides).enumerate() {
        let (axis, dilation) = (i + 2, dilations[i]);
        let extent = out.0[axis] as i64;
        let (before, after) = (pads[i], pads[i + kernel.len()]);
        let mut values: Vec<Id> = Vec::new();
        if dilation != 1 && (before, after) != (0, 0) {
            let windows =
                inside(taps, |out, tap| out * stride + tap * dilation - before, extent, g.shape(x).0[axis] as i64)?;
            for indices in windows {
                values.push(g.add(NnOp::Gather { axis: axis as i64, indices, shape: vec![extent] }, [x])?);
            }
        } else {
            // The elements nearest to the edge stand for what lies beyond it: a window that reaches out holds them anyhow.
            let last = (extent - 1) * stride + (taps - 1) * dilation + 1;
            let missing = (last - before - g.shape(x).0[axis] as i64).max(0);
            x = padded(g, x, axis, before, missing)?;
            for tap in 0..taps {
                values.push(taken(g, x, axis, (tap * dilation, extent, stride))?);
            }
        }
        while values.len() > 1 {
            let pairs: Option<Vec<Id>> = values
                .chunks(2)
                .map(|pair| match *pair {
                    [a, b] => larger(g, a, b),
                    _ => pair.first().copied(),
                })
                .collect();
            values = pairs?;
        }
        x = values.pop()?;
    }
    Some(x)
}

/// For every tap the element that each window takes, of `length`: where `at` puts one outside, the nearest that the window has
/// inside. With gaps between taps that need not be the element at the edge. None where a window lies outside altogether.
fn inside(taps: i64, at: impl Fn(i64, i64) -> i64, windows: i64, length: i64) -> Option<Vec<Vec<i64>>> {
    let element = |window: i64, tap: i64| {
        let within = (0..taps).filter(|&t| (0..length).contains(&at(window, t)));
        within.min_by_key(|&t| (t - tap).abs()).map(|t| at(window, t))
    };
    (0..taps).map(|tap| (0..windows).map(|window| element(window, tap)).collect()).collect()
}

/// The value with its edges repeated along a dimension.
fn padded(g: &mut RuleGraph<'_>, x: Id, axis: usize, before: i64, after: i64) -> Option<Id> {
    if (before, after) == (0, 0) {
        return Some(x);
    }
    let rank = g.shape(x).rank();
    let mut pads = vec![0; 2 * rank];
    (pads[axis], pads[axis + rank]) = (before, after);
    g.add(NnOp::Pad { pads, mode: PadMode::Edge, value: F64(0.0) }, [x])
}

/// `count` elements from `start` in steps along a dimension.
fn taken(g: &mut RuleGraph<'_>, x: Id, axis: usize, (start, count, step): (i64, i64, i64)) -> Option<Id> {
    let shape = g.shape(x);
    if (start, count, step) == (0, shape.0[axis] as i64, 1) {
        return Some(x);
    }
    let mut sizes: Vec<i64> = shape.0.iter().map(|&d| d as i64).collect();
    let (mut starts, mut steps) = (vec![0; shape.rank()], vec![1; shape.rank()]);
    (starts[axis], sizes[axis], steps[axis]) = (start, count, step);
    g.add(NnOp::Slice { starts, sizes, steps }, [x])
}

/// b + relu(a - b).
fn larger(g: &mut RuleGraph<'_>, a: Id, b: Id) -> Option<Id> {
    let difference = g.add(NnOp::Sub {}, [a, b])?;
    let more = g.add(NnOp::Activation { function: Activation::Relu, alpha: None, beta: None }, [difference])?;
    g.sum(b, more)
}
