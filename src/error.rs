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
    /// A plan that asks for more evaluation keys than its client admits.
    #[error(
        "the evaluation keys of this plan take {} in a file, the bound is {}",
        crate::report::units::bytes(*bytes), crate::report::units::bytes(*limit)
    )]
    #[diagnostic(help("if the plan comes from a source you trust, raise the bound: `--max-size {bytes}`"))]
    KeysTooLarge {
        /// Bytes of the keys in a file.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// A secret key that was made for another plan.
    #[error("{file}: the secret key was made for plan {found}, this is plan {expected}")]
    #[diagnostic(help(
        "give the plan, or the client plan, that `fhec keygen` made the key for; or make keys for this one"
    ))]
    OtherPlan {
        /// The file of the key.
        file: String,
        /// Beginning of the digest of the plan that the key was made for.
        found: String,
        /// Beginning of this plan's digest.
        expected: String,
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
