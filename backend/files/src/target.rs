//! A name stands for a file, present or future, or for something that bytes are sent to.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::destination::STANDARD_OUTPUT;
use crate::error::{OutputError, OutputProblem};

/// Most links in a row, as in the Linux kernel.
const MAX_LINKS: usize = 40;

/// What a destination's name stands for.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// A regular file, with all links of its last component followed.
    File {
        /// Where it is or will be.
        path: PathBuf,
        /// What is there now.
        existing: Option<Metadata>,
    },
    /// A pipe, a terminal or another device: what is written goes through it.
    Stream(PathBuf),
    /// The standard output of this process.
    StandardOutput,
}

impl Endpoint {
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        if is_standard_output(path) {
            return Ok(Self::StandardOutput);
        }
        let end = follow(path)?;
        if is_descriptor(&end) {
            return Ok(if is_standard_output(&end) { Self::StandardOutput } else { Self::Stream(end) });
        }
        match fs::metadata(&end) {
            Ok(meta) if meta.is_file() => Ok(Self::File { path: end, existing: Some(meta) }),
            Ok(meta) if meta.is_dir() => Err(OutputError::new(path, OutputProblem::Folder)),
            Ok(meta) if is_disk(&meta) => Err(OutputError::new(path, OutputProblem::Disk)),
            Ok(_) => Ok(Self::Stream(end)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = folder(&end);
                if !folder.is_dir() {
                    return Err(OutputError::new(path, OutputProblem::NoFolder(folder.to_path_buf())));
                }
                if end.file_name().is_none() {
                    return Err(OutputError::new(path, OutputProblem::Folder));
                }
                Ok(Self::File { path: end, existing: None })
            }
            Err(source) => Err(OutputError::io(path, "looking at the file")(source)),
        }
    }
}

/// Whether a path stands for the standard output of this process.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    [STANDARD_OUTPUT, "/dev/fd/1", "/proc/self/fd/1"].iter().any(|own| path == Path::new(own))
}

/// Whether a path names an open file of a process. It looks like a link, but is to be opened as it is: what it shows may be a
/// pipe or a file without a name.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc")
}

/// The folder a file lies in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with the links of its last component followed, also where the last of them points to nothing.
fn follow(path: &Path) -> Result<PathBuf, OutputError> {
    let mut at = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if is_descriptor(&at) {
            return Ok(at);
        }
        match fs::read_link(&at) {
            Ok(to) => at = folder(&at).join(to),
            // No link, or nothing there.
            Err(_) => return Ok(at),
        }
    }
    Err(OutputError::new(path, OutputProblem::Links))
}

#[cfg(unix)]
fn is_disk(meta: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_disk(_: &Metadata) -> bool {
    false
}

/// Whether two paths name one file or pipe, be it there or not: over links, other spellings of the path and hard links. Devices
/// and terminals may be read and written at once and count as different.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (follow(a), follow(b)) else { return false };
    match (fs::metadata(&a), fs::metadata(&b)) {
        (Ok(a), Ok(b)) if is_device(&a) || is_device(&b) => false,
        #[cfg(unix)]
        (Ok(a), Ok(b)) => {
            use std::os::unix::fs::MetadataExt;
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        }
        _ => place(&a).is_some_and(|a| Some(a) == place(&b)),
    }
}

#[cfg(unix)]
fn is_device(meta: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    kind.is_char_device() || kind.is_socket()
}

#[cfg(not(unix))]
fn is_device(_: &Metadata) -> bool {
    false
}

/// The one spelling of a path whose folder is there.
fn place(path: &Path) -> Option<PathBuf> {
    Some(fs::canonicalize(folder(path)).ok()?.join(path.file_name()?))
}
