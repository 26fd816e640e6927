//! A convolution absorbs scales, shifts, zero padding, parallel convolutions and skip connections.

use egg::Id;
use fhec_ir::nn::{NnOp, PadMode};
use fhec_ir::{Shape, Tensor};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("scale-into-conv", |op| matches!(op, NnOp::Mul {}), scale_after)
            .says("conv(x, w, b)·a = conv(x, w·a, b·a)"),
        code("shift-into-conv", |op| matches!(op, NnOp::Add {}), shift_after)
            .says("conv(x, w, b) + c = conv(x, w, b + c)"),
        code("scale-before-conv", is_conv, scale_before).says("conv(x·a, w, b) = conv(x, w·a, b)"),
        code("pad-into-conv", is_conv, pad_before).says("conv(pad(x), w, b) = conv(x, w, b) with more padding"),
        code("skip-into-conv", |op| matches!(op, NnOp::Add {}), skip)
            .says("a·x + conv(x, w, b) = conv(x, w + a·δ, b), δ the Dirac kernel"),
        code("parallel-convs", |op| matches!(op, NnOp::Add {}), parallel)
            .says("conv(x, v, b) + conv(x, w, c) = conv(x, v + w, b + c)"),
    ]
}

fn is_conv(op: &NnOp) -> bool {
    matches!(op, NnOp::Conv { .. })
}

/// The convolutions of a class whose weights (and bias, if any) are constant.
fn convs(g: &RuleGraph<'_>, class: Id) -> Vec<NnNode> {
    let constant = |n: &NnNode| n.children[1..].iter().all(|&c| g.is_constant(c));
    g.nodes(class).into_iter().filter(|n| is_conv(&n.op) && constant(n)).collect()
}

/// The convolutions that the class looked at has not over the same operand.
fn new_over(g: &RuleGraph<'_>, convs: Vec<NnNode>) -> Vec<NnNode> {
    convs.into_iter().filter(|conv| !g.holds(&conv.op, conv.children[0])).collect()
}

/// A vector over the filters as a factor of the weights.
fn over_filters(g: &mut RuleGraph<'_>, vector: Id, weights: Id) -> Option<Id> {
    let shape = g.shape(weights);
    let mut dims = vec![1; shape.rank()];
    dims[0] = shape.0[0];
    g.reshape(vector, &dims)
}

fn scale_after(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, d) = (node.children[0], node.children[1]);
    if g.is_constant(d) {
        for conv in new_over(g, convs(g, class)) {
            g.uses(class, &conv);
            let made = try_scale_after(g, &conv, d, &g.shape(class));
            g.found(made);
        }
    }
}

fn try_scale_after(g: &mut RuleGraph<'_>, conv: &NnNode, d: Id, shape: &Shape) -> Option<Id> {
    let vector = g.vector_along(d, shape, 1)?;
    let factor = over_filters(g, vector, conv.children[1])?;
    let mut children = conv.children.clone();
    children[1] = g.mul(children[1], factor)?;
    if let Some(bias) = children.get_mut(2) {
        *bias = g.mul(*bias, vector)?;
    }
    g.add(conv.op.clone(), children)
}

fn shift_after(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, d) = (node.children[0], node.children[1]);
    if g.is_constant(d) {
        for conv in new_over(g, convs(g, class)) {
            g.uses(class, &conv);
            let shape = g.shape(class);
            let made = g.vector_along(d, &shape, 1).and_then(|vector| {
                let bias = match conv.children.get(2) {
                    Some(&bias) => g.sum(bias, vector)?,
                    None => vector,
                };
                g.add(conv.op.clone(), [conv.children[0], conv.children[1], bias])
            });
            g.found(made);
        }
    }
}

fn scale_before(g: &mut RuleGraph<'_>, node: &NnNode) {
    let x = node.children[0];
    if !g.is_constant(node.children[1]) {
        return;
    }
    for (mul, inner, d) in g.with_constant(x, &NnOp::Mul {}) {
        if g.shape(inner) == g.shape(x) && !g.holds(&node.op, inner) {
            g.uses(x, &mul);
            let made = try_scale_before(g, node, inner, d);
            g.found(made);
        }
    }
}

fn try_scale_before(g: &mut RuleGraph<'_>, conv: &NnNode, x: Id, d: Id) -> Option<Id> {
    let NnOp::Conv { groups, .. } = conv.op else { return None };
    let groups = usize::try_from(groups).ok()?;
    let vector = g.vector_along(d, &g.shape(x), 1)?;
    let shape = g.shape(conv.children[1]);
    let (filters, channels) = (shape.0[0], shape.0[1]);
    // Group i of the filters sees channels i·channels..(i+1)·channels.
    let grouped = [&[groups, filters / groups, channels], &shape.0[2..]].concat();
    let mut factor = vec![1; grouped.len()];
    (factor[0], factor[2]) = (groups, channels);
    let factor = g.reshape(vector, &factor)?;
    let weights = g.reshape(conv.children[1], &grouped)?;
    let weights = g.mul(weights, factor)?;
    let mut children = conv.children.clone();
    (children[0], children[1]) = (x, g.reshape(weights, &shape.0)?);
    g.add(conv.op.clone(), children)
}

