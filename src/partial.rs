//! The results of an evaluation that is not finished are kept beside where they will go, so that an interrupted
//! evaluation continues from there.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fhec_ckks::{Ciphertext, Context};
use fhec_container::Reader;
use fhec_ir::text::to_hex;

use crate::error::Error;

/// How the first line of the file begins. It says what the results belong to; the results of one run after another follow, each
/// behind its length.
const MARK: &str = "{\"fhec_partial_results\":1,";

/// The results of the first runs of an evaluation, in a file of this process alone.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    started_over: bool,
}

impl Partial {
    /// The partial results of the evaluation with these files, beside `output`, with the results that are there. Those of other
    /// files are dropped; [`started_over`](Self::started_over) tells. Half a result at the end is none.
    ///
    /// # Errors
    /// Files that cannot be read or written, another evaluation that writes there, or a file that is none of partial results.
    pub fn open(
        output: &Path,
        context: &Context,
        [plan, keys, inputs]: [&Path; 3],
    ) -> Result<(Self, Vec<Vec<Ciphertext>>), Error> {
        let line = belongs(plan, keys, inputs)?;
        let path = beside(output);
        let mut partial = Self { file: open(&path)?, path, started_over: false };
        let found = partial.first_line().map_err(partial.failed())?;
        if found == line {
            let done = partial.results(context).map_err(partial.failed())?;
            return Ok((partial, done));
        }
        if !found.is_empty() && !found.starts_with(MARK) {
            return Err(refused(&partial.path, "it holds no partial results of `fhec eval`"));
        }
        partial.started_over = !found.is_empty();
        partial.start(&line).map_err(partial.failed())?;
        Ok((partial, Vec::new()))
    }

    /// Removes partial results that are older than the finished `output`: a program that was killed when it was done left them.
    pub fn discard_finished(output: &Path) {
        let path = beside(output);
        let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
        let (Ok(partial), Ok(finished)) = (written(&path), written(output)) else { return };
        let marked = |mut partial: Self| partial.first_line().is_ok_and(|line| line.starts_with(MARK));
        if partial <= finished
            && open(&path).is_ok_and(|file| marked(Self { path: path.clone(), file, started_over: false }))
        {
            // What cannot be removed is told of when the name is used again.
            let _ = fs::remove_file(path);
        }
    }

    /// Whether results of other files were there.
    pub fn started_over(&self) -> bool {
        self.started_over
    }

    /// Where the results are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the results of the next run.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&mut self, context: &Context, results: &[Ciphertext]) -> Result<(), Error> {
        let bytes = fhec_ckks::ciphertexts_to_bytes(context, results, serde_json::Value::Null)?;
        let length = (bytes.len() as u64).to_le_bytes();
        let written = self.file.write_all(&length).and_then(|()| self.file.write_all(&bytes));
        written.map_err(self.failed())
    }

    /// Removes the file, when the results are where they belong.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        let file = self.path.display().to_string();
        move |source| Error::File { file, source }
    }

    fn start(&mut self, line: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(line.as_bytes())
    }

    /// The first line with its end; less if the file is cut off before, or holds something else.
    fn first_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        for byte in BufReader::new((&self.file).take(4096)).bytes() {
            line.push(byte?);
            if line.last() == Some(&b'\n') {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// The results after the first line, up to the first that is not whole; the file is cut off there.
    fn results(&mut self, context: &Context) -> io::Result<Vec<Vec<Ciphertext>>> {
        self.file.rewind()?;
        let mut at = self.first_line()?.len() as u64;
        let end = self.file.metadata()?.len();
        let mut done = Vec::new();
        while let Some((results, next)) = self.result_at(context, at, end)? {
            done.push(results);
            at = next;
        }
        self.file.set_len(at)?;
        self.file.seek(SeekFrom::Start(at))?;
        Ok(done)
    }

    /// The result at an offset, if it is whole, and where it ends.
    fn result_at(&mut self, context: &Context, at: u64, end: u64) -> io::Result<Option<(Vec<Ciphertext>, u64)>> {
        let start = at + 8;
        if start > end {
            return Ok(None);
        }
        let mut length = [0; 8];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut length)?;
        let Some(next) = start.checked_add(u64::from_le_bytes(length)).filter(|&next| next <= end) else {
            return Ok(None);
        };
        let mut bytes = vec![0; (next - start) as usize];
        self.file.read_exact(&mut bytes)?;
        let name = self.path.display().to_string();
        // Damage is found by the hashes of the container.
        Ok(fhec_ckks::ciphertexts_from_bytes(context, &name, &bytes).ok().map(|(results, _)| (results, next)))
    }
}

/// Where partial results of an output are.
fn beside(output: &Path) -> PathBuf {
    PathBuf::from([output.as_os_str(), ".partial".as_ref()].join("".as_ref()))
}

/// The first line for results of these files and this program.
fn belongs(plan: &Path, keys: &Path, inputs: &Path) -> Result<String, Error> {
    let digest = |path: &Path| -> Result<String, Error> {
        let reader = Reader::open(path).map_err(fhec_runtime::RuntimeError::from)?;
        Ok(to_hex(&reader.digest()))
    };
    let (plan, keys, inputs) = (digest(plan)?, digest(keys)?, digest(inputs)?);
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("{MARK}\"fhec\":\"{version}\",\"plan\":\"{plan}\",\"keys\":\"{keys}\",\"input\":\"{inputs}\"}}\n"))
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Usage {
        reason: format!("{}: {reason}, and results would be kept there until all are done", path.display()),
        repair: "move it away, or give another name after --output".into(),
    }
}

/// Opens the file, or makes it, for this process alone.
fn open(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::File { file: path.display().to_string(), source };
    // The name can be guessed, so it must not lead elsewhere.
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(refused(path, "it is no regular file"));
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(path, "another evaluation writes it")),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
