//! Temporary buffers are reused, so that kernels allocate nothing once warm.

use crate::buffer::Buffer;
use std::sync::{Mutex, PoisonError};

/// A pool of aligned buffers shared by the threads of one evaluator.
///
/// A lease returns its buffer when dropped; leases of the same size reuse it.
#[derive(Debug, Default)]
pub struct Scratch {
    free: Mutex<Vec<Buffer>>,
}

/// A temporary buffer with unspecified contents, given back to its [`Scratch`] when dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    buffer: Buffer,
    home: &'a Scratch,
}

impl Scratch {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` residues with unspecified contents.
    pub fn take(&self, len: usize) -> Lease<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest buffer that is large enough; the pool holds a few dozen at most. Where none is, a new one takes the
        // place of the largest, so that there are never more than were on lease at one time.
        let fitting = (0..free.len()).filter(|&i| free[i].capacity() >= len).min_by_key(|&i| free[i].capacity());
        let best = fitting.or_else(|| (0..free.len()).max_by_key(|&i| free[i].capacity()));
        let found = best.map(|i| free.swap_remove(i));
        drop(free);
        let mut buffer = found.filter(|b| b.capacity() >= len).unwrap_or_default();
        buffer.resize(len);
        Lease { buffer, home: self }
    }

    /// Frees all buffers not on lease.
    pub fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes held by buffers not on lease.
    pub fn idle_bytes(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.iter().map(|b| b.capacity() * 8).sum()
    }
}

impl std::ops::Deref for Lease<'_> {
    type Target = [u64];
    #[inline]
    fn deref(&self) -> &[u64] {
        &self.buffer
    }
}

impl std::ops::DerefMut for Lease<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.buffer
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_reused() {
        let scratch = Scratch::new();
        let first = scratch.take(1000);
        let address = first.as_ptr();
        assert_eq!(address as usize % 64, 0);
        drop(first);
        assert!(scratch.idle_bytes() >= 8000);
        let second = scratch.take(900);
        assert_eq!((second.as_ptr(), second.len()), (address, 900));
        drop(second);
        drop(scratch.take(2000));
        assert!((16_000..24_000).contains(&scratch.idle_bytes()), "the smaller buffer is still held");
    }
}
