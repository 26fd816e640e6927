//! A key set holds the keys that an evaluation uses, in memory or on disk.

use super::schedule::Schedule;
use super::switching::{DigitShape, KeyRequest, SwitchingKey, expand, rows};
use crate::context::Context;
use crate::error::{CkksError, KeyName, Result, ShortDigest};
use crate::params::Params;
use crate::sample::Seed;
use fhec_ring::{Buffer, KeyHalves};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A key's name and the level it was made for.
pub(super) type Place = (KeyName, usize);

/// Where the stored half of a key lies.
#[derive(Clone)]
pub(super) enum KeyStore {
    Memory(Arc<Buffer>),
    File { reader: fhec_container::Reader, section: String },
}

pub(super) struct KeyEntry {
    pub shape: DigitShape,
    pub seed: Seed,
    pub store: KeyStore,
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
    /// Bytes in a file.
    pub stored_bytes: usize,
}

/// Evaluation keys by name, of one name for as many levels as there are keys: the smallest that serves is used, since a key
/// made for a high level is slow at a low one.
///
/// Of a key in memory one half is held, of a key in a file none: the rest is made (expanded from its seed, read from the
/// mapped file) when it is used, and kept within a memory bound. What does not fit is forgotten by the next use: where
/// the order of uses is known ([`expect_uses`](Self::expect_uses)), the key that is used again last goes first (Belady, A
/// study of replacement algorithms for a virtual-storage computer, 1966), else the one not used for longest.
pub struct KeySet {
    params: Params,
    key: ShortDigest,
    pub(super) entries: BTreeMap<Place, KeyEntry>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    budget: usize,
    /// Bytes of the keys below and of those being prepared.
    held: usize,
    clock: u64,
    keys: BTreeMap<Place, Prepared>,
    schedule: Schedule,
}

struct Prepared {
    key: Arc<PreparedKey>,
    /// Bytes that are freed when it is forgotten.
    bytes: usize,
    used: u64,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("key", &self.key).field("keys", &self.infos()).finish()
    }
}

/// A key with both halves at hand.
pub struct PreparedKey {
    shape: DigitShape,
    n: usize,
    b: Arc<Buffer>,
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
        rows(self.shape, self.n, &self.b, &self.a)
    }
}

impl KeySet {
    /// An empty set for keys of the secret key with id `key`.
    pub fn new(ctx: &Context, key: ShortDigest) -> Self {
        Self::under(ctx.params(), key)
    }

