//! Exports element-wise functions of one variable, and expressions of them.

use fhec_functions::{Expression, Function, Step};
use fhec_ir::nn::Activation;

use super::builder::Site;
use crate::proto::{Attribute, data_type};

/// A node that is still to be written: operator, inputs, attributes.
type Node = (&'static str, Vec<String>, Vec<Attribute>);

pub(super) fn write(site: &mut Site<'_, '_>, function: Activation, alpha: Option<f64>, beta: Option<f64>) {
    let x = site.x();
    let node = node(site, &x, function, alpha, beta);
    last(site, node);
}

/// Writes an expression step by step; a stack holds the names of what is computed.
pub(super) fn write_composed(site: &mut Site<'_, '_>, expression: &Expression) {
    let x = site.x();
    let mut stack: Vec<String> = Vec::new();
    let end = expression.steps().len() - 1;
    for (place, step) in expression.steps().iter().enumerate() {
        // Expressions are checked when they are made: no operand is missing.
        let mut pop = || stack.pop().unwrap_or_default();
        let binary = |operator, right: String, left: String| (operator, vec![left, right], vec![]);
        let node = match step {
            Step::Argument => ("Identity", vec![x.clone()], vec![]),
            Step::Constant(c) => ("Identity", vec![site.scalar("constant", *c as f32)], vec![]),
            Step::Neg => ("Neg", vec![pop()], vec![]),
            Step::Add => binary("Add", pop(), pop()),
            Step::Sub => binary("Sub", pop(), pop()),
            Step::Mul => binary("Mul", pop(), pop()),
            Step::Div => binary("Div", pop(), pop()),
            Step::Apply(function) => {
                let operand = pop();
                applied(site, &operand, function)
            }
        };
        match (step, node) {
            (_, node) if place == end => last(site, node),
            (Step::Argument | Step::Constant(_), (_, names, _)) => stack.extend(names),
            (_, (operator, inputs, attributes)) => stack.push(site.step(operator, &names(&inputs), attributes)),
        }
    }
}

/// The node of a function on `x`.
fn applied(site: &mut Site<'_, '_>, x: &str, function: &Function) -> Node {
    let (name, parameters) = function.parts();
    match Activation::from_name(name) {
        Some(activation) => node(site, x, activation, parameters.first().copied(), parameters.get(1).copied()),
        // The one function that is no activation of its own.
        None => {
            let root = site.step("Sqrt", &[x], vec![]);
            ("Reciprocal", vec![root], vec![])
        }
    }
}

fn names(inputs: &[String]) -> Vec<&str> {
    inputs.iter().map(String::as_str).collect()
}

fn last(site: &mut Site<'_, '_>, (operator, inputs, attributes): Node) {
    site.last(operator, &names(&inputs), attributes);
}

/// The node of an activation on `x`.
fn node(site: &mut Site<'_, '_>, x: &str, function: Activation, alpha: Option<f64>, beta: Option<f64>) -> Node {
    let operator = match function {
        Activation::Relu => "Relu",
        Activation::Sigmoid => "Sigmoid",
        Activation::Tanh => "Tanh",
        Activation::Softplus => "Softplus",
        Activation::Erf => "Erf",
        Activation::HardSwish => "HardSwish",
        Activation::Mish => "Mish",
        Activation::Exp => "Exp",
        Activation::Log => "Log",
        Activation::Sqrt => "Sqrt",
        Activation::Reciprocal => "Reciprocal",
        Activation::Abs => "Abs",
        Activation::Softsign => "Softsign",
        Activation::Sin => "Sin",
        Activation::Cos => "Cos",
        Activation::LeakyRelu => return with(x, "LeakyRelu", &[("alpha", alpha)]),
        Activation::Elu => return with(x, "Elu", &[("alpha", alpha)]),
        Activation::ThresholdedRelu => return with(x, "ThresholdedRelu", &[("alpha", alpha)]),
        Activation::HardSigmoid => return with(x, "HardSigmoid", &[("alpha", alpha), ("beta", beta)]),
        Activation::Selu => return with(x, "Selu", &[("alpha", alpha), ("gamma", beta)]),
        Activation::Gelu => return gelu(x, "none"),
        Activation::GeluTanh => return gelu(x, "tanh"),
        Activation::Clip => return clip(site, x, alpha, beta),
        Activation::Pow => {
            let exponent = site.scalar("exponent", alpha.unwrap_or(function.default_alpha()) as f32);
            return ("Pow", vec![x.into(), exponent], vec![]);
        }
        Activation::Silu => {
            // Swish is an operator of later versions than other programs read.
            let gate = site.step("Sigmoid", &[x], vec![]);
            return ("Mul", vec![x.into(), gate], vec![]);
        }
        Activation::Step => {
            let zero = site.scalar("zero", 0.0);
            let truth = site.step("Greater", &[x, &zero], vec![]);
            return ("Cast", vec![truth], vec![Attribute::int("to", i64::from(data_type::FLOAT))]);
        }
    };
    (operator, vec![x.into()], vec![])
}

/// An operator with parameters; those that are not stated have the same defaults there.
fn with(x: &str, operator: &'static str, parameters: &[(&str, Option<f64>)]) -> Node {
    let stated = parameters.iter().filter_map(|(name, value)| Some(Attribute::float(name, (*value)? as f32)));
    (operator, vec![x.into()], stated.collect())
}

fn gelu(x: &str, form: &str) -> Node {
    ("Gelu", vec![x.into()], vec![Attribute::text("approximate", form)])
}

fn clip(site: &mut Site<'_, '_>, x: &str, lo: Option<f64>, hi: Option<f64>) -> Node {
    let mut bound = |role, bound: Option<f64>| bound.map_or(String::new(), |b| site.scalar(role, b as f32));
    let (lo, hi) = (bound("min", lo), bound("max", hi));
    ("Clip", vec![x.into(), lo, hi], vec![])
}
