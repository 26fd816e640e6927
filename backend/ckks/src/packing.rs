//! Residues as dense bits: every residue takes the bits of its prime.

use fhec_ring::{Ring, RnsPoly};

/// Bytes of the first `limbs` limbs; every limb starts on a byte.
pub(crate) fn packed_len(ring: &Ring, limbs: usize) -> usize {
    ring.moduli()[..limbs].iter().map(|m| (m.bits() as usize * ring.n()).div_ceil(8)).sum()
}

/// Appends the limbs of `poly` (primes `0..`), low bits first.
pub(crate) fn pack_limbs(ring: &Ring, poly: &RnsPoly, out: &mut Vec<u8>) {
    out.reserve(packed_len(ring, poly.limb_count()));
    for (limb, m) in poly.limbs().zip(ring.moduli()) {
        let (mut buffer, mut held) = (0u128, 0);
        for &v in limb {
            buffer |= u128::from(v) << held;
            held += m.bits();
            if held >= 64 {
                out.extend_from_slice(&(buffer as u64).to_le_bytes());
                buffer >>= 64;
                held -= 64;
            }
        }
        out.extend_from_slice(&buffer.to_le_bytes()[..held.div_ceil(8) as usize]);
    }
}

/// Reads back what [`pack_limbs`] wrote into all limbs of `poly`; `bytes` has the length of
/// [`packed_len`].
///
/// # Errors
/// A residue that is not below its prime.
pub(crate) fn unpack_limbs(ring: &Ring, bytes: &[u8], poly: &mut RnsPoly) -> Result<(), String> {
    let mut rest = bytes;
    for (i, limb) in poly.limbs_mut().enumerate() {
        let m = ring.modulus(i);
        let (bits, mask) = (m.bits(), (1u64 << m.bits()) - 1);
        let (mine, later) = rest.split_at((bits as usize * limb.len()).div_ceil(8));
        rest = later;
        let (mut buffer, mut held, mut words) = (0u128, 0, mine.chunks(8));
        for slot in limb {
            if held < bits {
                let mut word = [0; 8];
                if let Some(chunk) = words.next() {
                    word[..chunk.len()].copy_from_slice(chunk);
                }
                buffer |= u128::from(u64::from_le_bytes(word)) << held;
                held += 64;
            }
            *slot = buffer as u64 & mask;
            if *slot >= m.value() {
                return Err(format!("a residue of limb {i} is not below its prime"));
            }
            buffer >>= bits;
            held -= bits;
        }
    }
    Ok(())
}
