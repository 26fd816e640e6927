//! `approximate-activations`: every activation becomes a polynomial on the range its inputs have on calibration data.

mod calibrate;
mod forms;
pub mod given;
mod polynomial;
pub mod rebuild;
pub mod result_kind;
pub mod sensitivity;

use std::collections::BTreeMap;
use std::sync::Arc;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Entity, Loc, Module, Nn, Node, OpInfo, Tensor, Value};
use miette::Diagnostic;
use serde::Serialize;
use thiserror::Error;

pub use calibrate::Calibration;
pub(crate) use calibrate::{channels, gather};
pub use forms::{Extracted, Form, FormGraph};

use crate::approx::families::Composite;
use crate::approx::{ApproxError, Approximation, Choice, CompositeSign, Families, FitOptions, Margin};
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
#[derive(Clone, Debug)]
pub struct ApproximateOptions {
    /// What every activation without a choice of its own becomes.
    pub default: Choice,
    /// How far intervals go beyond the values seen on calibration data.
    pub margin: Margin,
    /// Weighting of the fit.
    pub fit: FitOptions,
    /// Where approximations are taken from.
    pub families: Families,
    /// Whether a planner may choose degrees beyond the usual ones too ([`Family::offers_beyond`](crate::approx::Family::offers_beyond)).
    pub beyond: bool,
}

impl Default for ApproximateOptions {
    /// Degree 15, four levels: the lowest at which untrained networks keep their accuracy (the MNIST CNN of `models/` has
    /// 98.25 % at degree 7 and 99.20 % at 15, of 99.22 %).
    fn default() -> Self {
        let (default, families) = (Choice::least_squares(15), Families::standard());
        Self { default, margin: Margin::Expected, fit: FitOptions::default(), families, beyond: false }
    }
}

/// The polynomials of every activation, that of its operand first, by the activation they replace.
pub type Polynomials = BTreeMap<Value, Vec<Value>>;

/// How many activations, given polynomials among them, stand on the longest way from an input to a result through each value.
pub(crate) fn in_sequence(module: &Module<Nn>) -> Vec<usize> {
    let func = &module.func;
    let live = func.live();
    let bends = |node: &Node<Nn>| usize::from(node.op.is_function() || matches!(node.op, NnOp::Polynomial { .. }));
    let (mut before, mut behind) = (vec![0; func.len()], vec![0; func.len()]);
    for (value, node) in func.iter() {
        let operands = node.operands.iter().map(|operand| before[operand.index()]);
        before[value.index()] = operands.max().unwrap_or(0) + bends(node);
    }
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]).collect::<Vec<_>>().into_iter().rev() {
        let through = behind[value.index()] + bends(node);
        for operand in &node.operands {
            behind[operand.index()] = behind[operand.index()].max(through);
        }
    }
    before.into_iter().zip(behind).map(|(before, behind)| before + behind).collect()
}

/// The choices that differ from the options' default, by the activation's value.
pub type Choices = BTreeMap<Value, Choice>;

impl ApproximateOptions {
    /// The choice for `value`.
    pub(crate) fn choice<'a>(&'a self, choices: &'a Choices, value: Value) -> &'a Choice {
        choices.get(&value).unwrap_or(&self.default)
    }

    /// With a composite sign for every activation that has no choice of its own.
    #[must_use]
    pub fn with_composite(self, sign: CompositeSign) -> Self {
        let composite = Composite::new(sign);
        let default = Choice { family: Composite::NAME.into(), degree: composite.degree() };
        Self { default, families: self.families.with(Arc::new(composite)), ..self }
    }

