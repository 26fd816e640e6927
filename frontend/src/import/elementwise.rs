//! Imports element-wise arithmetic. On integers it is carried out at import, because exporters compute shapes with it.

use fhec_ir::nn::{Activation, NnOp};

use super::activation;
use super::context::{Context, Operand};
use super::node::{NodeView, axis};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::{Ints, Known};

const BROADCAST: &str = "multidirectional broadcasting; opset 6: attributes broadcast and axis";

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Add", |cx, node| binary(cx, node, NnOp::Add {}, i64::checked_add), BROADCAST),
    Operator::new("Sub", |cx, node| binary(cx, node, NnOp::Sub {}, i64::checked_sub), BROADCAST),
    Operator::new("Mul", |cx, node| binary(cx, node, NnOp::Mul {}, i64::checked_mul), BROADCAST),
    Operator::new("Div", |cx, node| binary(cx, node, NnOp::Div {}, i64::checked_div), BROADCAST),
    Operator::new("Pow", pow, "any exponent; exponents 2, 1, 0.5 and -1 become products, roots and reciprocals"),
    Operator::new("Neg", neg, ""),
];

fn binary(cx: &mut Context, node: &NodeView<'_>, op: NnOp, ints: fn(i64, i64) -> Option<i64>) -> Result<Vec<Operand>> {
    let (a, b) = operands(cx, node)?;
    if let (Operand::Known(Known::Ints(a)), Operand::Known(Known::Ints(b))) = (&a, &b) {
        return Ints::binary(a, b, ints).map(|t| vec![Operand::Known(Known::Ints(t))]);
    }
    cx.push(op, &[&a, &b]).map(|y| vec![y])
}

/// The two operands; before opset 7 the second one is aligned as its attributes say.
fn operands(cx: &mut Context, node: &NodeView<'_>) -> Result<(Operand, Operand)> {
    let (a, b) = (node.input(0)?.clone(), node.input(1)?.clone());
    if node.opset >= 7 {
        return Ok((a, b));
    }
    let (shape, own) = (cx.shape(&a).clone(), cx.shape(&b).clone());
    if !node.flag("broadcast", false)? {
        return if shape == own { Ok((a, b)) } else { Err(Refusal::invalid(format!("operands {shape} and {own}"))) };
    }
    let Some(at) = node.int("axis")? else { return Ok((a, b)) };
    let at = axis(at, shape.rank())?;
    if at + own.rank() > shape.rank() {
        return Err(Refusal::invalid(format!("operand {own} at axis {at} of {shape}")));
    }
    let mut aligned: Vec<i64> = own.0.iter().map(|&d| d as i64).collect();
    aligned.resize(shape.rank() - at, 1);
    let b = cx.moved(NnOp::Reshape { shape: aligned }, &[&b])?;
    Ok((a, b))
}

fn pow(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (base, exponent) = operands(cx, node)?;
    let exponent = match exponent {
        Operand::Known(known) => Operand::Known(Known::Floats(known.to_floats())),
        value => value,
    };
    let constant = match &exponent {
        Operand::Known(Known::Floats(t)) if t.shape().broadcasts_to(cx.shape(&base)) => match t.data() {
            [first, rest @ ..] if rest.iter().all(|x| x == first) => Some(*first),
            _ => None,
        },
        _ => None,
    };
    match constant {
        Some(1.0) => Ok(base),
        Some(2.0) => cx.push(NnOp::Mul {}, &[&base, &base]),
        Some(0.5) => activation::apply(cx, &base, Activation::Sqrt, None, None),
        Some(-1.0) => activation::apply(cx, &base, Activation::Reciprocal, None, None),
        Some(alpha) => activation::apply(cx, &base, Activation::Pow, Some(alpha), None),
        None => cx.push(NnOp::Pow {}, &[&base, &exponent]),
    }
    .map(|y| vec![y])
}

fn neg(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    if let Operand::Known(Known::Ints(t)) = x {
        let zero = Ints { shape: Default::default(), data: vec![0].into() };
        return Ints::binary(&zero, t, i64::checked_sub).map(|t| vec![Operand::Known(Known::Ints(t))]);
    }
    cx.push(NnOp::Neg {}, &[x]).map(|y| vec![y])
}
