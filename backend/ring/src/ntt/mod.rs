//! The negacyclic number theoretic transform of one prime.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::error::RingError;
use crate::isa::Isa;
use crate::modulus::Modulus;
use crate::primes::primitive_root;

/// The transform between the coefficients of a polynomial modulo `X^N + 1` and its values at the odd powers of
/// `psi`, in bit-reversed order: position `p` holds the value at `psi^(2 brv(p) + 1)`.
#[derive(Debug)]
pub struct Ntt {
    log_n: u32,
    modulus: Modulus,
    isa: Isa,
    n_inverse: u64,
    /// 1/2 and I/2, I the value of X^(N/2) at psi.
    halves: (u64, u64),
    tables: Tables,
}

/// Roots of unity in the layout of one kernel.
#[derive(Debug)]
enum Tables {
    Portable(portable::Tables),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Tables),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Tables),
}

impl Ntt {
    pub(crate) fn new(log_n: u32, modulus: Modulus, isa: Isa) -> Result<Self, RingError> {
        let psi = primitive_root(&modulus, log_n)?;
        let refused = RingError::NotNttPrime { q: modulus.value(), order: 2 << log_n };
        let n_inverse = modulus.inv(modulus.reduce_u64(1 << log_n)).ok_or(refused)?;
        let powers = bit_reversed_powers(&modulus, log_n, psi);
        let inverse_powers = mirrored_inverses(&modulus, &powers);
        // Primes are odd, and brv(1) = N/2.
        let half = modulus.value().div_ceil(2);
        let halves = (half, modulus.mul(powers[1], half));
        let tables = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Ifma if log_n >= avx512::Tables::MIN_LOG_N => {
                Tables::Avx512(avx512::Tables::new(&modulus, &powers, &inverse_powers))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if log_n >= avx2::Tables::MIN_LOG_N => {
                Tables::Avx2(avx2::Tables::new(&modulus, &powers, &inverse_powers))
            }
            _ => Tables::Portable(portable::Tables::new(&modulus, &powers, &inverse_powers)),
        };
        Ok(Self { log_n, modulus, isa, n_inverse, halves, tables })
    }

    /// The modulus.
    #[inline]
    pub fn modulus(&self) -> Modulus {
        self.modulus
    }

    /// The instruction set of the kernels.
    #[inline]
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// The ring degree `N`.
    #[inline]
    pub(crate) fn n(&self) -> usize {
        1 << self.log_n
    }

    /// 1/2 and I/2 modulo the prime, I = `psi^(N/2)`.
    #[inline]
    pub(crate) fn halves(&self) -> (u64, u64) {
        self.halves
    }

    /// Coefficients to evaluations, in place; canonical residues in and out.
    ///
    /// # Panics
    /// When `a` does not have `N` elements.
    pub fn forward(&self, a: &mut [u64]) {
        assert_eq!(a.len(), 1 << self.log_n);
        match &self.tables {
            Tables::Portable(t) => t.forward(&self.modulus, a),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such tables are built only for a supported instruction set; the length is N.
            Tables::Avx512(t) => unsafe { t.forward(&self.modulus, a) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such tables are built only for a supported instruction set; the length is N.
            Tables::Avx2(t) => unsafe { t.forward(&self.modulus, a) },
        }
    }

    /// Evaluations to coefficients, in place; canonical residues in and out.
    ///
    /// # Panics
    /// When `a` does not have `N` elements.
    pub fn inverse(&self, a: &mut [u64]) {
        self.inverse_by(a, self.n_inverse);
    }

    /// [`inverse`](Self::inverse) times the residue `scale`, at no further cost.
    ///
    /// # Panics
    /// When `a` does not have `N` elements or `scale` is no residue.
    pub fn inverse_scaled(&self, a: &mut [u64], scale: u64) {
        assert!(scale < self.modulus.value());
        self.inverse_by(a, self.modulus.mul(self.n_inverse, scale));
    }

    fn inverse_by(&self, a: &mut [u64], factor: u64) {
        assert_eq!(a.len(), 1 << self.log_n);
        match &self.tables {
            Tables::Portable(t) => t.inverse(&self.modulus, a, factor),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such tables are built only for a supported instruction set; the length is N.
            Tables::Avx512(t) => unsafe { t.inverse(&self.modulus, a, factor) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such tables are built only for a supported instruction set; the length is N.
            Tables::Avx2(t) => unsafe { t.inverse(&self.modulus, a, factor) },
        }
    }
}

/// `psi^brv(i)` for `i` in `0..N`.
fn bit_reversed_powers(m: &Modulus, log_n: u32, psi: u64) -> Vec<u64> {
    let n = 1usize << log_n;
    let mut powers = vec![0; n];
    let shoup = m.shoup(psi);
    let mut power = 1;
    for k in 0..n {
        powers[k.reverse_bits() >> (usize::BITS - log_n)] = power;
        power = m.mul_shoup(power, psi, shoup);
    }
    powers
}

/// `psi^-brv(i)` from `powers[i] = psi^brv(i)`: within a layer `brv` of `i` and of its mirror image add up to `N`, and
/// `psi^N = -1`.
fn mirrored_inverses(m: &Modulus, powers: &[u64]) -> Vec<u64> {
    let mut inverses = vec![1; powers.len()];
    let mut layer = 1;
    while layer < powers.len() {
        for i in layer..2 * layer {
            inverses[i] = m.neg(powers[3 * layer - 1 - i]);
        }
        layer *= 2;
    }
    inverses
}
