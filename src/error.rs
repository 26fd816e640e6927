//! One error type for users of the library: every message says what is wrong with which file or node, and the repair.

use miette::Diagnostic;
use thiserror::Error;

use crate::data::DataError;

/// Why something cannot be compiled, encrypted, evaluated or decrypted.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A NumPy file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// A plan, or its execution.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] fhec_runtime::RuntimeError),
    /// The engine: parameters, keys, ciphertexts.
    #[error(transparent)]
    Engine(#[from] fhec_ckks::CkksError),
    /// A model that cannot be read.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Import(#[from] fhec_frontend::ImportError),
    /// A model that cannot be compiled.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] fhec_passes::PassError),
    /// Activations that cannot be approximated.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Approximate(#[from] fhec_passes::approximate::ApproximateError),
    /// An option of the compiler that cannot be obeyed.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Refused(#[from] crate::compile::Refused),
    /// A program in text form.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] fhec_ir::text::ParseError),
    /// A ciphertext file that does not go with the plan.
    #[error("{file}: {reason}")]
    Ciphertexts {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A file that cannot be read or written.
    #[error("{file} cannot be read or written")]
    #[diagnostic(help("check the path, the permission and the free space"))]
    File {
        /// The file.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An output that cannot be written, or must not be.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Output(#[from] fhec_files::Error),
    /// Inputs so unlike the calibration data that their results would be wrong.
    #[error("{file}: {reason}")]
    Inputs {
        /// The file.
        file: String,
        /// What is wrong with them.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// Results that must not be trusted: not finite, or far from anything that calibration data gave.
    #[error("{reason}")]
    Results {
        /// What is wrong with them.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A request that makes no sense.
    #[error("{reason}")]
    Usage {
        /// What is wrong.
        reason: String,
        /// What to do instead.
        #[help]
        repair: String,
    },
}

impl Error {
    /// The exit code of a command that ends in this error: 3 for inputs and results that must not be trusted, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Inputs { .. } | Self::Results { .. } => 3,
            _ => 1,
        }
    }
}
