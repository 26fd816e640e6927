//! Arithmetic modulo one odd number below 2^50.

use crate::error::RingError;

/// An odd modulus `3 <= q < 2^50` with its reduction constants.
///
/// All operands and results are canonical residues in `[0, q)` unless a method says otherwise. Residues of secrets pass
/// through here: apart from `inv` and `pow`, nothing branches on them or uses them as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus {
    q: u64,
    /// floor(2^128 / q).
    ratio: u128,
    /// floor(2^64 / q).
    ratio64: u64,
    /// q^-1 mod 2^52.
    inv52: u64,
    /// 2^52 mod q: Montgomery form of one.
    r52: u64,
    /// 2^104 mod q: converts to Montgomery form.
    r104: u64,
}

/// Low 52 bits, the width of the vector multiplier.
pub(crate) const MASK52: u64 = (1 << 52) - 1;

/// `a - m`, or `a` where that is negative; for `a` and `m` below 2^63. Without a branch: residues may be secret.
#[inline(always)]
pub(crate) const fn subtract_once(a: u64, m: u64) -> u64 {
    let difference = a.wrapping_sub(m);
    difference.wrapping_add(m & sign_mask(difference as i64))
}

/// All ones for a negative number, else zero.
#[inline(always)]
const fn sign_mask(a: i64) -> u64 {
    (a >> 63) as u64
}

/// Most products of residues that the vector kernels sum before one reduction, with one residue added: the low halves,
/// below 2^52 each, must stay below 2^64 in sum.
pub(crate) const MAX_TERMS: usize = (1 << 12) - 1;
// MAX_TERMS (2^52 - 1) + 2^50 <= 2^64 - 1, and one more term would not fit.
const _: () = assert!((MAX_TERMS as u128) * MASK52 as u128 + (1 << Modulus::MAX_BITS) <= u64::MAX as u128);
const _: () = assert!((MAX_TERMS as u128 + 1) * MASK52 as u128 + (1 << Modulus::MAX_BITS) > u64::MAX as u128);

impl Modulus {
    /// Largest admitted modulus width in bits: the 52-bit multiplier leaves a factor of four for lazy sums.
    pub const MAX_BITS: u32 = 50;

