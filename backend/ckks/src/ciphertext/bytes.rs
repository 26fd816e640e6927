//! Ciphertexts are stored as files: one container holds a list of them, with residues packed to the bits of their
//! primes.

use super::Ciphertext;
use crate::context::Context;
use crate::error::{CkksError, Result, ShortDigest};
use crate::packing::{bits_of, pack_limbs, packed_len, packed_limb_len, unpack_limbs};
use crate::params::Params;
use crate::sample::Seed;
use fhec_container::{Codec, Destination, Dtype, Reader, Writer};
use fhec_ring::RnsPoly;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::path::Path;

const KIND: &str = "ciphertext";
const VERSION: u32 = 1;
/// Most ciphertexts of one file.
const MAX_COUNT: usize = 1 << 15;
/// Longest text of what the caller adds, in bytes.
const MAX_EXTRA: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CiphertextManifest {
    params: ShortDigest,
    insecure: bool,
    ciphertexts: Vec<CiphertextInfo>,
    /// What the caller adds: the shape of a tensor, the digest of a plan.
    extra: Box<RawValue>,
}

/// What a file says of one ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CiphertextInfo {
    /// Id of the secret key it was made under.
    pub key: ShortDigest,
    /// Its level.
    pub level: usize,
    /// Its scale degree.
    pub sd: u8,
    /// Slots it was encrypted for.
    pub slots: usize,
    /// Number of its polynomials.
    pub parts: usize,
    /// Whether the section ends with the seed of part 1 instead of that part.
    pub seeded: bool,
}

impl CiphertextInfo {
    /// Refuses what no ciphertext under these parameters can be.
    fn check(&self, params: &Params) -> Result<()> {
        let possible = self.level <= params.top_level()
            && (1..=2).contains(&self.sd)
            && (2..=3).contains(&self.parts)
            && (!self.seeded || self.parts == 2 && self.sd == 1);
        if !possible {
            return Err(format("it describes no ciphertext"));
        }
        params.check_slots("ciphertext", self.slots)
    }

    /// Bytes of its section.
    fn stored_len(&self, params: &Params) -> usize {
        let part = params.q()[..=self.level].iter().map(|&q| packed_limb_len(bits_of(q), params.n())).sum::<usize>();
        if self.seeded { part + size_of::<Seed>() } else { self.parts * part }
    }

    /// Bytes of its polynomials in memory.
    fn len(&self, params: &Params) -> usize {
        self.parts * (self.level + 1) * params.n() * 8
    }
}

fn format(e: impl std::fmt::Display) -> CkksError {
    CkksError::Format { what: "ciphertext file", reason: e.to_string() }
}

/// Stores ciphertexts, in order, with a JSON value of the caller's.
///
/// # Errors
/// A ciphertext of other parameters, or more ciphertexts than a file may hold.
pub fn ciphertexts_to_bytes(ctx: &Context, ciphertexts: &[Ciphertext], extra: serde_json::Value) -> Result<Vec<u8>> {
    let mut writer = Writer::in_memory(KIND, VERSION).map_err(format)?;
    for (i, ct) in ciphertexts.iter().enumerate() {
        writer.section(&i.to_string(), Dtype::U8, &payload(ctx, ct)?, Codec::Raw).map_err(format)?;
    }
    writer.into_bytes(&manifest(ctx, ciphertexts, extra)?).map_err(format)
}

/// [`ciphertexts_to_bytes`] into a file.
///
/// # Errors
/// As [`ciphertexts_to_bytes`], or a file that cannot be written.
pub fn write_ciphertexts(
    ctx: &Context,
    to: impl Into<Destination>,
    ciphertexts: &[Ciphertext],
    extra: serde_json::Value,
) -> Result<()> {
    let mut writer = Writer::create(to, KIND, VERSION).map_err(format)?;
    for (i, ct) in ciphertexts.iter().enumerate() {
        writer.section(&i.to_string(), Dtype::U8, &payload(ctx, ct)?, Codec::Raw).map_err(format)?;
    }
    writer.finish(&manifest(ctx, ciphertexts, extra)?).map_err(format)?;
    Ok(())
}

/// Reads what [`ciphertexts_to_bytes`] wrote; `name` stands for the bytes in errors.
///
/// # Errors
/// Anything but a whole, undamaged file of ciphertexts under the same parameters.
pub fn ciphertexts_from_bytes(ctx: &Context, name: &str, bytes: &[u8]) -> Result<(Vec<Ciphertext>, serde_json::Value)> {
    let file = CiphertextFile::from_bytes(ctx.params(), name, bytes)?;
    Ok((file.read_all(ctx)?, file.extra()?))
}

/// Reads what [`write_ciphertexts`] wrote.
///
/// # Errors
/// As [`ciphertexts_from_bytes`].
pub fn read_ciphertexts(ctx: &Context, path: impl AsRef<Path>) -> Result<(Vec<Ciphertext>, serde_json::Value)> {
    let file = CiphertextFile::open(ctx.params(), path)?;
    Ok((file.read_all(ctx)?, file.extra()?))
}

