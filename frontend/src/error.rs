//! Why a model cannot be imported.

use std::path::PathBuf;

use fhec_ir::Issue;
use miette::Diagnostic;
use thiserror::Error;

use crate::{MAX_OPSET, MIN_OPSET};

/// Why a model cannot be imported.
#[derive(Debug, Error, Diagnostic)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    #[diagnostic(help("check that the file exists and may be read"))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("`{model}` is not an ONNX model: {reason}")]
    #[diagnostic(help("the file may be damaged or of another format; `onnx.checker.check_model` says more"))]
    NotOnnx {
        /// Name of the model.
        model: String,
        /// What is wrong.
        reason: String,
    },
    /// The operator set is too old or too new.
    #[error("`{model}` uses opset {found}; {MIN_OPSET} to {MAX_OPSET} are supported")]
    #[diagnostic(help(
        "convert the model with `onnx.version_converter.convert_version(model, 17)`, or export it again"
    ))]
    Opset {
        /// Name of the model.
        model: String,
        /// Its version of the standard operator set.
        found: i64,
    },
    /// Nodes, inputs or constants cannot be imported.
    #[error("`{model}` cannot be imported: {} {}", issues.len(), if issues.len() == 1 { "problem" } else { "problems" })]
    Nodes {
        /// Name of the model.
        model: String,
        /// All of them.
        #[related]
        issues: Vec<Issue>,
    },
}

impl ImportError {
    /// The nodes, inputs and constants that cannot be imported; empty for errors of the file as a whole.
    pub fn issues(&self) -> &[Issue] {
        match self {
            Self::Nodes { issues, .. } => issues,
            _ => &[],
        }
    }
}

/// Why one node cannot be imported, and what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) repair: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>, repair: impl Into<String>) -> Self {
        Self { reason: reason.into(), repair: repair.into() }
    }
    /// The node breaks the ONNX specification.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(reason, "the model is not valid ONNX; `onnx.checker.check_model(model, full_check=True)` says more")
    }
    /// An operand must be known at compile time.
    pub(crate) fn not_constant(what: &str) -> Self {
        Self::new(
            format!("{what} is computed from the input"),
            "make it a constant: export with fixed shapes and constant folding, or run onnx-simplifier on the model",
        )
    }
}

/// The result of importing something.
pub(crate) type Result<T> = std::result::Result<T, Refusal>;
