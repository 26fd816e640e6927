//! Functions that a positive scale passes through: f(a·x) = a·f(x) for a > 0.

use egg::Id;
use fhec_ir::nn::{Activation, NnOp};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code, pattern};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("scale-out-of-relu", is_homogeneous, out)
            .says("f(x·a) = f(x)·a for a > 0 and f of relu, leaky_relu, prelu, max_pool"),
        code("scale-into-relu", |op| matches!(op, NnOp::Mul {}), into)
            .says("f(x)·a = f(x·a) for a > 0 and f of relu, leaky_relu, prelu, max_pool"),
        pattern(
            "relu-relu",
            "(activation{function=relu} (activation{function=relu} ?x))",
            "(activation{function=relu} ?x)",
            &[],
        )
        .says("relu(relu(x)) = relu(x)"),
    ]
}

fn is_homogeneous(op: &NnOp) -> bool {
    matches!(
        op,
        NnOp::Activation { function: Activation::Relu | Activation::LeakyRelu, .. }
            | NnOp::PRelu {}
            | NnOp::MaxPool { .. }
    )
}

/// Whether `a` is positive, and passes through `op` over tensors of the rank of `x`.
fn passes(g: &RuleGraph<'_>, op: &NnOp, a: Id, x: Id) -> bool {
    let positive = g.constant(a).is_some_and(|t| t.data().iter().all(|&v| v > 0.0));
    // A window sees one scale only if the scale does not vary over space.
    let (own, rank) = (g.shape(a), g.shape(x).rank());
    let spatial = own.0.iter().rev().take(rank.saturating_sub(2)).any(|&n| n != 1);
    positive && !(matches!(op, NnOp::MaxPool { .. }) && spatial)
}

fn out(g: &mut RuleGraph<'_>, node: &NnNode) {
    let product = node.children[0];
    for (mul, x, a) in g.with_constant(product, &NnOp::Mul {}) {
        if g.is_settled(x) && g.shape(x) == g.shape(product) && passes(g, &node.op, a, x) {
            g.uses(product, &mul);
            let children = [&[x], &node.children[1..]].concat();
            let made = g.add(node.op.clone(), children).and_then(|f| g.mul(f, a));
            g.found(made);
        }
    }
}

fn into(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, a) = (node.children[0], node.children[1]);
    if !g.shape(a).broadcasts_to(&g.shape(class)) {
        return;
    }
    for f in g.nodes(class).into_iter().filter(|n| is_homogeneous(&n.op)) {
        let x = f.children[0];
        if g.is_settled(x) && passes(g, &f.op, a, x) {
            g.uses(class, &f);
            let made = g.mul(x, a).and_then(|x| g.add(f.op.clone(), [&[x], &f.children[1..]].concat()));
            g.found(made);
        }
    }
}
