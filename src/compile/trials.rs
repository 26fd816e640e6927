//! Trials: what polynomials mean for the results is measured, by fitting them, and weights where they are rebuilt, to some inputs
//! and comparing the results on others.

use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::activations::{ApproximateOptions, Choices};

use super::Compiler;
use super::agreement::{Measured, Reference};
use super::choose::{CAUTION, TRIAL_POSITIONS, TRIAL_SAMPLES};
use super::fitting::Fitting;
use crate::error::Error;

/// A network, what its polynomials are fitted to, and the inputs that results are compared on.
pub(super) struct Trials<'a> {
    compiler: &'a Compiler,
    folded: &'a Module<Nn>,
    approximate: &'a ApproximateOptions,
    fitting: Fitting<'a>,
    reference: Reference<'a>,
}

impl<'a> Trials<'a> {
    /// Trials of `folded`, fitted to `fitted` and judged on `held`.
    ///
    /// # Errors
    /// A network that does not run on `fitted` or `held`.
    pub(super) fn new(
        compiler: &'a Compiler,
        folded: &'a Module<Nn>,
        approximate: &'a ApproximateOptions,
        fitted: &'a [Vec<Tensor>],
        held: &'a [Vec<Tensor>],
    ) -> Result<Self, Error> {
        let fitting = compiler.fitting(folded, fitted, Some(TRIAL_POSITIONS))?;
        let reference = Reference::of(folded, held, compiler.options.results)?;
        Ok(Self { compiler, folded, approximate, fitting, reference })
    }

    /// The agreement with the network as it was given, and that with errors [`CAUTION`] times as large.
    ///
    /// # Errors
    /// Polynomials that cannot be fitted.
    pub(super) fn measure(&self, choices: &Choices) -> Result<Measured, Error> {
        let tried = self.fitting.polynomials(self.compiler, self.folded, self.approximate.clone(), choices)?;
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
