//! What the fold prefers: fewer multiplicative levels, then fewer products, then fewer ops, then ops of the original.

use std::collections::HashSet;

use egg::{EGraph, Id};
use fhec_ir::egraph::{Cost, Own};
use fhec_ir::nn::{Activation, NnOp};

use super::graph::{ClassFacts, NnNode};

/// Weight of one op against one that the original function has.
const OP: u64 = 64;

pub(super) struct Levels<'a> {
    pub egraph: &'a EGraph<NnNode, ClassFacts>,
    /// Nodes of the original function.
    pub original: &'a HashSet<NnNode>,
}

impl Cost<NnOp> for Levels<'_> {
    fn own(&self, class: Id, node: &NnNode) -> Option<Own> {
        let data = &self.egraph[class].data;
        if data.constant.is_some() {
            let constant = matches!(node.op, NnOp::Const { value } if Some(value) == data.constant);
            return constant.then_some(Own { levels: 0, work: 1 });
        }
        let elements = data.shape.len() as u64;
        let (levels, products) = self.price(node, elements);
        let derived = u64::from(!self.original.contains(node));
        Some(Own { levels, work: products.saturating_mul(OP).saturating_add(OP + derived) })
    }
}

impl Levels<'_> {
    /// Levels and products of one op. Levels of functions that polynomials replace are those of a low degree; they rank
    /// alternatives and predict nothing.
    fn price(&self, node: &NnNode, elements: u64) -> (u32, u64) {
        let shape = |i: usize| &self.egraph[node.children[i]].data.shape.0;
        let product = |dims: &[usize]| dims.iter().map(|&d| d as u64).product::<u64>();
        match &node.op {
            NnOp::Input { .. } | NnOp::Const { .. } | NnOp::Reshape { .. } => (0, 0),
            NnOp::Add {} | NnOp::Sub {} | NnOp::Neg {} => (0, 0),
            NnOp::Transpose { .. } | NnOp::Slice { .. } | NnOp::Pad { .. } | NnOp::Concat { .. } => (0, elements),
            NnOp::Gather { .. } | NnOp::Expand { .. } => (0, elements),
            NnOp::Conv { .. } => (1, elements.saturating_mul(product(&shape(1)[1..]))),
            NnOp::MatMul {} => (1, elements.saturating_mul(shape(0).last().map_or(1, |&k| k as u64))),
            NnOp::AvgPool { kernel, .. } => (1, elements.saturating_mul(kernel.iter().product::<i64>() as u64)),
            NnOp::ReduceMean { .. } | NnOp::ReduceSum { .. } => (1, product(shape(0))),
            NnOp::Mul {} if node.children.iter().all(|&c| self.egraph[c].data.constant.is_none()) => (1, 3 * elements),
            NnOp::Mul {} | NnOp::BatchNorm { .. } => (1, elements),
            NnOp::Polynomial { rows, coeffs, .. } => {
                let degree = (coeffs.len() / (*rows).max(1) as usize).max(2) - 1;
                // A quadratic is a square of what a linear op gives.
                let levels = if degree == 2 { 1 } else { usize::BITS - degree.leading_zeros() };
                (levels, elements.saturating_mul(degree as u64))
            }
            NnOp::Activation { function: Activation::Pow, .. } | NnOp::Pow {} => (8, 64 * elements),
            // The simpler name of the same function is the cheaper one.
            NnOp::Activation { function: Activation::Relu, .. } => (4, 15 * elements),
            NnOp::Activation { .. } | NnOp::Composed { .. } => (4, 16 * elements),
            NnOp::PRelu {} => (5, 17 * elements),
            NnOp::Div {} => (16, 64 * elements),
            // What has no form on ciphertexts costs more than any form of it.
            NnOp::MaxPool { .. } => (1024, 64 * elements),
            NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. } | NnOp::LayerNorm { .. } => {
                (32, 128 * elements)
            }
        }
    }
}