    /// Whether the default is so precise that there is nothing to make up for by rebuilding weights.
    pub fn is_precise(&self) -> bool {
        self.families.get(&self.default.family).is_ok_and(crate::approx::Family::is_precise)
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
    /// Largest magnitude 1.1 and 1.25 half widths from the centre of the interval, over that of the function on the interval
    /// and there: what a value outside becomes.
    pub growth: f64,
}

impl Replacement {
    /// The activation at `node`, replaced by `approximation` of one of the families.
    pub(crate) fn new(node: &Node<Nn>, approximation: &Approximation, families: &Families) -> Self {
        let Approximation { degree, interval, seen, rms_error, max_error, growth, .. } = *approximation;
        let stages = families.get(&approximation.family).map(|family| family.stages(degree)).unwrap_or_default();
        Self {
            node: node.loc.name().to_string(),
            function: function_name(&node.op),
            degree,
            stages: if stages.len() > 1 { stages } else { Vec::new() },
            channels: approximation.channels(),
            interval: (interval.lo(), interval.hi()),
            seen,
            rms_error,
            max_error,
            growth,
        }
    }
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
    ) -> Result<Approximated, ApproximateError> {
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
    ) -> Result<Approximated, ApproximateError> {
        let _span = tracing::debug_span!("approximate-activations").entered();
        if samples.is_empty() {
            return Err(ApproximateError::NoSamples);
        }
        let teacher = Calibration::measure(module, samples)?;
        let first = Self::new(teacher.clone(), options.clone()).with_choices(choices.clone()).replace(module)?;
        let student = Calibration::measure(&first.module, samples)?;
        let mut both = teacher;
        both.merge(student.in_terms_of(&first.polynomials));
        Ok(Self::new(both, options).with_choices(choices.clone()).replace(module)?)
    }

    /// The module with polynomials in place of activations.
    ///
    /// # Errors
    /// Every activation that has no calibration, whose function has a pole inside its interval, or that has no form of the
    /// kind asked for.
    pub fn replace(&self, module: &Module<Nn>) -> Result<Approximated, PassError> {
        let graph = FormGraph::new(module, &self.calibration, &self.options, |value, _| {
            vec![self.options.choice(&self.choices, value).clone()]
        })?;
        let Extracted { module: out, polynomials } = graph.extract(|_| 0)?;
        let first = graph.forms().iter().flat_map(|(&value, forms)| forms.first().map(|form| (value, form)));
        let activations = first
            .map(|(v, form)| Replacement::new(module.func.node(v), &form.approximation, &self.options.families))
            .collect();
        Ok(Approximated { module: out, activations, polynomials })
    }
}

/// A network with polynomials in place of activations.
#[derive(Clone, Debug)]
pub struct Approximated {
    /// The network.
    pub module: Module<Nn>,
    /// What became of each activation, in order.
    pub activations: Vec<Replacement>,
    /// The polynomials of every activation, that of its operand first, by the activation they replace.
    pub polynomials: Polynomials,
}

/// The name of an activation's function.
fn function_name(op: &NnOp) -> String {
    match op {
        NnOp::Activation { function, .. } => function.name().to_string(),
        NnOp::Composed { function } => function.to_string(),
        other => other.mnemonic().to_string(),
    }
}

/// Why the activation `node` has no polynomial.
pub(crate) fn unfit(node: &Node<Nn>, error: &ApproxError) -> Issue {
    let repair = match error {
        ApproxError::NoSign { .. } => "leave the composite out: polynomials approximate every activation",
        ApproxError::Family { .. } => "name one of the families that are known",
        _ => "calibrate with data that reaches this node and keeps its input where the function is smooth",
    };
    Issue::new(&node.loc, &function_name(&node.op), error.to_string(), repair)
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
        self.replace(module).map(|approximated| approximated.module)
    }
}

impl Calibration {
    /// The measurements of some polynomials, keyed by the activations they replace.
    fn in_terms_of(&self, polynomials: &Polynomials) -> Self {
        let mut out = Self::default();
        for (&old, stages) in polynomials {
            if let Some(seen) = stages.first().and_then(|&first| self.inputs_of(first)) {
                out.set(old, seen.clone());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
