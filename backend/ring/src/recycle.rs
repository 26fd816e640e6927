//! The memory of dropped buffers is kept for the next ones.
//!
//! A ciphertext of tens of megabytes that is freed and allocated again costs the kernel as long to clear as a product
//! of its limbs takes. One pool serves the process, for ciphertexts come and go between evaluators and their callers.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes of dropped polynomials that a process keeps for the next ones, unless [`bound_recycled`](crate::bound_recycled)
/// says less.
pub const RECYCLED_BYTES: usize = 768 << 20;

/// Memory that knows its size.
pub(crate) trait Sized64 {
    /// Words it holds.
    fn words(&self) -> usize;
}

/// Free memory, any sizes.
pub(crate) struct Pool<T> {
    free: Mutex<Free<T>>,
}

struct Free<T> {
    pieces: Vec<T>,
    /// Bytes of the pieces.
    bytes: usize,
    /// Most bytes that they may have.
    bound: usize,
}

impl<T: Sized64> Pool<T> {
    pub const fn new() -> Self {
        Self { free: Mutex::new(Free { pieces: Vec::new(), bytes: 0, bound: RECYCLED_BYTES }) }
    }

    fn free(&self) -> MutexGuard<'_, Free<T>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The smallest piece of at least `len` words that does not waste more than half of itself.
    pub fn take(&self, len: usize) -> Option<T> {
        self.best(|words| words >= len && words / 2 <= len)
    }

    /// A piece of `len` words.
    pub fn take_exact(&self, len: usize) -> Option<T> {
        self.best(|words| words == len)
    }

    fn best(&self, fits: impl Fn(usize) -> bool) -> Option<T> {
        let mut free = self.free();
        let pieces = &free.pieces;
        let best = (0..pieces.len()).filter(|&i| fits(pieces[i].words())).min_by_key(|&i| pieces[i].words())?;
        let piece = free.pieces.swap_remove(best);
        free.bytes -= piece.words() * 8;
        Some(piece)
    }

    /// Keeps `piece`, or frees it where enough is kept.
    pub fn put(&self, piece: T) {
        let mut free = self.free();
        let more = piece.words() * 8;
        if free.bytes + more <= free.bound {
            free.bytes += more;
            free.pieces.push(piece);
        }
    }

    /// Keeps no more than `bytes` from now on, the smallest pieces first.
    pub fn bound(&self, bytes: usize) {
        let mut free = self.free();
        free.bound = bytes;
        free.pieces.sort_by_key(Sized64::words);
        while free.bytes > bytes
            && let Some(largest) = free.pieces.pop()
        {
            free.bytes -= largest.words() * 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sized64 for Vec<u64> {
        fn words(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn the_best_fit_is_lent() {
        let pool = Pool::new();
        for n in [100, 40, 60, 45] {
            pool.put(vec![0u64; n]);
        }
        assert_eq!(pool.take(42).map(|v| v.len()), Some(45));
        assert_eq!(pool.take(42).map(|v| v.len()), Some(60));
        // A hundred words for 42 would waste more than half.
        assert_eq!(pool.take(42), None);
        assert_eq!(pool.take(101), None);
        assert_eq!(pool.take(1), None);
        assert_eq!(pool.take_exact(99), None);
        assert_eq!(pool.take_exact(100).map(|v| v.len()), Some(100));
    }

    #[test]
    fn a_bound_frees_what_is_beyond_it_and_holds() {
        let pool = Pool::new();
        [100, 40, 60].into_iter().for_each(|n| pool.put(vec![0u64; n]));
        pool.bound(8 * 100);
        assert_eq!(pool.take_exact(100), None, "the largest goes first");
        pool.put(vec![0; 1]);
        assert_eq!(pool.take_exact(1), None, "60 and 40 words fill it");
        assert!(pool.take_exact(60).is_some() && pool.take_exact(40).is_some());
    }
}
