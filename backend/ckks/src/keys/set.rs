//! The keys an evaluation uses, in memory or on disk.

use super::switching::{Shape, SwitchingKey, expand, rows};
use crate::context::Context;
use crate::error::{CkksError, Digest, KeyName, Result};
use crate::sample::Seed;
use fhec_container::Section;
use fhec_ring::{Buffer, KeyHalves};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the stored half of a key lies.
#[derive(Clone)]
pub(super) enum Store {
    Memory(Arc<Buffer>),
    File { reader: fhec_container::Reader, section: String },
}

pub(super) struct Entry {
    pub shape: Shape,
    pub seed: Seed,
    pub store: Store,
}

/// What a key set says of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// Which key.
    pub name: KeyName,
    /// The highest level it serves.
    pub level: usize,
    /// Special primes, and limbs per digit.
    pub alpha: usize,
    /// Bytes stored.
    pub stored_bytes: usize,
}

/// Evaluation keys by name. The uniform halves are expanded from their seeds at first use and kept within a memory
/// bound; the stored halves lie in memory or in a mapped file.
pub struct KeySet {
    params: Digest,
    key: Digest,
    n: usize,
    pub(super) entries: BTreeMap<KeyName, Entry>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    budget: usize,
    held: usize,
    clock: u64,
    keys: BTreeMap<KeyName, (Arc<PreparedKey>, u64)>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("key", &self.key).field("keys", &self.infos()).finish()
    }
}

/// The stored half, readable as residues.
enum Half {
    Memory(Arc<Buffer>),
    Mapped(Section),
}

/// A key with both halves at hand.
pub struct PreparedKey {
    shape: Shape,
    n: usize,
    b: Half,
    a: Buffer,
}

impl PreparedKey {
    /// The level it was made for.
    pub fn level(&self) -> usize {
        self.shape.level
    }

    /// Special primes, and limbs per digit.
    pub fn alpha(&self) -> usize {
        self.shape.alpha
    }

    /// Its rows, one per digit.
    pub fn rows(&self) -> Vec<KeyHalves<'_>> {
        let b = match &self.b {
            Half::Memory(b) => b,
            // The length was checked when the key was prepared, and sections are aligned.
            Half::Mapped(section) => section.as_slice::<u64>().unwrap_or(&[]),
        };
        rows(self.shape, self.n, b, &self.a)
    }
}

impl KeySet {
    /// An empty set for keys of the secret key with id `key`.
    pub fn new(ctx: &Context, key: Digest) -> Self {
        let (params, n) = (ctx.params().digest(), ctx.params().n());
        let cache = Cache { budget: usize::MAX, ..Cache::default() };
        Self { params, key, n, entries: BTreeMap::new(), cache: Mutex::new(cache) }
    }

    /// Adds a key, replacing one of the same name.
    pub fn insert(&mut self, key: SwitchingKey) {
        let entry = Entry { shape: key.shape, seed: key.seed, store: Store::Memory(key.b.clone()) };
        self.entries.insert(key.name(), entry);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((old, _)) = cache.keys.remove(&key.name()) {
            cache.held -= old.a.len() * 8;
        }
    }

    /// Bounds the bytes of expanded halves that are kept between uses. One key is always kept while it is in use.
    pub fn set_memory_bound(&self, bytes: usize) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.budget = bytes;
        cache.shrink();
    }

    /// Id of the secret key these keys belong to.
    pub fn key_id(&self) -> Digest {
        self.key
    }

    /// Digest of the parameters.
    pub fn params_digest(&self) -> Digest {
        self.params
    }

    /// All keys in order of their names.
    pub fn infos(&self) -> Vec<KeyInfo> {
        let info = |(&name, e): (&KeyName, &Entry)| KeyInfo {
            name,
            level: e.shape.level,
            alpha: e.shape.alpha,
            stored_bytes: e.shape.len(self.n) * 8 + e.seed.len(),
        };
        self.entries.iter().map(info).collect()
    }

    /// The key `name` for use at `level`.
    ///
    /// # Errors
    /// A missing key, a key made for a lower level, a damaged file.
    pub fn get(&self, ctx: &Context, name: KeyName, level: usize) -> Result<Arc<PreparedKey>> {
        ctx.params().check_digest("the evaluation key set", self.params)?;
        let entry = self.entries.get(&name).ok_or(CkksError::MissingKey(name))?;
        if entry.shape.level < level {
            return Err(CkksError::KeyLevel { name, have: entry.shape.level, need: level });
        }
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.clock += 1;
            let now = cache.clock;
            if let Some((found, used)) = cache.keys.get_mut(&name) {
                *used = now;
                return Ok(found.clone());
            }
        }
        let b = match &entry.store {
            Store::Memory(b) => Half::Memory(b.clone()),
            Store::File { reader, section } => Half::Mapped(super::file::load(ctx, reader, section, entry.shape)?),
        };
        // Expanded outside the lock: two threads may do the same work, none waits for another key.
        let a = expand(ctx, entry.shape, &entry.seed);
        let prepared = Arc::new(PreparedKey { shape: entry.shape, n: self.n, b, a });
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let now = cache.clock;
        cache.held += prepared.a.len() * 8;
        if let Some((old, _)) = cache.keys.insert(name, (prepared.clone(), now)) {
            cache.held -= old.a.len() * 8;
        }
        cache.shrink();
        Ok(prepared)
    }
}

impl Cache {
    /// Forgets the keys not used for longest until the rest fits.
    fn shrink(&mut self) {
        while self.held > self.budget {
            let Some(oldest) = self.keys.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name) else {
                return;
            };
            if let Some((key, _)) = self.keys.remove(&oldest) {
                self.held -= key.a.len() * 8;
            }
        }
    }
}
