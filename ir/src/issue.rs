//! An issue is what importers and passes report about a node that cannot be compiled.

use miette::Diagnostic;
use thiserror::Error;

use crate::loc::Loc;

/// One node that cannot be compiled, the reason, and what the user can do about it.
#[derive(Debug, Clone, Error, Diagnostic, PartialEq, Eq)]
#[error("node `{node}` ({op}): {reason}")]
pub struct Issue {
    /// Name of the ONNX node.
    pub node: String,
    /// Its op.
    pub op: String,
    /// What is wrong.
    pub reason: String,
    /// What the user can do about it.
    #[help]
    pub repair: String,
}

impl Issue {
    /// An issue at a node.
    pub fn new(loc: &Loc, op: &str, reason: impl Into<String>, repair: impl Into<String>) -> Self {
        Self { node: loc.name().to_string(), op: op.to_string(), reason: reason.into(), repair: repair.into() }
    }
}
