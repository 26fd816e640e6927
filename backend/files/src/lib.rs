//! This crate decides where outputs go. A [`Destination`] says what a name stands for and what may become of a file that is
//! there. An [`Output`] is a file that is being written: its bytes lie under no name until they are complete and on the disk,
//! and then appear at once.
//!
//! - Links are followed, so that what they point to changes and not the link. Pipes and devices are written to, never
//!   replaced. Folders and disks are refused.
//! - A file that is there is replaced as a whole, or kept, as the destination says; so is one that appeared meanwhile.
//! - Unfinished outputs are anonymous where the system can do that. Elsewhere they have a random name, which is removed when
//!   the output is dropped, by [`discard_unfinished`], and otherwise by the next program that writes into the folder.
//!
//! ```
//! use fhec_files::Destination;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("scores.json");
//! Destination::new(&path).keeping().write(b"{}")?;
//! assert!(Destination::new(&path).keeping().write(b"[]").is_err(), "the file is there");
//! Destination::new(&path).write(b"[]")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod destination;
mod error;
mod output;
mod target;
mod unfinished;

pub use destination::{Destination, STANDARD_OUTPUT};
pub use error::{OutputError, OutputProblem, SystemError};
pub use output::Output;
pub use target::is_same_file;
pub use unfinished::discard_unfinished;
