//! A destination is the name of an output together with what may become of a file that has it.

use std::path::{Path, PathBuf};

use crate::error::{OutputError, OutputProblem};
use crate::output::Output;
use crate::target::{self, Endpoint};

/// The name that stands for standard output.
pub const STANDARD_OUTPUT: &str = "/dev/stdout";

/// Where an output goes.
///
/// A path makes one that replaces what is there: `Destination::from("plan.fhe")`.
#[derive(Clone, Debug)]
pub struct Destination {
    path: PathBuf,
    rule: Overwriting,
    private: bool,
}

/// What becomes of a file that is there. An empty one is filled by any rule, for nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overwriting {
    Replace,
    Keep,
    Secret,
}

impl<P: AsRef<Path>> From<P> for Destination {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

impl From<&Destination> for Destination {
    fn from(destination: &Destination) -> Self {
        destination.clone()
    }
}

impl Destination {
    /// A destination that replaces a file that is there.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_path_buf(), rule: Overwriting::Replace, private: false }
    }

    /// The same, but a file that is there is kept and nothing is written.
    pub fn keeping(self) -> Self {
        Self { rule: if self.rule == Overwriting::Secret { Overwriting::Secret } else { Overwriting::Keep }, ..self }
    }

    /// The same, readable by its owner only.
    pub fn private(self) -> Self {
        Self { private: true, ..self }
    }

    /// The same for a secret key: private, and never in place of another file, whatever was said before.
    pub fn secret(self) -> Self {
        Self { rule: Overwriting::Secret, private: true, ..self }
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is standard output.
    pub fn is_standard_output(&self) -> bool {
        target::is_standard_output(&self.path)
    }

    /// Refuses now what [`create`](Self::create) or the completion of the output would refuse: for commands that work long
    /// before they write. Leaves no trace.
    ///
    /// # Errors
    /// A folder that is not there or must not be written, and a file that must be kept.
    pub fn check(&self) -> Result<(), OutputError> {
        self.create().map(drop)
    }

    /// Starts an output. The file appears when it is completed by [`Output::commit`].
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn create(&self) -> Result<Output, OutputError> {
        let target = Endpoint::of(&self.path)?;
        if let Endpoint::File { existing: Some(meta), .. } = &target {
            self.admit(meta.len())?;
        }
        Output::create(self.clone(), target)
    }

    /// Writes all of an output.
    ///
    /// # Errors
    /// As [`create`](Self::create), or when writing fails.
    pub fn write(&self, bytes: &[u8]) -> Result<(), OutputError> {
        use std::io::Write;
        let mut output = self.create()?;
        output.write_all(bytes).map_err(OutputError::io(&self.path, "writing"))?;
        output.commit()
    }

    /// Refuses to replace a file of so many bytes where that is not allowed.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), OutputError> {
        match self.rule {
            Overwriting::Keep if bytes > 0 => Err(OutputError::new(&self.path, OutputProblem::Exists)),
            Overwriting::Secret if bytes > 0 => Err(OutputError::new(&self.path, OutputProblem::ExistsWhereSecretGoes)),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_private(&self) -> bool {
        self.private
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.rule == Overwriting::Secret
    }
}
