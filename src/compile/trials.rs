//! Trials: what polynomials mean for the results is measured, by fitting them, and weights where they are rebuilt, to some inputs
//! and comparing the results on others.

use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::activations::{ApproximateOptions, Choices};

use super::Compiler;
use super::agreement::Reference;
use super::choose::{CAUTION, TRIAL_POSITIONS, TRIAL_SAMPLES};
use crate::error::Error;

/// A network, the inputs that its polynomials are fitted to, and those that results are compared on.
pub(super) struct Trials<'a> {
    compiler: &'a Compiler,
    folded: &'a Module<Nn>,
    approximate: &'a ApproximateOptions,
    fitted: &'a [Vec<Tensor>],
    reference: Reference<'a>,
}

impl<'a> Trials<'a> {
    /// Trials of `folded`, fitted to `fitted` and judged on `held`.
    ///
    /// # Errors
    /// A network that does not run on `held`.
    pub(super) fn new(
        compiler: &'a Compiler,
        folded: &'a Module<Nn>,
        approximate: &'a ApproximateOptions,
        fitted: &'a [Vec<Tensor>],
        held: &'a [Vec<Tensor>],
    ) -> Result<Self, Error> {
        Ok(Self { compiler, folded, approximate, fitted, reference: Reference::of(folded, held)? })
    }

    /// The agreement with the network as it was given, and that with errors [`CAUTION`] times as large.
    ///
    /// # Errors
    /// Polynomials that cannot be fitted.
    pub(super) fn measure(&self, choices: &Choices) -> Result<(f64, f64), Error> {
        let positions = Some(TRIAL_POSITIONS);
        let tried = self.compiler.fitted(self.folded, self.fitted, self.approximate.clone(), choices, positions)?;
        self.reference.agreement(&tried.module, CAUTION)
    }
}

/// Two halves of calibration data, to fit to and to judge on.
pub(super) fn halves(samples: &[Vec<Tensor>]) -> [Vec<Vec<Tensor>>; 2] {
    let taken = &samples[..samples.len().min(2 * TRIAL_SAMPLES)];
    [0, 1].map(|first| taken.iter().skip(first).step_by(2).cloned().collect())
}

/// As many of the calibration data as a trial is fitted to, spread over all of them.
pub(super) fn spread(samples: &[Vec<Tensor>]) -> Vec<Vec<Tensor>> {
    samples.iter().step_by(samples.len().div_ceil(TRIAL_SAMPLES).max(1)).cloned().collect()
}
