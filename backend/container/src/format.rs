//! The bytes of a container's header and index.

use serde::{Deserialize, Serialize};

use crate::error::Problem;

pub(crate) const MAGIC: [u8; 8] = *b"FHEC\r\n\x1a\n";
pub(crate) const CONTAINER_VERSION: u32 = 1;
pub(crate) const HEADER_LEN: usize = 128;
pub(crate) const ALIGN: u64 = 64;
const KIND_LEN: usize = 24;
/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 8 << 20;
/// Longest index, in bytes: that of about 64 Ki sections.
const MAX_INDEX: u64 = 16 << 20;
/// Where the hash lies in the header; it covers every other header byte.
const HASH_AT: usize = 96;

/// How the bytes of a section are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As they are, readable in place.
    Raw,
    /// Compressed with zstd.
    Zstd,
}

/// The elements of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Bytes.
    U8,
    /// UTF-8 text.
    Text,
    /// 16-bit signed integers.
    I16,
    /// 32-bit unsigned integers.
    U32,
    /// 32-bit signed integers.
    I32,
    /// 64-bit unsigned integers.
    U64,
    /// 64-bit signed integers.
    I64,
    /// 32-bit floating-point numbers.
    F32,
    /// 64-bit floating-point numbers.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::Text => 1,
            Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// What the index says of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionInfo {
    /// Name, unique in the file.
    pub name: String,
    /// Elements.
    pub dtype: Dtype,
    /// Storage.
    pub codec: Codec,
    /// Offset in the file, a multiple of 64.
    pub offset: u64,
    /// Bytes in the file.
    pub stored: u64,
    /// Bytes after decompression.
    pub len: u64,
    /// blake3 of the bytes in the file, in hexadecimal.
    pub hash: String,
}

/// The fixed part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: String,
    pub version: u32,
    pub file_len: u64,
    pub manifest_at: u64,
    pub manifest_len: u64,
    pub index_len: u64,
}

/// Whether `kind` can be written in a header.
pub(crate) fn valid_kind(kind: &str) -> bool {
    !kind.is_empty() && kind.len() <= KIND_LEN && kind.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// Refuses a manifest or index too long to be read.
pub(crate) fn check_lengths(manifest: u64, index: u64) -> Result<(), Problem> {
    for (what, len, most) in [("manifest", manifest, MAX_MANIFEST), ("index", index, MAX_INDEX)] {
        if len > most {
            return Err(Problem::Malformed(format!("the {what} is of {len} bytes, at most {most} are possible")));
        }
    }
    Ok(())
}

impl Header {
    /// The header bytes, with the hash over header, manifest and index.
    pub fn encode(&self, manifest: &[u8], index: &[u8]) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&CONTAINER_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.version.to_le_bytes());
        out[16..16 + self.kind.len()].copy_from_slice(self.kind.as_bytes());
        for (i, x) in [self.file_len, self.manifest_at, self.manifest_len, self.index_len].into_iter().enumerate() {
            out[40 + 8 * i..48 + 8 * i].copy_from_slice(&x.to_le_bytes());
        }
        let hash = header_hash(&out, manifest, index);
        out[HASH_AT..].copy_from_slice(hash.as_bytes());
        out
    }

    /// How long a file that begins with these bytes says it is; `None` if they begin no container.
    pub fn stated_len(bytes: &[u8]) -> Option<u64> {
        let length = bytes.get(40..48).filter(|_| bytes.starts_with(&MAGIC))?;
        length.try_into().ok().map(u64::from_le_bytes)
    }

    /// Reads a header whose hash is not yet checked. `have` is the length of the whole file.
    pub fn decode(bytes: &[u8], have: u64) -> Result<Self, Problem> {
        let shared = bytes.len().min(MAGIC.len());
        if bytes[..shared] != MAGIC[..shared] || bytes.is_empty() {
            return Err(Problem::NotAContainer);
        }
        if bytes.len() < HEADER_LEN {
            return Err(Problem::Truncated { have, need: HEADER_LEN as u64 });
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let found = u32_at(8);
        if found != CONTAINER_VERSION {
            return Err(Problem::ContainerVersion { found, supported: CONTAINER_VERSION });
        }
        let kind = &bytes[16..16 + KIND_LEN];
        let end = kind.iter().position(|&b| b == 0).unwrap_or(KIND_LEN);
        let kind = std::str::from_utf8(&kind[..end]).ok().filter(|k| valid_kind(k)).ok_or(Problem::IndexHash)?;
        let header = Self {
            kind: kind.to_string(),
            version: u32_at(12),
            file_len: u64_at(40),
            manifest_at: u64_at(48),
            manifest_len: u64_at(56),
            index_len: u64_at(64),
        };
        if header.file_len > have {
            return Err(Problem::Truncated { have, need: header.file_len });
        }
        if header.file_len < have {
            return Err(Problem::TrailingBytes(have - header.file_len));
        }
        let end = header.manifest_at.checked_add(header.manifest_len).and_then(|x| x.checked_add(header.index_len));
        if end != Some(header.file_len) || header.manifest_at < HEADER_LEN as u64 {
            return Err(Problem::IndexHash);
        }
        check_lengths(header.manifest_len, header.index_len)?;
        Ok(header)
    }
}

/// The hash that the header holds: over the header without the hash itself, the manifest and the index.
pub(crate) fn header_hash(header: &[u8], manifest: &[u8], index: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..HASH_AT]).update(manifest).update(index);
    hasher.finalize()
}

/// The hash stored in a header of full length.
pub(crate) fn stored_hash(header: &[u8]) -> &[u8] {
    &header[HASH_AT..HEADER_LEN]
}
