//! Sums and products with constants: constants meet and move outward to where a linear op can take them in.

use egg::Id;
use fhec_ir::Tensor;
use fhec_ir::nn::NnOp;

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::Condition::{Constant, Near};
use super::super::rule::{Rule, code, pattern};

pub(super) fn rules() -> Vec<Rule> {
    let c = ("?c", Constant);
    let d = ("?d", Constant);
    vec![
        code("sub-as-add", |op| matches!(op, NnOp::Sub {}), add_negated).says("x - y = x + (-y)"),
        code("neg-as-scale", |op| matches!(op, NnOp::Neg {}), negate).says("-x = x·(-1)"),
        pattern("scale-as-neg", "(mul ?x ?c)", "(neg ?x)", &[("?c", Near(-1.0))]).says("x·(-1) = -x"),
        code("constant-last-in-sum", |op| matches!(op, NnOp::Add {}), constant_last).says("c + x = x + c"),
        code("constant-last-in-product", |op| matches!(op, NnOp::Mul {}), constant_last).says("c·x = x·c"),
        code("constants-of-sums", |op| matches!(op, NnOp::Add {}), join).says("(x + c) + d = x + (c + d)"),
        code("constants-of-products", |op| matches!(op, NnOp::Mul {}), join).says("(x·c)·d = x·(c·d)"),
        code("scale-over-shift", |op| matches!(op, NnOp::Mul {}), scale_over_shift).says("(x + c)·d = x·d + c·d"),
        pattern("sum-of-same", "(add ?x ?x)", "(mul ?x ?2)", &[]).says("x + x = 2·x"),
        pattern("product-as-sum", "(mul ?x ?c)", "(add ?x ?x)", &[("?c", Near(2.0))]).says("2·x = x + x"),
        pattern("sum-with-multiple", "(add ?x (mul ?x ?c))", "(mul ?x (add ?c ?1))", &[c]).says("x + c·x = (1 + c)·x"),
        pattern("sum-of-multiple-and", "(add (mul ?x ?c) ?x)", "(mul ?x (add ?c ?1))", &[c])
            .says("c·x + x = (c + 1)·x"),
        pattern("sum-of-multiples", "(add (mul ?x ?c) (mul ?x ?d))", "(mul ?x (add ?c ?d))", &[c, d])
            .says("c·x + d·x = (c + d)·x"),
        code("divide-by-constant", |op| matches!(op, NnOp::Div {}), divide).says("x / c = x·(1/c)"),
        code("add-zero", |op| matches!(op, NnOp::Add {}), add_zero).says("x + 0 = x"),
        code("scale-by-one", |op| matches!(op, NnOp::Mul {}), mul_one).says("x·1 = x"),
        code("shrink-constant", |op| matches!(op, NnOp::Add {} | NnOp::Mul {}), shrink)
            .says("a constant that repeats along a dimension broadcasts along it"),
        code("scale-over-sum", |op| matches!(op, NnOp::Mul {}), scale_over_sum)
            .says("(f(x) + g(y))·d = f(x)·d + g(y)·d, for linear f and g that absorb d"),
    ]
}

fn add_negated(g: &mut RuleGraph<'_>, node: &NnNode) {
    let made = g.add(NnOp::Neg {}, [node.children[1]]).and_then(|negated| g.sum(node.children[0], negated));
    g.found(made);
}

fn negate(g: &mut RuleGraph<'_>, node: &NnNode) {
    let minus_one = g.scalar(-1.0);
    let made = g.mul(node.children[0], minus_one);
    g.found(made);
}

fn constant_last(g: &mut RuleGraph<'_>, node: &NnNode) {
    if g.is_constant(node.children[0]) {
        let made = g.add(node.op.clone(), [node.children[1], node.children[0]]);
        g.found(made);
    }
}

