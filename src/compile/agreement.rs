//! How far a network with polynomials agrees with the network as it was given, on inputs that need no labels.

use fhec_ir::nn::eval;
use fhec_ir::{Module, Nn, Node, Shape, Tensor};
use fhec_passes::activations::ApproximateError;
use fhec_passes::activations::result_kind::{ResultKind, largest, middle, spreads};
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
    /// What was measured: of classes and labels the share of inputs with the same ones, of values 1 less the root mean square error over
    /// how much they vary; of several outputs, that of the one which agrees least.
    pub measured: f64,
    /// Calibration inputs it was measured on.
    pub inputs: usize,
    /// Whether polynomials and weights were fitted without these inputs.
    pub held_back: bool,
    /// What the output that agrees least was taken for.
    pub of: ResultKind,
}

/// How far the results of one network agree with those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) agreement: f64,
    /// The same if errors were larger.
    pub(super) cautious: f64,
    /// What the output that agrees least was taken for.
    pub(super) of: ResultKind,
}

/// What an output is taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Output {
    kind: ResultKind,
    /// What scores of labels lie about.
    middle: f32,
}

/// Inputs, and what the network as it was given makes of them.
pub(super) struct Reference<'a> {
    inputs: &'a [Vec<Tensor>],
    results: Vec<Vec<Tensor>>,
    /// What each output is taken for.
    outputs: Vec<Output>,
}

impl<'a> Reference<'a> {
    /// Runs `module` on `inputs`. Its outputs are taken for what is `asked`, or for what they look like.
    ///
    /// # Errors
    /// A network that does not run on them.
    pub(super) fn of(module: &Module<Nn>, inputs: &'a [Vec<Tensor>], asked: Option<ResultKind>) -> Result<Self, Error> {
        let (encrypted, _) = without_heads(module);
        let results = results(&encrypted, inputs)?;
        let nodes = encrypted.func.results().iter().map(|&result| encrypted.func.node(result));
        let of = |(at, node): (usize, &Node<Nn>)| Output {
            kind: taken_for(node, &output(&results, at), asked),
            middle: middle(node),
        };
        let outputs = nodes.enumerate().map(of).collect();
        Ok(Self { inputs, results, outputs })
    }

    /// The share of the inputs that `module` gives the same class, or 1 less the relative error of its results; and the same as if
    /// errors of scores were `factor` times as large.
    ///
    /// # Errors
    /// A network that does not run on the inputs.
    pub(super) fn agreement(&self, module: &Module<Nn>, factor: f32) -> Result<Measured, Error> {
        let found = results(&without_heads(module).0, self.inputs)?;
        let pairs = self.results.iter().zip(&found);
        let enlarged: Vec<Vec<Tensor>> = pairs.map(|(a, b)| enlarged(&self.outputs, a, b, factor)).collect();
        let (agreement, of) = self::agreement(&self.outputs, &self.results, &found);
        Ok(Measured { agreement, cautious: self::agreement(&self.outputs, &self.results, &enlarged).0, of })
    }
}

/// Results as a client would decrypt them, of a network without what is left to the client.
fn results(encrypted: &Module<Nn>, inputs: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
    let threads = rayon::current_num_threads();
    Ok(eval::eval_many(encrypted, inputs, threads).map_err(ApproximateError::from)?)
}

/// One output of all inputs.
fn output(results: &[Vec<Tensor>], at: usize) -> Vec<&Tensor> {
    results.iter().filter_map(|outputs| outputs.get(at)).collect()
}

/// One row of numbers, which may still have the dimensions of a convolution behind it.
fn is_row(shape: &Shape) -> bool {
    matches!(&shape.0[..], [1, _, rest @ ..] if rest.iter().all(|&d| d == 1))
}

/// Whether results of this shape can be what they are said to be: only rows are scores, and only rows of several are by which of them is
/// the largest.
fn can_be(asked: ResultKind, shape: &Shape) -> bool {
    match asked {
        ResultKind::Classes => is_row(shape) && shape.0.iter().any(|&d| d > 1),
        ResultKind::Labels => is_row(shape),
        ResultKind::Values => true,
    }
}

