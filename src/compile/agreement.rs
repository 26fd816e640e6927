//! How far a network with polynomials agrees with the network as it was given, on inputs that need no labels.

use fhec_ir::nn::eval;
use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::activations::ApproximateError;
use fhec_passes::pack::without_heads;
use serde::Serialize;

use crate::error::Error;

/// The agreement that is aimed at unless the user says otherwise.
pub const DEFAULT_AGREEMENT: f64 = 0.99;

/// How far the polynomials agree with the network as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// What was aimed at.
    pub asked: f64,
    /// What was measured: of a classifier the share of inputs with the same class, of other networks 1 less the relative error;
    /// of several outputs, that of the one which agrees least.
    pub measured: f64,
    /// Calibration inputs it was measured on.
    pub inputs: usize,
    /// Whether polynomials and weights were fitted without these inputs.
    pub held_back: bool,
}

/// Inputs, and what the network as it was given makes of them.
pub(super) struct Reference<'a> {
    inputs: &'a [Vec<Tensor>],
    results: Vec<Vec<Tensor>>,
}

impl<'a> Reference<'a> {
    /// Runs `module` on `inputs`.
    ///
    /// # Errors
    /// A network that does not run on them.
    pub(super) fn of(module: &Module<Nn>, inputs: &'a [Vec<Tensor>]) -> Result<Self, Error> {
        Ok(Self { inputs, results: results(module, inputs)? })
    }

    /// The share of the inputs that `module` gives the same class, or 1 less the relative error of its results; and the same as if
    /// errors were `factor` times as large.
    ///
    /// # Errors
    /// A network that does not run on the inputs.
    pub(super) fn agreement(&self, module: &Module<Nn>, factor: f32) -> Result<(f64, f64), Error> {
        let found = results(module, self.inputs)?;
        let enlarged: Vec<Vec<Tensor>> = self.results.iter().zip(&found).map(|(a, b)| enlarged(a, b, factor)).collect();
        Ok((agreement(&self.results, &found), agreement(&self.results, &enlarged)))
    }
}

/// Results as a client would decrypt them.
fn results(module: &Module<Nn>, inputs: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
    let threads = rayon::current_num_threads();
    let (encrypted, _) = without_heads(module);
    Ok(eval::eval_many(&encrypted, inputs, threads).map_err(ApproximateError::from)?)
}

/// Results whose difference from what is wanted is `factor` times that of `found`.
fn enlarged(wanted: &[Tensor], found: &[Tensor], factor: f32) -> Vec<Tensor> {
    let pairs = wanted.iter().zip(found);
    let one = |(a, b): (&Tensor, &Tensor)| {
        let data: Vec<f32> = a.data().iter().zip(b.data()).map(|(a, b)| a + factor * (b - a)).collect();
        Tensor::new(a.shape().clone(), data)
    };
    pairs.map(one).collect()
}

/// The least agreement of any output.
fn agreement(wanted: &[Vec<Tensor>], found: &[Vec<Tensor>]) -> f64 {
    let outputs = wanted.first().map_or(0, Vec::len);
    let of_output = |output: usize| {
        let pairs: Vec<(&Tensor, &Tensor)> =
            wanted.iter().zip(found).filter_map(|(a, b)| Some((a.get(output)?, b.get(output)?))).collect();
        agreement_of_one(&pairs)
    };
    (0..outputs).map(of_output).fold(1.0, f64::min)
}

/// The agreement of one output, what is wanted of it first.
fn agreement_of_one(pairs: &[(&Tensor, &Tensor)]) -> f64 {
    // One row of several scores, which may still have the dimensions of a convolution behind it.
    let is_classifier = |scores: &Tensor| matches!(&scores.shape().0[..], [1, classes, rest @ ..] if *classes > 1 && rest.iter().all(|&d| d == 1));
    if pairs.iter().all(|(wanted, _)| is_classifier(wanted)) {
        let same = pairs.iter().filter(|(a, b)| best(a).is_some_and(|class| best(b) == Some(class)));
        return same.count() as f64 / pairs.len().max(1) as f64;
    }
    let elements = pairs.iter().flat_map(|(a, b)| a.data().iter().zip(b.data()));
    let (mut square, mut error) = (0.0, 0.0);
    for (&a, &b) in elements {
        square += f64::from(a).powi(2);
        error += (f64::from(a) - f64::from(b)).powi(2);
    }
    let relative = (error / square).sqrt();
    // NaN agrees with nothing.
    if relative < 1.0 { 1.0 - relative } else { 0.0 }
}

/// The class of the largest score; none where one is not a number.
fn best(scores: &Tensor) -> Option<usize> {
    let data = scores.data();
    if data.iter().any(|score| score.is_nan()) {
        return None;
    }
    (0..data.len()).max_by(|&a, &b| data[a].total_cmp(&data[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::new([1, values.len()], values.to_vec())]
    }

    #[test]
    fn classes_are_compared_and_nan_agrees_with_nothing() {
        let wanted = [one(&[0.0, 1.0]), one(&[2.0, 1.0]), one(&[2.0, 1.0]), one(&[0.0, 1.0])];
        let found = [one(&[0.4, 0.5]), one(&[1.0, 2.0]), one(&[f32::NAN, 1.0]), one(&[-9.0, 1e9])];
        assert_eq!(agreement(&wanted, &found), 0.5);
    }

    #[test]
    fn errors_are_enlarged_about_what_is_wanted() {
        let (wanted, found) = (one(&[0.0, 1.0]), one(&[0.3, 0.9]));
        assert_eq!(agreement(std::slice::from_ref(&wanted), std::slice::from_ref(&found)), 1.0);
        let twice = enlarged(&wanted, &found, 3.0);
        assert!((twice[0].data()[0] - 0.9).abs() < 1e-6 && (twice[0].data()[1] - 0.7).abs() < 1e-6, "{twice:?}");
        assert_eq!(agreement(&[wanted], &[twice]), 0.0);
    }

    #[test]
    fn other_results_are_compared_by_their_relative_error() {
        let wanted = [one(&[3.0]), one(&[4.0])];
        assert!((agreement(&wanted, &[one(&[3.0]), one(&[4.5])]) - 0.9).abs() < 1e-6);
        assert_eq!(agreement(&wanted, &[one(&[30.0]), one(&[4.0])]), 0.0);
        assert_eq!(agreement(&wanted, &[one(&[3.0]), one(&[f32::NAN])]), 0.0);
    }

    #[test]
    fn of_several_outputs_the_one_that_agrees_least_counts() {
        let two =
            |class: &[f32], value: f32| vec![Tensor::new([1, 2], class.to_vec()), Tensor::new([1, 1], vec![value])];
        let wanted = [two(&[0.0, 100.0], 1.0), two(&[100.0, 0.0], 1.0)];
        // The classes agree, and the large scores do not hide that the small value is far off.
        assert!((agreement(&wanted, &[two(&[0.0, 90.0], 0.5), two(&[90.0, 0.0], 0.5)]) - 0.5).abs() < 1e-6);
        assert_eq!(agreement(&wanted, &[two(&[0.0, 90.0], 1.0), two(&[0.0, 90.0], 1.0)]), 0.5);
    }
}
