//! Why nothing can be written somewhere.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

/// A destination that cannot be written, or must not be.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct OutputError {
    /// The destination as the user named it.
    pub file: String,
    /// What is wrong; part of the message.
    pub problem: OutputProblem,
}

/// What is wrong with a destination.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputProblem {
    /// A file is there, and the destination keeps what is there.
    #[error("the file exists")]
    Exists,
    /// A file is there where a secret key should go.
    #[error("the file exists, and a secret key replaces nothing: what was encrypted under a lost key is lost")]
    ExistsWhereSecretGoes,
    /// The name is that of a folder.
    #[error("this is a folder")]
    Folder,
    /// The name is that of a disk.
    #[error("this is a disk, whose content would be destroyed")]
    Disk,
    /// There is no such folder.
    #[error("there is no folder `{}`", .0.display())]
    NoFolder(PathBuf),
    /// Links that point to one another.
    #[error("the link leads nowhere: links point to each other")]
    Links,
    /// The system refused.
    #[error(transparent)]
    System(SystemError),
}

/// What the system refused, here and wherever files are read.
#[derive(Debug, Error)]
#[error("{action} failed: {source}")]
pub struct SystemError {
    /// What was attempted.
    pub action: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

impl SystemError {
    /// What the user can do about it.
    pub fn repair(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => "check that the path exists",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, or write elsewhere",
            io::ErrorKind::PermissionDenied => "use files that you may read or write, or ask for the permission",
            _ => "check the path, the permission and the free space",
        }
    }
}

impl OutputProblem {
    /// What the user can do about it.
    pub fn repair(&self) -> &'static str {
        match self {
            Self::Exists => "give another name, or replace the file with `--force`",
            Self::ExistsWhereSecretGoes => {
                "give another name; `fhec keygen` with `--existing` makes evaluation keys for the key that is there"
            }
            Self::Folder => "give the name of a file in it",
            Self::Disk => "give the name of a file",
            Self::NoFolder(_) => "make the folder, or correct the path",
            Self::Links => "correct the links",
            Self::System(error) => error.repair(),
        }
    }
}

impl OutputError {
    pub(crate) fn new(path: &Path, problem: OutputProblem) -> Self {
        Self { file: path.display().to_string(), problem }
    }
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(path, OutputProblem::System(SystemError { action, source }))
    }
}

impl Diagnostic for OutputError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.problem.repair()))
    }
}
