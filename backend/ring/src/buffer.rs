//! Cache-line aligned buffers and RNS polynomials.

use bytemuck::{Pod, Zeroable};

/// One cache line of residues.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// A zero-initialised `u64` buffer on a 64-byte boundary.
#[derive(Debug, Default)]
pub struct Buffer {
    /// At least `len` words; what is beyond was in use before.
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0; 8]); len.div_ceil(8)], len }
    }

    /// Changes the length; the contents of new elements are unspecified. Memory is kept when it shrinks.
    pub(crate) fn resize(&mut self, len: usize) {
        if len > self.capacity() {
            self.lines.resize(len.div_ceil(8), Line([0; 8]));
        }
        self.len = len;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.lines.len() * 8
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self { lines: self.lines[..self.len.div_ceil(8)].to_vec(), len: self.len }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u64];
    #[inline]
    fn deref(&self) -> &[u64] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
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
