//! Imports element-wise functions of one variable.

use fhec_ir::nn::{Activation, NnOp};
use fhec_ir::{F64, Value};

use super::compare::uniform;
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
    Operator::new("Log", log, "of 1 + exp(x) a Softplus"),
    Operator::new("Sqrt", |cx, node| plain(cx, node, Activation::Sqrt), ""),
    Operator::new("Reciprocal", |cx, node| plain(cx, node, Activation::Reciprocal), ""),
    Operator::new("Abs", |cx, node| plain(cx, node, Activation::Abs), ""),
    Operator::new("Celu", celu, ""),
    Operator::new("Softsign", |cx, node| plain(cx, node, Activation::Softsign), ""),
    Operator::new("ThresholdedRelu", |cx, node| with_alpha(cx, node, Activation::ThresholdedRelu), ""),
    Operator::new("Sin", |cx, node| plain(cx, node, Activation::Sin), ""),
    Operator::new("Cos", |cx, node| plain(cx, node, Activation::Cos), ""),
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
    if !cx.shape(&slope).broadcasts_to(&shape) {
        return Err(Refusal::invalid(format!("slope {} does not broadcast to {shape}", cx.shape(&slope))));
    }
    if let Some(slope) = uniform(&slope) {
        return apply(cx, x, Activation::LeakyRelu, Some(slope), None).map(|y| vec![y]);
    }
    if matches!(slope, Operand::Value(_)) || matches!(x, Operand::Known(_)) {
        return cx.push(NnOp::PRelu {}, &[x, &slope]).map(|y| vec![y]);
    }
    // slope·x + (1 - slope)·relu(x): one function for all channels.
    let one = cx.scalar(1.0);
    let rest = cx.push(NnOp::Sub {}, &[&one, &slope])?;
    let positive = apply(cx, x, Activation::Relu, None, None)?;
    let (linear, bent) = (cx.push(NnOp::Mul {}, &[x, &slope])?, cx.push(NnOp::Mul {}, &[&positive, &rest])?);
    cx.push(NnOp::Add {}, &[&linear, &bent]).map(|y| vec![y])
}

/// The operand of `v`, where that is `function` of it plus 1.
pub(super) fn one_more_than(cx: &Context, v: Value, function: Activation) -> Option<Value> {
    let sum = cx.module.func.node(v);
    if !matches!(sum.op, NnOp::Add {}) {
        return None;
    }
    let one = |v: Value| match cx.module.func.node(v).op {
        NnOp::Const { value } => cx.module.consts.tensor(value).data().iter().all(|&x| x == 1.0),
        _ => false,
    };
    let inner = |v: Value| match &cx.module.func.node(v).op {
        NnOp::Activation { function: own, .. } if *own == function => Some(cx.module.func.node(v).operands[0]),
        _ => None,
    };
    let (a, b) = (sum.operands[0], sum.operands[1]);
    let found = [(a, b), (b, a)].into_iter().find_map(|(f, c)| inner(f).filter(|_| one(c)));
    found.filter(|x| cx.module.func.ty(*x) == &sum.ty)
}

fn log(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let inner = match node.input(0)? {
        Operand::Value(v) => one_more_than(cx, *v, Activation::Exp),
        Operand::Known(_) => None,
    };
    match inner {
        Some(x) => apply(cx, &Operand::Value(x), Activation::Softplus, None, None).map(|y| vec![y]),
        None => plain(cx, node, Activation::Log),
    }
}

fn clip(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (min, max) = if node.opset >= 11 {
        (node.scalar_input(1, "min")?, node.scalar_input(2, "max")?)
    } else {
        (node.float("min")?, node.float("max")?)
    };
    clip_between(cx, node.input(0)?, min, max).map(|y| vec![y])
}

/// min(max(x, lo), hi); bounds of bounds are one pair of bounds.
pub(super) fn clip_between(cx: &mut Context, x: &Operand, lo: Option<f32>, hi: Option<f32>) -> Result<Operand> {
    if lo.is_none() && hi.is_none() {
        return Ok(x.clone());
    }
    let inner = match x {
        Operand::Value(v) => Some(cx.module.func.node(*v)),
        Operand::Known(_) => None,
    };
    let bounds = inner.and_then(|node| match node.op {
        NnOp::Activation { function: Activation::Relu, .. } => Some((node.operands[0], Some(0.0), None)),
        NnOp::Activation { function: Activation::Clip, alpha, beta } => {
            Some((node.operands[0], alpha.map(|a| a.0 as f32), beta.map(|b| b.0 as f32)))
        }
        _ => None,
    });
    let Some((operand, inner_lo, inner_hi)) = bounds else { return apply(cx, x, Activation::Clip, lo, hi) };
    let within = |bound: f32| {
        let bound = lo.map_or(bound, |lo| bound.max(lo));
        hi.map_or(bound, |hi| bound.min(hi))
    };
    let (lo, hi) = (inner_lo.map(within).or(lo), inner_hi.map(within).or(hi));
    apply(cx, &Operand::Value(operand), Activation::Clip, lo, hi)
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

/// alpha·elu(x/alpha)
fn celu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let alpha = node.float("alpha")?.unwrap_or(1.0);
    if alpha == 0.0 {
        return Err(Refusal::invalid("its alpha is 0"));
    }
    if alpha == 1.0 {
        return plain(cx, node, Activation::Elu);
    }
    let (factor, inverse) = (cx.scalar(alpha), cx.scalar(1.0 / alpha));
    let inner = cx.push(NnOp::Mul {}, &[x, &inverse])?;
    let elu = apply(cx, &inner, Activation::Elu, None, None)?;
    cx.push(NnOp::Mul {}, &[&elu, &factor]).map(|y| vec![y])
}

fn hard_sigmoid(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (alpha, beta) = (node.float("alpha")?, node.float("beta")?);
    apply(cx, node.input(0)?, Activation::HardSigmoid, alpha, beta).map(|y| vec![y])
}

fn selu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (alpha, gamma) = (node.float("alpha")?, node.float("gamma")?);
    apply(cx, node.input(0)?, Activation::Selu, alpha, gamma).map(|y| vec![y])
}