    /// An empty set under these parameters.
    pub(super) fn under(params: &Params, key: ShortDigest) -> Self {
        let cache = Cache { budget: usize::MAX, ..Cache::default() };
        Self { params: params.clone(), key, entries: BTreeMap::new(), cache: Mutex::new(cache) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key, replacing one of the same name and level.
    pub fn insert(&mut self, key: SwitchingKey) {
        let entry = KeyEntry { shape: key.shape, seed: key.seed, store: KeyStore::Memory(key.b.clone()) };
        let place = (key.name(), key.level());
        self.entries.insert(place, entry);
        self.cache().forget(place);
    }

    /// Bounds the bytes of prepared keys that are kept between uses. The keys in use at one time are kept in any case.
    pub fn set_memory_bound(&self, bytes: usize) {
        let mut cache = self.cache();
        cache.budget = bytes;
        cache.shrink(0);
    }

    /// Says which keys will be used, step after step and then from the first again, so that those are kept that are used
    /// soonest. The keys of one step are in use together, in any order. It changes no result.
    pub fn expect_uses(&self, steps: &[Vec<KeyRequest>]) {
        let served =
            |step: &Vec<KeyRequest>| step.iter().filter_map(|r| Some(self.find(r.name, r.level).ok()?.0)).collect();
        let steps: Vec<Vec<Place>> = steps.iter().map(served).collect();
        self.cache().schedule = Schedule::new(&steps);
    }

    /// Id of the secret key these keys belong to.
    pub fn key_id(&self) -> ShortDigest {
        self.key
    }

    /// Digest of the parameters.
    pub fn params_digest(&self) -> ShortDigest {
        self.params.digest()
    }

    /// All keys in order of their names, then of their levels.
    pub fn infos(&self) -> Vec<KeyInfo> {
        let info = |(&(name, _), e): (&Place, &KeyEntry)| KeyInfo {
            name,
            level: e.shape.level,
            alpha: e.shape.alpha,
            stored_bytes: self.params.stored_key_bytes(e.shape.level),
        };
        self.entries.iter().map(info).collect()
    }

    /// Bytes that the set holds whatever its bound: the stored halves of keys that are in no file.
    pub fn resident_bytes(&self) -> usize {
        let held = |e: &KeyEntry| match &e.store {
            KeyStore::Memory(b) => b.len() * 8,
            KeyStore::File { .. } => 0,
        };
        self.entries.values().map(held).sum()
    }

    /// The smallest key of this name that serves at `level`.
    fn find(&self, name: KeyName, level: usize) -> Result<(Place, &KeyEntry)> {
        if let Some((&place, entry)) = self.entries.range((name, level)..=(name, usize::MAX)).next() {
            return Ok((place, entry));
        }
        let highest = self.entries.range((name, 0)..(name, level)).next_back();
        Err(match highest {
            Some((&(_, have), _)) => CkksError::KeyLevel { name, have, need: level },
            None => CkksError::MissingKey(name),
        })
    }

    /// Special primes, and limbs per digit, of the key `name` for use at `level`.
    ///
    /// # Errors
    /// A missing key, a key made for a lower level.
    pub fn alpha(&self, name: KeyName, level: usize) -> Result<usize> {
        Ok(self.find(name, level)?.1.shape.alpha)
    }

    /// How many of these rotations, from the first on, have keys for use at `level` that fit the memory bound together; at
    /// least one.
    ///
    /// # Errors
    /// A missing key, a key made for a lower level.
    pub(crate) fn fitting(&self, names: &[Option<KeyName>], level: usize) -> Result<usize> {
        let (budget, mut bytes) = (self.cache().budget, 0usize);
        for (i, name) in names.iter().enumerate() {
            if let Some(name) = name {
                bytes = bytes.saturating_add(self.prepared_bytes(self.find(*name, level)?.1));
            }
            if bytes > budget && i > 0 {
                return Ok(i);
            }
        }
        Ok(names.len())
    }

    /// Bytes that preparing a key takes.
    fn prepared_bytes(&self, entry: &KeyEntry) -> usize {
        let half = entry.shape.len(self.params.n()) * 8;
        match &entry.store {
            KeyStore::Memory(_) => half,
            KeyStore::File { .. } => 2 * half,
        }
    }

    /// The key `name` for use at `level`.
    ///
    /// # Errors
    /// A missing key, a key made for a lower level, a damaged file.
    pub fn get(&self, ctx: &Context, name: KeyName, level: usize) -> Result<Arc<PreparedKey>> {
        ctx.params().check_digest("the evaluation key set", self.params_digest())?;
        let (place, entry) = self.find(name, level)?;
        let bytes = self.prepared_bytes(entry);
        {
            let mut cache = self.cache();
            if let Some(key) = cache.use_(place) {
                return Ok(key);
            }
            // Room is made before the key is, so that the bound holds meanwhile.
            cache.shrink(bytes);
            cache.held += bytes;
        }
        // Prepared outside the lock: two threads may do the same work, none waits for another key.
        let prepared = self.prepare(ctx, entry);
        let mut cache = self.cache();
        cache.held -= bytes;
        let key = Arc::new(prepared?);
        cache.keep(place, key.clone(), bytes);
        Ok(key)
    }

    fn prepare(&self, ctx: &Context, entry: &KeyEntry) -> Result<PreparedKey> {
        let b = match &entry.store {
            KeyStore::Memory(b) => b.clone(),
            KeyStore::File { reader, section } => Arc::new(super::file::load(ctx, reader, section, entry.shape)?),
        };
        let a = expand(ctx, entry.shape, &entry.seed);
        Ok(PreparedKey { shape: entry.shape, n: self.params.n(), b, a })
    }
}

impl Cache {
    /// Notes a use, and gives the key if it is at hand.
    fn use_(&mut self, place: Place) -> Option<Arc<PreparedKey>> {
        self.clock += 1;
        self.schedule.advance(place);
        let found = self.keys.get_mut(&place)?;
        found.used = self.clock;
        Some(found.key.clone())
    }

    fn keep(&mut self, place: Place, key: Arc<PreparedKey>, bytes: usize) {
        self.forget(place);
        self.shrink(bytes);
        self.held += bytes;
        self.keys.insert(place, Prepared { key, bytes, used: self.clock });
    }

    fn forget(&mut self, place: Place) {
        if let Some(gone) = self.keys.remove(&place) {
            self.held -= gone.bytes;
        }
    }

    /// Forgets keys until `more` bytes fit beside the rest, those first that are used again last.
    fn shrink(&mut self, more: usize) {
        while self.held.saturating_add(more) > self.budget {
            // Of keys that are used at one time, or never again, the one not used for longest.
            let rank = |(place, p): &(&Place, &Prepared)| {
                (self.schedule.distance(**place).unwrap_or(usize::MAX), Reverse(p.used))
            };
            let Some((&place, _)) = self.keys.iter().max_by_key(rank) else { return };
            self.forget(place);
        }
    }
}
