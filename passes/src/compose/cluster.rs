//! Which values of a network are functions of one other value, element by element.

use std::collections::{BTreeMap, BTreeSet};

use fhec_functions::{Expression, Function, Step};
use fhec_ir::nn::{Basis, NnOp};
use fhec_ir::{Entity, Module, Nn, Node, Value};

use super::known::named;

/// A value that is a function of another.
pub(super) struct Cluster {
    /// That other value.
    pub argument: Value,
    /// The function.
    pub op: NnOp,
    /// The nodes between, in order of definition, with that of the value itself.
    pub nodes: Vec<Value>,
}

/// What a value is made of.
#[derive(Clone)]
enum Made {
    /// The same number everywhere.
    Number(f64),
    /// These steps on the elements of another value.
    Of { argument: Value, steps: Vec<Step> },
    /// Anything else: it may be the argument of others.
    Other,
}

/// The clusters worth a function of their own, by the value that they compute.
pub(super) fn clusters(module: &Module<Nn>) -> BTreeMap<Value, Cluster> {
    let func = &module.func;
    let live = func.live();
    let mut users: Vec<Vec<Value>> = vec![Vec::new(); func.len()];
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        node.operands.iter().for_each(|o| users[o.index()].push(value));
    }
    let results: BTreeSet<Value> = func.results().iter().copied().collect();
    // A value that is read inside and outside of what it is a part of is computed in any case, and begins anew.
    let mut begins: BTreeSet<Value> = BTreeSet::new();
    loop {
        let made = made(module, &begins);
        let argument = |v: Value| match made[v.index()] {
            Made::Of { argument, .. } => Some(argument),
            _ => None,
        };
        let inside = |v: Value| users[v.index()].iter().filter(|&&u| argument(u) == argument(v)).count();
        let outside = |v: Value| users[v.index()].len() - inside(v) + usize::from(results.contains(&v));
        let parts: Vec<Value> =
            func.iter().map(|(v, _)| v).filter(|v| live[v.index()] && argument(*v).is_some()).collect();
        let before = begins.len();
        begins.extend(parts.iter().filter(|&&v| inside(v) > 0 && outside(v) > 0));
        if begins.len() > before {
            continue;
        }
        let tops = parts.into_iter().filter(|&v| outside(v) > 0);
        return tops.filter_map(|top| Some((top, cluster(module, &made, top)?))).collect();
    }
}

/// What every value is made of, where those of `begins` are made of nothing.
fn made(module: &Module<Nn>, begins: &BTreeSet<Value>) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::with_capacity(module.func.len());
    for (value, node) in module.func.iter() {
        let own = match &node.op {
            NnOp::Const { value } => uniform(module.consts.tensor(*value).data()).map_or(Made::Other, Made::Number),
            _ if begins.contains(&value) => Made::Other,
            _ => elementwise(module, &made, node).unwrap_or(Made::Other),
        };
        made.push(own);
    }
    made
}

/// The one number that all elements are, in as few digits as single precision has.
fn uniform(data: &[f32]) -> Option<f64> {
    let (first, rest) = data.split_first()?;
    let same = first.is_finite() && rest.iter().all(|x| x == first);
    same.then(|| first.to_string().parse().ok())?
}

/// What an op on elements of one value, and on numbers, makes of that value.
fn elementwise(module: &Module<Nn>, made: &[Made], node: &Node<Nn>) -> Option<Made> {
    let mut argument = None;
    let mut parts: Vec<Vec<Step>> = Vec::new();
    for &operand in &node.operands {
        let (of, steps) = match &made[operand.index()] {
            Made::Number(c) => {
                parts.push(vec![Step::Constant(*c)]);
                continue;
            }
            Made::Of { argument, steps } => (*argument, steps.clone()),
            Made::Other => (operand, vec![Step::Argument]),
        };
        if module.func.ty(operand) != &node.ty || argument.is_some_and(|known| known != of) {
            return None;
        }
        argument = Some(of);
        parts.push(steps);
    }
    let argument = argument?;
    let steps = applied(&node.op, parts)?;
    // What is too long or too deep is the argument of what follows.
    Expression::new(steps.clone()).ok().map(|_| Made::Of { argument, steps })
}

