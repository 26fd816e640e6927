//! The file format of plans: the program as text, its constants as sections, the rest as JSON.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::path::Path;

use fhec_ckks::Params;
use fhec_container::{Codec, Destination, Dtype, Reader, Section, Writer};
use fhec_ir::cost::OpCounts;
use fhec_ir::text::{BlobSource, Blobs, parse_module, print_with_blobs, to_hex};
use fhec_ir::{Ckks, Digest, Module, Shape, Tensor, digest_of};
use serde::{Deserialize, Serialize};

use super::{PLAN_KIND, PLAN_VERSION, Plan, Provenance, Security, possible_errors};
use crate::engine;
use crate::error::RuntimeError;
use crate::keys::KeyList;

const PROGRAM: &str = "program";
/// Memory that reading a program takes, as a multiple of the length of its text.
const TEXT_INFLATION: u64 = 64;

/// Memory that reading a program of this length takes.
fn text_memory(length: u64) -> u64 {
    length.saturating_mul(TEXT_INFLATION)
}

/// The JSON part of a plan file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanManifest {
    provenance: Provenance,
    /// The engine's parameters with their primes.
    params: Params,
    security: Security,
    keys: KeyList,
    counts: OpCounts,
    /// Shapes of the constants that are stored as sections, by digest.
    constants: BTreeMap<String, Vec<usize>>,
    /// Root mean square errors of the outputs, in order, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    result_errors: Vec<f64>,
}

impl Plan {
    /// Writes the sections; the manifest.
    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<PlanManifest, fhec_container::ContainerError> {
        let (text, blobs) = print_with_blobs(&self.module);
        writer.section(PROGRAM, Dtype::Text, text.as_bytes(), Codec::Zstd)?;
        let mut constants = BTreeMap::new();
        for (digest, tensor) in blobs.iter() {
            let name = to_hex(digest);
            writer.section(&constant_section(&name), Dtype::F32, tensor.data(), Codec::Zstd)?;
            constants.insert(name, tensor.shape().0.clone());
        }
        writer.lengthen(text_memory(text.len() as u64))?;
        Ok(PlanManifest {
            provenance: self.provenance.clone(),
            params: engine::params(self),
            security: self.security(),
            keys: self.keys().clone(),
            counts: self.counts.clone(),
            constants,
            result_errors: self.result_errors.clone(),
        })
    }

