//! Programs between passes as files: text that people read and edit, and beside it what text is no place for.
//!
//! `next.fhir` is the program; `next.fhir.data`, where there is need of it, is a container with the elements of large
//! constants, which the text names by digest, and with the [`Facts`] that passes know beyond the text. Two files rather than
//! one, so that `diff`, an editor and a version control system work on programs. The data names the digest of its text: facts
//! about values of a text that was edited are dropped, with a warning; constants stay, as each is named by its content.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fhec_container::{Codec, Dtype, FileWriter, Reader, Writer};
use fhec_files::Destination;
use fhec_ir::text::{Blobs, parse_any, to_hex};
use fhec_ir::{Shape, Tensor};
use fhec_passes::program::{Facts, Program};
use fhec_runtime::RuntimeError;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Kind of the file beside a program.
const DATA_KIND: &str = "program-data";
/// Version of its format. Raise it whenever a file written before would be read differently.
const DATA_VERSION: u32 = 1;

/// The manifest of the file beside a program.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// blake3 of the text, in hexadecimal.
    text: String,
    /// What passes know of the program.
    facts: Facts,
    /// Shapes of the constants that are stored as sections, by digest.
    constants: BTreeMap<String, Vec<usize>>,
}

/// The file of the data that belongs to the program in `path`.
pub fn data_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".data");
    name.into()
}

/// A program as the bytes of a text, and what is to lie beside it.
pub struct Written {
    /// The text.
    pub text: String,
    blobs: Blobs,
    facts: Facts,
}

impl Written {
    /// The text and the data of a program.
    pub fn of(program: &Program) -> Self {
        let (text, blobs) = program.module.text_with_blobs();
        Self { text, blobs, facts: program.facts.clone() }
    }

    /// How many constants the text names by digest.
    pub fn constants(&self) -> usize {
        self.blobs.iter().len()
    }

    /// Whether the text alone says less than the program.
    pub fn needs_data(&self) -> bool {
        self.constants() > 0 || self.facts != Facts::default()
    }

    /// Writes the data; the memory that reading it takes, where that is more than [`read`] admits by default.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_data(&self, to: Destination) -> Result<Option<u64>, Error> {
        let path = to.path().to_path_buf();
        let mut writer: FileWriter = Writer::create(to, DATA_KIND, DATA_VERSION).map_err(RuntimeError::from)?;
        let mut constants = BTreeMap::new();
        for (digest, tensor) in self.blobs.iter() {
            let name = to_hex(digest);
            writer.section(&section(&name), Dtype::F32, tensor.data(), Codec::Zstd).map_err(RuntimeError::from)?;
            constants.insert(name, tensor.shape().0.clone());
        }
        let manifest = Manifest { text: digest_of(&self.text), facts: self.facts.clone(), constants };
        writer.finish(&manifest).map_err(RuntimeError::from)?;
        let needed: u64 = self.blobs.iter().map(|(_, tensor)| size_of_val(tensor.data()) as u64).sum();
        let admitted = Reader::open(&path).map_err(RuntimeError::from)?.default_limit();
        Ok(Some(needed).filter(|&needed| needed > admitted))
    }
}

/// Reads the program in `path` with the data beside it, which may take `limit` bytes of memory, by default what a plan of its
/// length may; a warning where the data belongs to another text.
///
/// # Errors
/// When a file cannot be read or is damaged, or what is wrong with the text, each at its place.
pub fn read(path: &Path, limit: Option<u64>) -> Result<(Program, Option<String>), Error> {
    let name = path.display().to_string();
    let source = |source| Error::File { file: name.clone(), source };
    let text = std::fs::read_to_string(path).map_err(source)?;
    let data = data_beside(path);
    if !data.is_file() {
        return Ok((Program::new(parse_any(&name, &text, &Blobs::default())?), None));
    }
    let reader = Reader::open_within(&data, limit)
        .and_then(|r| r.expect(DATA_KIND, DATA_VERSION))
        .map_err(RuntimeError::from)?;
    let manifest: Manifest = reader.manifest().map_err(RuntimeError::from)?;
    let blobs = constants(&reader, &manifest.constants).map_err(RuntimeError::from)?;
    let module = parse_any(&name, &text, &blobs)?;
    if manifest.text == digest_of(&text) {
        return Ok((Program { module, facts: manifest.facts }, None));
    }
    let warning = format!(
        "{name} was changed since its passes ran: what they knew of it beside the text, in {}, is dropped",
        data.display()
    );
    Ok((Program::new(module), Some(warning)))
}

fn constants(reader: &Reader, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Blobs, fhec_container::ContainerError> {
    let malformed = |reason: String| fhec_container::ContainerError::malformed(reader.file(), reason);
    let mut blobs = Blobs::default();
    for (name, dims) in shapes {
        let shape = Shape(dims.clone());
        let len = shape.checked_len().and_then(|len| u64::try_from(len).ok()?.checked_mul(size_of::<f32>() as u64));
        let len = len.ok_or_else(|| malformed(format!("constant {name} cannot be of shape {shape}")))?;
        let elements = reader.section_of(&section(name), len)?;
        if to_hex(&blobs.insert(Tensor::new(shape, elements.as_slice::<f32>()?))) != *name {
            return Err(malformed(format!("constant {name} is not what its name says")));
        }
    }
    Ok(blobs)
}

fn section(digest: &str) -> String {
    format!("constant/{digest}")
}

fn digest_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