fn manifest(ctx: &Context, ciphertexts: &[Ciphertext], extra: serde_json::Value) -> Result<CiphertextManifest> {
    if ciphertexts.len() > MAX_COUNT {
        let count = ciphertexts.len();
        return Err(format(format_args!("{count} ciphertexts are too many for one file, which holds {MAX_COUNT}")));
    }
    Ok(CiphertextManifest {
        params: ctx.params().digest(),
        insecure: ctx.params().is_insecure(),
        ciphertexts: ciphertexts.iter().map(Ciphertext::info).collect(),
        extra: serde_json::value::to_raw_value(&extra).map_err(format)?,
    })
}

fn payload(ctx: &Context, ct: &Ciphertext) -> Result<Vec<u8>> {
    ctx.params().check_digest("the ciphertext", ct.params)?;
    let mut out = Vec::new();
    let stored = if ct.seed.is_some() { 1 } else { ct.parts.len() };
    for part in &ct.parts[..stored] {
        pack_limbs(ctx.ring(), part, &mut out);
    }
    out.extend(ct.seed.iter().flatten());
    Ok(out)
}

/// An open file of ciphertexts, of which nothing is read yet but what it says of them.
///
/// Every section is raw and of the length that parameters, level and parts give, or the file is refused: what it takes in memory
/// is at most about three times what it takes on disk.
pub struct CiphertextFile {
    reader: Reader,
    params: Params,
    infos: Vec<CiphertextInfo>,
    extra: Box<RawValue>,
}

impl CiphertextFile {
    /// Opens a file by mapping it.
    ///
    /// # Errors
    /// Anything but a file that describes ciphertexts under these parameters, in sections of their lengths.
    pub fn open(params: &Params, path: impl AsRef<Path>) -> Result<Self> {
        Self::over(params, Reader::open(path).map_err(format)?)
    }

    /// Opens the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`CiphertextFile::open`].
    pub fn from_bytes(params: &Params, name: &str, bytes: &[u8]) -> Result<Self> {
        Self::over(params, Reader::from_bytes(name, bytes).map_err(format)?)
    }

    fn over(params: &Params, reader: Reader) -> Result<Self> {
        let reader = reader.expect(KIND, VERSION).map_err(format)?;
        let manifest: CiphertextManifest = reader.manifest().map_err(format)?;
        params.check_digest("the ciphertext file", manifest.params)?;
        let (count, extra) = (manifest.ciphertexts.len(), manifest.extra.get().len());
        if count > MAX_COUNT || extra > MAX_EXTRA {
            return Err(format(format_args!(
                "{count} ciphertexts and a label of {extra} bytes are too much for one file"
            )));
        }
        for (i, info) in manifest.ciphertexts.iter().enumerate() {
            info.check(params).map_err(|e| format(format_args!("entry {i}: {e}")))?;
            reader.expect_raw(&i.to_string(), info.stored_len(params) as u64).map_err(format)?;
        }
        let (infos, extra) = (manifest.ciphertexts, manifest.extra);
        Ok(Self { reader, params: params.clone(), infos, extra })
    }

    /// The same file, whose ciphertexts may take so many bytes of memory altogether.
    pub fn with_limit(self, limit: u64) -> Self {
        Self { reader: self.reader.with_limit(limit), ..self }
    }

    /// Path of the file, or the name of the bytes.
    pub fn name(&self) -> &str {
        self.reader.file()
    }

    /// What the file says of every ciphertext, in order.
    pub fn infos(&self) -> &[CiphertextInfo] {
        &self.infos
    }

    /// The JSON value of the caller that wrote it.
    ///
    /// # Errors
    /// Text that is no JSON value.
    pub fn extra<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.extra.get()).map_err(format)
    }

    /// Compares every section with its hash.
    ///
    /// # Errors
    /// At the first that does not match.
    pub fn verify(&self) -> Result<()> {
        self.reader.verify().map_err(format)
    }

    /// All ciphertexts.
    ///
    /// # Errors
    /// As [`CiphertextFile::read`].
    pub fn read_all(&self, ctx: &Context) -> Result<Vec<Ciphertext>> {
        (0..self.infos.len()).map(|i| self.read(ctx, i)).collect()
    }

    /// Ciphertext number `i`.
    ///
    /// # Errors
    /// A context of other parameters, a number beyond the last, a damaged section, residues that are not below their primes,
    /// or more memory than the limit.
    pub fn read(&self, ctx: &Context, i: usize) -> Result<Ciphertext> {
        ctx.params().check_digest("the ciphertext file", self.params.digest())?;
        let wrong = |e: String| format(format_args!("entry {i}: {e}"));
        let info = self.infos.get(i).ok_or_else(|| wrong("it is not in the file".into()))?;
        let section = self.reader.section(&i.to_string()).map_err(format)?;
        self.reader.spend(&format!("ciphertext {i}"), info.len(&self.params) as u64).map_err(format)?;
        let part_len = packed_len(ctx.ring(), info.level + 1);
        let (stored, seed) = section.split_at(if info.seeded { part_len } else { info.parts * part_len });
        let mut parts = Vec::with_capacity(info.parts);
        for chunk in stored.chunks_exact(part_len) {
            let mut part = RnsPoly::unspecified(ctx.params().n(), info.level + 1);
            unpack_limbs(ctx.ring(), chunk, &mut part).map_err(wrong)?;
            parts.push(part);
        }
        match Seed::try_from(seed) {
            Ok(seed) if info.seeded => Ciphertext::from_seeded(ctx, parts.swap_remove(0), seed, info.slots, info.key),
            _ => Ciphertext::from_parts(ctx, parts, info.sd, info.slots, info.key),
        }
    }
}