    /// The plan as a file's bytes: equal plans give equal bytes.
    ///
    /// # Errors
    /// When the report cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RuntimeError> {
        let mut writer = Writer::in_memory(PLAN_KIND, PLAN_VERSION)?;
        let manifest = self.write(&mut writer)?;
        Ok(writer.into_bytes(&manifest)?)
    }

    /// Writes the plan to a file and reads it back as later commands will; the hash of its content.
    ///
    /// # Errors
    /// When the file cannot be written, or when what was written cannot be read.
    pub fn save(&self, to: impl Into<Destination>) -> Result<Digest, RuntimeError> {
        let _span = tracing::debug_span!("save-plan").entered();
        let to = to.into();
        let path = to.path().to_path_buf();
        let mut writer = Writer::create(to, PLAN_KIND, PLAN_VERSION)?;
        let manifest = self.write(&mut writer)?;
        let digest = writer.finish(&manifest)?;
        let damaged = |e| RuntimeError::ReadBack { file: path.display().to_string(), source: Box::new(e) };
        // What went into a pipe is gone.
        if path.is_file() {
            self.read_back(&path, &digest).map_err(damaged)?;
        }
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// Reads a file that this plan was written to, with one constant in memory at a time.
    fn read_back(&self, path: &Path, digest: &Digest) -> Result<(), RuntimeError> {
        let reader = Reader::open(path)?.expect(PLAN_KIND, PLAN_VERSION)?;
        if reader.digest() != *digest {
            return Err(fhec_container::ContainerError::malformed(reader.file(), "it holds something else").into());
        }
        let manifest: PlanManifest = reader.manifest()?;
        for (name, shape) in &manifest.constants {
            let section = constant(&reader, name, shape)?;
            named(&reader, name, &digest_of(&Shape(shape.clone()), section.as_slice()?))?;
        }
        Self::assembled(&reader, manifest, &self.module.consts).map(drop)
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another version, takes more memory than [`fhec_container::DEFAULT_LIMIT`]
    /// says, or its program does not verify.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::load_within(path, None)
    }

    /// Reads a plan file that may take `limit` bytes of memory; by default what [`Plan::load`] admits.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn load_within(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, RuntimeError> {
        let _span = tracing::debug_span!("load-plan").entered();
        Self::read(Reader::open_within(path, limit)?)
    }

    /// Reads a plan from bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(Reader::from_bytes(name, bytes)?)
    }

    pub(crate) fn read(reader: Reader) -> Result<Self, RuntimeError> {
        let reader = reader.expect(PLAN_KIND, PLAN_VERSION)?;
        let manifest: PlanManifest = reader.manifest()?;
        let mut blobs = Blobs::default();
        for (name, shape) in &manifest.constants {
            let section = constant(&reader, name, shape)?;
            let digest = blobs.insert(Tensor::new(shape.clone(), section.as_slice::<f32>()?));
            named(&reader, name, &digest)?;
        }
        Self::assembled(&reader, manifest, &blobs)
    }

    /// The plan of a file whose constants `blobs` supplies.
    fn assembled(reader: &Reader, manifest: PlanManifest, blobs: &dyn BlobSource) -> Result<Self, RuntimeError> {
        let file = reader.file().to_string();
        let malformed = |reason: String| fhec_container::ContainerError::malformed(&file, reason);
        let length = reader.info(PROGRAM).map_or(0, |section| section.len);
        reader.spend("the program", text_memory(length))?;
        let program = reader.section(PROGRAM)?;
        let constants =
            Constants { blobs, room: usize::try_from(reader.left()).unwrap_or(usize::MAX) / size_of::<f32>() };
        let module: Module<Ckks> = parse_module(&file, program.as_str()?, &constants)
            .map_err(|e| RuntimeError::Program { file: file.clone(), source: Box::new(e) })?;
        if module.params.as_ref() != Some(manifest.params.spec()) {
            return Err(malformed("the program and the plan state different parameters".into()).into());
        }
        let plan = Self::checked(&file, module, manifest.provenance)?;
        if (plan.keys(), plan.counts()) != (&manifest.keys, &manifest.counts) {
            return Err(malformed("the plan's key list or op counts are not those of its program".into()).into());
        }
        let plan = if manifest.result_errors.is_empty() {
            plan
        } else {
            possible_errors(&manifest.result_errors, plan.outputs().len()).map_err(malformed)?;
            Self { result_errors: manifest.result_errors, ..plan }
        };
        plan.digest.get_or_init(|| reader.digest());
        Ok(plan)
    }
}

/// The section of a constant, of as many elements as its shape has.
fn constant(reader: &Reader, name: &str, shape: &[usize]) -> Result<Section, fhec_container::ContainerError> {
    let shape = Shape(shape.to_vec());
    let len = shape.checked_len().and_then(|len| u64::try_from(len).ok()?.checked_mul(size_of::<f32>() as u64));
    let Some(len) = len else {
        let reason = format!("constant {name} cannot be of shape {shape}");
        return Err(fhec_container::ContainerError::malformed(reader.file(), reason));
    };
    reader.section_of(&constant_section(name), len)
}

/// Refuses a constant whose name is not its hash.
fn named(reader: &Reader, name: &str, digest: &Digest) -> Result<(), fhec_container::ContainerError> {
    if to_hex(digest) == name {
        return Ok(());
    }
    Err(fhec_container::ContainerError::malformed(reader.file(), format!("constant {name} is not what its name says")))
}

/// The constants of a plan file, and the elements that its program may fill others with.
struct Constants<'a> {
    blobs: &'a dyn BlobSource,
    room: usize,
}

impl BlobSource for Constants<'_> {
    fn blob(&self, digest: &Digest) -> Option<Tensor> {
        self.blobs.blob(digest)
    }
    fn room(&self) -> usize {
        self.room
    }
}

fn constant_section(digest: &str) -> String {
    format!("constant/{digest}")
}
