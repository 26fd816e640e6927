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

/// Evaluation keys by name, of one name for as many levels as there are keys: the smallest that serves is used, since a key
/// made for a high level is slow at a low one. The uniform halves are expanded from their seeds at first use and kept within a memory
/// bound; the stored halves lie in memory or in a mapped file.
pub struct KeySet {
    params: Digest,
    key: Digest,
    n: usize,
    /// By name, then by level.
    pub(super) entries: BTreeMap<(KeyName, usize), Entry>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    budget: usize,
    held: usize,
    clock: u64,
    keys: BTreeMap<(KeyName, usize), (Arc<PreparedKey>, u64)>,
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

    /// Adds a key, replacing one of the same name and level.
    pub fn insert(&mut self, key: SwitchingKey) {
        let entry = Entry { shape: key.shape, seed: key.seed, store: Store::Memory(key.b.clone()) };
        let place = (key.name(), key.level());
        self.entries.insert(place, entry);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((old, _)) = cache.keys.remove(&place) {
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

    /// All keys in order of their names, then of their levels.
    pub fn infos(&self) -> Vec<KeyInfo> {
        let info = |(&(name, _), e): (&(KeyName, usize), &Entry)| KeyInfo {
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
        let Some((&place, entry)) = self.entries.range((name, level)..=(name, usize::MAX)).next() else {
            let highest = self.entries.range((name, 0)..(name, level)).next_back();
            return Err(match highest {
                Some((&(_, have), _)) => CkksError::KeyLevel { name, have, need: level },
                None => CkksError::MissingKey(name),
            });
        };
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.clock += 1;
            let now = cache.clock;
            if let Some((found, used)) = cache.keys.get_mut(&place) {
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
        if let Some((old, _)) = cache.keys.insert(place, (prepared.clone(), now)) {
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
            let Some(oldest) = self.keys.iter().min_by_key(|(_, (_, used))| *used).map(|(place, _)| *place) else {
                return;
            };
            if let Some((key, _)) = self.keys.remove(&oldest) {
                self.held -= key.a.len() * 8;
            }
        }
    }
}
