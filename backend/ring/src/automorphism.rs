//! The ring automorphisms `X -> X^g`.

use crate::isa::Isa;
use crate::modulus::Modulus;
use crate::ring::Ring;

/// `X -> X^g` for one odd `g`, as a permutation of evaluations and as signed moves of coefficients.
#[derive(Debug)]
pub struct Automorphism {
    g: u64,
    isa: Isa,
    /// `out[p] = in[source[p]]` in evaluation form. Bit-reversed order makes the permutation map every aligned
    /// block of a power-of-two length onto such a block, which the vector kernels rely on.
    source: Vec<u32>,
}

impl Automorphism {
    pub(crate) fn new(ring: &Ring, g: u64) -> Self {
        let source = (0..ring.n()).map(|p| ring.position(ring.exponent(p).wrapping_mul(g)) as u32).collect();
        Self { g, isa: ring.isa(), source }
    }

    /// The exponent `g`, in `1..2N`.
    pub fn exponent(&self) -> u64 {
        self.g
    }

    /// The permutation of the evaluation form: `out[p] = in[source[p]]`.
    pub fn source(&self) -> &[u32] {
        &self.source
    }

    /// Applies it to a limb in evaluation form: `out[p] = input[source[p]]`.
    ///
    /// # Panics
    /// When a slice does not have `N` elements.
    pub fn apply(&self, input: &[u64], out: &mut [u64]) {
        assert!(input.len() == self.source.len() && out.len() == self.source.len());
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the ring this comes from has an instruction set the machine supports, both slices have N
            // elements, and `source` permutes 0..N, mapping aligned blocks of eight onto aligned blocks.
            Isa::Avx512Ifma if out.len() >= 8 => unsafe { crate::pointwise::avx512::permute(&self.source, input, out) },
            _ => {
                for (o, &s) in out.iter_mut().zip(&self.source) {
                    *o = input[s as usize];
                }
            }
        }
    }

    /// Applies it to a limb of coefficients: coefficient `j` moves to `j g mod N`, negated when it wraps an odd
    /// number of times.
    ///
    /// # Panics
    /// When a slice does not have `N` elements.
    pub fn apply_coefficients(&self, modulus: &Modulus, input: &[u64], out: &mut [u64]) {
        let n = self.source.len();
        assert!(input.len() == n && out.len() == n);
        let mut target = 0u64;
        for &a in input {
            let position = target as usize & (n - 1);
            out[position] = if target as usize & n == 0 { a } else { modulus.neg(a) };
            target = (target + self.g) & (2 * n as u64 - 1);
        }
    }
}
