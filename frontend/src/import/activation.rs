//! Imports element-wise functions of one variable.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, NnOp};

use super::context::{Context, Operand};
use super::node::NodeView;
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Relu", |cx, node| plain(cx, node, Activation::Relu), ""),
    Operator::new("LeakyRelu", |cx, node| with_alpha(cx, node, Activation::LeakyRelu), ""),
    Operator::new("PRelu", prelu, "the slope broadcasts; in opset 6 a vector is one slope per channel"),
    Operator::new("Clip", clip, "constant bounds; attributes before opset 11, operands since"),
    Operator::new("Sigmoid", |cx, node| plain(cx, node, Activation::Sigmoid), ""),
    Operator::new("Tanh", |cx, node| plain(cx, node, Activation::Tanh), ""),
    Operator::new("Softplus", |cx, node| plain(cx, node, Activation::Softplus), ""),
    Operator::new("Erf", |cx, node| plain(cx, node, Activation::Erf), ""),
    Operator::new("Gelu", gelu, "exact and tanh form"),
    Operator::new("Swish", swish, "also as x·sigmoid(x)"),
    Operator::new("HardSwish", |cx, node| plain(cx, node, Activation::HardSwish), ""),
    Operator::new("HardSigmoid", hard_sigmoid, ""),
    Operator::new("Elu", |cx, node| with_alpha(cx, node, Activation::Elu), ""),
    Operator::new("Selu", selu, ""),
    Operator::new("Mish", |cx, node| plain(cx, node, Activation::Mish), ""),
    Operator::new("Exp", |cx, node| plain(cx, node, Activation::Exp), ""),
    Operator::new("Log", |cx, node| plain(cx, node, Activation::Log), ""),
    Operator::new("Sqrt", |cx, node| plain(cx, node, Activation::Sqrt), ""),
    Operator::new("Reciprocal", |cx, node| plain(cx, node, Activation::Reciprocal), ""),
    Operator::new("Abs", |cx, node| plain(cx, node, Activation::Abs), ""),
];

/// `function` of `x`; parameters left out take the defaults of the operator.
pub(super) fn apply(
    cx: &mut Context,
    x: &Operand,
    function: Activation,
    alpha: Option<f32>,
    beta: Option<f32>,
) -> Result<Operand> {
    let number = |x: Option<f32>| x.map(|x| F64(f64::from(x)));
    cx.push(NnOp::Activation { function, alpha: number(alpha), beta: number(beta) }, &[x])
}

fn plain(cx: &mut Context, node: &NodeView<'_>, function: Activation) -> Result<Vec<Operand>> {
    apply(cx, node.input(0)?, function, None, None).map(|y| vec![y])
}

fn with_alpha(cx: &mut Context, node: &NodeView<'_>, function: Activation) -> Result<Vec<Operand>> {
    apply(cx, node.input(0)?, function, node.float("alpha")?, None).map(|y| vec![y])
}

fn prelu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (x, mut slope) = (node.input(0)?, node.input(1)?.clone());
    let (shape, slopes) = (cx.shape(x).clone(), cx.shape(&slope).clone());
    if node.opset < 7 && slopes.rank() == 1 && shape.rank() > 1 && slopes.len() == shape.0[1] {
        let mut per_channel = vec![1; shape.rank() - 1];
        per_channel[0] = slopes.len() as i64;
        slope = cx.push(NnOp::Reshape { shape: per_channel }, &[&slope])?;
    }
    cx.push(NnOp::PRelu {}, &[x, &slope]).map(|y| vec![y])
}

fn clip(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (min, max) = if node.opset >= 11 {
        (node.scalar_input(1, "min")?, node.scalar_input(2, "max")?)
    } else {
        (node.float("min")?, node.float("max")?)
    };
    let x = node.input(0)?;
    if min.is_none() && max.is_none() {
        return Ok(vec![x.clone()]);
    }
    apply(cx, x, Activation::Clip, min, max).map(|y| vec![y])
}

fn gelu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let function = match node.text("approximate")?.unwrap_or("none") {
        "none" => Activation::Gelu,
        "tanh" => Activation::GeluTanh,
        other => return Err(Refusal::invalid(format!("approximate is `{other}`"))),
    };
    plain(cx, node, function)
}

fn swish(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    if alpha == 1.0 {
        return plain(cx, node, Activation::Silu);
    }
    let x = node.input(0)?;
    let alpha = cx.scalar(alpha);
    let inner = cx.push(NnOp::Mul {}, &[x, &alpha])?;
    let gate = apply(cx, &inner, Activation::Sigmoid, None, None)?;
    cx.push(NnOp::Mul {}, &[x, &gate]).map(|y| vec![y])
}

fn hard_sigmoid(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (alpha, beta) = (node.float("alpha")?, node.float("beta")?);
    apply(cx, node.input(0)?, Activation::HardSigmoid, alpha, beta).map(|y| vec![y])
}

fn selu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (alpha, gamma) = (node.float("alpha")?, node.float("gamma")?);
    apply(cx, node.input(0)?, Activation::Selu, alpha, gamma).map(|y| vec![y])
}
