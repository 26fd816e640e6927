//! How accurate networks are on inputs with labels, and how well one with polynomials stands for the one it was made from.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Module, Nn, Tensor, Value};
use fhec_passes::activations::ApproximateError;
use rayon::prelude::*;
use serde::Serialize;

use crate::data::class;
use crate::error::Error;
use crate::front::Validation;

/// A network and its polynomial form on validation inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Share of the inputs that the network as given classifies as labelled.
    pub original: f64,
    /// The same with polynomials and rebuilt weights: what the plan computes.
    pub polynomial: f64,
    /// Share of the inputs for which both name the same class.
    pub agreement: f64,
    /// Inputs whose results say nothing of those of the network as given: one is not finite, or further from it than twice
    /// the largest of them.
    pub destroyed: usize,
    /// How far from the centre of its interval, in half widths, the operand of a polynomial went: above 1 it was outside.
    /// Infinite where it was not a number.
    pub furthest: f64,
}

/// What one input shows.
struct Seen {
    right: (bool, bool),
    agrees: bool,
    destroyed: bool,
    furthest: f64,
}

impl Accuracy {
    /// Measures `original` and `polynomial`, whose polynomials that read values of the network (the first of each
    /// activation) are `first`.
    pub(crate) fn measure(
        original: &Module<Nn>,
        polynomial: &Module<Nn>,
        first: &[Value],
        validation: &Validation,
    ) -> Result<Self, Error> {
        let mut intervals: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
        for node in first.iter().map(|&v| polynomial.func.node(v)) {
            if let NnOp::Polynomial { lo, hi, .. } = node.op {
                intervals.entry(node.operands[0].index()).or_default().push((lo.0, hi.0));
            }
        }
        let one = |(x, &label): (&Vec<Tensor>, &usize)| -> Result<Seen, eval::EvalError> {
            let wanted = eval::eval(original, x)?;
            let mut furthest = 0.0f64;
            let got = eval::eval_observed(polynomial, x, |value, tensor| {
                for &ends in intervals.get(&value.index()).into_iter().flatten() {
                    furthest = furthest.max(distance(tensor, ends));
                }
            })?;
            let (expected, named) = (class(&wanted), class(&got));
            let right = (expected == Some(label), named == Some(label));
            Ok(Seen { right, agrees: named == expected, destroyed: destroyed(&wanted, &got), furthest })
        };
        let seen = validation.inputs.par_iter().zip(&validation.labels).map(one);
        let seen: Vec<Seen> = seen.collect::<Result<_, _>>().map_err(ApproximateError::from)?;
        let share = |of: fn(&&Seen) -> bool| seen.iter().filter(of).count() as f64 / seen.len().max(1) as f64;
        Ok(Self {
            original: share(|s| s.right.0),
            polynomial: share(|s| s.right.1),
            agreement: share(|s| s.agrees),
            destroyed: seen.iter().filter(|s| s.destroyed).count(),
            furthest: seen.iter().fold(0.0, |furthest, s| furthest.max(s.furthest)),
        })
    }
}

/// The largest distance of an element from the centre of an interval, in its half widths.
fn distance(tensor: &Tensor, (lo, hi): (f64, f64)) -> f64 {
    let (centre, half) = (0.5 * (lo + hi), 0.5 * (hi - lo));
    let furthest = |most: f64, &x: &f32| {
        let distance = (f64::from(x) - centre).abs() / half;
        if distance.is_nan() { f64::INFINITY } else { most.max(distance) }
    };
    tensor.data().iter().fold(0.0, furthest)
}

/// Whether an element of `got` is not finite, or further from that of `wanted` than twice the largest magnitude of these.
fn destroyed(wanted: &[Tensor], got: &[Tensor]) -> bool {
    wanted.iter().zip(got).any(|(wanted, got)| {
        let largest = wanted.data().iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // What is not a number is not within the bound either.
        !wanted.data().iter().zip(got.data()).all(|(w, g)| g.is_finite() && (g - w).abs() <= 2.0 * largest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_beyond_use_are_told_from_errors() {
        let t = |x: &[f32]| vec![Tensor::new([1, x.len()], x.to_vec())];
        let wanted = t(&[1.0, -3.0]);
        assert!(!destroyed(&wanted, &t(&[6.9, 2.9])));
        assert!(destroyed(&wanted, &t(&[7.1, -3.0])));
        assert!(destroyed(&wanted, &t(&[f32::NAN, -3.0])) && destroyed(&wanted, &t(&[1.0, f32::NEG_INFINITY])));
    }

    #[test]
    fn distances_are_in_half_widths() {
        let t = Tensor::new([1, 2], vec![2.0, 8.0]);
        assert_eq!(distance(&t, (0.0, 4.0)), 3.0);
        assert_eq!(distance(&Tensor::new([1, 1], vec![f32::NAN]), (0.0, 4.0)), f64::INFINITY);
    }
}
