//! Imports matrix products.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::NodeView;
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Gemm", gemm, "alpha, beta, transA, transB; C optional and broadcast"),
    Operator::new("MatMul", matmul, "numpy semantics: vectors, batches, broadcasting"),
];

fn matmul(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    cx.push(NnOp::MatMul {}, &[node.input(0)?, node.input(1)?]).map(|y| vec![y])
}

fn gemm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let a = matrix(cx, node, 0, "transA")?;
    let b = matrix(cx, node, 1, "transB")?;
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    // The factor goes where it is folded: into the constant matrix, which is B as a rule.
    let (a, b) = match (&a, &b) {
        _ if alpha == 1.0 => (a, b),
        (Operand::Known(_), Operand::Value(_)) => (scaled(cx, a, alpha)?, b),
        _ => {
            let b = scaled(cx, b, alpha)?;
            (a, b)
        }
    };
    let mut y = cx.push(NnOp::MatMul {}, &[&a, &b])?;
    let beta = node.float("beta")?.unwrap_or(1.0);
    if let Some(c) = node.optional(2).filter(|_| beta != 0.0) {
        let c = scaled(cx, c.clone(), beta)?;
        let shape = cx.shape(&y).clone();
        if !cx.shape(&c).broadcasts_to(&shape) {
            return Err(Refusal::invalid(format!("C of shape {} does not broadcast to {shape}", cx.shape(&c))));
        }
        y = cx.push(NnOp::Add {}, &[&y, &c])?;
    }
    Ok(vec![y])
}

/// Operand `i`, a matrix, transposed when the attribute says so.
fn matrix(cx: &mut Context, node: &NodeView<'_>, i: usize, transpose: &str) -> Result<Operand> {
    let operand = node.input(i)?;
    let shape = cx.shape(operand);
    if shape.rank() != 2 {
        return Err(Refusal::invalid(format!("its operand of shape {shape} is not a matrix")));
    }
    if node.flag(transpose, false)? {
        cx.push(NnOp::Transpose { perm: vec![1, 0] }, &[operand])
    } else {
        Ok(operand.clone())
    }
}

fn scaled(cx: &mut Context, x: Operand, factor: f32) -> Result<Operand> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = cx.scalar(factor);
    cx.push(NnOp::Mul {}, &[&x, &factor])
}
