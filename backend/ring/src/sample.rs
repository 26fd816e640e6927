//! Uniform residues are drawn by rejection.

use crate::modulus::Modulus;

/// Words drawn at a time.
const BLOCK: usize = 256;

/// Fills `out` with uniform residues below `q`; see [`Limb::sample_uniform`](crate::Limb::sample_uniform).
pub(crate) fn uniform(m: &Modulus, mut next: impl FnMut(&mut [u64]), out: &mut [u64]) {
    let q = m.value();
    let mask = u64::MAX >> (64 - m.bits());
    let mut words = [0u64; BLOCK];
    let mut filled = 0;
    while filled < out.len() {
        next(&mut words);
        for word in words {
            let candidate = word & mask;
            // Written unconditionally, kept only below q: no branch on random data.
            match out.get_mut(filled) {
                Some(slot) => *slot = candidate,
                None => break,
            }
            filled += usize::from(candidate < q);
        }
    }
}
