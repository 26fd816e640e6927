//! Functions that exporters write as a choice by a comparison: elu, thresholded softplus and the like.

use std::collections::HashMap;

use fhec_ir::Value;
use fhec_ir::nn::{Activation, NnOp};

use super::compare::{function, uniform};
use super::context::{Context, Operand};
use crate::error::Result;
use crate::known::Known;

/// x > bound for `above`, else x < bound; what holds at the bound itself is not told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceCondition {
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
const DISTANCES: [f64; 16] = [1e-3, 0.1, 0.25, 0.5, 1.0, 1.7, 2.5, 4.0, 6.0, 9.0, 14.0, 20.0, 60.0, 300.0, 2e3, 1e5];
/// The place of distance 1 among them.
const UNIT: usize = 4;

/// `a` where the condition holds, else `b`, if that is a function known to `nn`, or one of the two everywhere: of what is
/// compared, or of what that is a multiple of or a sum with.
pub(super) fn choose(cx: &mut Context, condition: PieceCondition, a: &Operand, b: &Operand) -> Result<Option<Operand>> {
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

/// What an element-wise op computes of its operands' elements.
type Elementwise = Box<dyn Fn(&[f64]) -> f64>;

/// The same condition on the operand of a product or a sum with a number.
fn before(cx: &Context, PieceCondition { x, bound, above }: PieceCondition) -> Option<PieceCondition> {
    let node = cx.module.func.node(x);
    let number = |v: Value| match cx.module.func.node(v).op {
        NnOp::Const { value } => uniform(&Operand::Known(Known::Floats(cx.module.consts.tensor(value).clone()))),
        _ => None,
    };
    if let NnOp::Neg {} = node.op {
        return Some(PieceCondition { x: node.operands[0], bound: -bound, above: !above });
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
    Some(PieceCondition { x: inner, bound, above: above == rising })
}

fn known_function(cx: &mut Context, condition: PieceCondition, a: &Operand, b: &Operand) -> Result<Option<Operand>> {
    let PieceCondition { x, bound, above } = condition;
    let (high, low) = if above { (a, b) } else { (b, a) };
    // A branch that is larger than the argument is no function of it.
    let fits = |o: &Operand| cx.shape(o).broadcasts_to(cx.shape(&Operand::Value(x)));
    if !fits(high) || !fits(low) {
        return Ok(None);
    }
    let side = |sign: f64| DISTANCES.iter().map(move |d| bound + sign * d);
    let points: Vec<f64> = side(1.0).chain(side(-1.0)).collect();
    let values = |operand: &Operand| match operand {
        Operand::Value(v) => Evaluation { cx, x, points: &points, known: HashMap::new() }.of(*v),
        known => uniform(known).map(|c| vec![f64::from(c); points.len()]),
    };
    let (Some(h), Some(l)) = (values(high), values(low)) else { return Ok(None) };
    let n = DISTANCES.len();
    // A thresholded softplus: beyond the bound both branches are the same.
    for (branch, mut range) in [(low, 0..n), (high, n..2 * n)] {
        if matches!(branch, Operand::Value(_)) && range.all(|i| close(h[i], l[i])) {
            return Ok(Some(branch.clone()));
        }
    }
    let chosen: Vec<f64> = h[..n].iter().chain(&l[n..]).copied().collect();
    let same = |(f, alpha, beta): &(Activation, Option<f64>, Option<f64>)| {
        points.iter().zip(&chosen).all(|(&at, &y)| close(f.function(*alpha, *beta).eval(at), y))
    };
    match candidates(bound, chosen[n + UNIT], chosen[UNIT]).into_iter().find(same) {
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

/// The values that nodes have where the elements of `x` are one of `points`.
struct Evaluation<'a> {
    cx: &'a Context,
    x: Value,
    points: &'a [f64],
    known: HashMap<Value, Option<Vec<f64>>>,
}

impl Evaluation<'_> {
    /// `None` where the node is no function of `x` alone, element by element.
    fn of(&mut self, v: Value) -> Option<Vec<f64>> {
        if v == self.x {
            return Some(self.points.to_vec());
        }
        if let Some(known) = self.known.get(&v) {
            return known.clone();
        }
        if self.known.len() >= MAX_NODES {
            return None;
        }
        self.known.insert(v, None);
        let values = self.node(v);
        self.known.insert(v, values.clone());
        values
    }

    fn node(&mut self, v: Value) -> Option<Vec<f64>> {
        let node = self.cx.module.func.node(v);
        if let NnOp::Const { value } = node.op {
            let constant = Operand::Known(Known::Floats(self.cx.module.consts.tensor(value).clone()));
            return uniform(&constant).map(|c| vec![f64::from(c); self.points.len()]);
        }
        let f: Elementwise = match node.op {
            NnOp::Activation { function, alpha, beta } => {
                Box::new(move |x| function.function(alpha.map(|a| a.0), beta.map(|b| b.0)).eval(x[0]))
            }
            NnOp::Add {} => Box::new(|x| x[0] + x[1]),
            NnOp::Sub {} => Box::new(|x| x[0] - x[1]),
            NnOp::Mul {} => Box::new(|x| x[0] * x[1]),
            NnOp::Div {} => Box::new(|x| x[0] / x[1]),
            NnOp::Pow {} => Box::new(|x| x[0].powf(x[1])),
            NnOp::Neg {} => Box::new(|x| -x[0]),
            _ => return None,
        };
        let operands = node.operands.iter().map(|&o| self.of(o)).collect::<Option<Vec<_>>>()?;
        let at = |i: usize| f(&operands.iter().map(|values| values[i]).collect::<Vec<_>>());
        Some((0..self.points.len()).map(at).collect())
    }
}
