//! Batch normalisation is affine per channel.

use egg::Id;
use fhec_ir::nn::{Activation, NnOp};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::{Rule, code};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        code("batch-norm-as-affine", |op| matches!(op, NnOp::BatchNorm { .. }), affine)
            .says("batch_norm(x) = x·a + b with a = scale/√(variance + ε), b = bias - mean·a"),
    ]
}

fn affine(g: &mut RuleGraph<'_>, node: &NnNode) {
    let made = try_affine(g, node);
    g.found(made);
}

fn try_affine(g: &mut RuleGraph<'_>, node: &NnNode) -> Option<Id> {
    let [x, scale, bias, mean, variance] = node.children[..] else { return None };
    let NnOp::BatchNorm { epsilon } = node.op else { return None };
    if ![scale, bias, mean, variance].iter().all(|&c| g.is_constant(c)) {
        return None;
    }
    let epsilon = g.scalar(epsilon.0 as f32);
    let shifted = g.sum(variance, epsilon)?;
    let root = g.add(NnOp::Activation { function: Activation::Sqrt, alpha: None, beta: None }, [shifted])?;
    let a = g.add(NnOp::Div {}, [scale, root])?;
    let moved = g.mul(mean, a)?;
    let b = g.add(NnOp::Sub {}, [bias, moved])?;
    if !g.is_constant(a) || !g.is_constant(b) {
        return None;
    }
    let shape = g.shape(x);
    let mut per_channel = vec![1; shape.rank()];
    per_channel[1] = shape.0[1];
    let (a, b) = (g.reshape(a, &per_channel)?, g.reshape(b, &per_channel)?);
    let scaled = g.mul(x, a)?;
    g.sum(scaled, b)
}
