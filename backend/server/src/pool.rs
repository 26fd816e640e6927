//! Evaluators that are loaded, one for each set of keys, within one bound of memory. The one that was not used for longest goes
//! first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine::{Engine, Evaluator, Unfit};
use crate::id::KeyId;
use crate::metrics::Metrics;
use crate::tokens::Tenant;

/// Whose keys.
type Owner = (Tenant, KeyId);

/// The loaded evaluators.
pub struct Pool {
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    loaded: Mutex<Loaded>,
    freed: Condvar,
}

#[derive(Default)]
struct Loaded {
    idle: BTreeMap<Owner, Idle>,
    /// Bytes of all, idle and in use.
    bytes: u64,
    clock: u64,
}

struct Idle {
    evaluator: Box<dyn Evaluator>,
    used: u64,
}

/// Memory of an evaluator in use, which is given back when it is dropped.
struct Reserved<'p>(&'p Pool);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let size = self.0.engine.evaluator_memory();
        let mut loaded = self.0.loaded();
        loaded.bytes -= size;
        self.0.note(&loaded);
        self.0.freed.notify_all();
    }
}

impl Pool {
    pub fn new(engine: Arc<dyn Engine>, metrics: Arc<Metrics>) -> Self {
        Self { engine, metrics, loaded: Mutex::default(), freed: Condvar::new() }
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the evaluator of these keys, loaded if need be; others are unloaded until it fits. One that panics is not
    /// used again.
    pub fn with<T>(
        &self,
        tenant: &Tenant,
        key: &KeyId,
        file: &Path,
        f: impl FnOnce(&dyn Evaluator) -> T,
    ) -> Result<T, Unfit> {
        let owner = (tenant.clone(), key.clone());
        let (reserved, known) = self.reserve(&owner);
        let evaluator = known.map_or_else(|| self.engine.open(file), Ok)?;
        let result = f(&*evaluator);
        let other = {
            let mut loaded = self.loaded();
            loaded.clock += 1;
            let used = loaded.clock;
            loaded.idle.insert(owner, Idle { evaluator, used })
        };
        // Two workers had the same keys: one evaluator is enough, and the memory of the other one is given back.
        match other {
            Some(other) => drop((other, reserved)),
            None => std::mem::forget(reserved),
        }
        self.freed.notify_all();
        Ok(result)
    }

    /// The evaluator of these keys where it is loaded, else room for it.
    fn reserve(&self, owner: &Owner) -> (Reserved<'_>, Option<Box<dyn Evaluator>>) {
        let size = self.engine.evaluator_memory();
        let mut loaded = self.loaded();
        if let Some(Idle { evaluator, .. }) = loaded.idle.remove(owner) {
            return (Reserved(self), Some(evaluator));
        }
        // Room is made before the evaluator is. What is in use stays: there is room for as many as there are workers.
        while loaded.bytes + size > self.engine.memory() {
            let oldest = loaded.idle.iter().min_by_key(|(_, idle)| idle.used).map(|(owner, _)| owner.clone());
            match oldest {
                Some(oldest) => {
                    loaded.idle.remove(&oldest);
                    loaded.bytes -= size;
                    self.metrics.evictions.inc();
                }
                None if loaded.bytes == 0 => break,
                None => loaded = self.freed.wait(loaded).unwrap_or_else(PoisonError::into_inner),
            }
        }
        loaded.bytes += size;
        self.note(&loaded);
        (Reserved(self), None)
    }

    /// Whether the evaluator of these keys is loaded and not in use.
    pub fn holds(&self, tenant: &Tenant, key: &KeyId) -> bool {
        self.loaded().idle.contains_key(&(tenant.clone(), key.clone()))
    }

    /// Unloads the evaluator of keys that are removed.
    pub fn forget(&self, tenant: &Tenant, key: &KeyId) {
        let gone = self.loaded().idle.remove(&(tenant.clone(), key.clone()));
        if gone.is_some() {
            drop((gone, Reserved(self)));
        }
    }

    fn note(&self, loaded: &Loaded) {
        self.metrics.evaluator_bytes.set(loaded.bytes as i64);
    }
}
