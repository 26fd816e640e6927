//! Where decrypted results go, in which form, and what is said of them.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::ir::Port;
use fhec::{Destination, Error, Tensor, data};

use super::files::{self, Files};
use super::heads::{Heads, Left};
use super::top::{BestScore, Top};

/// Asks for results.
#[derive(Args)]
pub struct Results {
    /// Where the results go: .npy, or .npz for several outputs
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: PathBuf,
    #[command(flatten)]
    heads: Heads,
    #[command(flatten)]
    top: Top,
}

/// Where results will go.
pub struct Place {
    to: Destination,
    ports: Vec<Port>,
    /// The ports as they are written.
    written: Vec<Port>,
}

/// Results that are where they belong.
pub struct Written {
    pub images: usize,
    pub top: Vec<BestScore>,
    pub heads: Vec<Left>,
}

impl Results {
    /// The file they go to.
    pub fn path(&self) -> &Path {
        &self.output
    }

    /// Adds what is read for them to the files that a command reads.
    ///
    /// # Errors
    /// As [`Files::reads`].
    pub fn among(&self, files: Files) -> Result<Files, Error> {
        files.reads("the names", &self.top.names)
    }

    /// The place for results of `ports`. What would be refused in the end is refused now.
    ///
    /// # Errors
    /// As [`Files::writes_results`], and heads or scores that the ports do not have.
    pub fn place(&self, files: &mut Files, ports: Vec<Port>) -> Result<Place, Error> {
        let written = if self.top.is_asked() { self.heads.scores(&ports)? } else { self.heads.outputs(&ports)? };
        let to = files.writes_results("--output", &self.output, &written)?;
        Ok(Place { to, ports, written })
    }

    /// Writes results to their place.
    ///
    /// # Errors
    /// Names that are not those of the scores, or a file that cannot be written.
    pub fn write(&self, place: Place, results: Vec<Vec<Tensor>>) -> Result<Written, Error> {
        let Place { to, ports, written } = place;
        let results = self.heads.results(&ports, results)?;
        let top = self.top.of(&written, &results)?;
        data::write_samples(to, &written, &results)?;
        Ok(Written { images: results.len(), top, heads: self.heads.report(&ports) })
    }
}

impl Written {
    /// Says the best scores to people, where they were asked for.
    pub fn print_top(&self) {
        self.top.iter().for_each(|image| say!("{image}"));
    }

    /// Says to people what was left to the client.
    pub fn print_heads(&self) {
        self.heads.iter().for_each(|left| say!("{left}"));
    }
}