/// (x ∘ c) ∘ d = x ∘ (c ∘ d) for a sum or a product.
fn join(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (inner, d) = (node.children[0], node.children[1]);
    if !g.is_constant(d) {
        return;
    }
    for (first, x, c) in g.with_constant(inner, &node.op) {
        let both = g.shape(c).broadcast(&g.shape(d));
        if both.is_some_and(|both| g.holds_with(&node.op, x, &both)) || !g.is_bare(x, &node.op) {
            continue;
        }
        g.uses(inner, &first);
        let made = g.add(node.op.clone(), [c, d]).and_then(|c| g.add(node.op.clone(), [x, c]));
        g.found(made);
    }
}

fn scale_over_shift(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (sum, d) = (node.children[0], node.children[1]);
    if !g.is_constant(d) {
        return;
    }
    for (add, x, c) in g.with_constant(sum, &NnOp::Add {}) {
        if g.is_bare(x, &NnOp::Add {}) {
            g.uses(sum, &add);
            let made = try_scale_over_shift(g, x, c, d);
            g.found(made);
        }
    }
}

fn try_scale_over_shift(g: &mut RuleGraph<'_>, x: Id, c: Id, d: Id) -> Option<Id> {
    let scaled = g.mul(x, d)?;
    let shape = g.shape(c).broadcast(&g.shape(d))?;
    if g.holds_with(&NnOp::Add {}, scaled, &shape) {
        return None;
    }
    let shift = g.mul(c, d)?;
    g.sum(scaled, shift)
}

fn divide(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, c) = (node.children[0], node.children[1]);
    let invertible = g.constant(c).is_some_and(|t| t.data().iter().all(|&v| v != 0.0));
    if invertible {
        let one = g.scalar(1.0);
        let inverse = g.add(NnOp::Div {}, [one, c]);
        let product = inverse.filter(|&i| g.is_constant(i)).and_then(|i| g.mul(x, i));
        g.found(product);
    }
}

fn add_zero(g: &mut RuleGraph<'_>, node: &NnNode) {
    if g.uniform(node.children[1]) == Some(0.0) {
        g.found(Some(node.children[0]));
    }
}

fn mul_one(g: &mut RuleGraph<'_>, node: &NnNode) {
    if g.uniform(node.children[1]) == Some(1.0) {
        g.found(Some(node.children[0]));
    }
}

fn shrink(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, c) = (node.children[0], node.children[1]);
    if let Some(small) = g.constant(c).and_then(|t| shrunk(&t)) {
        let small = g.tensor("constant", small);
        let made = g.add(node.op.clone(), [x, small]);
        g.found(made);
    }
}

/// The tensor with every dimension it does not vary along reduced to extent 1; none when there is no such dimension.
fn shrunk(tensor: &Tensor) -> Option<Tensor> {
    let mut dims = tensor.shape().0.clone();
    let mut data = tensor.data().to_vec();
    let mut changed = false;
    for axis in 0..dims.len() {
        let extent = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let repeats = |block: &[f32]| block.chunks(inner).all(|row| row == &block[..inner]);
        if extent > 1 && inner > 0 && data.chunks(extent * inner).all(repeats) {
            data = data.chunks(extent * inner).flat_map(|block| &block[..inner]).copied().collect();
            dims[axis] = 1;
            changed = true;
        }
    }
    changed.then(|| Tensor::new(dims, data))
}

/// Only where both summands take the scale in; else it would be multiplied out along every path of a residual network.
fn scale_over_sum(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (sum, d) = (node.children[0], node.children[1]);
    if !g.is_constant(d) {
        return;
    }
    for add in g.nodes(sum).into_iter().filter(|n| matches!(n.op, NnOp::Add {})) {
        let (x, y) = (add.children[0], add.children[1]);
        let absorbs = |class: Id| {
            g.nodes(class).iter().any(|n| matches!(n.op, NnOp::Conv { .. } | NnOp::MatMul {} | NnOp::BatchNorm { .. }))
        };
        if absorbs(x) && absorbs(y) {
            g.uses(sum, &add);
            let made = g.mul(x, d).zip(g.mul(y, d)).and_then(|(x, y)| g.sum(x, y));
            g.found(made);
        }
    }
}
