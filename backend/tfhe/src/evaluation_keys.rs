//! The keys that a server evaluates with: a key switching key and a bootstrapping key, their masks as seeds.

use std::io::{Seek, Write};
use std::path::Path;

use fhec_container::{ContainerError, Destination, Reader, Writer};
use fhec_ir::Digest;
use fhec_ir::text::{from_hex, to_hex};
use serde::{Deserialize, Serialize};

use crate::error::TfheError;
use crate::parameters::ParameterSet;
use crate::seeded::{Seeded, id_from_hex, id_to_hex};

/// Kind of a file of evaluation keys.
pub const EVALUATION_KEYS_KIND: &str = "tfhe-evaluation-keys";
/// Version of its format.
const VERSION: u32 = 1;
const KEY_SWITCHING: &str = "key-switching";
const BOOTSTRAPPING: &str = "bootstrapping";

/// The evaluation keys of a client for a plan.
#[derive(Clone, PartialEq)]
pub struct EvaluationKeys {
    pub(crate) plan: Digest,
    /// Identifies the secret key that they belong to.
    pub(crate) key: u128,
    pub(crate) set: &'static ParameterSet,
    pub(crate) key_switching: Seeded,
    pub(crate) bootstrapping: Seeded,
}

impl std::fmt::Debug for EvaluationKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluationKeys").field("key", &self.key).field("bits", &self.set.bits).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluationKeysManifest {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    key: String,
    message_bits: u32,
}

impl EvaluationKeys {
    /// Bytes of the keys in a file.
    pub fn bytes(&self) -> u64 {
        self.set.key_bytes()
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), TfheError> {
        let mut writer = Writer::create(to, EVALUATION_KEYS_KIND, VERSION)?;
        self.write(&mut writer)?;
        writer.finish(&self.manifest())?;
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// None today; kept for what cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TfheError> {
        let mut writer = Writer::in_memory(EVALUATION_KEYS_KIND, VERSION)?;
        self.write(&mut writer)?;
        Ok(writer.into_bytes(&self.manifest())?)
    }

    fn manifest(&self) -> EvaluationKeysManifest {
        EvaluationKeysManifest { plan: to_hex(&self.plan), key: id_to_hex(self.key), message_bits: self.set.bits }
    }

    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), ContainerError> {
        self.key_switching.write(writer, KEY_SWITCHING)?;
        self.bootstrapping.write(writer, BOOTSTRAPPING)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A damaged file, or one of something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TfheError> {
        Self::read(&Reader::open(path)?.expect(EVALUATION_KEYS_KIND, VERSION)?)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`EvaluationKeys::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, TfheError> {
        Self::read(&Reader::from_bytes(name, bytes)?.expect(EVALUATION_KEYS_KIND, VERSION)?)
    }

    fn read(reader: &Reader) -> Result<Self, TfheError> {
        let manifest: EvaluationKeysManifest = reader.manifest()?;
        let set = ParameterSet::of_bits(manifest.message_bits)?;
        let (Some(plan), Some(key)) = (from_hex(&manifest.plan), id_from_hex(&manifest.key)) else {
            return Err(ContainerError::malformed(reader.file(), "it names no plan or no key").into());
        };
        let key_switching = Seeded::read(reader, KEY_SWITCHING, set.ks_words())?;
        let bootstrapping = Seeded::read(reader, BOOTSTRAPPING, set.pbs_words())?;
        Ok(Self { plan, key, set, key_switching, bootstrapping })
    }
}
