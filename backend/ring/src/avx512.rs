//! Modular arithmetic on eight lanes with the 52-bit integer multiplier.
//!
//! Products are Montgomery products with radix 2^52: for `x < 2^52` and `w < q`,
//! `x w 2^-52 = hi(x w) - hi(m q)` modulo `q` with `m = x w q^-1 mod 2^52`, because both products have the same low
//! half. The result lies in `(-q, q)` and needs no masking: the multiplier ignores the bits above 52 of its factors.

use crate::modulus::{MASK52, Modulus};
use std::arch::x86_64::*;

/// Eight lanes.
pub(crate) type V = __m512i;

/// Number of lanes.
pub(crate) const LANES: usize = 8;

/// All lanes `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn splat(x: u64) -> V {
    _mm512_set1_epi64(x as i64)
}

/// Eight words from `p`.
///
/// # Safety
/// `p` must be readable for 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn load(p: *const u64) -> V {
    // SAFETY: readable by the contract; the load has no alignment requirement.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

/// Eight words to `p`.
///
/// # Safety
/// `p` must be writable for 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn store(p: *mut u64, v: V) {
    // SAFETY: writable by the contract; the store has no alignment requirement.
    unsafe { _mm512_storeu_si512(p.cast(), v) }
}

/// `acc + low 52 bits of a b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn lo(acc: V, a: V, b: V) -> V {
    _mm512_madd52lo_epu64(acc, a, b)
}

/// `acc + high 52 bits of a b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn hi(acc: V, a: V, b: V) -> V {
    _mm512_madd52hi_epu64(acc, a, b)
}

/// `a + b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn add(a: V, b: V) -> V {
    _mm512_add_epi64(a, b)
}

/// `a - b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn sub(a: V, b: V) -> V {
    _mm512_sub_epi64(a, b)
}

/// The smaller of `a` and `b` as unsigned numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn min(a: V, b: V) -> V {
    _mm512_min_epu64(a, b)
}

/// `[0, 2c)` to `[0, c)`: the wrapped difference is the larger one where `a < c`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn reduce_once(a: V, c: V) -> V {
    min(a, sub(a, c))
}

/// `(-c, c)` to `[0, c)`: a negative number is larger than any non-negative one when read unsigned.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn lift_negative(a: V, c: V) -> V {
    min(a, add(a, c))
}

/// A fixed factor: `w 2^52 mod q`, and that times `q^-1 mod 2^52`.
#[derive(Clone, Copy)]
pub(crate) struct Factor {
    pub(crate) w: V,
    pub(crate) wq: V,
}

/// The pair of words of a [`Factor`].
pub(crate) fn factor_words(m: &Modulus, w: u64) -> [u64; 2] {
    let w = m.to_mont52(w);
    [w, w.wrapping_mul(m.inv52()) & MASK52]
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn splat([w, wq]: [u64; 2]) -> Self {
        Self { w: splat(w), wq: splat(wq) }
    }
}

/// `x w mod q` in `(-q, q)` from the low 52 bits of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn mul_lazy(x: V, f: Factor, q: V) -> V {
    let zero = _mm512_setzero_si512();
    let m = lo(zero, x, f.wq);
    sub(hi(zero, x, f.w), hi(zero, m, q))
}

/// Constants for products of two variable factors and for sums of them.
#[derive(Clone, Copy)]
pub(crate) struct Wide {
    pub(crate) q: V,
    inv: V,
    /// 2^52 as a fixed factor: undoes one Montgomery reduction.
    once: Factor,
    /// 2^104 as a fixed factor, for the part of a sum above 2^104.
    twice: Factor,
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn new(m: &Modulus) -> Self {
        Self {
            q: splat(m.value()),
            inv: splat(m.inv52()),
            once: Factor::splat(factor_words(m, m.to_mont52(1))),
            twice: Factor::splat(factor_words(m, m.r104())),
        }
    }

    /// Constants that make the reductions return the sum times `2^-52`: for sums of products with Montgomery forms.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn montgomery(m: &Modulus) -> Self {
        Self {
            once: Factor::splat(factor_words(m, 1)),
            twice: Factor::splat(factor_words(m, m.to_mont52(1))),
            ..Self::new(m)
        }
    }

    /// Canonical `h 2^52 + l` for `h + q < 2^52`; bits of `l` above 52 are ignored, the caller has added them
    /// to `h`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn reduce(&self, h: V, l: V) -> V {
        let zero = _mm512_setzero_si512();
        let m = lo(zero, l, self.inv);
        let t = sub(add(h, self.q), hi(zero, m, self.q));
        lift_negative(mul_lazy(t, self.once, self.q), self.q)
    }

    /// Canonical `h 2^52 + l` for `l < 2^64` and `h < 2^62`: sums of up to [`MAX_TERMS`](crate::modulus::MAX_TERMS)
    /// products and one residue. With `NARROW` the caller promises `h + (l >> 52) + q < 2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn reduce_sum<const NARROW: bool>(&self, h: V, l: V) -> V {
        let h = add(h, _mm512_srli_epi64::<52>(l));
        if NARROW {
            return self.reduce(h, l);
        }
        let zero = _mm512_setzero_si512();
        let m = lo(zero, l, self.inv);
        let t = sub(add(h, self.q), hi(zero, m, self.q));
        let low = lift_negative(mul_lazy(t, self.once, self.q), self.q);
        let high = lift_negative(mul_lazy(_mm512_srli_epi64::<52>(t), self.twice, self.q), self.q);
        reduce_once(add(low, high), self.q)
    }

    /// Canonical `a b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn mul(&self, a: V, b: V) -> V {
        let zero = _mm512_setzero_si512();
        self.reduce(hi(zero, a, b), lo(zero, a, b))
    }
}

/// Whether sums of `terms` products of residues, plus one residue, meet the bound of a narrow
/// [`Wide::reduce_sum`].
pub(crate) fn is_narrow(m: &Modulus, terms: usize) -> bool {
    let q = u128::from(m.value());
    (terms as u128) * (((q * q) >> 52) + 1) + q + 1 < 1 << 52
}
