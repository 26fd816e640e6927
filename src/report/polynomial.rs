//! The polynomials that a program evaluates, as curves.
//!
//! Lowering turns a polynomial into products of ciphertexts, and its interval into weights of the layer before. What the page draws
//! is evaluated from the program itself, over the interval that the compiler reported, and is kept only where it is as close
//! to the function as the compiler said: a curve that came from anything else is left out.

use std::collections::BTreeSet;

use fhec_functions::Function;
use fhec_ir::{Entity, Value};
use fhec_runtime::{ArgumentHistogram, Plan, chebyshev_arguments, slotwise};
use serde::Serialize;

use super::findings::{Activation, Findings};

/// Points of a curve.
const POINTS: usize = 201;
/// How much larger than reported the error of a curve on its interval may be: the factor between the program's values and those of the
/// network is estimated.
const TOLERANCE: f64 = 1.5;

/// One polynomial, or those of the channels of one activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Polynomial {
    /// Index into the activations of the findings.
    pub activation: usize,
    /// Its arguments in the program: one for every ciphertext.
    pub values: Vec<String>,
    /// The curve; empty where there is one polynomial for every channel, and where the program does not show it.
    #[serde(skip)]
    pub curve: Vec<Point>,
    /// Where its argument was in the simulation that was given.
    pub data: Option<Data>,
}

/// A point of a curve, in the units of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The argument.
    pub x: f64,
    /// What the program computes.
    pub polynomial: f64,
    /// What the network computes.
    pub function: f64,
}

/// A histogram over a quarter more than the interval on either side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Data {
    /// Values in bins of equal width.
    pub counts: Vec<u64>,
    /// Values below all bins.
    pub below: u64,
    /// Values above all bins.
    pub above: u64,
}

/// The polynomials of a plan, in program order. Polynomials below degree 4, which have no Chebyshev form, are not found.
pub fn polynomials(plan: &Plan, findings: &Findings) -> Vec<Polynomial> {
    let module = plan.module();
    let reach = ArgumentHistogram::REACH;
    let grid: Vec<f64> = (0..POINTS).map(|i| reach * (2.0 * i as f64 / (POINTS - 1) as f64 - 1.0)).collect();
    let mut out: Vec<Polynomial> = Vec::new();
    // Values that follow from an argument alone: the later stages of a composite are among them.
    let mut later = BTreeSet::new();
    for argument in chebyshev_arguments(module) {
        if later.contains(&argument) {
            continue;
        }
        let node = module.func.node(Value::new(argument)).loc.name();
        let Some(activation) = findings.activation_of(node) else { continue };
        let steps = slotwise(module, argument, &grid);
        later.extend(steps.iter().map(|(index, _)| *index));
        let value = format!("%{argument}");
        if let Some(known) = out.iter_mut().find(|p| p.activation == activation) {
            known.values.push(value);
            continue;
        }
        let of_node = |index: usize| module.func.node(Value::new(index)).loc.name() == node;
        let last = steps.iter().rev().find(|(index, _)| of_node(*index));
        let curve = last.and_then(|(_, values)| curve(&findings.activations[activation], &grid, values));
        out.push(Polynomial { activation, values: vec![value], curve: curve.unwrap_or_default(), data: None });
    }
    out
}

/// The curve through `values` over the scaled arguments of `grid`, where it is that of the activation.
fn curve(activation: &Activation, grid: &[f64], values: &[f64]) -> Option<Vec<Point>> {
    let (lo, hi) = activation.interval?;
    if activation.channels? != 1 {
        return None;
    }
    let function = Function::from_parts(&activation.function, &[])?;
    let (centre, half) = (f64::midpoint(lo, hi), (hi - lo) / 2.0);
    let at = |t: f64| centre + half * t;
    let inside = || grid.iter().zip(values).filter(|(t, _)| t.abs() <= 1.0).map(|(&t, &y)| (y, function.eval(at(t))));
    // The program holds a multiple of the polynomial; the layer that follows divides by it.
    let (product, square) = inside().fold((0.0, 0.0), |(p, s), (y, f)| (p + y * f, s + y * y));
    let factor = product / square;
    let error = inside().map(|(y, f)| (factor * y - f).abs()).fold(0.0, larger);
    if !error.is_finite() || error > TOLERANCE * activation.max_error? {
        return None;
    }
    let point = |(&t, &y): (&f64, &f64)| Point { x: at(t), polynomial: factor * y, function: function.eval(at(t)) };
    Some(grid.iter().zip(values).map(point).collect())
}

/// The larger of two errors; what is not a number is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}
