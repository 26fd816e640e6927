//! The inputs that a compilation measures on are calibration data, or stand-ins for it.

use fhec_ir::{Module, Nn, Shape, Tensor};
use fhec_passes::activations::{ApproximateError, ApproximateOptions, given};
use fhec_passes::approx::Margin;
use fhec_passes::bootstraps::Placement;

use super::Compiler;
use super::refused::Refused;
use super::warning::Warning;
use crate::error::Error;

/// Inputs of a network whose user gave none: half of them like pixels, half of them normalised.
const SYNTHETIC_SAMPLES: usize = 64;
/// Synthetic inputs say little about real ones, so the intervals are wider.
const SYNTHETIC_MARGIN: f64 = 2.0;
/// With fewer calibration inputs the extremes of an activation are those of single inputs.
const FEW_SAMPLES: usize = 32;

impl Compiler {
    /// The calibration data, or stand-ins for it.
    pub(super) fn samples(
        &self,
        module: &Module<Nn>,
        warnings: &mut Vec<String>,
    ) -> Result<(Vec<Vec<Tensor>>, ApproximateOptions), Error> {
        if let Some(samples) = &self.calibration {
            if samples.is_empty() {
                return Err(ApproximateError::NoSamples.into());
            }
            if has_activation(module) && samples.len() < FEW_SAMPLES {
                warnings.push(Warning::FewSamples { samples: samples.len() }.to_string());
            }
            return Ok((samples.clone(), self.options.approximate.clone()));
        }
        let margin = match self.options.approximate.margin {
            Margin::Factor(margin) => margin.max(SYNTHETIC_MARGIN),
            Margin::Expected => SYNTHETIC_MARGIN,
        };
        if has_activation(module) {
            if !self.options.guess_ranges {
                return Err(Refused::Uncalibrated.into());
            }
            warnings.push(Warning::Synthetic { of: "activations", margin }.to_string());
        }
        let shapes: Vec<Shape> = module.func.params().iter().map(|&p| module.func.ty(p).0.clone()).collect();
        Ok((
            synthetic(&shapes),
            ApproximateOptions { margin: Margin::Factor(margin), ..self.options.approximate.clone() },
        ))
    }
}

/// Where polynomials of the network's own are bootstrapped, the ranges that their operands have on synthetic inputs matter, as
/// those of activations always do.
pub(super) fn guessed_ranges(folded: &Module<Nn>, placement: Option<&Placement>, margin: Margin) -> Option<Warning> {
    let bootstrapped = placement.is_some_and(|p| !p.plan.bootstraps.is_empty());
    let guessed = bootstrapped && given::has_given(folded) && !has_activation(folded);
    guessed.then_some(Warning::Synthetic { of: "polynomials", margin: margin.factor() })
}

/// Whether there is anything to approximate.
pub(super) fn has_activation(module: &Module<Nn>) -> bool {
    module.func.iter().any(|(_, node)| node.op.is_function())
}

/// Deterministic inputs of these shapes without knowledge of the data.
pub(super) fn synthetic(shapes: &[Shape]) -> Vec<Vec<Tensor>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    (0..SYNTHETIC_SAMPLES)
        .map(|i| {
            let mut tensor = |shape: &Shape| {
                let element = |_| {
                    if i % 2 == 0 {
                        uniform()
                    } else {
                        // Twelve uniform numbers: mean 6, variance 1.
                        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
                    }
                };
                Tensor::new(shape.clone(), (0..shape.len()).map(element).collect::<Vec<_>>())
            };
            shapes.iter().map(&mut tensor).collect()
        })
        .collect()
}
