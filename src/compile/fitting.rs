//! Polynomials in place of activations, and rebuilt weights, fitted to calibration inputs.

use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::activations::rebuild::{Equalised, ReconstructOptions, Reconstructed};
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions, Approximated, Choices};

use super::Compiler;
use super::samples::has_activation;
use crate::error::Error;

impl Compiler {
    /// The network with polynomials in place of its activations, and with rebuilt weights where there is enough calibration
    /// data for it.
    pub(super) fn polynomials(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
        choices: &Choices,
    ) -> Result<Reconstructed, Error> {
        self.fitting(folded, samples, None)?.polynomials(self, folded, approximate, choices)
    }

    /// What does not depend on the choice of polynomials, with so many rows in each regression.
    pub(super) fn fitting<'a>(
        &self,
        folded: &Module<Nn>,
        samples: &'a [Vec<Tensor>],
        positions: Option<usize>,
    ) -> Result<Fitting<'a>, Error> {
        let rebuilds = self.rebuilds(samples) && has_activation(folded);
        let equal = rebuilds.then(|| Equalised::new(folded, samples)).transpose()?;
        Ok(Fitting { samples, equal, positions })
    }
}

/// Inputs that polynomials, and weights where they are rebuilt, are fitted to.
pub(super) struct Fitting<'a> {
    samples: &'a [Vec<Tensor>],
    /// The network with channels of common range, where its weights are rebuilt.
    equal: Option<Equalised>,
    /// Rows of each regression, if not the usual.
    positions: Option<usize>,
}

impl Fitting<'_> {
    /// The network with polynomials, of which `compiler` tells how far it is.
    pub(super) fn polynomials(
        &self,
        compiler: &Compiler,
        folded: &Module<Nn>,
        approximate: ApproximateOptions,
        choices: &Choices,
    ) -> Result<Reconstructed, Error> {
        let Some(equal) = &self.equal else {
            let Approximated { module, activations, polynomials } =
                ApproximateActivations::calibrated_with(folded, self.samples, approximate, choices)?;
            return Ok(Reconstructed { module, activations, layers: Vec::new(), polynomials });
        };
        let mut options = ReconstructOptions { approximate, choices: choices.clone(), ..Default::default() };
        options.positions = self.positions.unwrap_or(options.positions);
        let mut tell = |layer: &str, done: usize, total: usize| compiler.tell("reconstruct", layer, done, total);
        Ok(equal.reconstruct(self.samples, &options, &mut tell)?)
    }
}