/// The outputs of `module`, by name, that are compared as values whatever else is asked.
pub(super) fn no_scores(module: &Module<Nn>, asked: ResultKind) -> Vec<String> {
    let (encrypted, _) = without_heads(module);
    let shapes = encrypted.func.results().iter().map(|&result| &encrypted.func.node(result).ty.0);
    let outputs = encrypted.outputs.iter().zip(shapes);
    outputs.filter(|(_, shape)| !can_be(asked, shape)).map(|(port, _)| port.name.clone()).collect()
}

/// What the output that `node` makes is taken for.
fn taken_for(node: &Node<Nn>, found: &[&Tensor], asked: Option<ResultKind>) -> ResultKind {
    match asked {
        Some(asked) if found.iter().all(|t| can_be(asked, t.shape())) => asked,
        None if found.iter().all(|t| is_row(t.shape())) => ResultKind::of_rows(node, found.iter().map(|t| t.data())),
        _ => ResultKind::Values,
    }
}

/// Results whose difference from what is wanted is `factor` times that of `found`, where they are scores: their lead is what
/// flatters a network on its training inputs, and values have none.
fn enlarged(outputs: &[Output], wanted: &[Tensor], found: &[Tensor], factor: f32) -> Vec<Tensor> {
    let pairs = outputs.iter().zip(wanted.iter().zip(found));
    let one = |(output, (a, b)): (&Output, (&Tensor, &Tensor))| {
        let factor = if output.kind == ResultKind::Values { 1.0 } else { factor };
        let data: Vec<f32> = a.data().iter().zip(b.data()).map(|(a, b)| a + factor * (b - a)).collect();
        Tensor::new(a.shape().clone(), data)
    };
    pairs.map(one).collect()
}

/// The least agreement of any output, and what that output is taken for.
fn agreement(outputs: &[Output], wanted: &[Vec<Tensor>], found: &[Vec<Tensor>]) -> (f64, ResultKind) {
    let of_output =
        |(at, &of): (usize, &Output)| (agreement_of_one(of, &output(wanted, at), &output(found, at)), of.kind);
    let all = outputs.iter().enumerate().map(of_output);
    all.reduce(|least, one| if one.0 < least.0 { one } else { least }).unwrap_or((1.0, ResultKind::Values))
}

/// The agreement of one output.
fn agreement_of_one(output: Output, wanted: &[&Tensor], found: &[&Tensor]) -> f64 {
    let pairs = wanted.iter().zip(found);
    let share = |same: usize| same as f64 / wanted.len().max(1) as f64;
    match output.kind {
        ResultKind::Classes => {
            let class = |scores: &Tensor| largest(scores.data());
            share(pairs.filter(|(a, b)| class(a).is_some_and(|known| class(b) == Some(known))).count())
        }
        ResultKind::Labels => {
            let side = |x: f32| (!x.is_nan()).then_some(x > output.middle);
            let alike = |(a, b): &(&&Tensor, &&Tensor)| {
                a.data().iter().zip(b.data()).all(|(&a, &b)| side(a).is_some() && side(a) == side(b))
            };
            share(pairs.filter(alike).count())
        }
        ResultKind::Values => {
            let relative = relative_error(wanted, found);
            // NaN agrees with nothing.
            if relative < 1.0 { 1.0 - relative } else { 0.0 }
        }
    }
}

