//! `approximate-activations`: every activation becomes a polynomial on the range its inputs have on calibration data.

mod alternatives;
mod calibrate;
mod candidates;
mod composite;
mod fit;
mod rules;

use std::collections::BTreeMap;

use fhec_ir::nn::{Activation, eval};
use fhec_ir::{Loc, Module, Nn, Tensor, Value};
use miette::Diagnostic;
use serde::Serialize;
use thiserror::Error;

pub use alternatives::Alternatives;
pub use calibrate::Calibration;
pub(crate) use calibrate::{channels, gather};
pub use candidates::{CandidateRow, DEGREES};
pub(crate) use fit::{Target, fit};

use alternatives::Extracted;
use rules::Asked;

use crate::approx::{ApproxError, CompositeSign, FitOptions, Function};
use crate::{Issue, Pass, PassError};

pub(crate) const NAME: &str = "approximate-activations";

/// Why activations cannot be calibrated.
#[derive(Debug, Error, Diagnostic)]
pub enum ApproximateError {
    /// The model does not run on the calibration data.
    #[error("the model does not run on the calibration data: {0}")]
    #[diagnostic(help(
        "calibration data must have the shape of the model's input, with any number of samples in front"
    ))]
    Eval(#[from] eval::EvalError),
    /// A value that is not a number, or infinite.
    #[error("the input of node `{node}` is not finite on the calibration data")]
    #[diagnostic(help("check the calibration data for NaN and the preprocessing for a wrong scale"))]
    NotFinite {
        /// Name of the ONNX node.
        node: String,
    },
    /// No samples.
    #[error("there is no calibration sample")]
    #[diagnostic(help("give at least a few dozen training inputs"))]
    NoSamples,
    /// The pass itself.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pass(#[from] PassError),
}

/// How activations are replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApproximateOptions {
    /// Degree of every polynomial without a choice of its own.
    pub degree: usize,
    /// Whether every channel gets a polynomial of its own.
    pub per_channel: bool,
    /// Length of the interval over that of the hull of the values seen on calibration data, with the same centre.
    pub margin: f64,
    /// Weighting of the fit.
    pub fit: FitOptions,
    /// A sign from which every activation without a choice of its own is made, in place of polynomials: what others do with
    /// ReLU everywhere. Reconstruction, which undoes the errors of polynomials, does not use it.
    pub composite: Option<&'static CompositeSign>,
}

impl Default for ApproximateOptions {
    /// Degree 15, four levels: the lowest at which untrained networks keep their accuracy (the MNIST CNN of `models/` has
    /// 98.25 % at degree 7 and 99.20 % at 15, of 99.22 %). Margin 1.3 holds what test images add to the calibrated range.
    fn default() -> Self {
        Self { degree: 15, per_channel: false, margin: 1.3, fit: FitOptions::default(), composite: None }
    }
}

/// What one activation is replaced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Choice {
    /// Degree of the polynomial.
    pub degree: usize,
    /// One polynomial per channel (dimension 1 of tensors with at least three), rather than one for all.
    pub per_channel: bool,
}

/// The choices that differ from the options' default, by the activation's value.
pub type Choices = BTreeMap<Value, Choice>;

impl ApproximateOptions {
    /// The choice for `value`.
    pub(crate) fn choice(&self, choices: &Choices, value: Value) -> Choice {
        choices.get(&value).copied().unwrap_or(Choice { degree: self.degree, per_channel: self.per_channel })
    }
}

/// What became of one activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replacement {
    /// Name of the ONNX node.
    pub node: String,
    /// The function.
    pub function: String,
    /// Degree of the polynomial; of a composite, that of the product of its stages and x.
    pub degree: usize,
    /// Degrees of the stages of a composite sign; none for a polynomial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<usize>,
    /// Number of polynomials: 1, or one per channel.
    pub channels: usize,
    /// Where the polynomial holds; of several, the widest.
    pub interval: (f64, f64),
    /// Smallest and largest input on the calibration data.
    pub seen: (f64, f64),
    /// Root mean square error under the calibrated distribution.
    pub rms_error: f64,
    /// Largest error on the interval (on a grid of 4,096 points).
    pub max_error: f64,
}

/// The pass: replaces each activation whose input distribution is known.
#[derive(Clone, Debug)]
pub struct ApproximateActivations {
    options: ApproximateOptions,
    choices: Choices,
    calibration: Calibration,
}

impl ApproximateActivations {
    /// A pass with a measured calibration of the module it will run on.
    pub fn new(calibration: Calibration, options: ApproximateOptions) -> Self {
        Self { options, choices: Choices::new(), calibration }
    }

    /// The pass with choices for single activations.
    #[must_use]
    pub fn with_choices(self, choices: Choices) -> Self {
        Self { choices, ..self }
    }

    /// Measures `module` on `samples`, replaces its activations, and measures again with the polynomials in place, because
    /// the error of one layer shifts the inputs of the next: intervals grow to hold what both networks produce.
    ///
    /// # Errors
    /// When there are no samples, the model does not run on them, or an activation cannot be approximated.
    pub fn calibrated(
        module: &Module<Nn>,
        samples: &[Vec<Tensor>],
        options: ApproximateOptions,
    ) -> Result<(Module<Nn>, Vec<Replacement>), ApproximateError> {
        Self::calibrated_with(module, samples, options, &Choices::new())
    }

