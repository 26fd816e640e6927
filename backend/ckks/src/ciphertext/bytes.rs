//! Ciphertexts as files: one container holds a list of them, residues packed to the bits of their primes.

use super::Ciphertext;
use crate::context::Context;
use crate::error::{CkksError, Digest, Result};
use crate::packing::{pack_limbs, packed_len, unpack_limbs};
use crate::sample::Seed;
use fhec_container::{Codec, Destination, Dtype, Reader, Writer};
use fhec_ring::RnsPoly;
use serde::{Deserialize, Serialize};
use std::path::Path;

const KIND: &str = "ciphertext";
const VERSION: u32 = 1;
/// Most ciphertexts of one file.
const MAX_COUNT: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    params: Digest,
    insecure: bool,
    ciphertexts: Vec<Entry>,
    /// What the caller adds: the shape of a tensor, the digest of a plan.
    extra: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Digest,
    level: usize,
    sd: u8,
    slots: usize,
    parts: usize,
    /// Whether the section ends with the seed of part 1 instead of that part.
    seeded: bool,
}

fn format(e: impl std::fmt::Display) -> CkksError {
    CkksError::Format { what: "ciphertext file", reason: e.to_string() }
}

/// Stores ciphertexts, in order, with a JSON value of the caller's.
///
/// # Errors
/// A ciphertext of other parameters.
pub fn ciphertexts_to_bytes(ctx: &Context, ciphertexts: &[Ciphertext], extra: serde_json::Value) -> Result<Vec<u8>> {
    let mut writer = Writer::in_memory(KIND, VERSION).map_err(format)?;
    for (i, ct) in ciphertexts.iter().enumerate() {
        writer.section(&i.to_string(), Dtype::U8, &payload(ctx, ct)?, Codec::Raw).map_err(format)?;
    }
    writer.into_bytes(&manifest(ctx, ciphertexts, extra)).map_err(format)
}

/// [`ciphertexts_to_bytes`] into a file.
///
/// # Errors
/// A ciphertext of other parameters, or a file that cannot be written.
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
    writer.finish(&manifest(ctx, ciphertexts, extra)).map_err(format)?;
    Ok(())
}

/// Reads what [`ciphertexts_to_bytes`] wrote; `name` stands for the bytes in errors.
///
/// # Errors
/// Anything but a whole, undamaged file of ciphertexts under the same parameters.
pub fn ciphertexts_from_bytes(ctx: &Context, name: &str, bytes: &[u8]) -> Result<(Vec<Ciphertext>, serde_json::Value)> {
    read(ctx, Reader::from_bytes(name, bytes).map_err(format)?)
}

/// Reads what [`write_ciphertexts`] wrote.
///
/// # Errors
/// As [`ciphertexts_from_bytes`].
pub fn read_ciphertexts(ctx: &Context, path: impl AsRef<Path>) -> Result<(Vec<Ciphertext>, serde_json::Value)> {
    read(ctx, Reader::open(path).map_err(format)?)
}

fn manifest(ctx: &Context, ciphertexts: &[Ciphertext], extra: serde_json::Value) -> Manifest {
    let entry = |ct: &Ciphertext| Entry {
        key: ct.key,
        level: ct.level,
        sd: ct.sd,
        slots: ct.slots,
        parts: ct.parts.len(),
        seeded: ct.seed.is_some(),
    };
    Manifest {
        params: ctx.params().digest(),
        insecure: ctx.params().is_insecure(),
        ciphertexts: ciphertexts.iter().map(entry).collect(),
        extra,
    }
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

fn read(ctx: &Context, reader: Reader) -> Result<(Vec<Ciphertext>, serde_json::Value)> {
    let reader = reader.expect(KIND, VERSION).map_err(format)?;
    let manifest: Manifest = reader.manifest().map_err(format)?;
    ctx.params().check_digest("the ciphertext file", manifest.params)?;
    if manifest.ciphertexts.len() > MAX_COUNT {
        return Err(format(format_args!("{} ciphertexts in one file", manifest.ciphertexts.len())));
    }
    let mut out = Vec::with_capacity(manifest.ciphertexts.len());
    for (i, entry) in manifest.ciphertexts.iter().enumerate() {
        let possible = entry.level <= ctx.params().top_level()
            && (1..=2).contains(&entry.sd)
            && (2..=3).contains(&entry.parts)
            && (!entry.seeded || entry.parts == 2);
        if !possible {
            return Err(format(format_args!("entry {i} describes no ciphertext")));
        }
        let section = reader.section(&i.to_string()).map_err(format)?;
        let part_len = packed_len(ctx.ring(), entry.level + 1);
        let stored = if entry.seeded { 1 } else { entry.parts };
        let expected = stored * part_len + if entry.seeded { 32 } else { 0 };
        if section.len() != expected {
            return Err(format(format_args!("entry {i} has {} bytes, {expected} are needed", section.len())));
        }
        let mut parts = Vec::with_capacity(entry.parts);
        for chunk in section[..stored * part_len].chunks_exact(part_len) {
            let mut part = RnsPoly::unspecified(ctx.params().n(), entry.level + 1);
            unpack_limbs(ctx.ring(), chunk, &mut part).map_err(|e| format(format_args!("entry {i}: {e}")))?;
            parts.push(part);
        }
        let ct = match Seed::try_from(&section[stored * part_len..]) {
            Ok(seed) if entry.seeded => {
                let c0 = parts.swap_remove(0);
                Ciphertext::from_seeded(ctx, c0, seed, entry.slots, entry.key)?
            }
            _ => Ciphertext::from_parts(ctx, parts, entry.sd, entry.slots, entry.key)?,
        };
        if ct.sd != entry.sd {
            return Err(format(format_args!("entry {i} is seeded, but of scale degree {}", entry.sd)));
        }
        out.push(ct);
    }
    Ok((out, manifest.extra))
}
