//! Imports reductions.

use fhec_ir::nn::{Activation, NnOp};

use super::activation;
use super::context::{Context, Operand};
use super::node::{NodeView, axes, signed};
use super::registry::Operator;
use crate::error::Result;

const AXES: &str = "axes: attribute before opset 18, operand since; noop_with_empty_axes";

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("ReduceMean", |cx, node| reduce(cx, node, mean, None, None), AXES),
    Operator::new(
        "ReduceSum",
        |cx, node| reduce(cx, node, sum, None, None),
        "axes: attribute before opset 13, operand since; noop_with_empty_axes",
    ),
    Operator::new("ReduceSumSquare", |cx, node| reduce(cx, node, sum, Some(Before::Square), None), AXES),
    Operator::new(
        "ReduceL2",
        |cx, node| reduce(cx, node, sum, Some(Before::Square), Some(Activation::Sqrt)),
        "the root of a sum of squares",
    ),
    Operator::new(
        "ReduceL1",
        |cx, node| reduce(cx, node, sum, Some(Before::Function(Activation::Abs)), None),
        "a sum of absolute values",
    ),
    Operator::new("ReduceLogSum", |cx, node| reduce(cx, node, sum, None, Some(Activation::Log)), AXES),
    Operator::new(
        "ReduceLogSumExp",
        |cx, node| reduce(cx, node, sum, Some(Before::Function(Activation::Exp)), Some(Activation::Log)),
        AXES,
    ),
];

/// What is done to every element before it is summed.
#[derive(Clone, Copy)]
enum Before {
    Square,
    Function(Activation),
}

/// The dimensions that a reduction removes, and whether they stay as extents of 1.
pub(super) struct Reduced {
    pub(super) axes: Vec<usize>,
    pub(super) keepdims: bool,
}

impl Reduced {
    /// `None` where nothing is reduced.
    pub(super) fn read(node: &NodeView<'_>, rank: usize) -> Result<Option<Self>> {
        let operand_since = if node.proto.op_type == "ReduceSum" { 13 } else { 18 };
        let keepdims = node.flag("keepdims", true)?;
        let stated = node.ints_by_opset(operand_since, 1, "axes")?.filter(|a| !a.is_empty());
        let axes = match stated {
            Some(list) => axes(&list, rank)?,
            None if node.flag("noop_with_empty_axes", false)? => return Ok(None),
            None => (0..rank).collect(),
        };
        Ok(Some(Self { axes, keepdims }))
    }
}

fn mean(axes: Vec<i64>, keepdims: bool) -> NnOp {
    NnOp::ReduceMean { axes, keepdims }
}

fn sum(axes: Vec<i64>, keepdims: bool) -> NnOp {
    NnOp::ReduceSum { axes, keepdims }
}

fn reduce(
    cx: &mut Context,
    node: &NodeView<'_>,
    op: fn(Vec<i64>, bool) -> NnOp,
    before: Option<Before>,
    after: Option<Activation>,
) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let Some(Reduced { axes, keepdims }) = Reduced::read(node, cx.shape(x).rank())? else {
        return Ok(vec![x.clone()]);
    };
    let x = match before {
        None => x.clone(),
        Some(Before::Square) => cx.push(NnOp::Mul {}, &[x, x])?,
        Some(Before::Function(function)) => activation::apply(cx, x, function, None, None)?,
    };
    let y = cx.push(op(signed(&axes), keepdims), &[&x])?;
    match after {
        None => Ok(vec![y]),
        Some(function) => activation::apply(cx, &y, function, None, None).map(|y| vec![y]),
    }
}
