//! Imports element-wise arithmetic.

use fhec_ir::nn::{Activation, NnOp};
use fhec_ir::{Tensor, Value};

use super::activation;
use super::compare::uniform;
use super::context::{Context, Operand};
use super::node::{NodeView, axis};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::Known;

const BROADCAST: &str = "multidirectional broadcasting; opset 6: attributes broadcast and axis";

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Add", |cx, node| binary(cx, node, NnOp::Add {}), BROADCAST),
    Operator::new("Sub", |cx, node| binary(cx, node, NnOp::Sub {}), BROADCAST),
    Operator::new("Mul", |cx, node| binary(cx, node, NnOp::Mul {}), BROADCAST),
    Operator::new("Div", div, BROADCAST),
    Operator::new("Pow", pow, "any exponent; exponents 2, 1, 0.5 and -1 become products, roots and reciprocals"),
    Operator::new("Neg", |cx, node| cx.push(NnOp::Neg {}, &[node.input(0)?]).map(|y| vec![y]), ""),
    Operator::new("Sum", |cx, node| sum(cx, node).map(|y| vec![y]), "any number of operands"),
    Operator::new("Mean", mean, "any number of operands"),
];

fn binary(cx: &mut Context, node: &NodeView<'_>, op: NnOp) -> Result<Vec<Operand>> {
    let (a, b) = operands(cx, node)?;
    cx.push(op, &[&a, &b]).map(|y| vec![y])
}

/// A lower bound of a root up to here keeps a divisor from being 0 and does nothing else.
const GUARD: f64 = 1e-6;

/// A quotient of encrypted values is a product with a reciprocal, that of a root a product with one power.
fn div(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (a, b) = operands(cx, node)?;
    let Operand::Value(divisor) = b else { return cx.push(NnOp::Div {}, &[&a, &b]).map(|y| vec![y]) };
    if let (Operand::Value(x), Some(inner)) = (&a, activation::one_more_than(cx, divisor, Activation::Abs))
        && *x == inner
    {
        return activation::apply(cx, &a, Activation::Softsign, None, None).map(|y| vec![y]);
    }
    let out = cx.shape(&a).broadcast(cx.shape(&b));
    // Repeating the divisor is what the product does too.
    let inner = cx.module.func.node(divisor);
    let repeated = matches!(inner.op, NnOp::Expand { .. })
        && cx.shape(&a).broadcast(&cx.module.func.ty(inner.operands[0]).0) == out;
    let divisor = if repeated { inner.operands[0] } else { divisor };
    let inverse = match under_root(cx, divisor) {
        Some((square, guard)) => {
            let mut square = Operand::Value(square);
            if guard > 0.0 {
                let guard = cx.scalar((guard * guard) as f32);
                square = cx.push(NnOp::Add {}, &[&square, &guard])?;
            }
            activation::apply(cx, &square, Activation::Pow, Some(-0.5), None)?
        }
        None => activation::apply(cx, &Operand::Value(divisor), Activation::Reciprocal, None, None)?,
    };
    cx.push(NnOp::Mul {}, &[&a, &inverse]).map(|y| vec![y])
}

/// What `v` is the square root of, and the lower bound that it has.
fn under_root(cx: &Context, v: Value) -> Option<(Value, f64)> {
    let node = cx.module.func.node(v);
    match node.op {
        NnOp::Activation { function: Activation::Sqrt, .. } => Some((node.operands[0], 0.0)),
        NnOp::Activation { function: Activation::Clip, alpha: Some(lo), beta: None }
            if (0.0..=GUARD).contains(&lo.0) =>
        {
            under_root(cx, node.operands[0]).map(|(square, inner)| (square, inner.max(lo.0)))
        }
        _ => None,
    }
}

