//! Why a container cannot be read or written.

use std::fmt;
use std::io;

use miette::Diagnostic;
use thiserror::Error;

/// A problem with one file: which file, what is wrong, and what helps as the diagnostic's help.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct ContainerError {
    /// Path of the file, or what the caller calls the bytes.
    pub file: String,
    /// What is wrong; part of the message.
    pub problem: Problem,
}

/// What is wrong with a container.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The system refused to read or write.
    #[error(transparent)]
    System(fhec_files::SystemError),
    /// The destination cannot be written, or must not be.
    #[error(transparent)]
    Output(fhec_files::OutputProblem),
    /// The first bytes are not those of a container.
    #[error("not a file of fhec (its first bytes are not the mark of one)")]
    NotAContainer,
    /// There are fewer bytes than the file says it has.
    #[error("the file is truncated: {have} bytes are there, {need} are needed")]
    Truncated {
        /// Bytes there.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// There are more bytes than the file says it has.
    #[error("{0} bytes follow the end of the container")]
    TrailingBytes(u64),
    /// Written in a container format of another version.
    #[error("the container format is version {found}, this program reads version {supported}")]
    ContainerVersion {
        /// Version in the file.
        found: u32,
        /// Version this program reads.
        supported: u32,
    },
    /// The file holds something else.
    #[error("the file holds a {found}, expected a {expected}")]
    WrongKind {
        /// Kind in the file.
        found: String,
        /// Kind asked for.
        expected: String,
    },
    /// The content is of another version of its kind.
    #[error("the {kind} is of format version {found}, this program reads version {supported}")]
    Version {
        /// What the file holds.
        kind: String,
        /// Version in the file.
        found: u32,
        /// Version this program reads.
        supported: u32,
    },
    /// Header, manifest or index differ from what was written.
    #[error("header or index is damaged: the hash does not match")]
    IndexHash,
    /// A section differs from what was written.
    #[error("section `{0}` is damaged: the hash does not match")]
    SectionHash(String),
    /// A section is not there.
    #[error("section `{0}` is missing")]
    MissingSection(String),
    /// Two sections of one name.
    #[error("section `{0}` occurs twice")]
    DuplicateSection(String),
    /// The content takes more memory than the reader's limit.
    #[error("{what} brings the memory that the file takes to {need} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What goes beyond the limit.
        what: String,
        /// Bytes needed with it.
        need: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is well formed but its content makes no sense.
    #[error("{0}")]
    Malformed(String),
}

impl ContainerError {
    pub(crate) fn new(file: impl fmt::Display, problem: Problem) -> Self {
        Self { file: file.to_string(), problem }
    }
    pub(crate) fn io(file: impl fmt::Display, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(file, Problem::System(fhec_files::SystemError { action, source }))
    }
    /// An error about the content of `file` that this crate cannot see: for the readers of plans, keys and ciphertexts.
    pub fn malformed(file: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::new(file, Problem::Malformed(reason.into()))
    }
    /// What the user can do about it.
    pub fn repair(&self) -> String {
        match &self.problem {
            Problem::System(error) => error.repair().into(),
            Problem::Output(problem) => problem.repair().into(),
            Problem::NotAContainer => "give a file written by fhec (a plan, a key or a ciphertext)".into(),
            Problem::Truncated { .. }
            | Problem::TrailingBytes(_)
            | Problem::IndexHash
            | Problem::SectionHash(_)
            | Problem::MissingSection(_)
            | Problem::DuplicateSection(_)
            | Problem::Malformed(_) => "copy the file again from where it was written, or write it anew".into(),
            Problem::ContainerVersion { found, supported } | Problem::Version { found, supported, .. } => {
                if found > supported {
                    "update fhec to a version that reads this file".into()
                } else {
                    "write the file anew with this version of fhec".into()
                }
            }
            Problem::WrongKind { found, expected } if is_tfhe(found) != is_tfhe(expected) => format!(
                "give the file that holds the {expected}; a plan of `--scheme tfhe` needs a fhec built with `--features tfhe` and \
                 a command that docs/tfhe.md names, and its files do not mix with those of CKKS"
            ),
            Problem::WrongKind { expected, .. } => format!("give the file that holds the {expected}"),
            Problem::TooLarge { need, .. } => {
                format!(
                    "if the file comes from a source you trust, raise the limit: `--max-size`, here to {need} or more"
                )
            }
        }
    }
}

/// Whether files of this kind are of the scheme TFHE, which not every build reads.
fn is_tfhe(kind: &str) -> bool {
    kind.starts_with("tfhe-")
}

impl From<fhec_files::OutputError> for ContainerError {
    fn from(e: fhec_files::OutputError) -> Self {
        Self { file: e.file, problem: Problem::Output(e.problem) }
    }
}

impl Diagnostic for ContainerError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.repair()))
    }
}
