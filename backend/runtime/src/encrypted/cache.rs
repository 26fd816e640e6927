//! Encoded plain operands, kept between uses within a memory bound.

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
pub(super) enum Encoded {
    Vector(Plaintext),
    Linear(Arc<LinearTransform>),
}

impl Encoded {
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

/// Least recently used first out.
#[derive(Debug)]
pub(super) struct EncodingCache {
    bound: usize,
    held: usize,
    clock: u64,
    entries: BTreeMap<Use, (Encoded, u64)>,
}

impl EncodingCache {
    pub fn new(bound: usize) -> Self {
        Self { bound, held: 0, clock: 0, entries: BTreeMap::new() }
    }

    /// The encoding for `use_`, made by `encode` when it is not held.
    pub fn get(
        &mut self,
        use_: Use,
        encode: impl FnOnce() -> Result<Encoded, CkksError>,
    ) -> Result<Encoded, CkksError> {
        self.clock += 1;
        if let Some((found, used)) = self.entries.get_mut(&use_) {
            *used = self.clock;
            return Ok(found.clone());
        }
        let encoded = encode()?;
        let bytes = encoded.bytes();
        if bytes <= self.bound {
            while self.held + bytes > self.bound {
                let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
                let Some((gone, _)) = oldest.and_then(|key| self.entries.remove(&key)) else { break };
                self.held -= gone.bytes();
            }
            self.held += bytes;
            self.entries.insert(use_, (encoded.clone(), self.clock));
        }
        Ok(encoded)
    }
}
