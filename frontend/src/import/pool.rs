//! Imports pooling.

use fhec_ir::nn::{Activation, NnOp};

use super::compare;
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
    Operator::new("GlobalMaxPool", global_max_pool, ""),
    Operator::new("LpPool", lp_pool, "a root of an average of powers"),
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

fn global_max_pool(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let shape = node.input_shape(cx, 0)?;
    let kernel = shape.0.get(2..).filter(|k| !k.is_empty());
    let kernel = signed(kernel.ok_or_else(|| Refusal::invalid(format!("pooling over an input of shape {shape}")))?);
    let (ones, zeros) = (vec![1; kernel.len()], vec![0; 2 * kernel.len()]);
    let op = NnOp::MaxPool { kernel, strides: ones.clone(), pads: zeros, dilations: ones, ceil: false };
    cx.push(op, &[node.input(0)?]).map(|y| vec![y])
}

/// (Σ |x|^p)^(1/p) over windows.
fn lp_pool(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (kernel, Geometry { strides, pads, dilations, .. }, ceil) = geometry(cx, node)?;
    let p = node.int("p")?.unwrap_or(2);
    if p < 1 {
        return Err(Refusal::invalid(format!("p is {p}")));
    }
    let x = node.input(0)?;
    let power = |function, alpha: f64| compare::function(function, Some(alpha), None);
    let powers = match p {
        1 => cx.push(compare::function(Activation::Abs, None, None), &[x])?,
        2 => cx.push(NnOp::Mul {}, &[x, x])?,
        _ => {
            let magnitude = cx.push(compare::function(Activation::Abs, None, None), &[x])?;
            cx.push(power(Activation::Pow, p as f64), &[&magnitude])?
        }
    };
    let taps = kernel.iter().product::<i64>() as f32;
    let op = NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad: true, ceil };
    let (mean, taps) = (cx.push(op, &[&powers])?, cx.scalar(taps));
    let sum = cx.push(NnOp::Mul {}, &[&mean, &taps])?;
    let root = match p {
        1 => sum,
        2 => cx.push(compare::function(Activation::Sqrt, None, None), &[&sum])?,
        _ => cx.push(power(Activation::Pow, 1.0 / p as f64), &[&sum])?,
    };
    Ok(vec![root])
}
