//! Polynomials that the network had when it was given. They are exact wherever their operands lie, so nothing fits them; but a
//! bootstrap before one needs to know where that is, and it is measured on calibration data.
//!
//! A network of polynomials may run away on single inputs: one value that is a little too large is squared layer after layer.
//! Such inputs have no results worth keeping, and intervals that held them would leave no precision to all others.

use std::collections::BTreeMap;

use fhec_ir::nn::{Basis, NnOp, eval};
use fhec_ir::{F64, Module, Nn, Tensor, Value};
use rayon::prelude::*;

use super::ApproximateError;
use crate::approx::{Distribution, Histogram, Interval, Margin};

/// The name of the pass.
pub(crate) const NAME: &str = "measure-ranges";

/// An input runs away when an operand of a polynomial exceeds, by this factor, what it is on nine of ten inputs.
const RUNAWAY: f64 = 16.0;

/// Whether `op` is a polynomial that no pass made: those that passes make have a basis of their own.
pub fn is_given(op: &NnOp) -> bool {
    matches!(op, NnOp::Polynomial { basis: Basis::Monomial, .. })
}

/// Whether the network has polynomials of its own.
pub fn has_given(module: &Module<Nn>) -> bool {
    module.func.iter().any(|(_, node)| is_given(&node.op))
}

/// A network whose polynomials state where their operands lie.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The network; values keep their numbers.
    pub module: Module<Nn>,
    /// The inputs, by their place, on which it runs away: they were left out.
    pub runaway: Vec<usize>,
}

/// The least and the largest operand of each polynomial.
type Extremes = BTreeMap<Value, (f64, f64)>;

/// The module with intervals of its own polynomials that hold what their operands are on `samples`, with `margin`.
///
/// # Errors
/// When there are no samples, the module does not run on them, or is not finite on any of them.
pub fn measured(module: &Module<Nn>, samples: &[Vec<Tensor>], margin: Margin) -> Result<Measured, ApproximateError> {
    if !has_given(module) {
        return Ok(Measured { module: module.clone(), runaway: Vec::new() });
    }
    if samples.is_empty() {
        return Err(ApproximateError::NoSamples);
    }
    let _span = tracing::debug_span!("measure-ranges").entered();
    let seen: Vec<Extremes> =
        samples.par_iter().map(|sample| extremes(module, sample)).collect::<Result<_, eval::EvalError>>()?;
    let usual = usual(&seen);
    let runs_away =
        |extremes: &Extremes| extremes.iter().any(|(v, e)| size(e).is_nan() || size(e) > RUNAWAY * usual[v]);
    let runaway: Vec<usize> = (0..seen.len()).filter(|&i| runs_away(&seen[i])).collect();
    let mut hulls: BTreeMap<Value, Histogram> = BTreeMap::new();
    for (&value, &(least, largest)) in seen.iter().filter(|e| !runs_away(e)).flatten() {
        let not_finite = |_| ApproximateError::NotFinite { node: module.func.node(value).loc.name().to_string() };
        hulls.entry(value).or_default().extend([least, largest]).map_err(not_finite)?;
    }
    let module = module.rebuild::<ApproximateError>(|out, value, node, operands| {
        let mut op = node.op.clone();
        if let NnOp::Polynomial { basis: Basis::Monomial, lo, hi, .. } = &mut op {
            let not_finite = || ApproximateError::NotFinite { node: node.loc.name().to_string() };
            let seen = hulls.get(&value).ok_or_else(not_finite)?.distribution().map_err(|_| not_finite())?;
            let interval = interval(&seen, margin).ok_or_else(not_finite)?;
            (*lo, *hi) = (F64(interval.lo()), F64(interval.hi()));
        }
        Ok(out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone()))
    })?;
    Ok(Measured { module, runaway })
}

/// The larger magnitude of both, which a NaN stays.
fn size(&(least, largest): &(f64, f64)) -> f64 {
    fhec_ir::largest_magnitude([least, largest])
}

/// What the operands of the module's polynomials are on one input.
fn extremes(module: &Module<Nn>, sample: &[Tensor]) -> Result<Extremes, eval::EvalError> {
    let mut readers: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    let given = module.func.iter().filter(|(_, node)| is_given(&node.op));
    given.for_each(|(v, node)| readers.entry(node.operands[0]).or_default().push(v));
    let mut out = Extremes::new();
    eval::eval_observed(module, sample, |value, tensor| {
        for &reader in readers.get(&value).into_iter().flatten() {
            let values = || tensor.data().iter().map(|&x| f64::from(x));
            let ends = match values().any(f64::is_nan) {
                true => (f64::NAN, f64::NAN),
                false => (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)),
            };
            out.insert(reader, ends);
        }
    })?;
    Ok(out)
}

/// What nine of ten inputs do not exceed, by polynomial.
fn usual(seen: &[Extremes]) -> BTreeMap<Value, f64> {
    let mut sizes: BTreeMap<Value, Vec<f64>> = BTreeMap::new();
    for (value, extremes) in seen.iter().flatten() {
        sizes.entry(*value).or_default().push(size(extremes));
    }
    let high = |mut sizes: Vec<f64>| {
        sizes.sort_by(f64::total_cmp);
        sizes[(sizes.len() * 9).div_ceil(10).saturating_sub(1)]
    };
    sizes.into_iter().map(|(value, sizes)| (value, high(sizes))).collect()
}

/// The hull of the values with the margin; of a single value, an interval about zero.
fn interval(seen: &Distribution, margin: Margin) -> Option<Interval> {
    let symmetric = || seen.symmetric_interval(margin).or_else(|_| Interval::symmetric(margin.factor()));
    seen.hull_interval(margin).or_else(|_| symmetric()).ok()
}
