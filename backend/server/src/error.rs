//! Why a service does not start.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

/// Why a service does not start.
#[derive(Debug, Error, Diagnostic)]
pub enum ServeError {
    /// A file or a folder that cannot be used.
    #[error("{} cannot be used", path.display())]
    #[diagnostic(help("check the path, the permission and the free space"))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A state file that does not say what it should.
    #[error("{}: {reason}", path.display())]
    #[diagnostic(help("the service writes this file itself; if a disk failed, remove the folder that it lies in"))]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder that another service uses.
    #[error("{}: another service uses this folder", path.display())]
    #[diagnostic(help("stop that service first, or give another folder with --keys-dir"))]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that holds something else.
    #[error("{}: the folder is not empty and was not made by `fhec serve`", path.display())]
    #[diagnostic(help("give a folder that is empty or not there with --keys-dir"))]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of another plan.
    #[error("{}: keys and jobs in it are for plan {found}, this is plan {expected}", path.display())]
    #[diagnostic(help("each plan needs a folder of its own: give another one with --keys-dir"))]
    OtherPlan {
        /// The folder.
        path: PathBuf,
        /// Beginning of the digest of the plan that it is for.
        found: String,
        /// Beginning of this plan's digest.
        expected: String,
    },
    /// An address that cannot be listened on.
    #[error("nothing can listen on {address}")]
    #[diagnostic(help("give another address or port with --listen"))]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An address that others reach, without tokens.
    #[error("{address} can be reached by other machines, and there are no tokens that say who may do what")]
    #[diagnostic(help(
        "make tokens with `fhec token` and give their file with --tokens; or listen on 127.0.0.1 alone; --insecure-no-auth lets \
         everybody in who reaches the address"
    ))]
    Open {
        /// The address.
        address: std::net::SocketAddr,
    },
    /// A file of tokens that cannot be read.
    #[error("{}:{line}: {reason}", path.display())]
    #[diagnostic(help("a line is a tenant's name, a colon, and 64 hexadecimal digits, as `fhec token` writes it"))]
    Tokens {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that no tenant can have.
    #[error("`{name}` is no name of a tenant")]
    #[diagnostic(help("a name has 1 to 64 small letters, digits, `-` and `_`, and begins with a letter or a digit"))]
    Name {
        /// The name.
        name: String,
    },
    /// A limit under which nothing can be served.
    #[error("{reason}")]
    Limit {
        /// What does not fit.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// The plan.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] fhec::Error),
    /// A file that cannot be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Output(#[from] fhec_files::OutputError),
    /// No randomness for a token.
    #[error("the system gives no randomness: {0}")]
    #[diagnostic(help("a token can only be made where the system has a random number generator"))]
    Randomness(String),
}

impl ServeError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
