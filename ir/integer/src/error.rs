//! Why an integer program cannot be.

use miette::Diagnostic;
use thiserror::Error;

/// A defect of a program, or inputs that do not go with it.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("{place}: {reason}")]
#[diagnostic(help("a program from `fhec compile` has no such defect: compile the model again, or ask its sender"))]
pub struct ProgramError {
    /// Which input, layer or output.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ProgramError {
    /// A defect of `place`.
    pub fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}