    /// Precomputes the constants of `q`.
    ///
    /// # Errors
    /// `q` is even, below 3, or not below 2^50.
    pub fn new(q: u64) -> Result<Self, RingError> {
        if q < 3 || q.is_multiple_of(2) || q >> Self::MAX_BITS != 0 {
            return Err(RingError::Modulus(q));
        }
        // Newton iteration: each step doubles the number of correct low bits, starting from 3.
        let mut inv = q;
        for _ in 0..5 {
            inv = inv.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inv)));
        }
        // q is odd, so it does not divide 2^128 and floor((2^128 - 1)/q) = floor(2^128/q).
        let ratio = u128::MAX / u128::from(q);
        let mut m = Self { q, ratio, ratio64: u64::MAX / q, inv52: inv & MASK52, r52: 0, r104: 0 };
        m.r52 = (1u64 << 52) % q;
        m.r104 = m.mul(m.r52, m.r52);
        Ok(m)
    }

    /// The modulus itself.
    #[inline(always)]
    pub const fn value(&self) -> u64 {
        self.q
    }

    /// Number of bits of the modulus.
    #[inline(always)]
    pub const fn bits(&self) -> u32 {
        64 - self.q.leading_zeros()
    }

    /// `a + b`.
    #[inline(always)]
    pub const fn add(&self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + b)
    }

    /// `a - b`.
    #[inline(always)]
    pub const fn sub(&self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + self.q - b)
    }

    /// `-a`.
    #[inline(always)]
    pub const fn neg(&self, a: u64) -> u64 {
        self.reduce_once(self.q - a)
    }

    /// `a * b`.
    #[inline(always)]
    pub const fn mul(&self, a: u64, b: u64) -> u64 {
        self.reduce_u128(a as u128 * b as u128)
    }

    /// `base^exponent`.
    pub const fn pow(&self, base: u64, mut exponent: u64) -> u64 {
        let mut base = self.reduce_u64(base);
        let mut acc = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                acc = self.mul(acc, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        acc
    }

    /// The multiplicative inverse, or `None` when `a` shares a factor with the modulus.
    pub fn inv(&self, a: u64) -> Option<u64> {
        let (mut r0, mut r1) = (self.q as i64, self.reduce_u64(a) as i64);
        let (mut t0, mut t1) = (0i64, 1i64);
        while r1 != 0 {
            let quotient = r0 / r1;
            (r0, r1) = (r1, r0 - quotient * r1);
            (t0, t1) = (t1, t0 - quotient * t1);
        }
        (r0 == 1).then(|| self.reduce_i64(t0))
    }

    /// `floor(w * 2^64 / q)`: the companion that makes [`mul_shoup`](Self::mul_shoup) cheap.
    #[inline]
    pub const fn shoup(&self, w: u64) -> u64 {
        (((w as u128) << 64) / self.q as u128) as u64
    }

    /// `a * w` for any 64-bit `a`, given `w_shoup = self.shoup(w)`; result in `[0, q)`.
    #[inline(always)]
    pub const fn mul_shoup(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        self.reduce_once(self.mul_shoup_lazy(a, w, w_shoup))
    }

    /// `a * w` for any 64-bit `a`; result in `[0, 2q)`.
    #[inline(always)]
    pub const fn mul_shoup_lazy(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        let hi = ((a as u128 * w_shoup as u128) >> 64) as u64;
        a.wrapping_mul(w).wrapping_sub(hi.wrapping_mul(self.q))
    }

    /// Residue of any 64-bit value.
    #[inline(always)]
    pub const fn reduce_u64(&self, a: u64) -> u64 {
        let hi = ((a as u128 * self.ratio64 as u128) >> 64) as u64;
        self.reduce_once(a.wrapping_sub(hi.wrapping_mul(self.q)))
    }

    /// Residue of any 128-bit value.
    #[inline(always)]
    pub const fn reduce_u128(&self, a: u128) -> u64 {
        // High half of a * ratio, ignoring the carry out of the two lowest partial products: the quotient
        // is then at most 2 too small.
        let (a0, a1) = (a as u64 as u128, a >> 64);
        let (r0, r1) = (self.ratio as u64 as u128, self.ratio >> 64);
        let mid = ((a0 * r0) >> 64) + (a1 * r0) as u64 as u128 + (a0 * r1) as u64 as u128;
        let hi = a1 * r1 + ((a1 * r0) >> 64) + ((a0 * r1) >> 64) + (mid >> 64);
        let r = (a as u64).wrapping_sub((hi as u64).wrapping_mul(self.q));
        self.reduce_once(self.reduce_once(r))
    }

    /// Residue of a signed value.
    #[inline(always)]
    pub const fn reduce_i64(&self, a: i64) -> u64 {
        self.negate_where(sign_mask(a), self.reduce_u64(a.unsigned_abs()))
    }

    /// Residue of a signed 128-bit value.
    #[inline(always)]
    pub const fn reduce_i128(&self, a: i128) -> u64 {
        self.negate_where(sign_mask((a >> 64) as i64), self.reduce_u128(a.unsigned_abs()))
    }

    /// `-r` where `mask` is all ones, `r` where it is zero.
    #[inline(always)]
    const fn negate_where(&self, mask: u64, r: u64) -> u64 {
        r ^ ((r ^ self.neg(r)) & mask)
    }

    /// The representative of `a` in `[-(q-1)/2, (q-1)/2]`.
    #[inline(always)]
    pub const fn centre(&self, a: u64) -> i64 {
        // Negative where `a` is beyond the middle.
        let rest = (self.q >> 1) as i64 - a as i64;
        a as i64 - (self.q & sign_mask(rest)) as i64
    }

    /// `[0, 2q)` to `[0, q)`.
    #[inline(always)]
    pub(crate) const fn reduce_once(&self, a: u64) -> u64 {
        subtract_once(a, self.q)
    }

    /// `q^-1 mod 2^52`.
    #[inline(always)]
    pub(crate) const fn inv52(&self) -> u64 {
        self.inv52
    }

    /// `2^104 mod q`.
    #[inline(always)]
    pub(crate) const fn r104(&self) -> u64 {
        self.r104
    }

    /// `w * 2^52 mod q`: the Montgomery form that the 52-bit kernels multiply with.
    #[inline]
    pub(crate) const fn to_mont52(self, w: u64) -> u64 {
        self.mul(w, self.r52)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn modulus() -> impl Strategy<Value = Modulus> {
        prop_oneof![3u64..1 << 20, (1u64 << 49)..1 << 50, 3u64..1 << 50].prop_map(|q| Modulus::new(q | 1).unwrap())
    }

    proptest! {
        #[test]
        fn agrees_with_wide_arithmetic(m in modulus(), a: u64, b: u64, x: u128, s: i64, t: i128) {
            let q = u128::from(m.value());
            let (ra, rb) = (m.reduce_u64(a), m.reduce_u64(b));
            prop_assert_eq!(u128::from(ra), u128::from(a) % q);
            prop_assert_eq!(u128::from(m.mul(ra, rb)), u128::from(ra) * u128::from(rb) % q);
            prop_assert_eq!(u128::from(m.add(ra, rb)), (u128::from(ra) + u128::from(rb)) % q);
            prop_assert_eq!(u128::from(m.sub(ra, rb)), (u128::from(ra) + q - u128::from(rb)) % q);
            prop_assert_eq!(u128::from(m.reduce_u128(x)), x % q);
            prop_assert_eq!(i128::from(m.reduce_i64(s)), i128::from(s).rem_euclid(q as i128));
            prop_assert_eq!(i128::from(m.reduce_i128(t)), t.rem_euclid(q as i128));
            prop_assert_eq!(u128::from(m.mul_shoup(a, rb, m.shoup(rb))), u128::from(a) * u128::from(rb) % q);
            prop_assert_eq!(m.reduce_i64(m.centre(ra)), ra);
            prop_assert!(m.centre(ra).unsigned_abs() <= m.value() / 2);
            prop_assert_eq!(m.inv52().wrapping_mul(m.value()) & MASK52, 1);
            if let Some(i) = m.inv(ra) {
                prop_assert_eq!(m.mul(i, ra), 1 % m.value());
            }
        }
    }

    #[test]
    fn refuses_what_the_kernels_cannot_take() {
        for q in [0, 1, 2, 4, 1 << 50, (1 << 50) + 1, u64::MAX] {
            assert_eq!(Modulus::new(q), Err(RingError::Modulus(q)));
        }
        assert_eq!(Modulus::new(15).unwrap().inv(5), None);
    }
}
