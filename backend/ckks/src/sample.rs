//! The public halves of keys and of fresh ciphertexts are uniform polynomials that expand from seeds.

use crate::context::Context;

/// A seed of uniform polynomials: 32 bytes that may be public.
pub type Seed = [u8; 32];

impl Context {
    /// Uniform residues modulo prime `index` of the ring: the output stream of BLAKE3 keyed with `seed` on
    /// `(row, index)`, two little-endian 32-bit numbers, read as 64-bit words.
    ///
    /// Every limb has a stream of its own, so limbs are expanded in parallel and only where they are needed. The stream is
    /// five times as fast as ChaCha20 here, and expanding a key costs no more than reading it from memory.
    pub fn expand_limb(&self, seed: &Seed, row: u32, index: usize, out: &mut [u64]) {
        let mut input = [0; 8];
        input[..4].copy_from_slice(&row.to_le_bytes());
        input[4..].copy_from_slice(&(index as u32).to_le_bytes());
        let mut stream = blake3::Hasher::new_keyed(seed).update(&input).finalize_xof();
        self.ring().limb(index).sample_uniform(|words| stream.fill(bytemuck::cast_slice_mut(words)), out);
    }
}
