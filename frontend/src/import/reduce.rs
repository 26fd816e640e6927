//! Imports reductions.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, axes, signed};
use super::registry::Operator;
use crate::error::Result;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("ReduceMean", reduce_mean, "axes: attribute before opset 18, operand since; noop_with_empty_axes"),
    Operator::new("ReduceSum", reduce_sum, "axes: attribute before opset 13, operand since; noop_with_empty_axes"),
];

fn reduce_mean(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    reduce(cx, node, 18, |axes, keepdims| NnOp::ReduceMean { axes, keepdims })
}

fn reduce_sum(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    reduce(cx, node, 13, |axes, keepdims| NnOp::ReduceSum { axes, keepdims })
}

fn reduce(
    cx: &mut Context,
    node: &NodeView<'_>,
    axes_operand_since: i64,
    op: fn(Vec<i64>, bool) -> NnOp,
) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let keepdims = node.flag("keepdims", true)?;
    let stated = node.ints_by_opset(axes_operand_since, 1, "axes")?.filter(|a| !a.is_empty());
    let dims = match stated {
        Some(list) => axes(&list, rank)?,
        None if node.flag("noop_with_empty_axes", false)? => return Ok(vec![x.clone()]),
        None => (0..rank).collect(),
    };
    cx.push(op(signed(&dims), keepdims), &[x]).map(|y| vec![y])
}
