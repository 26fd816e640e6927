//! The keys that a server evaluates with: a key switching key and a bootstrapping key, their masks as seeds.

use std::io::{Seek, Write};
use std::path::Path;

use fhec_container::{Codec, ContainerError, Destination, Dtype, Reader, Writer};
use fhec_ir::Digest;
use fhec_ir::text::{from_hex, to_hex};
use serde::{Deserialize, Serialize};

use crate::ciphertexts::seed;
use crate::error::TfheError;
use crate::parameters::ParameterSet;

/// Kind of a file of evaluation keys.
pub const EVALUATION_KEYS_KIND: &str = "tfhe-evaluation-keys";
/// Version of its format.
const VERSION: u32 = 1;

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

/// Bodies of ciphertexts, and the seed that their masks are drawn from.
#[derive(Clone, PartialEq)]
pub(crate) struct Seeded {
    pub(crate) seed: u128,
    pub(crate) bodies: Vec<u64>,
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
        let key = format!("{:032x}", self.key);
        EvaluationKeysManifest { plan: to_hex(&self.plan), key, message_bits: self.set.bits }
    }

    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), ContainerError> {
        for (name, keys) in [("key-switching", &self.key_switching), ("bootstrapping", &self.bootstrapping)] {
            writer.section(&format!("{name}/seed"), Dtype::U8, &keys.seed.to_le_bytes(), Codec::Raw)?;
            writer.section(name, Dtype::U64, &keys.bodies, Codec::Raw)?;
        }
        Ok(())
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
        let key = u128::from_str_radix(&manifest.key, 16).ok().filter(|_| manifest.key.len() == 32);
        let (Some(plan), Some(key)) = (from_hex(&manifest.plan), key) else {
            return Err(ContainerError::malformed(reader.file(), "it names no plan or no key").into());
        };
        let seeded = |name: &str, words: usize| {
            reader.expect_raw(name, (words * size_of::<u64>()) as u64)?;
            let seed = seed(reader, &format!("{name}/seed"))?;
            Ok::<_, TfheError>(Seeded { seed, bodies: reader.section(name)?.as_slice::<u64>()?.to_vec() })
        };
        let key_switching = seeded("key-switching", set.ks_words())?;
        let bootstrapping = seeded("bootstrapping", set.pbs_words())?;
        Ok(Self { plan, key, set, key_switching, bootstrapping })
    }
}
