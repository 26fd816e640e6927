//! Memory that held a secret is wiped before it is used again.

use fhec_ring::RnsPoly;
use zeroize::Zeroize;

/// A polynomial that is wiped when dropped, before its memory is lent to another.
pub(crate) struct Wiped(RnsPoly);

impl Wiped {
    /// The zero polynomial with `limbs` limbs of `n` residues.
    pub fn zero(n: usize, limbs: usize) -> Self {
        Self(RnsPoly::zero(n, limbs))
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl std::ops::Deref for Wiped {
    type Target = RnsPoly;
    fn deref(&self) -> &RnsPoly {
        &self.0
    }
}

impl std::ops::DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut RnsPoly {
        &mut self.0
    }
}
