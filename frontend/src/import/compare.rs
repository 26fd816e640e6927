//! Comparisons, logic and choices. A truth value that depends on encrypted values is the number 0 or 1.

use fhec_ir::nn::{Activation, NnOp};
use fhec_ir::{F64, Tensor};

use super::activation;
use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::piecewise::{self, PieceCondition};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::{self, Known, too_large};

const STEP: &str = "of encrypted values a step, which polynomials follow badly unless the choice is a known function";

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Greater", |cx, node| compare(cx, node, true, false), STEP),
    Operator::new("GreaterOrEqual", |cx, node| compare(cx, node, false, true), STEP),
    Operator::new("Less", |cx, node| compare(cx, node, false, false), STEP),
    Operator::new("LessOrEqual", |cx, node| compare(cx, node, true, true), STEP),
    Operator::new("Not", not, ""),
    Operator::new("And", and, ""),
    Operator::new("Or", or, ""),
    Operator::new("Where", choose, "constant conditions are masks; others where the choice is a known function"),
    Operator::new("Max", |cx, node| extreme(cx, node, true), "with constants a Clip; of two encrypted values by Relu"),
    Operator::new("Min", |cx, node| extreme(cx, node, false), "with constants a Clip; of two encrypted values by Relu"),
    Operator::new("Sign", sign, STEP),
];

/// 1 where x > 0, else 0.
fn step(cx: &mut Context, x: &Operand) -> Result<Operand> {
    activation::apply(cx, x, Activation::Step, None, None)
}

/// The operand as numbers.
fn numbers(operand: &Operand) -> Operand {
    match operand {
        Operand::Known(known) => Operand::Known(Known::Floats(known.to_floats())),
        value => value.clone(),
    }
}

/// 1 - x
fn complement(cx: &mut Context, x: &Operand) -> Result<Operand> {
    let one = cx.scalar(1.0);
    cx.push(NnOp::Sub {}, &[&one, x])
}

/// Most elements of a constant that are looked through for it.
const MOST_LOOKED_THROUGH: usize = 1 << 16;

/// The one number that a constant repeats.
pub(super) fn uniform(operand: &Operand) -> Option<f32> {
    match operand {
        Operand::Known(Known::Floats(t)) if t.data().len() <= MOST_LOOKED_THROUGH => match t.data() {
            [first, rest @ ..] if rest.iter().all(|x| x == first) => Some(*first),
            _ => None,
        },
        _ => None,
    }
}

/// a > b for `greater`, else a < b; the complement of that for `negated`.
fn compare(cx: &mut Context, node: &NodeView<'_>, greater: bool, negated: bool) -> Result<Vec<Operand>> {
    let (a, b) = (numbers(node.input(0)?), numbers(node.input(1)?));
    let (large, small) = if greater { (&a, &b) } else { (&b, &a) };
    let difference = match uniform(small) {
        Some(0.0) => large.clone(),
        _ => cx.push(NnOp::Sub {}, &[large, small])?,
    };
    let mut truth = step(cx, &difference)?;
    if negated {
        truth = complement(cx, &truth)?;
    }
    let above = greater != negated;
    let condition = match (&a, uniform(&b), &b, uniform(&a)) {
        (Operand::Value(x), Some(bound), _, _) => Some(PieceCondition { x: *x, bound: f64::from(bound), above }),
        (_, _, Operand::Value(x), Some(bound)) => {
            Some(PieceCondition { x: *x, bound: f64::from(bound), above: !above })
        }
        _ => None,
    };
    // Of an argument that the comparison repeats, a choice is no function.
    let condition = condition.filter(|c| cx.shape(&truth) == cx.shape(&Operand::Value(c.x)));
    if let (Some(condition), Operand::Value(truth)) = (condition, &truth) {
        cx.conditions.insert(*truth, condition);
    }
    Ok(vec![truth])
}

fn not(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = numbers(node.input(0)?);
    let y = complement(cx, &x)?;
    if let (Operand::Value(x), Operand::Value(y)) = (&x, &y)
        && let Some(condition) = cx.conditions.get(x).copied()
    {
        cx.conditions.insert(*y, PieceCondition { above: !condition.above, ..condition });
    }
    Ok(vec![y])
}

fn and(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (a, b) = (numbers(node.input(0)?), numbers(node.input(1)?));
    cx.push(NnOp::Mul {}, &[&a, &b]).map(|y| vec![y])
}

fn or(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (a, b) = (numbers(node.input(0)?), numbers(node.input(1)?));
    let (a, b) = (complement(cx, &a)?, complement(cx, &b)?);
    let neither = cx.push(NnOp::Mul {}, &[&a, &b])?;
    complement(cx, &neither).map(|y| vec![y])
}

fn sign(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let negative = cx.push(NnOp::Neg {}, &[x])?;
    let (above, below) = (step(cx, x)?, step(cx, &negative)?);
    cx.push(NnOp::Sub {}, &[&above, &below]).map(|y| vec![y])
}

