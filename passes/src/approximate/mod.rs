//! `approximate-activations`: every activation becomes a polynomial on the range its inputs have on calibration data.

mod calibrate;

use std::collections::BTreeMap;

use fhec_ir::nn::{Activation, Basis, NnOp, eval};
use fhec_ir::{Entity, F64, Module, Nn, Tensor, Value};
use miette::Diagnostic;
use serde::Serialize;
use thiserror::Error;

pub use calibrate::Calibration;

use crate::approx::{ApproxError, Distribution, FitOptions, Function, Interval, Polynomial, least_squares};
use crate::{Issue, Pass, PassError};

const NAME: &str = "approximate-activations";

/// Why activations cannot be calibrated.
#[derive(Debug, Error, Diagnostic)]
pub enum ApproximateError {
    /// The model does not run on the calibration data.
    #[error("the model does not run on the calibration data: {0}")]
    #[help("calibration data must have the shape of the model's input, with any number of samples in front")]
    Eval(#[from] eval::EvalError),
    /// A value that is not a number, or infinite.
    #[error("the input of node `{node}` is not finite on the calibration data")]
    #[help("check the calibration data for NaN and the preprocessing for a wrong scale")]
    NotFinite {
        /// Name of the ONNX node.
        node: String,
    },
    /// No samples.
    #[error("there is no calibration sample")]
    #[help("give at least a few dozen training inputs")]
    NoSamples,
    /// The pass itself.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pass(#[from] PassError),
}

/// How activations are replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApproximateOptions {
    /// Degree of every polynomial.
    pub degree: usize,
    /// Length of the interval over the largest magnitude seen on calibration data.
    pub margin: f64,
    /// Weighting of the fit.
    pub fit: FitOptions,
}

impl Default for ApproximateOptions {
    /// Degree 15, four levels: the lowest at which untrained networks keep their accuracy (the MNIST CNN of `models/` has
    /// 98.25 % at degree 7 and 99.20 % at 15, of 99.22 %). Margin 1.3 holds what test images add to the calibrated range.
    fn default() -> Self {
        Self { degree: 15, margin: 1.3, fit: FitOptions::default() }
    }
}

/// What became of one activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replacement {
    /// Name of the ONNX node.
    pub node: String,
    /// The function.
    pub function: String,
    /// Degree of the polynomial.
    pub degree: usize,
    /// Where the polynomial holds.
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
    calibration: Calibration,
}

impl ApproximateActivations {
    /// A pass with a measured calibration of the module it will run on.
    pub fn new(calibration: Calibration, options: ApproximateOptions) -> Self {
        Self { options, calibration }
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
        if samples.is_empty() {
            return Err(ApproximateError::NoSamples);
        }
        let teacher = Calibration::measure(module, samples)?;
        let (first, _) = Self::new(teacher.clone(), options).replace(module)?;
        let student = Calibration::measure(&first, samples)?;
        let mut both = teacher;
        both.merge(student.in_terms_of(&first, module));
        Ok(Self::new(both, options).replace(module)?)
    }

    /// The module with polynomials, and what became of each activation.
    ///
    /// # Errors
    /// Every activation that has no calibration, or whose function has a pole inside its interval.
    pub fn replace(&self, module: &Module<Nn>) -> Result<(Module<Nn>, Vec<Replacement>), PassError> {
        let mut issues = Vec::new();
        let mut fits: BTreeMap<usize, Polynomial> = BTreeMap::new();
        let mut report = Vec::new();
        let live = module.func.live();
        for (value, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
            let NnOp::Activation { function, alpha, beta } = &node.op else { continue };
            match self.fit(value, *function, alpha.map(|a| a.0), beta.map(|b| b.0)) {
                Ok((polynomial, mut replacement)) => {
                    replacement.node = node.loc.name().to_string();
                    report.push(replacement);
                    fits.insert(value.index(), polynomial);
                }
                Err(e) => issues.push(Issue::new(
                    &node.loc,
                    function.name(),
                    e.to_string(),
                    "calibrate with data that reaches this node and keeps its input where the function is smooth",
                )),
            }
        }
        if !issues.is_empty() {
            return Err(PassError { pass: NAME, issues });
        }
        let module = module.rebuild(|out, value, node, operands| {
            let op = match fits.get(&value.index()) {
                Some(p) => NnOp::Polynomial {
                    basis: Basis::Chebyshev,
                    lo: F64(p.interval().lo()),
                    hi: F64(p.interval().hi()),
                    rows: 1,
                    coeffs: p.coefficients().iter().map(|&c| F64(c)).collect(),
                },
                None => node.op.clone(),
            };
            out.push(op, operands, node.loc.clone()).map_err(|e| PassError {
                pass: NAME,
                issues: vec![Issue::new(
                    &node.loc,
                    "polynomial",
                    e.to_string(),
                    "report this: the pass made an ill-typed node",
                )],
            })
        })?;
        Ok((module, report))
    }

    fn fit(
        &self,
        value: Value,
        activation: Activation,
        alpha: Option<f64>,
        beta: Option<f64>,
    ) -> Result<(Polynomial, Replacement), ApproxError> {
        let histogram =
            self.calibration.input_of(value).ok_or(ApproxError::NoData { lo: f64::NEG_INFINITY, hi: f64::INFINITY })?;
        let distribution = histogram.distribution()?;
        let function = function_of(activation, alpha, beta);
        let interval = self.interval(function, &distribution)?;
        let polynomial = least_squares(function, &distribution, interval, self.options.degree, self.options.fit)?;
        let error = |x: f64| (polynomial.eval(x) - function.eval(x)).abs();
        let nodes = distribution.nodes(interval, &function.breaks());
        let total: f64 = nodes.w.iter().sum();
        let square: f64 = nodes.x.iter().zip(&nodes.w).map(|(x, w)| w * error(*x).powi(2)).sum();
        const GRID: usize = 4096;
        let max_error =
            (0..=GRID).map(|i| error(interval.from_unit(2.0 * i as f64 / GRID as f64 - 1.0))).fold(0.0, f64::max);
        let replacement = Replacement {
            node: String::new(),
            function: activation.name().to_string(),
            degree: polynomial.degree(),
            interval: (interval.lo(), interval.hi()),
            seen: distribution.extremes(),
            rms_error: (square / total).sqrt(),
            max_error,
        };
        Ok((polynomial, replacement))
    }

    /// `[-b, b]` with the margin, or, where the function has a pole there, the hull stretched about its centre.
    fn interval(&self, function: Function, distribution: &Distribution) -> Result<Interval, ApproxError> {
        let symmetric = distribution.symmetric_interval(self.options.margin)?;
        if function.check(symmetric).is_ok() {
            return Ok(symmetric);
        }
        distribution.hull_interval(self.options.margin)
    }
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
    /// Measurements of `of`, keyed by the values of `original`, whose activations `of` has replaced one for one.
    fn in_terms_of(&self, of: &Module<Nn>, original: &Module<Nn>) -> Self {
        let nonlinear = |m: &Module<Nn>| -> Vec<Value> {
            let live = m.func.live();
            m.func
                .iter()
                .filter(|(v, n)| live[v.index()] && matches!(n.op, NnOp::Activation { .. } | NnOp::Polynomial { .. }))
                .map(|(v, _)| v)
                .collect()
        };
        let mut out = Self::default();
        for (new, old) in nonlinear(of).into_iter().zip(nonlinear(original)) {
            if let Some(h) = self.input_of(new) {
                out.set(old, h.clone());
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
    }
}

#[cfg(test)]
mod tests;
