//! Ops that move elements, and other linear ops that shifts and scales pass through.

use egg::Id;
use fhec_ir::nn::NnOp;

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("move-nothing", |_| true, identity)
            .says("a reshape, transpose, slice, pad, expand or window that changes nothing"),
        code("reshape-reshape", |op| matches!(op, NnOp::Reshape { .. }), reshape_twice)
            .says("reshape(reshape(x)) = reshape(x)"),
        code("transpose-transpose", |op| matches!(op, NnOp::Transpose { .. }), transpose_twice)
            .says("transpose(transpose(x)) = transpose(x)"),
        code("transpose-as-reshape", |op| matches!(op, NnOp::Transpose { .. }), transpose_as_reshape)
            .says("a transpose that only moves dimensions of extent 1 is a reshape"),
        code("pad-into-pool", |op| matches!(op, NnOp::AvgPool { .. }), pad_into_pool)
            .says("avg_pool(pad(x)) = avg_pool(x) with padding that counts"),
        code("shift-through-linear", is_linear, shift_through).says("f(x + c) = f(x) + f(c) for linear f"),
        code("scale-through-move", is_move, scale_through_move).says("f(x·a) = f(x)·f(a) for f that moves elements"),
        code("scale-before-move", |op| matches!(op, NnOp::Mul {}), scale_before_move)
            .says("f(x)·a = f(x·f⁻¹(a)) for f that rearranges elements"),
        code("scale-through-pool", is_pool, scale_through_pool)
            .says("f(x·a) = f(x)·a for f that averages within a channel"),
        code("scale-before-pool", |op| matches!(op, NnOp::Mul {}), scale_before_pool)
            .says("f(x)·a = f(x·a) for f that averages within a channel"),
    ]
}

fn is_move(op: &NnOp) -> bool {
    matches!(
        op,
        NnOp::Reshape { .. } | NnOp::Transpose { .. } | NnOp::Slice { .. } | NnOp::Gather { .. } | NnOp::Expand { .. }
    )
}

fn is_pool(op: &NnOp) -> bool {
    matches!(op, NnOp::AvgPool { .. } | NnOp::ReduceMean { .. } | NnOp::ReduceSum { .. })
}

fn is_linear(op: &NnOp) -> bool {
    is_move(op) || is_pool(op) || matches!(op, NnOp::Conv { .. } | NnOp::MatMul {})
}

fn identity(g: &mut RuleGraph<'_>, node: &NnNode) {
    let Some(&x) = node.children.first() else { return };
    let shape = g.shape(x);
    let rank = shape.rank();
    let axis = |a: i64| if a < 0 { a + rank as i64 } else { a };
    let same = match &node.op {
        NnOp::Reshape { .. } | NnOp::Expand { .. } => true,
        NnOp::Transpose { perm } => perm.iter().enumerate().all(|(i, &p)| axis(p) == i as i64),
        NnOp::Slice { starts, steps, .. } => (0..rank).all(|d| starts[d] == 0 && steps[d] == 1),
        NnOp::Pad { pads, .. } => pads.iter().all(|&p| p == 0),
        NnOp::Concat { .. } => node.children.len() == 1,
        NnOp::ReduceMean { axes, .. } | NnOp::ReduceSum { axes, .. } => {
            axes.iter().all(|&a| shape.0.get(axis(a) as usize) == Some(&1))
        }
        NnOp::AvgPool { kernel, strides, pads, .. } | NnOp::MaxPool { kernel, strides, pads, .. } => {
            kernel.iter().chain(strides).all(|&k| k == 1) && pads.iter().all(|&p| p == 0)
        }
        _ => false,
    };
    // The shapes of both sides are compared where the rule concludes.
    g.found(same.then_some(x));
}

fn reshape_twice(g: &mut RuleGraph<'_>, node: &NnNode) {
    let x = node.children[0];
    for inner in g.nodes(x).into_iter().filter(|n| matches!(n.op, NnOp::Reshape { .. })) {
        if !g.is_first(inner.children[0], |op| matches!(op, NnOp::Reshape { .. })) {
            continue;
        }
        g.uses(x, &inner);
        let made = g.add(node.op.clone(), [inner.children[0]]);
        g.found(made);
    }
}

/// The permutation with non-negative entries.
fn permutation(perm: &[i64]) -> Vec<usize> {
    let rank = perm.len() as i64;
    perm.iter().map(|&p| if p < 0 { p + rank } else { p } as usize).collect()
}

