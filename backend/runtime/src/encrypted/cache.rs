//! Encoded plain operands are kept between uses within a memory bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhec_ckks::{CkksError, LinearTransform, Plaintext};
use fhec_ir::ConstId;

/// A use of a constant: the same constant is encoded differently at different levels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// A vector.
    Vector { id: ConstId, role: (u8, usize, usize) },
    /// The diagonals of a linear transform: operand level and level of the products.
    Linear { id: ConstId, levels: (usize, usize), rotations: Vec<i64>, giants: Vec<i64> },
}

/// An encoded operand. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum CachedEncoding {
    Vector(Plaintext),
    Linear(Arc<LinearTransform>),
}

impl CachedEncoding {
    fn bytes(&self) -> usize {
        match self {
            Self::Vector(v) => v.bytes(),
            Self::Linear(t) => t.bytes(),
        }
    }
    pub fn vector(&self) -> Result<&Plaintext, CkksError> {
        match self {
            Self::Vector(v) => Ok(v),
            Self::Linear(_) => Err(CkksError::Params("diagonals were used as a vector".into())),
        }
    }
    pub fn linear(&self) -> Result<&LinearTransform, CkksError> {
        match self {
            Self::Linear(t) => Ok(t),
            Self::Vector(_) => Err(CkksError::Params("a vector was used as diagonals".into())),
        }
    }
}

/// What was encoded first is kept, as far as the bound goes: a program uses every encoding once per run, so that one
/// kept instead would be no better, and with the one not used for longest gone every use would find its encoding gone.
#[derive(Debug)]
pub(super) struct EncodingCache {
    bound: usize,
    held: usize,
    entries: BTreeMap<Use, CachedEncoding>,
}

impl EncodingCache {
    pub fn new(bound: usize) -> Self {
        Self { bound, held: 0, entries: BTreeMap::new() }
    }

    /// The encoding for `use_`, made by `encode` when it is not held.
    pub fn get(
        &mut self,
        use_: Use,
        encode: impl FnOnce() -> Result<CachedEncoding, CkksError>,
    ) -> Result<CachedEncoding, CkksError> {
        if let Some(found) = self.entries.get(&use_) {
            return Ok(found.clone());
        }
        let encoded = encode()?;
        if self.held.saturating_add(encoded.bytes()) <= self.bound {
            self.held += encoded.bytes();
            self.entries.insert(use_, encoded.clone());
        }
        Ok(encoded)
    }
}
