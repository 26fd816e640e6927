//! Blobs hold constants that are too large for text.

use std::collections::BTreeMap;

use crate::consts::{ConstPool, Digest, Hashed};
use crate::tensor::Tensor;

/// Where the elements of `blob` constants come from.
pub trait BlobSource {
    /// The tensor with this digest, if the source has it.
    fn blob(&self, digest: &Digest) -> Option<Tensor>;
    /// Elements that the `zeros` and `full` constants of one file may have together, so that a short file cannot ask for
    /// all memory.
    fn room(&self) -> usize {
        1 << 26
    }
}

/// Tensors by digest. The empty set serves files without blobs.
#[derive(Clone, Debug, Default)]
pub struct Blobs(BTreeMap<Digest, Tensor>);

impl Blobs {
    /// Adds a tensor; returns its digest.
    pub fn insert(&mut self, tensor: impl Into<Hashed>) -> Digest {
        let Hashed { tensor, digest } = tensor.into();
        self.0.insert(digest, tensor);
        digest
    }
    /// All tensors in order of digest.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Digest, &Tensor)> {
        self.0.iter()
    }
}

impl BlobSource for Blobs {
    fn blob(&self, digest: &Digest) -> Option<Tensor> {
        self.0.get(digest).cloned()
    }
}

impl BlobSource for ConstPool {
    fn blob(&self, digest: &Digest) -> Option<Tensor> {
        self.by_digest(digest).map(|id| self.tensor(id).clone())
    }
}

/// Hexadecimal text of a digest.
pub fn to_hex(digest: &Digest) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest written as 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = Digest::default();
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}
