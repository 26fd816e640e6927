//! The files of a command are what it reads, and where it may write.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use fhec::ir::Port;
use fhec::{Destination, Error, data};

use super::output;

/// The name under which standard input is read.
const STANDARD_INPUT: &str = "/dev/stdin";

/// What becomes of files that are there, and of inputs and results that are not to be trusted.
#[derive(Args, Clone, Copy)]
pub struct Overwrite {
    /// Replace outputs that exist, never a secret key and never what the command reads; go on, with a warning, where inputs
    /// or results are not to be trusted
    #[arg(long)]
    pub force: bool,
}

/// The files that a command was given. No output of it is one of its inputs, no two outputs are one file, and what exists is
/// replaced only on demand.
pub struct Files {
    force: bool,
    json: bool,
    inputs: Vec<(&'static str, PathBuf)>,
    outputs: Vec<(&'static str, PathBuf)>,
}

impl Files {
    /// No files yet; `json` says whether the command's report is for a program.
    pub fn new(overwrite: Overwrite, json: bool) -> Self {
        Self { force: overwrite.force, json, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Adds files that the command reads; `what` they are, as "the secret key".
    ///
    /// # Errors
    /// Standard input that is to be read twice.
    pub fn reads<'a>(
        mut self,
        what: &'static str,
        paths: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<Self, Error> {
        for path in paths {
            let twice = self.inputs.iter().find(|(_, p)| path == Path::new(STANDARD_INPUT) && p == path);
            if let Some((other, _)) = twice {
                return Err(Error::Usage {
                    reason: format!("{other} and {what} are both to come from standard input"),
                    repair: "give a file for one of them".into(),
                });
            }
            self.inputs.push((what, path.clone()));
        }
        Ok(self)
    }

    /// Where the output that `option` names goes. What would be refused in the end is refused now.
    ///
    /// # Errors
    /// A file that the command reads or writes already, one that exists, or one that cannot be written.
    pub fn writes(&mut self, option: &'static str, path: &Path) -> Result<Destination, Error> {
        let to = self.allowed(option, path)?;
        to.check()?;
        Ok(to)
    }

    /// As [`Files::writes`], for a secret key.
    #[cfg(feature = "client")]
    pub fn writes_secret(&mut self, option: &'static str, path: &Path) -> Result<Destination, Error> {
        let to = self.allowed(option, path)?.secret();
        to.check()?;
        Ok(to)
    }

    /// As [`Files::writes`], for the values of `ports`, which only the owner may read.
    pub fn writes_results(&mut self, option: &'static str, path: &Path, ports: &[Port]) -> Result<Destination, Error> {
        let to = self.allowed(option, path)?.private();
        data::check_samples(&to, ports)?;
        Ok(to)
    }

    /// Where one of many files in a folder goes, which nothing else is told of.
    pub fn writes_within(&self, option: &'static str, path: &Path) -> Result<Destination, Error> {
        self.separate(option, path)?;
        Ok(self.destination(path))
    }

    fn allowed(&mut self, option: &'static str, path: &Path) -> Result<Destination, Error> {
        self.separate(option, path)?;
        let to = self.destination(path);
        if to.is_standard_output() {
            if self.json {
                return Err(Error::Usage {
                    reason: format!("{option} and the report of --json both go to standard output"),
                    repair: format!("give a file for {option}, or leave --json out"),
                });
            }
            output::report_on_standard_error();
        }
        self.outputs.push((option, path.to_path_buf()));
        Ok(to)
    }

    fn destination(&self, path: &Path) -> Destination {
        if self.force { Destination::new(path) } else { Destination::new(path).keeping() }
    }

    fn separate(&self, option: &'static str, path: &Path) -> Result<(), Error> {
        let clash = |(_, other): &&(&'static str, PathBuf)| fhec::is_same_file(path, other);
        let refused = |reason: String| Error::Usage {
            reason: format!("{}: {reason}", path.display()),
            repair: format!("give another name after {option}"),
        };
        if let Some((what, _)) = self.inputs.iter().find(clash) {
            return Err(refused(format!("{option} names {what} that this command reads")));
        }
        if let Some((other, _)) = self.outputs.iter().find(clash) {
            return Err(refused(format!("{other} and {option} name one file")));
        }
        Ok(())
    }
}

/// A file to read, or `-` for standard input.
pub fn input() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| if path == Path::new("-") { STANDARD_INPUT.into() } else { path })
}

/// A file to write, or `-` for standard output.
pub fn destination() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| if path == Path::new("-") { fhec::STANDARD_OUTPUT.into() } else { path })
}