fn transpose_twice(g: &mut RuleGraph<'_>, node: &NnNode) {
    let NnOp::Transpose { perm: outer } = &node.op else { return };
    let x = node.children[0];
    for inner in g.nodes(x) {
        if let NnOp::Transpose { perm } = &inner.op
            && g.is_first(inner.children[0], |op| matches!(op, NnOp::Transpose { .. }))
        {
            let perm = permutation(perm);
            let both = permutation(outer).into_iter().map(|p| perm[p] as i64).collect();
            g.uses(x, &inner);
            let made = g.add(NnOp::Transpose { perm: both }, [inner.children[0]]);
            g.found(made);
        }
    }
}

fn transpose_as_reshape(g: &mut RuleGraph<'_>, node: &NnNode) {
    let NnOp::Transpose { perm } = &node.op else { return };
    let shape = g.shape(node.children[0]);
    let perm = permutation(perm);
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| shape.0[p] != 1).collect();
    if moved.is_sorted() {
        let to: Vec<usize> = perm.iter().map(|&p| shape.0[p]).collect();
        let made = g.reshape(node.children[0], &to);
        g.found(made);
    }
}

fn pad_into_pool(g: &mut RuleGraph<'_>, node: &NnNode) {
    let NnOp::AvgPool { kernel, strides, pads: own, dilations, count_include_pad, ceil: false } = &node.op else {
        return;
    };
    // Padding that does not count, and padding that does, do not mix in one op.
    if !count_include_pad && own.iter().any(|&p| p != 0) {
        return;
    }
    let x = node.children[0];
    for pad in g.nodes(x) {
        let NnOp::Pad { pads, mode: fhec_ir::nn::PadMode::Constant, value } = &pad.op else { continue };
        let rank = pads.len() / 2;
        let spatial_only = (0..2).all(|d| pads[d] == 0 && pads[rank + d] == 0) && pads.iter().all(|&p| p >= 0);
        if value.0 == 0.0 && spatial_only {
            g.uses(x, &pad);
            let op = NnOp::AvgPool {
                kernel: kernel.clone(),
                strides: strides.clone(),
                pads: own.iter().zip(pads[2..rank].iter().chain(&pads[rank + 2..])).map(|(a, b)| a + b).collect(),
                dilations: dilations.clone(),
                count_include_pad: true,
                ceil: false,
            };
            let made = g.add(op, [pad.children[0]]);
            g.found(made);
        }
    }
}

/// The operands of the nodes `op(x, c)` of a class where c is constant and x has the shape of the class.
fn of_same_shape(g: &RuleGraph<'_>, class: Id, op: &NnOp) -> Vec<(NnNode, Id, Id)> {
    let shape = g.shape(class);
    g.with_constant(class, op).into_iter().filter(|&(_, x, _)| g.shape(x) == shape).collect()
}

fn shift_through(g: &mut RuleGraph<'_>, node: &NnNode) {
    let sum = node.children[0];
    // The other operands must be constant: f is linear in its first operand only.
    if !node.children[1..].iter().all(|&c| g.is_constant(c)) {
        return;
    }
    for (add, x, c) in of_same_shape(g, sum, &NnOp::Add {}) {
        if !g.is_bare(x, &NnOp::Add {}) {
            continue;
        }
        g.uses(sum, &add);
        let made = try_shift_through(g, node, x, c);
        g.found(made);
    }
}

fn try_shift_through(g: &mut RuleGraph<'_>, f: &NnNode, x: Id, c: Id) -> Option<Id> {
    let linear = g.add(f.op.clone(), std::iter::once(x).chain(f.children[1..].iter().copied()))?;
    if g.holds_with(&NnOp::Add {}, linear, &g.shape(linear)) {
        return None;
    }
    let c = g.expand(c, &g.shape(x))?;
    // The bias of a convolution is added once.
    let rest = &f.children[1..f.children.len().min(2)];
    let shift = g.add(f.op.clone(), std::iter::once(c).chain(rest.iter().copied()))?;
    if !g.is_constant(shift) {
        return None;
    }
    g.sum(linear, shift)
}

