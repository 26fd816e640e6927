//! The key file has an index and one section per key. It is mapped, and a section is read whenever its key is prepared.
//!
//! A section is the stored half of a key, limb by limb, every residue in the bits of its prime: what a client sends.

use super::set::{KeyEntry, KeySet, KeyStore};
use super::switching::{DigitShape, SwitchingKey};
use crate::context::Context;
use crate::error::{CkksError, KeyName, Result, ShortDigest};
use crate::packing::{pack_limb, packed_limb_len, unpack_limb};
use crate::params::Params;
use crate::sample::Seed;
use fhec_container::{Codec, Destination, Dtype, Output, Reader, Writer};
use fhec_ring::Buffer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Cursor, Seek, Write};
use std::path::Path;

const KIND: &str = "evaluation-keys";
const VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySetManifest {
    params: ShortDigest,
    insecure: bool,
    key: ShortDigest,
    keys: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: KeyName,
    level: usize,
    alpha: usize,
    seed: String,
}

fn format(e: impl std::fmt::Display) -> CkksError {
    CkksError::Format { what: "evaluation key file", reason: e.to_string() }
}

/// Writes a key file key by key, so that no more than one key is in memory.
pub struct KeySetWriter<W> {
    writer: Writer<W>,
    manifest: KeySetManifest,
    params: Params,
}

/// A [`KeySetWriter`] into a file.
pub type KeySetFile = KeySetWriter<Output>;
/// A [`KeySetWriter`] into memory.
pub type KeySetBytes = KeySetWriter<Cursor<Vec<u8>>>;
/// A [`KeySetWriter`] into a file without a name, for keys that one process makes and uses.
pub type KeySetScratch = KeySetWriter<BufWriter<File>>;

impl KeySetWriter<()> {
    /// Starts a file for keys of the secret key with id `key`.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(ctx: &Context, to: impl Into<Destination>, key: ShortDigest) -> Result<KeySetFile> {
        Ok(KeySetWriter::over(Writer::create(to, KIND, VERSION).map_err(format)?, ctx, key))
    }

    /// Starts the bytes of a file.
    ///
    /// # Errors
    /// None today; kept as for the other destinations.
    pub fn in_memory(ctx: &Context, key: ShortDigest) -> Result<KeySetBytes> {
        Ok(KeySetWriter::over(Writer::in_memory(KIND, VERSION).map_err(format)?, ctx, key))
    }

    /// Starts a file without a name.
    ///
    /// # Errors
    /// When the folder for temporary files cannot be written.
    pub fn scratch(ctx: &Context, key: ShortDigest) -> Result<KeySetScratch> {
        Ok(KeySetWriter::over(Writer::scratch(KIND, VERSION).map_err(format)?, ctx, key))
    }
}

impl<W: Write + Seek> KeySetWriter<W> {
    fn over(writer: Writer<W>, ctx: &Context, key: ShortDigest) -> Self {
        let params = ctx.params().clone();
        let manifest =
            KeySetManifest { params: params.digest(), insecure: params.is_insecure(), key, keys: Vec::new() };
        Self { writer, manifest, params }
    }

    /// Appends a key.
    ///
    /// # Errors
    /// A second key of the same name and level, or a failed write.
    pub fn push(&mut self, key: &SwitchingKey) -> Result<()> {
        let section = section_name(key.name(), key.level());
        let n = self.params.n();
        let mut packed = vec![0; section_len(&self.params, key.level())];
        let mut rest = &mut packed[..];
        let cut = |bits| (bits, rest.split_off_mut(..packed_limb_len(bits, n)).unwrap_or_default());
        let outs: Vec<(u32, &mut [u8])> = key.shape.limb_bits(&self.params).into_iter().map(cut).collect();
        let limbs = key.stored_half().par_chunks_exact(n);
        limbs.zip(outs).for_each(|(limb, (bits, out))| pack_limb(bits, limb, out));
        self.writer.section(&section, Dtype::U8, &packed, Codec::Raw).map_err(format)?;
        let seed = key.seed().iter().map(|b| format!("{b:02x}")).collect();
        let listed = Listed { name: key.name(), level: key.level(), alpha: key.alpha(), seed };
        self.manifest.keys.push(listed);
        Ok(())
    }
}

impl KeySetFile {
    /// Completes the file.
    ///
    /// # Errors
    /// A failed write.
    pub fn finish(self) -> Result<()> {
        self.writer.finish(&self.manifest).map_err(format)?;
        Ok(())
    }
}