    /// As [`ApproximateActivations::calibrated`], with choices for single activations of `module`.
    ///
    /// # Errors
    /// As [`ApproximateActivations::calibrated`].
    pub fn calibrated_with(
        module: &Module<Nn>,
        samples: &[Vec<Tensor>],
        options: ApproximateOptions,
        choices: &Choices,
    ) -> Result<(Module<Nn>, Vec<Replacement>), ApproximateError> {
        let _span = tracing::debug_span!("approximate-activations").entered();
        if samples.is_empty() {
            return Err(ApproximateError::NoSamples);
        }
        let teacher = Calibration::measure(module, samples)?;
        let first = Self::new(teacher.clone(), options).with_choices(choices.clone()).replaced(module)?;
        let student = Calibration::measure(&first.module, samples)?;
        let mut both = teacher;
        both.merge(student.in_terms_of(&first.polynomials));
        Ok(Self::new(both, options).with_choices(choices.clone()).replace(module)?)
    }

    /// The module with polynomials, and what became of each activation.
    ///
    /// # Errors
    /// Every activation that has no calibration, whose function has a pole inside its interval, or that has no form of the
    /// kind asked for.
    pub fn replace(&self, module: &Module<Nn>) -> Result<(Module<Nn>, Vec<Replacement>), PassError> {
        self.replaced(module).map(|r| (r.module, r.report))
    }

    fn replaced(&self, module: &Module<Nn>) -> Result<Replaced, PassError> {
        let asked = |value| match self.options.composite.filter(|_| !self.choices.contains_key(&value)) {
            Some(sign) => Asked { choices: Vec::new(), composite: Some(sign) },
            None => Asked { choices: vec![self.options.choice(&self.choices, value)], composite: None },
        };
        let alternatives = Alternatives::new(module, &self.calibration, &self.options, asked)?;
        let Extracted { module: out, polynomials } = alternatives.extract(|_| 0)?;
        let name = |value| module.func.node(value).loc.name().to_string();
        let forms = alternatives.forms().iter().flat_map(|(&value, forms)| forms.first().map(|a| (value, a)));
        let report = forms.map(|(value, a)| Replacement { node: name(value), ..a.form.replacement.clone() });
        Ok(Replaced { module: out, report: report.collect(), polynomials })
    }
}

/// The outcome of the pass.
struct Replaced {
    module: Module<Nn>,
    report: Vec<Replacement>,
    /// The polynomial that takes the operand, by the activation it replaces.
    polynomials: BTreeMap<Value, Value>,
}

/// Why the activation at `loc` has no polynomial.
pub(crate) fn unfit(loc: &Loc, target: Target, error: &ApproxError) -> Issue {
    let repair = match error {
        ApproxError::NoSign { .. } => "leave the composite out: polynomials approximate every activation",
        _ => "calibrate with data that reaches this node and keeps its input where the function is smooth",
    };
    Issue::new(loc, target.activation.name(), error.to_string(), repair)
}

/// A defect: a pass made a node that does not fit.
pub(crate) fn ill_typed(loc: &Loc, reason: &str) -> PassError {
    let issue = Issue::new(loc, "polynomial", reason.to_string(), "report this: the pass made an ill-typed node");
    PassError { pass: NAME, issues: vec![issue] }
}

impl Pass<Nn> for ApproximateActivations {
    fn name(&self) -> &'static str {
        NAME
    }
    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        self.replace(module).map(|(module, _)| module)
    }
}

impl Calibration {
    /// The measurements of some polynomials, keyed by the activations they replace.
    fn in_terms_of(&self, polynomials: &BTreeMap<Value, Value>) -> Self {
        let mut out = Self::default();
        for (&old, &new) in polynomials {
            if let Some(h) = self.channels_of(new) {
                out.set(old, h.to_vec());
            }
        }
        out
    }
}

/// The function an activation computes; absent parameters take their ONNX defaults.
pub fn function_of(activation: Activation, alpha: Option<f64>, beta: Option<f64>) -> Function {
    let alpha = alpha.unwrap_or_else(|| activation.default_alpha());
    let beta = beta.unwrap_or_else(|| activation.default_beta());
    match activation {
        Activation::Relu => Function::Relu,
        Activation::LeakyRelu => Function::LeakyRelu { slope: alpha },
        Activation::Clip => Function::Clip { lo: alpha, hi: beta },
        Activation::Sigmoid => Function::Sigmoid,
        Activation::Tanh => Function::Tanh,
        Activation::Softplus => Function::Softplus,
        Activation::Erf => Function::Erf,
        Activation::Gelu => Function::Gelu,
        Activation::GeluTanh => Function::GeluTanh,
        Activation::Silu => Function::Silu,
        Activation::HardSwish => Function::HardSwish,
        Activation::HardSigmoid => Function::HardSigmoid { slope: alpha, shift: beta },
        Activation::Elu => Function::Elu { alpha },
        Activation::Selu => Function::Selu { alpha, gamma: beta },
        Activation::Mish => Function::Mish,
        Activation::Exp => Function::Exp,
        Activation::Log => Function::Log,
        Activation::Sqrt => Function::Sqrt,
        Activation::Reciprocal => Function::Reciprocal,
        Activation::Abs => Function::Abs,
        Activation::Pow => Function::Pow { exponent: alpha },
        Activation::Softsign => Function::Softsign,
        Activation::ThresholdedRelu => Function::ThresholdedRelu { threshold: alpha },
        Activation::Step => Function::Step,
        Activation::Sin => Function::Sin,
        Activation::Cos => Function::Cos,
    }
}

#[cfg(test)]
mod tests;