fn choose(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (condition, a, b) = (node.input(0)?, numbers(node.input(1)?), numbers(node.input(2)?));
    let y = match condition {
        Operand::Known(mask) => masked(cx, &mask.to_floats(), &a, &b)?,
        Operand::Value(truth) => {
            let known = cx.conditions.get(truth).copied();
            match known.map(|condition| piecewise::choose(cx, condition, &a, &b)).transpose()?.flatten() {
                Some(y) => y,
                None => {
                    let difference = cx.push(NnOp::Sub {}, &[&a, &b])?;
                    let share = cx.push(NnOp::Mul {}, &[condition, &difference])?;
                    cx.push(NnOp::Add {}, &[&b, &share])?
                }
            }
        }
    };
    Ok(vec![y])
}

/// `a` where the constant `mask` is not 0, else `b`.
pub(super) fn masked(cx: &mut Context, mask: &Tensor, a: &Operand, b: &Operand) -> Result<Operand> {
    let shapes = (cx.shape(a).clone(), cx.shape(b).clone());
    let out = mask.shape().broadcast(&shapes.0).and_then(|s| s.broadcast(&shapes.1));
    let out = out.ok_or_else(|| {
        Refusal::invalid(format!("operands {}, {} and {} do not broadcast", mask.shape(), shapes.0, shapes.1))
    })?;
    let share = |cx: &mut Context, x: &Operand, inside: bool| -> Result<Option<Operand>> {
        let weight = |m: f32| f32::from(u8::from((m != 0.0) == inside));
        if mask.data().iter().all(|&m| weight(m) == 0.0) {
            return Ok(None);
        }
        if mask.data().iter().all(|&m| weight(m) == 1.0) {
            return Ok(Some(x.clone()));
        }
        match x {
            // Not by a product: a constant may be infinite where it is not chosen.
            Operand::Known(known) => {
                let x = known.to_floats();
                let shape = mask.shape().broadcast(x.shape()).ok_or_else(too_large)?;
                cx.take_elements(&shape)?;
                let operands = [(mask.shape(), mask.data()), (x.shape(), x.data())];
                let chosen = known::zip(&operands, &shape, |v| Some(if weight(v[0]) == 1.0 { v[1] } else { 0.0 }));
                Ok(Some(Operand::Known(Known::Floats(Tensor::new(shape, chosen.ok_or_else(too_large)?)))))
            }
            value => {
                let weights = Operand::Known(Known::Floats(mask.map(weight)));
                cx.push(NnOp::Mul {}, &[value, &weights]).map(Some)
            }
        }
    };
    let y = match (share(cx, a, true)?, share(cx, b, false)?) {
        (Some(a), Some(b)) => cx.push(NnOp::Add {}, &[&a, &b])?,
        (Some(y), None) | (None, Some(y)) => y,
        (None, None) => cx.full(out.clone(), 0.0)?,
    };
    if *cx.shape(&y) == out { Ok(y) } else { cx.moved(NnOp::Expand { shape: signed(&out.0) }, &[&y]) }
}

/// The largest operand, or the smallest.
fn extreme(cx: &mut Context, node: &NodeView<'_>, largest: bool) -> Result<Vec<Operand>> {
    let operands: Vec<Operand> = node.all_inputs()?.into_iter().map(numbers).collect();
    let mut operands = operands.into_iter();
    let first = operands.next().ok_or_else(|| Refusal::invalid("it has no operands"))?;
    operands.try_fold(first, |a, b| extreme_of_two(cx, &a, &b, largest)).map(|y| vec![y])
}

/// max(a, b) = a + relu(b - a), min(a, b) = a - relu(a - b); against one number a Clip.
pub(super) fn extreme_of_two(cx: &mut Context, a: &Operand, b: &Operand, largest: bool) -> Result<Operand> {
    for (x, bound) in [(a, b), (b, a)] {
        let fits = cx.shape(bound).broadcasts_to(cx.shape(x));
        if let (Some(bound), true, Operand::Value(_)) = (uniform(bound), fits, x) {
            let (lo, hi) = if largest { (Some(bound), None) } else { (None, Some(bound)) };
            return activation::clip_between(cx, x, lo, hi);
        }
    }
    let (large, small) = if largest { (b, a) } else { (a, b) };
    let difference = cx.push(NnOp::Sub {}, &[large, small])?;
    let excess = activation::apply(cx, &difference, Activation::Relu, None, None)?;
    cx.push(if largest { NnOp::Add {} } else { NnOp::Sub {} }, &[a, &excess])
}

/// The op of `function` with parameters.
pub(super) fn function(function: Activation, alpha: Option<f64>, beta: Option<f64>) -> NnOp {
    NnOp::Activation { function, alpha: alpha.map(F64), beta: beta.map(F64) }
}
