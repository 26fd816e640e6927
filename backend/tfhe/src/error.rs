//! Why a program does not run under TFHE.

use fhec_container::ContainerError;
use fhec_integer::ProgramError;
use miette::Diagnostic;
use thiserror::Error;

/// What went wrong, with which layer or file.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum TfheError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Container(#[from] ContainerError),
    /// A program with a defect, or inputs that do not go with it.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Program(#[from] ProgramError),
    /// A layer that the parameter set cannot hold.
    #[error("layer `{layer}`: {reason}")]
    DoesNotFit {
        /// The node of the model.
        layer: String,
        /// What is too large.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A message space without a parameter set.
    #[error("there is no parameter set for a message space of {0} bits")]
    #[diagnostic(help("message spaces have 2, 4, 6 or 8 bits"))]
    NoParameters(u32),
    /// Two things that were not made for each other.
    #[error("{what}: {reason}")]
    Mismatch {
        /// The file, or what it holds.
        what: String,
        /// What does not fit.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// Results that no evaluation under this key gives.
    #[error("output `{output}` of image {image} decrypts to a number that its sums cannot have")]
    #[diagnostic(help(
        "the ciphertexts are damaged, or were made under another key or by another program: ask the server for the result again"
    ))]
    Noise {
        /// The output.
        output: String,
        /// The image.
        image: usize,
    },
}
