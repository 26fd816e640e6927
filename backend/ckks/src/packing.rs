//! Residues are packed as dense bits: every residue takes the bits of its prime.

use fhec_ring::{Modulus, Ring, RnsPoly};

/// Bits of the residues of a prime.
pub(crate) fn bits_of(prime: u64) -> u32 {
    u64::BITS - prime.leading_zeros()
}

/// Bytes of a limb of `n` residues of `bits` bits.
pub(crate) fn packed_limb_len(bits: u32, n: usize) -> usize {
    (bits as usize * n).div_ceil(8)
}

/// Bytes of the first `limbs` limbs; every limb starts on a byte.
pub(crate) fn packed_len(ring: &Ring, limbs: usize) -> usize {
    ring.moduli()[..limbs].iter().map(|m| packed_limb_len(m.bits(), ring.n())).sum()
}

/// Writes the residues of one limb, low bits first, into the bytes of [`packed_limb_len`].
pub(crate) fn pack_limb(bits: u32, limb: &[u64], out: &mut [u8]) {
    let (mut buffer, mut held, mut at) = (0u128, 0, 0);
    for &v in limb {
        buffer |= u128::from(v) << held;
        held += bits;
        if held >= 64 {
            out[at..at + 8].copy_from_slice(&(buffer as u64).to_le_bytes());
            at += 8;
            buffer >>= 64;
            held -= 64;
        }
    }
    out[at..].copy_from_slice(&buffer.to_le_bytes()[..held.div_ceil(8) as usize]);
}

/// Reads back what [`pack_limb`] wrote; whether every residue is below its prime.
pub(crate) fn unpack_limb(m: &Modulus, bytes: &[u8], limb: &mut [u64]) -> bool {
    // A residue and the bits before it in its first byte fit in one word.
    const { assert!(Modulus::MAX_BITS + 7 <= u64::BITS) };
    let (bits, mask) = (m.bits() as usize, (1u64 << m.bits()) - 1);
    let mut largest = 0;
    for (i, slot) in limb.iter_mut().enumerate() {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let word = match bytes.get(byte..byte + 8) {
            Some(word) => word.try_into().map_or(0, u64::from_le_bytes),
            None => bytes[byte..].iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)),
        };
        *slot = word >> shift & mask;
        largest = largest.max(*slot);
    }
    largest < m.value()
}

/// Appends the limbs of `poly` (primes `0..`).
pub(crate) fn pack_limbs(ring: &Ring, poly: &RnsPoly, out: &mut Vec<u8>) {
    for (limb, m) in poly.limbs().zip(ring.moduli()) {
        let from = out.len();
        out.resize(from + packed_limb_len(m.bits(), limb.len()), 0);
        pack_limb(m.bits(), limb, &mut out[from..]);
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
        let (mine, later) = rest.split_at(packed_limb_len(m.bits(), limb.len()));
        rest = later;
        if !unpack_limb(&m, mine, limb) {
            return Err(format!("a residue of limb {i} is not below its prime"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_of_any_width_are_read_back_and_larger_residues_are_found() {
        for prime in [97u64, (1 << 31) - 1, (1 << 42) - 11, (1 << 45) - 55, (1 << 50) - 27] {
            let m = Modulus::new(prime).unwrap();
            for n in [8usize, 64] {
                let limb: Vec<u64> = (0..n as u64).map(|i| prime - 1 - i * i % prime).collect();
                let mut bytes = vec![0; packed_limb_len(m.bits(), n)];
                pack_limb(m.bits(), &limb, &mut bytes);
                let mut back = vec![0; n];
                assert!(unpack_limb(&m, &bytes, &mut back));
                assert_eq!(back, limb, "{prime}");
                for at in [0, n / 2, n - 1] {
                    let mut beyond = limb.clone();
                    beyond[at] = prime;
                    pack_limb(m.bits(), &beyond, &mut bytes);
                    assert!(!unpack_limb(&m, &bytes, &mut back), "{prime} at {at}");
                }
            }
        }
    }
}
