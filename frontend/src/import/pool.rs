//! Imports pooling.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use super::window::Geometry;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new(
        "AveragePool",
        average_pool,
        "1, 2 and 3 spatial dimensions; ceil_mode from opset 10, dilations from 19",
    ),
    Operator::new("GlobalAveragePool", global_average_pool, ""),
    Operator::new("MaxPool", max_pool, "the values, not their indices; ceil_mode and dilations from opset 10"),
];

fn geometry(cx: &Context, node: &NodeView<'_>) -> Result<(Vec<i64>, Geometry, bool)> {
    let x = node.input_shape(cx, 0)?;
    if x.rank() < 3 {
        return Err(Refusal::invalid(format!("pooling over an input of shape {x}")));
    }
    let kernel =
        node.ints("kernel_shape")?.ok_or_else(|| Refusal::invalid("its attribute `kernel_shape` is missing"))?.to_vec();
    let geometry = Geometry::read(node, &x.0[2..], &kernel)?;
    let ceil = node.flag("ceil_mode", false)? && !geometry.exact;
    Ok((kernel, geometry, ceil))
}

fn average_pool(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (kernel, Geometry { strides, pads, dilations, .. }, ceil) = geometry(cx, node)?;
    let count_include_pad = node.flag("count_include_pad", false)?;
    let op = NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad, ceil };
    cx.push(op, &[node.input(0)?]).map(|y| vec![y])
}

fn max_pool(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (kernel, Geometry { strides, pads, dilations, .. }, ceil) = geometry(cx, node)?;
    cx.push(NnOp::MaxPool { kernel, strides, pads, dilations, ceil }, &[node.input(0)?]).map(|y| vec![y])
}

fn global_average_pool(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let rank = node.input_shape(cx, 0)?.rank();
    let axes = signed(&(2..rank).collect::<Vec<_>>());
    cx.push(NnOp::ReduceMean { axes, keepdims: true }, &[node.input(0)?]).map(|y| vec![y])
}
