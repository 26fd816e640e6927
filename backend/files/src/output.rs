//! An output is a file that is being written and has no name until it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::SpooledTempFile;

use crate::destination::Destination;
use crate::error::{OutputError, OutputProblem};
use crate::target::{Endpoint, folder};
use crate::unfinished::Unfinished;

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Bytes for a pipe that are held in memory, so that neither secret keys nor results are on the disk on their way. More of
/// them are held in a file without a name.
const HELD: usize = 64 << 20;

/// An output that nobody sees before it is complete. Dropped without [`commit`](Self::commit), it leaves nothing.
#[derive(Debug)]
pub struct Output {
    destination: Destination,
    bytes: BufWriter<Sink>,
}

/// Where the bytes are until the output is complete.
#[derive(Debug)]
enum Sink {
    /// In the future file.
    File { unfinished: Unfinished, path: PathBuf },
    /// Gathered, since writers go back to the start, which a pipe cannot; without a path for standard output.
    Held { held: SpooledTempFile, path: Option<PathBuf> },
}

impl Output {
    pub(crate) fn create(destination: Destination, target: Endpoint) -> Result<Self, OutputError> {
        let sink = match target {
            Endpoint::File { path, .. } => {
                let mode = if destination.is_private() { 0o600 } else { 0o666 };
                let unfinished = Unfinished::in_folder(folder(&path), mode);
                let unfinished = unfinished.map_err(OutputError::io(destination.path(), "creating the file"))?;
                Sink::File { unfinished, path }
            }
            Endpoint::Stream(path) => Sink::Held { held: SpooledTempFile::new(HELD), path: Some(path) },
            Endpoint::StandardOutput => Sink::Held { held: SpooledTempFile::new(HELD), path: None },
        };
        // A secret key goes straight through: what a buffer has held is not wiped.
        let room = if destination.is_secret() { 0 } else { BUFFER };
        Ok(Self { destination, bytes: BufWriter::with_capacity(room, sink) })
    }

    /// Completes the output: the bytes are on the disk and the file has its name, or they have gone through the pipe.
    ///
    /// # Errors
    /// When writing fails, or when a file that must be kept has appeared. Then nothing is left behind.
    pub fn commit(self) -> Result<(), OutputError> {
        let Self { destination, bytes } = self;
        let failed = |action| OutputError::io(destination.path(), action);
        match bytes.into_inner().map_err(|e| failed("writing")(e.into_error()))? {
            Sink::File { unfinished, path } => {
                publish(&destination, unfinished, &path)?;
                sync_folder(folder(&path)).map_err(failed("writing the folder to disk"))
            }
            Sink::Held { held, path: Some(path) } => {
                // Appending: a descriptor that shows a file keeps what it has.
                let stream = OpenOptions::new().append(true).open(path).map_err(failed("opening"))?;
                send(held, stream).map_err(failed("writing"))
            }
            Sink::Held { held, path: None } => send(held, io::stdout().lock()).map_err(failed("writing")),
        }
    }
}

/// Gives complete bytes the name `path`, in place of what has it if the destination admits that.
fn publish(destination: &Destination, unfinished: Unfinished, path: &Path) -> Result<(), OutputError> {
    let failed = |action| OutputError::io(destination.path(), action);
    let unfinished = unfinished.synced().map_err(failed("writing to disk"))?;
    let Some(unfinished) = unfinished.name_new(path).map_err(failed("naming the finished file"))? else {
        return Ok(());
    };
    let there = std::fs::metadata(path).map_err(failed("looking at the file"))?;
    destination.admit(there.len())?;
    if !there.is_file() {
        return Err(OutputError::new(destination.path(), OutputProblem::Exists));
    }
    if !destination.is_private() {
        // As if the file had been written to.
        unfinished.set_permissions(there.permissions()).map_err(failed("keeping the permissions"))?;
    }
    unfinished.replace(path).map_err(failed("putting the finished file in place"))
}

fn send(mut held: SpooledTempFile, mut stream: impl Write) -> io::Result<()> {
    held.rewind()?;
    io::copy(&mut held, &mut stream)?;
    stream.flush()
}

/// Makes a new name in a folder outlive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // File systems that cannot do this say so.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { unfinished, .. } => unfinished.write(bytes),
            Self::Held { held, .. } => held.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { unfinished, .. } => unfinished.flush(),
            Self::Held { held, .. } => held.flush(),
        }
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File { unfinished, .. } => unfinished.seek(to),
            Self::Held { held, .. } => held.seek(to),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.bytes.flush()
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