fn scale_through_move(g: &mut RuleGraph<'_>, node: &NnNode) {
    let product = node.children[0];
    for (mul, x, a) in of_same_shape(g, product, &NnOp::Mul {}) {
        if !g.is_settled(x) {
            continue;
        }
        g.uses(product, &mul);
        let shape = g.shape(x);
        let made = g.expand(a, &shape).and_then(|a| {
            let moved = g.add(node.op.clone(), [a])?;
            let rest = g.add(node.op.clone(), [x])?;
            g.mul(rest, moved)
        });
        g.found(made);
    }
}

fn scale_before_move(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, a) = (node.children[0], node.children[1]);
    let shape = g.shape(class);
    if !g.is_constant(a) || !g.shape(a).broadcasts_to(&shape) {
        return;
    }
    for inner in g.nodes(class) {
        let Some(&x) = inner.children.first().filter(|&&x| !g.is_constant(x) && g.lets_scales_down(x)) else {
            continue;
        };
        let back = match &inner.op {
            NnOp::Reshape { .. } => NnOp::Reshape { shape: g.shape(x).0.iter().map(|&d| d as i64).collect() },
            NnOp::Transpose { perm } => {
                let mut inverse = vec![0; perm.len()];
                permutation(perm).into_iter().enumerate().for_each(|(i, p)| inverse[p] = i as i64);
                NnOp::Transpose { perm: inverse }
            }
            _ => continue,
        };
        g.uses(class, &inner);
        let made = g.expand(a, &shape).and_then(|a| {
            let moved = g.add(back, [a])?;
            let scaled = g.mul(x, moved)?;
            g.add(inner.op.clone(), [scaled])
        });
        g.found(made);
    }
}

/// Which dimensions an averaging op mixes, and which of them it drops.
fn mixed(op: &NnOp, rank: usize) -> (Vec<usize>, bool) {
    match op {
        NnOp::ReduceMean { axes, keepdims } | NnOp::ReduceSum { axes, keepdims } => {
            let axes = axes.iter().map(|&a| if a < 0 { a + rank as i64 } else { a } as usize).collect();
            (axes, !keepdims)
        }
        _ => ((2..rank).collect(), false),
    }
}

/// `a` with one extent for each of `rank` dimensions.
fn aligned(g: &mut RuleGraph<'_>, a: Id, rank: usize) -> Option<Id> {
    let own = g.shape(a);
    let missing = rank.checked_sub(own.rank())?;
    g.reshape(a, &[vec![1; missing], own.0].concat())
}

fn scale_through_pool(g: &mut RuleGraph<'_>, node: &NnNode) {
    let product = node.children[0];
    for (mul, x, a) in of_same_shape(g, product, &NnOp::Mul {}) {
        if !g.is_settled(x) {
            continue;
        }
        g.uses(product, &mul);
        let rank = g.shape(x).rank();
        let (axes, dropped) = mixed(&node.op, rank);
        let made = aligned(g, a, rank).and_then(|a| {
            let dims = g.shape(a).0;
            if axes.iter().any(|&d| dims[d] != 1) {
                return None;
            }
            let kept = dims.iter().enumerate().filter(|(d, _)| !(dropped && axes.contains(d))).map(|(_, &n)| n);
            let a = g.reshape(a, &kept.collect::<Vec<_>>())?;
            let pooled = g.add(node.op.clone(), [x])?;
            g.mul(pooled, a)
        });
        g.found(made);
    }
}

fn scale_before_pool(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, a) = (node.children[0], node.children[1]);
    if !g.is_constant(a) || !g.shape(a).broadcasts_to(&g.shape(class)) {
        return;
    }
    for inner in g.nodes(class).into_iter().filter(|n| is_pool(&n.op)) {
        let x = inner.children[0];
        if !g.lets_scales_down(x) {
            continue;
        }
        let rank = g.shape(x).rank();
        let (axes, dropped) = mixed(&inner.op, rank);
        g.uses(class, &inner);
        let pooled_rank = g.shape(class).rank();
        let made = aligned(g, a, pooled_rank).and_then(|a| {
            let mut dims = g.shape(a).0;
            if dropped {
                let mut sorted = axes.clone();
                sorted.sort_unstable();
                sorted.iter().for_each(|&d| dims.insert(d, 1));
            }
            if axes.iter().any(|&d| dims[d] != 1) {
                return None;
            }
            let a = g.reshape(a, &dims)?;
            let scaled = g.mul(x, a)?;
            g.add(inner.op.clone(), [scaled])
        });
        g.found(made);
    }
}