/// The steps of `op` on what `parts` compute.
fn applied(op: &NnOp, parts: Vec<Vec<Step>>) -> Option<Vec<Step>> {
    let after = |last: Step| Some([parts.concat(), vec![last]].concat());
    match op {
        NnOp::Activation { .. } => op.function().and_then(|f| after(Step::Apply(f))),
        NnOp::Composed { function } => {
            let inner = parts.first()?;
            let step = |step: &Step| if *step == Step::Argument { inner.clone() } else { vec![step.clone()] };
            Some(function.steps().iter().flat_map(step).collect())
        }
        NnOp::Polynomial { basis: Basis::Monomial, rows: 1, coeffs, .. } => {
            Some(polynomial(&coeffs.iter().map(|c| c.0).collect::<Vec<_>>(), parts.first()?))
        }
        NnOp::Neg {} => after(Step::Neg),
        NnOp::Add {} => after(Step::Add),
        NnOp::Sub {} => after(Step::Sub),
        NnOp::Mul {} if parts.first() == parts.get(1) => {
            Some([parts.first()?.as_slice(), &[Step::Apply(Function::Pow { exponent: 2.0 })]].concat())
        }
        NnOp::Mul {} => after(Step::Mul),
        NnOp::Div {} => after(Step::Div),
        _ => None,
    }
}

/// The sum of the powers of what `inner` computes, lowest first.
fn polynomial(coefficients: &[f64], inner: &[Step]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (power, &c) in coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0) {
        let first = steps.is_empty();
        if power == 0 {
            steps.push(Step::Constant(c));
            continue;
        }
        if c != 1.0 {
            steps.push(Step::Constant(c));
        }
        steps.extend_from_slice(inner);
        if power > 1 {
            steps.push(Step::Apply(Function::Pow { exponent: power as f64 }));
        }
        if c != 1.0 {
            steps.push(Step::Mul);
        }
        if !first {
            steps.push(Step::Add);
        }
    }
    if steps.is_empty() { vec![Step::Constant(0.0)] } else { steps }
}

/// The cluster of `top`, if it is worth one: it has several functions and products, and is no polynomial.
fn cluster(module: &Module<Nn>, made: &[Made], top: Value) -> Option<Cluster> {
    let Made::Of { argument, steps } = &made[top.index()] else { return None };
    let mut nodes = BTreeSet::from([top]);
    let mut waiting = vec![top];
    while let Some(value) = waiting.pop() {
        for &operand in &module.func.node(value).operands {
            if matches!(made[operand.index()], Made::Of { .. }) && operand != *argument && nodes.insert(operand) {
                waiting.push(operand);
            }
        }
    }
    let number = |v: &Value| matches!(made[v.index()], Made::Number(_));
    let op = |v: &Value| &module.func.node(*v).op;
    let divides = |v: &Value| matches!(op(v), NnOp::Div {}) && !number(&module.func.node(*v).operands[1]);
    let multiplies = |v: &Value| matches!(op(v), NnOp::Mul {}) && !module.func.node(*v).operands.iter().any(number);
    let given = |v: &Value| matches!(op(v), NnOp::Polynomial { .. });
    let fitted = nodes.iter().filter(|&v| op(v).is_function() || divides(v)).count();
    let exact = nodes.iter().filter(|&v| multiplies(v) || given(v)).count();
    if fitted == 0 || fitted + exact < 2 {
        return None;
    }
    let function = Expression::new(steps.clone()).ok()?;
    let op = match named(&function) {
        Some(function) => NnOp::Activation { function, alpha: None, beta: None },
        None => NnOp::Composed { function },
    };
    Some(Cluster { argument: *argument, op, nodes: nodes.into_iter().collect() })
}