fn pad_before(g: &mut RuleGraph<'_>, node: &NnNode) {
    let x = node.children[0];
    for pad in g.nodes(x) {
        let NnOp::Pad { pads, mode: PadMode::Constant, value } = &pad.op else { continue };
        let rank = pads.len() / 2;
        let spatial_only = (0..2).all(|d| pads[d] == 0 && pads[rank + d] == 0) && pads.iter().all(|&p| p >= 0);
        let NnOp::Conv { strides, pads: own, dilations, groups } = &node.op else { continue };
        if value.0 == 0.0 && spatial_only {
            g.uses(x, &pad);
            let own = own.iter().zip(pads[2..rank].iter().chain(&pads[rank + 2..]));
            let op = NnOp::Conv {
                strides: strides.clone(),
                pads: own.map(|(a, b)| a + b).collect(),
                dilations: dilations.clone(),
                groups: *groups,
            };
            let children = [&[pad.children[0]], &node.children[1..]].concat();
            let made = g.add(op, children);
            g.found(made);
        }
    }
}

fn skip(g: &mut RuleGraph<'_>, node: &NnNode) {
    for (skipped, class) in [(node.children[0], node.children[1]), (node.children[1], node.children[0])] {
        for conv in convs(g, class) {
            let x = g.egraph.find(conv.children[0]);
            if g.holds(&conv.op, x) || g.shape(x) != g.shape(class) || g.shape(skipped) != g.shape(class) {
                continue;
            }
            if g.egraph.find(skipped) == x {
                let one = g.scalar(1.0);
                g.uses(class, &conv);
                let made = add_dirac(g, &conv, one);
                g.found(made);
            }
            for mul in g.nodes(skipped).into_iter().filter(|n| matches!(n.op, NnOp::Mul {})) {
                if g.egraph.find(mul.children[0]) == x && g.is_constant(mul.children[1]) {
                    g.uses(skipped, &mul);
                    g.uses(class, &conv);
                    let made = add_dirac(g, &conv, mul.children[1]);
                    g.found(made);
                }
            }
        }
    }
}

/// The convolution with `scale` (a constant over channels) times the identity added to its kernel.
fn add_dirac(g: &mut RuleGraph<'_>, conv: &NnNode, scale: Id) -> Option<Id> {
    let NnOp::Conv { strides, pads, dilations, groups } = &conv.op else { return None };
    let (shape, input) = (g.shape(conv.children[1]), g.shape(conv.children[0]));
    let (filters, channels, kernel) = (shape.0[0], shape.0[1], &shape.0[2..]);
    if filters != channels * usize::try_from(*groups).ok()? || strides.iter().any(|&s| s != 1) {
        return None;
    }
    // The tap that reads the element under the output: tap·dilation = padding.
    let mut tap = 0;
    for (d, &extent) in kernel.iter().enumerate() {
        let at = usize::try_from(pads[d] / dilations[d]).ok()?;
        if pads[d] % dilations[d] != 0 || at >= extent {
            return None;
        }
        tap = tap * extent + at;
    }
    let vector = g.vector_along(scale, &input, 1)?;
    let taps: usize = kernel.iter().product();
    let mut dirac = vec![0.0; shape.len()];
    for filter in 0..filters {
        dirac[(filter * channels + filter % channels) * taps + tap] = 1.0;
    }
    let dirac = g.tensor("dirac", Tensor::new(shape, dirac));
    let factor = over_filters(g, vector, conv.children[1])?;
    let dirac = g.mul(dirac, factor)?;
    let mut children = conv.children.clone();
    children[1] = g.sum(children[1], dirac)?;
    g.add(conv.op.clone(), children)
}

fn parallel(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (a, b) = (node.children[0], node.children[1]);
    if g.shape(a) != g.shape(b) {
        return;
    }
    for left in convs(g, a) {
        for right in convs(g, b) {
            let x = g.egraph.find(left.children[0]);
            if x == g.egraph.find(right.children[0]) && !(g.holds(&left.op, x) || g.holds(&right.op, x)) {
                g.uses(a, &left);
                g.uses(b, &right);
                let made = merge_kernels(g, &left, &right).or_else(|| merge_kernels(g, &right, &left));
                g.found(made);
            }
        }
    }
}

/// One convolution for two over the same input, the kernel of `small` lying within that of `large`.
fn merge_kernels(g: &mut RuleGraph<'_>, large: &NnNode, small: &NnNode) -> Option<Id> {
    let (NnOp::Conv { strides, pads, dilations, groups }, NnOp::Conv { strides: s, pads: p, dilations: d, groups: n }) =
        (&large.op, &small.op)
    else {
        return None;
    };
    if (strides, dilations, groups) != (s, d, n) {
        return None;
    }
    let (outer, inner) = (g.shape(large.children[1]), g.shape(small.children[1]));
    if outer.0[..2] != inner.0[..2] {
        return None;
    }
    let rank = outer.rank();
    let mut around = vec![0; 2 * rank];
    for axis in 2..rank {
        let distance = pads[axis - 2] - p[axis - 2];
        let before = distance / dilations[axis - 2];
        let after = outer.0[axis] as i64 - inner.0[axis] as i64 - before;
        if distance % dilations[axis - 2] != 0 || before < 0 || after < 0 {
            return None;
        }
        (around[axis], around[rank + axis]) = (before, after);
    }
    let zero = NnOp::Pad { pads: around, mode: PadMode::Constant, value: 0.0.into() };
    let padded = g.add(zero, [small.children[1]])?;
    let mut children = vec![large.children[0], g.sum(large.children[1], padded)?];
    let bias = match (large.children.get(2), small.children.get(2)) {
        (Some(&a), Some(&b)) => Some(g.sum(a, b)?),
        (a, b) => a.or(b).copied(),
    };
    children.extend(bias);
    g.add(large.op.clone(), children)
}
