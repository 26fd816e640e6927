//! The kernels of one prime have a safe interface, which checks lengths and chooses the instruction set.

use crate::automorphism::Automorphism;
use crate::isa::Isa;
use crate::modulus::{MAX_TERMS, Modulus};
use crate::ntt::Ntt;
use crate::pointwise::portable;
#[cfg(target_arch = "x86_64")]
use crate::pointwise::{avx2, avx512};

/// All kernels of one prime of a [`Ring`](crate::Ring).
///
/// Slices hold canonical residues and outputs are canonical. Every method panics when the lengths of its slices
/// differ; the transforms also when they are not `N`.
#[derive(Debug, Clone, Copy)]
pub struct Limb<'r> {
    ntt: &'r Ntt,
}

/// Runs the kernel of the ring's instruction set.
macro_rules! dispatch {
    ($self:ident, $kernel:ident ( $($arg:expr),* )) => {{
        let m = $self.modulus();
        match $self.ntt.isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa` values in a ring are supported by this machine, and the lengths were compared above.
            Isa::Avx512Ifma => unsafe { avx512::$kernel(&m, $($arg),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2::$kernel(&m, $($arg),*) },
            _ => portable::$kernel(&m, $($arg),*),
        }
    }};
}

impl<'r> Limb<'r> {
    /// Most terms of one inner product: low halves of 52 bits and one residue are summed in 64 bits, for which 4096 of the
    /// largest are one too many.
    pub const MAX_TERMS: usize = MAX_TERMS;

    pub(crate) fn new(ntt: &'r Ntt) -> Self {
        Self { ntt }
    }

    /// The modulus.
    #[inline]
    pub fn modulus(&self) -> Modulus {
        self.ntt.modulus()
    }

    /// Coefficients to evaluations (bit-reversed order), in place.
    pub fn forward(&self, a: &mut [u64]) {
        self.ntt.forward(a);
    }

    /// Evaluations to coefficients, in place.
    pub fn inverse(&self, a: &mut [u64]) {
        self.ntt.inverse(a);
    }

    /// `inverse` followed by a product with the residue `scale`, at the cost of `inverse` alone.
    pub fn inverse_scaled(&self, a: &mut [u64], scale: u64) {
        self.ntt.inverse_scaled(a, scale);
    }

    /// `a += b`.
    pub fn add_assign(&self, a: &mut [u64], b: &[u64]) {
        assert_eq!(a.len(), b.len());
        dispatch!(self, add_assign(a, b));
    }

    /// `out = a + b`.
    pub fn add(&self, a: &[u64], b: &[u64], out: &mut [u64]) {
        assert!(a.len() == b.len() && a.len() == out.len());
        dispatch!(self, add(a, b, out));
    }

    /// `a -= b`.
    pub fn sub_assign(&self, a: &mut [u64], b: &[u64]) {
        assert_eq!(a.len(), b.len());
        dispatch!(self, sub_assign(a, b));
    }

    /// `out = a - b`.
    pub fn sub(&self, a: &[u64], b: &[u64], out: &mut [u64]) {
        assert!(a.len() == b.len() && a.len() == out.len());
        dispatch!(self, sub(a, b, out));
    }

    /// `a = -a`.
    pub fn neg_assign(&self, a: &mut [u64]) {
        dispatch!(self, neg_assign(a));
    }

    /// `a *= b`, elementwise.
    pub fn mul_assign(&self, a: &mut [u64], b: &[u64]) {
        assert_eq!(a.len(), b.len());
        dispatch!(self, mul_assign(a, b));
    }

    /// `out = a * b`, elementwise.
    pub fn mul(&self, a: &[u64], b: &[u64], out: &mut [u64]) {
        assert!(a.len() == b.len() && a.len() == out.len());
        dispatch!(self, mul(a, b, out));
    }

    /// `acc += a * b`, elementwise.
    pub fn mul_add(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        assert!(a.len() == b.len() && a.len() == acc.len());
        dispatch!(self, mul_add(acc, a, b));
    }

    /// The three parts of `(a0 + a1 s)(b0 + b1 s)`: `out0 = a0 b0`, `out1 = a0 b1 + a1 b0`, `out2 = a1 b1`.
    pub fn tensor(&self, a: [&[u64]; 2], b: [&[u64]; 2], out: [&mut [u64]; 3]) {
        let n = a[0].len();
        assert!(a.iter().chain(&b).all(|s| s.len() == n) && out.iter().all(|s| s.len() == n));
        dispatch!(self, tensor(a, b, out));
    }

    /// `a *= w` for one residue `w`.
    pub fn mul_scalar_assign(&self, a: &mut [u64], w: u64) {
        assert!(w < self.modulus().value());
        dispatch!(self, mul_scalar_assign(a, w));
    }

    /// `acc += a * w` for one residue `w`.
    pub fn mul_scalar_add(&self, acc: &mut [u64], a: &[u64], w: u64) {
        assert!(acc.len() == a.len() && w < self.modulus().value());
        dispatch!(self, mul_scalar_add(acc, a, w));
    }

    /// `a += w` for one residue `w`.
    pub fn add_scalar_assign(&self, a: &mut [u64], w: u64) {
        assert!(w < self.modulus().value());
        dispatch!(self, add_scalar_assign(a, w));
    }

    /// `a = (a - b) * w` for one residue `w`.
    pub fn sub_mul_assign(&self, a: &mut [u64], b: &[u64], w: u64) {
        assert!(a.len() == b.len() && w < self.modulus().value());
        dispatch!(self, sub_mul_assign(a, b, w));
    }

    /// Two inner products that share one factor, with one reduction per output:
    /// `out0 = [out0 +] sum_j d_j x0_j` and `out1 = [out1 +] sum_j d_j x1_j`, the bracket when `accumulate`.
    ///
    /// With `permutation`, `d_j` is read through that automorphism (evaluation form): a rotation costs no pass of
    /// its own. Also the multiply-accumulate of linear transforms: `d` plaintexts, `x0`, `x1` ciphertext parts.
    ///
    /// # Panics
    /// When the numbers of terms differ or exceed [`MAX_TERMS`](Self::MAX_TERMS), or lengths differ (from `N`, with a
    /// permutation).
    #[expect(clippy::too_many_arguments)]
    pub fn inner_product(
        &self,
        d: &[&[u64]],
        x0: &[&[u64]],
        x1: &[&[u64]],
        permutation: Option<&Automorphism>,
        accumulate: bool,
        out0: &mut [u64],
        out1: &mut [u64],
    ) {
        let n = out0.len();
        assert!(d.len() == x0.len() && d.len() == x1.len() && d.len() <= MAX_TERMS);
        assert!(out1.len() == n && d.iter().chain(x0).chain(x1).all(|s| s.len() == n));
        let source = permutation.map(Automorphism::source);
        assert!(source.is_none_or(|s| s.len() == n));
        dispatch!(self, inner_product(d, x0, x1, source, accumulate, out0, out1));
    }

    /// [`inner_product`](Self::inner_product) with first factors of fewer values, of which each stands for `run` equal
    /// ones, as the evaluations of a polynomial in `X^run` do.
    ///
    /// # Panics
    /// When the numbers of terms differ or exceed [`MAX_TERMS`](Self::MAX_TERMS), when `run` is no power of two, or lengths
    /// do not fit.
    #[expect(clippy::too_many_arguments)]
    pub fn inner_product_of_runs(
        &self,
        d: &[&[u64]],
        run: usize,
        x0: &[&[u64]],
        x1: &[&[u64]],
        accumulate: bool,
        out0: &mut [u64],
        out1: &mut [u64],
    ) {
        let n = out0.len();
        assert!(d.len() == x0.len() && d.len() == x1.len() && d.len() <= MAX_TERMS && run.is_power_of_two());
        assert!(out1.len() == n && d.iter().all(|s| s.len() == n.div_ceil(run)));
        assert!(x0.iter().chain(x1).all(|s| s.len() == n));
        dispatch!(self, inner_product_of_runs(d, run, x0, x1, accumulate, out0, out1));
    }

    /// Evaluations of two polynomials from those of `a + X^(N/2) b`, both equal to their conjugates (`X -> X^-1`): `re`
    /// comes with the evaluations of the sum and leaves with those of `a`; `im` leaves with those of `b`.
    ///
    /// `X^(N/2)` is a fourth root of unity I where the real polynomials of a conjugate pair of points agree, I at one of
    /// them and -I at the other; bit-reversed order puts these at positions `p` and `N - 1 - p`.
    pub fn split_conjugates(&self, re: &mut [u64], im: &mut [u64]) {
        assert!(re.len() == im.len() && re.len() == self.ntt.n());
        let (half, half_i) = self.ntt.halves();
        dispatch!(self, split_conjugates(re, im, half, half_i));
    }

    /// Residues of signed integers, such as plaintext coefficients.
    pub fn reduce_signed(&self, values: &[i64], out: &mut [u64]) {
        assert_eq!(values.len(), out.len());
        dispatch!(self, reduce_signed(values, out));
    }

    /// Uniform residues from a stream of random words: each word gives its low `bits(q)` bits, words at or above
    /// `q` are skipped. `next` fills a buffer with fresh words. The same stream gives the same residues on every
    /// instruction set.
    pub fn sample_uniform(&self, next: impl FnMut(&mut [u64]), out: &mut [u64]) {
        crate::sample::uniform(&self.modulus(), next, out);
    }
}