fn sum(cx: &mut Context, node: &NodeView<'_>) -> Result<Operand> {
    let inputs = node.all_inputs()?;
    let (first, rest) = inputs.split_first().ok_or_else(|| Refusal::invalid("it has no operands"))?;
    rest.iter().try_fold((*first).clone(), |sum, x| cx.push(NnOp::Add {}, &[&sum, x]))
}

fn mean(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let sum = sum(cx, node)?;
    let count = cx.scalar(node.inputs.len() as f32);
    cx.push(NnOp::Div {}, &[&sum, &count]).map(|y| vec![y])
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
    let constant = uniform(&exponent).filter(|_| cx.shape(&exponent).broadcasts_to(cx.shape(&base)));
    match constant {
        Some(1.0) => Ok(base),
        Some(2.0) => cx.push(NnOp::Mul {}, &[&base, &base]),
        Some(0.5) => activation::apply(cx, &base, Activation::Sqrt, None, None),
        Some(-1.0) => activation::apply(cx, &base, Activation::Reciprocal, None, None),
        Some(alpha) => activation::apply(cx, &base, Activation::Pow, Some(alpha), None),
        None => match (&base, &exponent) {
            (Operand::Value(_), Operand::Known(known)) => {
                let exponents = known.to_floats();
                powers(cx, &base, &exponents)
            }
            (Operand::Known(known), Operand::Value(_)) => {
                let base = known.to_floats();
                exponential(cx, base, &exponent)
            }
            _ => cx.push(NnOp::Pow {}, &[&base, &exponent]),
        },
    }
    .map(|y| vec![y])
}

/// Most different exponents of one power.
const MOST_EXPONENTS: usize = 16;

/// x to exponents that differ by element: the sum over exponents e of (x·m + 1 - m)^e·m, where m is 1 at the elements of that
/// exponent and 0 elsewhere. In place of the others stands 1, which lies in the domain of every power.
fn powers(cx: &mut Context, x: &Operand, exponents: &Tensor) -> Result<Operand> {
    let mut different: Vec<f32> = exponents.data().to_vec();
    different.sort_by(f32::total_cmp);
    different.dedup();
    if different.len() > MOST_EXPONENTS {
        return Err(Refusal::new(
            format!("its exponents have {} different values", different.len()),
            "use at most 16 different exponents, or split the operand and raise each part",
        ));
    }
    let mut sum: Option<Operand> = None;
    for exponent in different {
        let mask = |own: f32, other: f32| {
            Operand::Known(Known::Floats(exponents.map(|e| if e == exponent { own } else { other })))
        };
        let (here, elsewhere) = (mask(1.0, 0.0), mask(0.0, 1.0));
        let own = cx.push(NnOp::Mul {}, &[x, &here])?;
        let share = if exponent == 1.0 {
            own
        } else {
            let filled = cx.push(NnOp::Add {}, &[&own, &elsewhere])?;
            let power = match exponent {
                2.0 => cx.push(NnOp::Mul {}, &[&filled, &filled])?,
                e => activation::apply(cx, &filled, Activation::Pow, Some(e), None)?,
            };
            cx.push(NnOp::Mul {}, &[&power, &here])?
        };
        sum = Some(match sum {
            Some(sum) => cx.push(NnOp::Add {}, &[&sum, &share])?,
            None => share,
        });
    }
    sum.ok_or_else(|| Refusal::invalid("its exponents have no elements"))
}

/// c^x = exp(x·ln(c)) for positive c.
fn exponential(cx: &mut Context, base: Tensor, x: &Operand) -> Result<Operand> {
    if !base.data().iter().all(|&c| c > 0.0) {
        return Err(Refusal::new(
            "its base is not positive and its exponent depends on the input",
            "use a positive base, or write the power as products",
        ));
    }
    let logarithms = Operand::Known(Known::Floats(base.map(|c| f64::from(c).ln() as f32)));
    let scaled = cx.push(NnOp::Mul {}, &[x, &logarithms])?;
    activation::apply(cx, &scaled, Activation::Exp, None, None)
}
