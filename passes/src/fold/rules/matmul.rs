//! A product with a constant matrix takes in scales; two such products are one.

use egg::Id;
use fhec_ir::nn::NnOp;

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("scale-into-matmul", |op| matches!(op, NnOp::Mul {}), scale_after).says("(x·W)·a = x·(W·diag(a))"),
        code("scale-before-matmul", is_matmul, scale_before).says("(x·a)·W = x·(diag(a)·W)"),
        code("matmul-matmul", is_matmul, twice).says("(x·A)·B = x·(A·B)"),
    ]
}

fn is_matmul(op: &NnOp) -> bool {
    matches!(op, NnOp::MatMul {})
}

/// The products of a class of a tensor of rank 2 or more with a constant matrix.
fn products(g: &RuleGraph<'_>, class: Id) -> Vec<NnNode> {
    let by_matrix = |n: &NnNode| g.is_constant(n.children[1]) && g.shape(n.children[1]).rank() == 2;
    let ranked = |n: &NnNode| g.shape(n.children[0]).rank() >= 2;
    g.nodes(class).into_iter().filter(|n| is_matmul(&n.op) && by_matrix(n) && ranked(n)).collect()
}

fn scale_after(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (class, d) = (node.children[0], node.children[1]);
    if !g.is_constant(d) {
        return;
    }
    for product in products(g, class) {
        g.uses(class, &product);
        let shape = g.shape(class);
        let made = g.vector_along(d, &shape, shape.rank() - 1).and_then(|columns| {
            let scaled = g.mul(product.children[1], columns)?;
            g.add(NnOp::MatMul {}, [product.children[0], scaled])
        });
        g.found(made);
    }
}

fn scale_before(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, matrix) = (node.children[0], node.children[1]);
    let shape = g.shape(x);
    if !g.is_constant(matrix) || g.shape(matrix).rank() != 2 || shape.rank() < 2 {
        return;
    }
    for mul in g.nodes(x).into_iter().filter(|n| matches!(n.op, NnOp::Mul {})) {
        let (inner, d) = (mul.children[0], mul.children[1]);
        if g.is_constant(d) && g.shape(inner) == shape {
            g.uses(x, &mul);
            let made = g.vector_along(d, &shape, shape.rank() - 1).and_then(|vector| {
                let rows = g.reshape(vector, &[shape.0[shape.rank() - 1], 1])?;
                let scaled = g.mul(matrix, rows)?;
                g.add(NnOp::MatMul {}, [inner, scaled])
            });
            g.found(made);
        }
    }
}

/// Not where a bottleneck would be multiplied out into a matrix of more than twice the elements.
fn twice(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, b) = (node.children[0], node.children[1]);
    if !g.is_constant(b) || g.shape(b).rank() != 2 {
        return;
    }
    for product in products(g, x) {
        let (first, second) = (g.shape(product.children[1]), g.shape(b));
        if first.0[0] * second.0[1] <= 2 * (first.len() + second.len()) {
            g.uses(x, &product);
            let made = g
                .add(NnOp::MatMul {}, [product.children[1], b])
                .and_then(|matrix| g.add(NnOp::MatMul {}, [product.children[0], matrix]));
            g.found(made);
        }
    }
}
