//! Uniform polynomials from seeds: the public halves of keys and fresh ciphertexts.

use crate::context::Context;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A seed of uniform polynomials: 32 bytes that may be public.
pub type Seed = [u8; 32];

impl Context {
    /// Uniform residues modulo prime `index` of the ring: the stream `row 2^32 + index` of ChaCha20 under `seed`.
    ///
    /// Every limb has a stream of its own, so limbs are expanded in parallel and only where they are needed.
    pub fn expand_limb(&self, seed: &Seed, row: u32, index: usize, out: &mut [u64]) {
        let mut rng = ChaCha20Rng::from_seed(*seed);
        rng.set_stream(u64::from(row) << 32 | index as u64);
        self.ring().limb(index).sample_uniform(|words| rng.fill_bytes(bytemuck::cast_slice_mut(words)), out);
    }
}
