//! Functions that exporters write as a choice by a comparison: elu, thresholded softplus and the like.

use std::collections::HashMap;

use fhec_ir::nn::{Activation, NnOp};
use fhec_ir::{OpInfo, Value};

use super::compare::{function, uniform};
use super::context::{Context, Operand};
use crate::error::Result;
use crate::known::Known;

/// x > bound for `above`, else x < bound; what holds at the bound itself is not told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) x: Value,
    pub(crate) bound: f64,
    pub(crate) above: bool,
}

/// Most nodes between the argument of a function and its value.
const MAX_NODES: usize = 64;
/// Most products and sums between what is compared and the argument.
const MAX_STEPS: usize = 4;
/// How far two functions may differ, relatively, and count as one.
const TOLERANCE: f64 = 1e-6;
/// Where functions are compared, as distances from the bound.
const DISTANCES: [f64; 12] = [1e-3, 0.1, 0.25, 0.5, 1.0, 1.7, 2.5, 4.0, 6.0, 9.0, 14.0, 20.0];

/// `a` where the condition holds, else `b`, if that is a function known to `nn`, or one of the two everywhere: of what is
/// compared, or of what that is a multiple of or a sum with.
pub(super) fn choose(cx: &mut Context, condition: Condition, a: &Operand, b: &Operand) -> Result<Option<Operand>> {
    let mut next = Some(condition);
    for _ in 0..MAX_STEPS {
        let Some(condition) = next else { return Ok(None) };
        if let Some(y) = known_function(cx, condition, a, b)? {
            return Ok(Some(y));
        }
        next = before(cx, condition);
    }
    Ok(None)
}

/// The same condition on the operand of a product or a sum with a number.
fn before(cx: &Context, Condition { x, bound, above }: Condition) -> Option<Condition> {
    let node = cx.module.func.node(x);
    let number = |v: Value| match cx.module.func.node(v).op {
        NnOp::Const { value } => uniform(&Operand::Known(Known::Floats(cx.module.consts.tensor(value).clone()))),
        _ => None,
    };
    if let NnOp::Neg {} = node.op {
        return Some(Condition { x: node.operands[0], bound: -bound, above: !above });
    }
    let &[a, b] = &node.operands[..] else { return None };
    let (inner, number, first) = match (number(a), number(b)) {
        (None, Some(c)) => (a, f64::from(c), true),
        (Some(c), None) => (b, f64::from(c), false),
        _ => return None,
    };
    let (bound, rising) = match node.op {
        NnOp::Add {} => (bound - number, true),
        NnOp::Sub {} if first => (bound + number, true),
        NnOp::Sub {} => (number - bound, false),
        NnOp::Mul {} if number != 0.0 => (bound / number, number > 0.0),
        NnOp::Div {} if first && number != 0.0 => (bound * number, number > 0.0),
        _ => return None,
    };
    Some(Condition { x: inner, bound, above: above == rising })
}

fn known_function(cx: &mut Context, condition: Condition, a: &Operand, b: &Operand) -> Result<Option<Operand>> {
    let Condition { x, bound, above } = condition;
    let (high, low) = if above { (a, b) } else { (b, a) };
    // What grows beyond the bound is where the shapes agree only.
    let fits = |o: &Operand| cx.shape(o).broadcasts_to(cx.shape(&Operand::Value(x)));
    if !fits(high) || !fits(low) {
        return Ok(None);
    }
    let value = |operand: &Operand, at: f64| match operand {
        Operand::Value(v) => Evaluation { cx, x, at, known: HashMap::new() }.of(*v),
        known => uniform(known).map(f64::from),
    };
    let sample = |at: f64| value(if at > bound { high } else { low }, at);
    // A thresholded softplus: beyond the bound both branches are the same.
    for (branch, side) in [(low, 1.0), (high, -1.0)] {
        let same = |d: &f64| {
            let at = bound + side * d;
            matches!((value(high, at), value(low, at)), (Some(h), Some(l)) if close(h, l))
        };
        if DISTANCES.iter().all(same) && matches!(branch, Operand::Value(_)) {
            return Ok(Some(branch.clone()));
        }
    }
    let points: Vec<f64> = DISTANCES.iter().flat_map(|d| [bound + d, bound - d]).collect();
    let Some(values) = points.iter().map(|&at| sample(at)).collect::<Option<Vec<f64>>>() else { return Ok(None) };
    let (Some(right), Some(left)) = (sample(bound + 1.0), sample(bound - 1.0)) else { return Ok(None) };
    let known = candidates(bound, left, right)
        .into_iter()
        .find(|(f, alpha, beta)| points.iter().zip(&values).all(|(&at, &y)| close(f.eval(at, *alpha, *beta), y)));
    match known {
        Some((f, alpha, beta)) => cx.push(function(f, alpha, beta), &[&Operand::Value(x)]).map(Some),
        None => Ok(None),
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * (1.0 + a.abs().max(b.abs()))
}

/// Functions with a bend or a jump at `bound`, their parameters read off the values at distance 1 from it.
fn candidates(bound: f64, left: f64, right: f64) -> Vec<(Activation, Option<f64>, Option<f64>)> {
    let mut out = vec![
        (Activation::Clip, Some(bound), None),
        (Activation::Clip, None, Some(bound)),
        (Activation::ThresholdedRelu, Some(bound), None),
    ];
    if bound == 0.0 {
        let below = (-1.0f64).exp_m1();
        out.splice(
            0..0,
            [
                (Activation::Relu, None, None),
                (Activation::LeakyRelu, Some(-left), None),
                (Activation::Elu, Some(left / below), None),
                (Activation::Selu, Some(left / below / right), Some(right)),
                (Activation::Abs, None, None),
            ],
        );
    }
    out
}

/// The values that nodes have where the elements of `x` are the number `at`.
struct Evaluation<'a> {
    cx: &'a Context,
    x: Value,
    at: f64,
    known: HashMap<Value, Option<f64>>,
}

impl Evaluation<'_> {
    /// `None` where the node is no function of `x` alone, element by element.
    fn of(&mut self, v: Value) -> Option<f64> {
        if v == self.x {
            return Some(self.at);
        }
        if let Some(&known) = self.known.get(&v) {
            return known;
        }
        if self.known.len() >= MAX_NODES {
            return None;
        }
        self.known.insert(v, None);
        let value = self.node(v);
        self.known.insert(v, value);
        value
    }

    fn node(&mut self, v: Value) -> Option<f64> {
        let node = self.cx.module.func.node(v);
        if let NnOp::Const { value } = node.op {
            return uniform(&Operand::Known(Known::Floats(self.cx.module.consts.tensor(value).clone()))).map(f64::from);
        }
        if node.op.as_input().is_some()
            || !matches!(
                node.op,
                NnOp::Activation { .. }
                    | NnOp::Add {}
                    | NnOp::Sub {}
                    | NnOp::Mul {}
                    | NnOp::Div {}
                    | NnOp::Pow {}
                    | NnOp::Neg {}
            )
        {
            return None;
        }
        let x: Vec<f64> = node.operands.iter().map(|&o| self.of(o)).collect::<Option<_>>()?;
        Some(match node.op {
            NnOp::Activation { function, alpha, beta } => function.eval(x[0], alpha.map(|a| a.0), beta.map(|b| b.0)),
            NnOp::Add {} => x[0] + x[1],
            NnOp::Sub {} => x[0] - x[1],
            NnOp::Mul {} => x[0] * x[1],
            NnOp::Div {} => x[0] / x[1],
            NnOp::Pow {} => x[0].powf(x[1]),
            _ => -x[0],
        })
    }
}
