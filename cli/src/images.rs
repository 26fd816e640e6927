//! The images that a command reads.

#[cfg(feature = "client")]
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use fhec::ir::Port;
use fhec::{Error, Tensor, data};

use super::files::{self, Files};

/// Asks for images.
#[derive(Args)]
pub struct Images {
    /// Inputs, .npy or .npz, one image or many in the leading dimension
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    input: PathBuf,
    /// Take only the first N images
    #[arg(long, value_name = "N", value_parser = super::values::count)]
    limit: Option<usize>,
}

impl Images {
    /// The file.
    #[cfg(feature = "client")]
    pub fn path(&self) -> &Path {
        &self.input
    }

    /// Adds the file to those that a command reads.
    ///
    /// # Errors
    /// As [`Files::reads`].
    pub fn among(&self, files: Files) -> Result<Files, Error> {
        files.reads("the input", [&self.input])
    }

    /// The images that are asked for, and how many there are in the file.
    ///
    /// # Errors
    /// A file that cannot be read, or arrays that do not fit the inputs.
    pub fn read(&self, inputs: &[Port]) -> Result<(Vec<Vec<Tensor>>, usize), Error> {
        let mut images = data::read_samples(&self.input, inputs)?;
        let count = images.len();
        images.truncate(self.limit.unwrap_or(usize::MAX));
        Ok((images, count))
    }
}