/// The root mean square error beside how much values vary; of a row, that of the value with the largest.
fn relative_error(wanted: &[&Tensor], found: &[&Tensor]) -> f64 {
    let is_row = wanted.iter().all(|t| is_row(t.shape()));
    let results: Vec<&[f32]> = wanted.iter().map(|t| t.data()).collect();
    let spreads = spreads(&results, is_row);
    let mut squares = vec![0.0; spreads.len()];
    for (a, b) in wanted.iter().zip(found) {
        let errors = a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) - f64::from(b));
        squares.iter_mut().zip(errors).for_each(|(square, error)| *square += error.powi(2) / wanted.len() as f64);
    }
    let relative: Vec<f64> = squares.iter().zip(&spreads).map(|(square, spread)| square / spread.powi(2)).collect();
    let square = match is_row {
        true => relative.iter().copied().fold(0.0, |most: f64, x| if x.is_nan() || x > most { x } else { most }),
        false => relative.iter().sum::<f64>() / relative.len().max(1) as f64,
    };
    square.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: Output = Output { kind: ResultKind::Classes, middle: 0.0 };
    const VALUES: Output = Output { kind: ResultKind::Values, middle: 0.0 };

    fn one(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::new([1, values.len()], values.to_vec())]
    }

    #[test]
    fn classes_are_compared_and_nan_agrees_with_nothing() {
        let wanted = [one(&[0.0, 1.0]), one(&[2.0, 1.0]), one(&[2.0, 1.0]), one(&[0.0, 1.0])];
        let found = [one(&[0.4, 0.5]), one(&[1.0, 2.0]), one(&[f32::NAN, 1.0]), one(&[-9.0, 1e9])];
        assert_eq!(agreement(&[CLASSES], &wanted, &found), (0.5, CLASSES.kind));
    }

    #[test]
    fn errors_are_enlarged_about_what_is_wanted() {
        let (wanted, found) = (one(&[0.0, 1.0]), one(&[0.3, 0.9]));
        assert_eq!(agreement(&[CLASSES], std::slice::from_ref(&wanted), std::slice::from_ref(&found)).0, 1.0);
        let twice = enlarged(&[CLASSES], &wanted, &found, 3.0);
        assert_eq!(enlarged(&[VALUES], &wanted, &found, 3.0), found);
        assert!((twice[0].data()[0] - 0.9).abs() < 1e-6 && (twice[0].data()[1] - 0.7).abs() < 1e-6, "{twice:?}");
        assert_eq!(agreement(&[CLASSES], &[wanted], &[twice]).0, 0.0);
    }

    #[test]
    fn other_results_are_compared_by_their_relative_error() {
        let wanted = [one(&[3.0]), one(&[4.0])];
        let agreement = |found: &[Vec<Tensor>]| agreement(&[VALUES], &wanted, found).0;
        // They vary by 0.5, and one of two is off by 0.1.
        assert!((agreement(&[one(&[3.0]), one(&[4.1])]) - (1.0 - 0.2 * 0.5f64.sqrt())).abs() < 1e-6);
        assert_eq!(agreement(&[one(&[30.0]), one(&[4.0])]), 0.0);
        assert_eq!(agreement(&[one(&[3.0]), one(&[f32::NAN])]), 0.0);
    }

    #[test]
    fn of_several_values_the_one_that_is_most_off_counts() {
        let wanted = [one(&[300.0, 0.1]), one(&[302.0, 0.3])];
        let found = [one(&[300.1, 0.11]), one(&[302.1, 0.29])];
        // The first is off by a tenth of what it varies, the second by as much of what it does.
        assert!((agreement(&[VALUES], &wanted, &found).0 - 0.9).abs() < 1e-4);
        let found = [one(&[300.0, 0.2]), one(&[302.0, 0.4])];
        assert!(agreement(&[VALUES], &wanted, &found).0 < 1e-4);
    }

    #[test]
    fn labels_are_compared_by_their_side() {
        let agreement = |middle: f32, wanted: &[Vec<Tensor>], found: &[Vec<Tensor>]| {
            agreement(&[Output { kind: ResultKind::Labels, middle }], wanted, found).0
        };
        let wanted = [one(&[2.0]), one(&[-0.1])];
        assert_eq!(agreement(0.0, &wanted, &[one(&[0.1]), one(&[-9.0])]), 1.0);
        assert_eq!(agreement(0.0, &wanted, &[one(&[0.1]), one(&[0.1])]), 0.5);
        assert_eq!(agreement(0.5, &[one(&[0.6, 0.1])], &[one(&[0.4, 0.2])]), 0.0);
        assert_eq!(agreement(0.0, &wanted, &[one(&[f32::NAN]), one(&[-9.0])]), 0.5);
    }

    #[test]
    fn of_several_outputs_the_one_that_agrees_least_counts() {
        let two =
            |class: &[f32], value: f32| vec![Tensor::new([1, 2], class.to_vec()), Tensor::new([1, 1], vec![value])];
        let wanted = [two(&[0.0, 100.0], 1.0), two(&[100.0, 0.0], 1.0)];
        let agreement = |found: &[Vec<Tensor>]| agreement(&[CLASSES, VALUES], &wanted, found);
        // The classes agree, and the large scores do not hide that the small value is far off.
        let (half, of) = agreement(&[two(&[0.0, 90.0], 0.5), two(&[90.0, 0.0], 0.5)]);
        assert!((half - 0.5).abs() < 1e-6 && of == VALUES.kind);
        assert_eq!(agreement(&[two(&[0.0, 90.0], 1.0), two(&[0.0, 90.0], 1.0)]), (0.5, CLASSES.kind));
    }
}
