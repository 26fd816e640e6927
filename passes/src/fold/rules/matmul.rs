//! A product with a constant matrix absorbs scales; two such products are one.

use egg::Id;
use fhec_ir::Shape;
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
        if g.holds(&product.op, product.children[0]) {
            continue;
        }
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
    for (mul, inner, d) in g.with_constant(x, &NnOp::Mul {}) {
        if g.shape(inner) == shape && !g.holds(&node.op, inner) {
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

/// Whether two matrices are multiplied out: not where a bottleneck would become a matrix of more than twice the
/// elements.
fn joined(a: &Shape, b: &Shape) -> bool {
    a.0[0] * b.0[1] <= 2 * (a.len() + b.len())
}

fn twice(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, b) = (node.children[0], node.children[1]);
    if !g.is_constant(b) || g.shape(b).rank() != 2 {
        return;
    }
    for product in products(g, x) {
        let (y, a) = (product.children[0], product.children[1]);
        if joined(&g.shape(a), &g.shape(b)) && !g.holds(&node.op, y) && !joins_all(g, y, a, b) {
            g.uses(x, &product);
            let made = g.add(NnOp::MatMul {}, [a, b]).and_then(|matrix| g.add(NnOp::MatMul {}, [y, matrix]));
            g.found(made);
        }
    }
}

/// Whether `y` is a product whose matrix is joined with `a`, and what comes of it with `b`: then `a` and `b` meet
/// there, and need not meet by themselves.
fn joins_all(g: &RuleGraph<'_>, y: Id, a: Id, b: Id) -> bool {
    let (a, b, rank) = (g.shape(a), g.shape(b), g.rank(y));
    products(g, y).iter().filter(|p| g.rank(p.children[0]) < rank).any(|first| {
        let first = g.shape(first.children[1]);
        joined(&first, &a) && joined(&Shape(vec![first.0[0], a.0[1]]), &b)
    })
}
