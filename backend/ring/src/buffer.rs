//! Cache-line aligned buffers and RNS polynomials.

use crate::recycle::{Pool, Sized64};
use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// One cache line of residues.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Where the words of a buffer live.
#[derive(Debug)]
enum Store {
    Lines(Vec<Line>),
    /// Anonymous memory on huge pages: walking page tables otherwise costs large buffers about 5 % of a key switch.
    Map(MmapMut),
}

/// Size of a huge page in bytes.
const HUGE_PAGE: usize = 2 << 20;
/// Buffers from this many words on are mapped, and kept for others when they are dropped.
const RECYCLE_FROM: usize = 1 << 14;

static POOL: Pool<Store> = Pool::new();

/// Bounds the bytes of dropped buffers that this process keeps for the next ones, and frees what is beyond. The default is
/// [`RECYCLED_BYTES`](crate::RECYCLED_BYTES).
pub fn bound_recycled(bytes: usize) {
    POOL.bound(bytes);
}

impl Sized64 for Store {
    fn words(&self) -> usize {
        Store::words(self).len()
    }
}

impl Store {
    /// At least `len` words of unspecified contents.
    fn unspecified(len: usize) -> Self {
        let used = if len >= RECYCLE_FROM { POOL.take(len) } else { None };
        used.unwrap_or_else(|| Self::fresh(len))
    }

    /// At least `len` zeros.
    fn zeroed(len: usize) -> Self {
        match if len >= RECYCLE_FROM { POOL.take(len) } else { None } {
            Some(mut used) => {
                used.words_mut()[..len].fill(0);
                used
            }
            None => Self::fresh(len),
        }
    }

    /// At least `len` zeros, from the system.
    fn fresh(len: usize) -> Self {
        let bytes = len.saturating_mul(8);
        // Rounding up to whole huge pages wastes at most a quarter.
        let rounded = bytes.checked_next_multiple_of(HUGE_PAGE).filter(|_| bytes >= 4 * HUGE_PAGE);
        Self::in_bytes(len, rounded.unwrap_or(bytes))
    }

    /// `len` words of unspecified contents in no more memory than they need.
    fn exact(len: usize) -> Self {
        let used = if len >= RECYCLE_FROM { POOL.take_exact(len) } else { None };
        used.unwrap_or_else(|| Self::in_bytes(len, len.saturating_mul(8)))
    }

    /// At least `len` zeros, from the system; large ones mapped, in so many bytes.
    fn in_bytes(len: usize, bytes: usize) -> Self {
        if len >= RECYCLE_FROM
            && let Ok(map) = MmapMut::map_anon(bytes)
        {
            // Only advice: without huge pages the memory is as good as any.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Map(map);
        }
        Self::Lines(vec![Line([0; 8]); len.div_ceil(8)])
    }

    fn words(&self) -> &[u64] {
        match self {
            Self::Lines(lines) => bytemuck::cast_slice(lines),
            Self::Map(map) => bytemuck::cast_slice(map),
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Self::Map(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

/// A zero-initialised `u64` buffer on a 64-byte boundary; large ones on huge pages where the system has them.
#[derive(Debug)]
pub struct Buffer {
    /// At least `len` words; what is beyond was in use before.
    store: Store,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self { store: Store::zeroed(len), len }
    }

    /// `len` words of unspecified contents: zeros, or what was in memory used before.
    pub fn unspecified(len: usize) -> Self {
        Self { store: Store::unspecified(len), len }
    }

    /// `len` words of unspecified contents in no more memory than they need, for what is held long and counted by its
    /// bytes.
    pub fn exact(len: usize) -> Self {
        Self { store: Store::exact(len), len }
    }

    /// Changes the length; the contents of new elements are unspecified. Memory is kept when it shrinks.
    pub(crate) fn resize(&mut self, len: usize) {
        if len > self.capacity() {
            let mut larger = Self::unspecified(len);
            larger[..self.len].copy_from_slice(self);
            *self = larger;
        }
        self.len = len;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.store.words().len()
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self { store: Store::Lines(Vec::new()), len: 0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.capacity() >= RECYCLE_FROM {
            POOL.put(std::mem::replace(&mut self.store, Store::Lines(Vec::new())));
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::unspecified(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u64];
    #[inline]
    fn deref(&self) -> &[u64] {
        &self.store.words()[..self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.store.words_mut()[..self.len]
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Buffer {}

/// A polynomial as residues, limb after limb in one aligned buffer: limb `i` holds `N` canonical residues
/// modulo the prime of its position. Whether these are coefficients or evaluations is the owner's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RnsPoly {
    data: Buffer,
    n: usize,
}

impl RnsPoly {
    /// The zero polynomial with `limbs` limbs of `n` residues.
    pub fn zero(n: usize, limbs: usize) -> Self {
        Self { data: Buffer::zeroed(n * limbs), n }
    }

    /// A polynomial of `limbs` limbs of unspecified contents, for who writes all of them.
    pub fn unspecified(n: usize, limbs: usize) -> Self {
        Self { data: Buffer::unspecified(n * limbs), n }
    }

    /// Residues per limb.
    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of limbs.
    #[inline]
    pub fn limb_count(&self) -> usize {
        self.data.len().checked_div(self.n).unwrap_or(0)
    }

    /// Limb `i`.
    #[inline]
    pub fn limb(&self, i: usize) -> &[u64] {
        &self.data[i * self.n..(i + 1) * self.n]
    }

    /// Limb `i`, mutable.
    #[inline]
    pub fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        let n = self.n;
        &mut self.data[i * n..(i + 1) * n]
    }

    /// All limbs in order.
    pub fn limbs(&self) -> std::slice::ChunksExact<'_, u64> {
        self.data.chunks_exact(self.n)
    }

    /// All limbs in order, mutable.
    pub fn limbs_mut(&mut self) -> std::slice::ChunksExactMut<'_, u64> {
        let n = self.n;
        self.data.chunks_exact_mut(n)
    }

    /// Limbs in parallel, for `rayon`.
    pub fn par_limbs_mut(&mut self) -> rayon::slice::ChunksExactMut<'_, u64> {
        use rayon::slice::ParallelSliceMut;
        let n = self.n;
        self.data.par_chunks_exact_mut(n)
    }

    /// Keeps the first `limbs` limbs, or appends zero limbs. Shrinking keeps the memory; a clone does not.
    pub fn set_limb_count(&mut self, limbs: usize) {
        let old = self.data.len();
        self.resize(limbs);
        if let Some(fresh) = self.data.get_mut(old..) {
            fresh.fill(0);
        }
    }

    /// [`set_limb_count`](Self::set_limb_count) with unspecified contents of appended limbs.
    pub fn resize(&mut self, limbs: usize) {
        self.data.resize(limbs * self.n);
    }

    /// All residues, limb after limb.
    pub fn as_slice(&self) -> &[u64] {
        &self.data
    }

    /// All residues, limb after limb, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [u64] {
        &mut self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_either_kind_are_aligned_zero_and_keep_their_words() {
        for len in [0, 1, 7, 1000, RECYCLE_FROM, HUGE_PAGE / 2, HUGE_PAGE / 2 + 13] {
            let mut buffer = Buffer::zeroed(len);
            assert!(buffer.len() == len && buffer.iter().all(|&w| w == 0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.iter_mut().zip(1..).for_each(|(w, i)| *w = i);
            let copy = buffer.clone();
            buffer.resize(2 * len + HUGE_PAGE / 2);
            assert!(buffer[..len] == copy[..] && buffer.len() == 2 * len + HUGE_PAGE / 2);
            buffer.resize(len);
            assert!(buffer == copy);
        }
    }
}
