//! The pool of a module's constants stores each content once.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::entity::{ConstId, Entity};
use crate::tensor::{Shape, Tensor};

/// A blake3 hash of 32 bytes: of a tensor (shape and elements), or of the whole content of a file.
pub type Digest = [u8; 32];

/// A named constant.
#[derive(Clone, Debug)]
pub struct Const {
    /// Name in text, unique in the pool.
    pub name: String,
    /// The elements.
    pub tensor: Tensor,
    /// Hash of shape and elements.
    pub digest: Digest,
    /// What [`Const::filled_rows`] found.
    filled: OnceLock<Vec<bool>>,
}

impl Const {
    /// For every row along the last dimension, whether it holds a number other than zero. Found once, however many ops use the
    /// constant.
    pub fn filled_rows(&self) -> &[bool] {
        let width = self.tensor.shape().0.last().copied().unwrap_or(1).max(1);
        self.filled.get_or_init(|| self.tensor.data().chunks(width).map(|row| row.iter().any(|&x| x != 0.0)).collect())
    }
}

/// Constants of a module. Equal tensors share one entry: the id is a function of the content and of the order of
/// first insertion, so the same passes over the same input give the same pool.
#[derive(Clone, Debug, Default)]
pub struct ConstPool {
    entries: Vec<Const>,
    by_digest: HashMap<Digest, ConstId>,
    by_name: HashMap<String, ConstId>,
}

/// A tensor with its digest, which takes a while for large ones: moved between pools it is not computed again.
#[derive(Clone, Debug)]
pub struct Hashed {
    pub(crate) tensor: Tensor,
    pub(crate) digest: Digest,
}

impl From<Tensor> for Hashed {
    fn from(tensor: Tensor) -> Self {
        Self { digest: digest(&tensor), tensor }
    }
}

impl From<&Const> for Hashed {
    fn from(constant: &Const) -> Self {
        Self { tensor: constant.tensor.clone(), digest: constant.digest }
    }
}

/// Bytes hashed at once: enough for all lanes of the hash function.
const HASHED_AT_ONCE: usize = 64 * 1024;

/// Hash of a tensor's shape and elements.
pub fn digest(tensor: &Tensor) -> Digest {
    digest_of(tensor.shape(), tensor.data())
}

/// Hash of the tensor that has this shape and these elements.
pub fn digest_of(shape: &Shape, data: &[f32]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(shape.rank() as u64).to_le_bytes());
    for &d in &shape.0 {
        hasher.update(&(d as u64).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(HASHED_AT_ONCE);
    for chunk in data.chunks(HASHED_AT_ONCE / 4) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|x| x.to_bits().to_le_bytes()));
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

impl ConstPool {
    /// Adds a tensor under a name derived from `hint`, or finds the entry of equal content.
    pub fn insert(&mut self, hint: &str, tensor: impl Into<Hashed>) -> ConstId {
        let Hashed { tensor, digest } = tensor.into();
        if let Some(&id) = self.by_digest.get(&digest) {
            return id;
        }
        let base: String =
            hint.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' }).collect();
        let base =
            if base.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { base } else { format!("c{base}") };
        let mut name = base.clone();
        let mut n = 1;
        while self.by_name.contains_key(&name) {
            name = format!("{base}.{n}");
            n += 1;
        }
        let id = ConstId::new(self.entries.len());
        self.by_digest.insert(digest, id);
        self.by_name.insert(name.clone(), id);
        self.entries.push(Const { name, tensor, digest, filled: OnceLock::new() });
        id
    }
    /// The constant `id`.
    ///
    /// # Panics
    /// When `id` is not of this pool.
    pub fn get(&self, id: ConstId) -> &Const {
        &self.entries[id.index()]
    }
    /// The elements of constant `id`.
    pub fn tensor(&self, id: ConstId) -> &Tensor {
        &self.get(id).tensor
    }
    /// Whether `id` is of this pool.
    pub fn contains(&self, id: ConstId) -> bool {
        id.index() < self.entries.len()
    }
    /// The constant with this name.
    pub fn by_name(&self, name: &str) -> Option<ConstId> {
        self.by_name.get(name).copied()
    }
    /// The constant with this content.
    pub fn by_digest(&self, digest: &Digest) -> Option<ConstId> {
        self.by_digest.get(digest).copied()
    }
    /// All constants in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (ConstId, &Const)> {
        self.entries.iter().enumerate().map(|(i, c)| (ConstId::new(i), c))
    }
    /// Number of constants.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