impl KeySetBytes {
    /// The bytes of the whole file.
    ///
    /// # Errors
    /// When they are too long for a file.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        self.writer.into_bytes(&self.manifest).map_err(format)
    }
}

impl KeySetScratch {
    /// Completes the file and maps it, as [`KeySet::open`] does.
    ///
    /// # Errors
    /// A failed write.
    pub fn into_keys(self, ctx: &Context) -> Result<KeySet> {
        KeySet::from_reader(ctx.params(), self.writer.into_reader(&self.manifest).map_err(format)?)
    }
}

impl KeySet {
    /// Maps a key file; keys are read and checked when first used.
    ///
    /// # Errors
    /// Anything but a whole file of keys under these parameters.
    pub fn open(params: &Params, path: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(params, Reader::open(path).map_err(format)?)
    }

    /// Reads a key file from bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(params: &Params, name: &str, bytes: &[u8]) -> Result<Self> {
        Self::from_reader(params, Reader::from_bytes(name, bytes).map_err(format)?)
    }

    fn from_reader(params: &Params, reader: Reader) -> Result<Self> {
        let reader = reader.expect(KIND, VERSION).map_err(format)?;
        let manifest: KeySetManifest = reader.manifest().map_err(format)?;
        params.check_digest("the evaluation key file", manifest.params)?;
        let mut set = Self::under(params, manifest.key);
        for listed in manifest.keys {
            let name = listed.name;
            let shape = DigitShape::new(params, listed.level)?;
            if shape.alpha != listed.alpha {
                return Err(format(format_args!("the key for {name} has {} limbs per digit", listed.alpha)));
            }
            let seed =
                parse_seed(&listed.seed).ok_or_else(|| format(format_args!("the seed for {name} is damaged")))?;
            let section = section_name(name, listed.level);
            let stored = reader.info(&section);
            let len = section_len(params, listed.level) as u64;
            if stored.is_none_or(|s| s.len != len || s.codec != Codec::Raw) {
                return Err(format(format_args!("the key for {name} is absent or of the wrong size")));
            }
            let store = KeyStore::File { reader: reader.clone(), section };
            if set.entries.insert((name, listed.level), KeyEntry { shape, seed, store }).is_some() {
                return Err(format(format_args!("the key for {name} is listed twice")));
            }
        }
        Ok(set)
    }
}

/// Bytes of the stored half of a key for `level`.
fn section_len(params: &Params, level: usize) -> usize {
    params.stored_key_bytes(level) - size_of::<Seed>()
}

/// The stored half of a key, its hash and the range of its residues checked. The pages it was read from are given back.
pub(super) fn load(ctx: &Context, reader: &Reader, section: &str, shape: DigitShape) -> Result<Buffer> {
    let n = ctx.params().n();
    let section = reader.section(section).map_err(format)?;
    let mut rest = &section[..];
    let cut = |bits: u32| rest.split_off(..packed_limb_len(bits, n));
    let limbs: Option<Vec<&[u8]>> = shape.limb_bits(ctx.params()).into_iter().map(cut).collect();
    let limbs = limbs.filter(|_| rest.is_empty()).ok_or_else(|| format("a key is of the wrong size"))?;
    let mut b = Buffer::exact(shape.len(n));
    let canonical = b.par_chunks_exact_mut(n).zip(limbs).enumerate().map(|(k, (limb, packed))| {
        let m = ctx.ring().modulus(ctx.prime_index(shape.level, k % shape.row_limbs()));
        unpack_limb(&m, packed, limb)
    });
    // Every limb is written, whatever another one was.
    if !canonical.reduce(|| true, |a, b| a && b) {
        return Err(format("a key has residues that are not below their primes"));
    }
    section.release();
    Ok(b)
}

fn section_name(name: KeyName, level: usize) -> String {
    match name {
        KeyName::Relin => format!("relin/{level}"),
        KeyName::Conj => format!("conj/{level}"),
        KeyName::Rotation(r) => format!("rotation/{r}/{level}"),
        KeyName::ToSparse => format!("to-sparse/{level}"),
        KeyName::FromSparse => format!("from-sparse/{level}"),
    }
}

fn parse_seed(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let (low, high) = (text.get(..32)?, text.get(32..)?);
    out[..16].copy_from_slice(&ShortDigest::from_hex(low)?.0);
    out[16..].copy_from_slice(&ShortDigest::from_hex(high)?.0);
    Some(out)
}
