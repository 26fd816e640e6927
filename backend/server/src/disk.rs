//! Accounts for the bytes on the disk that tenants take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that are taken, and their bound.
#[derive(Debug)]
pub struct Disk {
    used: AtomicU64,
    bound: u64,
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub struct Taken {
    disk: Arc<Disk>,
    bytes: u64,
}

impl Disk {
    pub fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bound })
    }

    /// Takes bytes, if they fit.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Taken> {
        let within = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.bound);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok()?;
        Some(Taken { disk: self.clone(), bytes })
    }

    /// Takes bytes that are there already, also beyond the bound.
    pub fn found(self: &Arc<Self>, bytes: u64) -> Taken {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Taken { disk: self.clone(), bytes }
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    pub fn bound(&self) -> u64 {
        self.bound
    }
}

impl Taken {
    /// Takes over what another one has.
    pub fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.disk.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink(0);
    }
}
