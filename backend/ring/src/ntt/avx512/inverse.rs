//! The inverse transform: Gentleman-Sande butterflies on `[0, 2q)` from bit-reversed to natural order.

use super::{
    Direction, ROW_PAIR_WORDS, TAIL, TAIL_WORDS, Tables, halves, pass_layers, pick, row_twiddles, store_rows,
    tail_factor,
};
use crate::avx512::*;
use crate::modulus::{MASK52, Modulus};
use std::arch::x86_64::*;

/// Constants of the inverse transform.
pub(super) struct Inverse<'t> {
    direction: &'t Direction,
    q: V,
    two_q: V,
    inv: V,
    neg_q: V,
    /// Factor of the sums and of the differences in the last layer.
    last: [Factor; 2],
    /// Inverses of `Lanes`, for the layers in opposite order.
    unjoin: [V; 2],
    unquarter: [V; 2],
    unsplit: [V; 2],
}

impl<'t> Inverse<'t> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn new(tables: &'t Tables, m: &Modulus, factor: u64) -> Self {
        let q = m.value();
        let root = tables.inverse.upper[1][0];
        // The root is in Montgomery form already; one plain product keeps it there.
        let w = m.mul(root, factor);
        Self {
            direction: &tables.inverse,
            q: splat(q),
            two_q: splat(2 * q),
            inv: splat(m.inv52()),
            neg_q: splat(q.wrapping_neg()),
            last: [Factor::splat(factor_words(m, factor)), Factor::splat([w, w.wrapping_mul(m.inv52()) & MASK52])],
            unjoin: [_mm512_setr_epi64(0, 8, 4, 12, 2, 10, 6, 14), _mm512_setr_epi64(1, 9, 5, 13, 3, 11, 7, 15)],
            unquarter: [_mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15)],
            unsplit: [_mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15)],
        }
    }

    /// `(u + v, (u - v) w)`, all in `[0, 2q)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn butterfly(&self, u: V, v: V, f: Factor) -> (V, V) {
        let zero = _mm512_setzero_si512();
        let d = sub(add(u, self.two_q), v);
        let m = lo(zero, d, f.wq);
        let t = sub(hi(zero, d, f.w), hi(self.neg_q, m, self.q));
        (reduce_once(add(u, v), self.two_q), t)
    }

    /// The same with a twiddle whose companion is not stored.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn butterfly_single(&self, u: V, v: V, w: V) -> (V, V) {
        let zero = _mm512_setzero_si512();
        let d = sub(add(u, self.two_q), v);
        let m = lo(zero, lo(zero, d, w), self.inv);
        let t = sub(hi(zero, d, w), hi(self.neg_q, m, self.q));
        (reduce_once(add(u, v), self.two_q), t)
    }

    /// The last layer: both results scaled and canonical.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn butterfly_last(&self, u: V, v: V) -> (V, V) {
        let d = sub(add(u, self.two_q), v);
        let [sums, differences] = self.last;
        (
            lift_negative(mul_lazy(add(u, v), sums, self.q), self.q),
            lift_negative(mul_lazy(d, differences, self.q), self.q),
        )
    }

    /// As [`Forward::block`], backwards.
    ///
    /// # Safety
    /// As [`Forward::block`].
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn block<const LAST: bool>(&self, a: *mut u64, len: usize, index: usize) {
        // SAFETY: sub-blocks partition the block, and their indices follow the tree.
        unsafe {
            let layers = pass_layers(len);
            let part = len >> layers;
            if part == TAIL {
                self.tails(a, (index << layers) - self.direction.upper.len(), 1 << layers);
            } else {
                for i in 0..1 << layers {
                    self.block::<false>(a.add(i * part), part, (index << layers) + i);
                }
            }
            match layers {
                1 => self.pass::<LAST, 1, 2>(a, len, index),
                2 => self.pass::<LAST, 2, 4>(a, len, index),
                3 => self.pass::<LAST, 3, 8>(a, len, index),
                _ => self.pass::<LAST, 4, 16>(a, len, index),
            }
        }
    }

    /// As [`Forward::pass`], backwards.
    ///
    /// # Safety
    /// As [`Forward::pass`].
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn pass<const LAST: bool, const R: usize, const L: usize>(&self, a: *mut u64, len: usize, index: usize) {
        let stride = len / L;
        // SAFETY: as in `Forward::pass`.
        unsafe {
            let upper = self.direction.upper.as_ptr();
            for j in (0..stride).step_by(LANES) {
                let mut v = [self.q; L];
                for (t, v) in v.iter_mut().enumerate() {
                    *v = load(a.add(j + t * stride));
                }
                for r in (0..R).rev() {
                    let half = L >> (r + 1);
                    for b in 0..1 << r {
                        let f = Factor::splat(*upper.add((index << r) + b));
                        for t in 2 * b * half..(2 * b + 1) * half {
                            (v[t], v[t + half]) = if LAST && r == 0 {
                                self.butterfly_last(v[t], v[t + half])
                            } else {
                                self.butterfly(v[t], v[t + half], f)
                            };
                        }
                    }
                }
                for (t, v) in v.iter().enumerate() {
                    store(a.add(j + t * stride), *v);
                }
            }
        }
    }

    /// The first six layers backwards of the `count` tails from number `b` on; results in `[0, 2q)`. Alternating like
    /// [`Forward::tails`].
    ///
    /// # Safety
    /// As [`Forward::tails`].
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn tails(&self, a: *mut u64, b: usize, count: usize) {
        // SAFETY: tail i is within the contract's range, its words at the same place of the stream.
        unsafe {
            let words = self.direction.tails.as_ptr().add(b * TAIL_WORDS);
            let mut v = [self.q; 8];
            self.within::<0>(&mut v, words, a);
            self.within::<1>(&mut v, words, a);
            self.within::<2>(&mut v, words, a);
            self.within::<3>(&mut v, words, a);
            for i in 0..count {
                let (tail, twiddles) = (a.add(i * TAIL), words.add(i * TAIL_WORDS));
                if i + 1 == count {
                    self.across::<2>(&mut v, twiddles);
                    self.across::<1>(&mut v, twiddles);
                    self.across::<0>(&mut v, twiddles);
                    store_rows(tail, &v);
                    return;
                }
                let (following, following_words) = (tail.add(TAIL), twiddles.add(TAIL_WORDS));
                let mut next = [self.q; 8];
                self.within::<0>(&mut next, following_words, following);
                self.across::<2>(&mut v, twiddles);
                self.within::<1>(&mut next, following_words, following);
                self.across::<1>(&mut v, twiddles);
                self.within::<2>(&mut next, following_words, following);
                self.across::<0>(&mut v, twiddles);
                self.within::<3>(&mut next, following_words, following);
                store_rows(tail, &v);
                v = next;
            }
        }
    }

    /// As [`Forward::within`], backwards: from memory into two rows.
    ///
    /// # Safety
    /// As [`Forward::within`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn within<const PAIR: usize>(&self, v: &mut [V; 8], words: *const u64, a: *const u64) {
        // SAFETY: in bounds by the contract.
        let ([w1, w2, w4], first, second) = unsafe {
            let twiddles = row_twiddles(words.add(16 + PAIR * ROW_PAIR_WORDS));
            (twiddles, load(a.add(2 * PAIR * LANES)), load(a.add((2 * PAIR + 1) * LANES)))
        };
        let (u, x) = pick(first, second, self.unjoin);
        let (u, x) = self.butterfly_single(u, x, w1);
        let (u, x) = halves(u, x);
        let (u, x) = self.butterfly_single(u, x, w2);
        let (u, x) = pick(u, x, self.unquarter);
        let (u, x) = self.butterfly_single(u, x, w4);
        (v[2 * PAIR], v[2 * PAIR + 1]) = pick(u, x, self.unsplit);
    }

    /// As [`Forward::across`], backwards.
    ///
    /// # Safety
    /// As [`Forward::across`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn across<const R: usize>(&self, v: &mut [V; 8], words: *const u64) {
        let half = 4 >> R;
        for b in 0..1 << R {
            // SAFETY: as in `Forward::across`.
            let f = unsafe { tail_factor(words, (1 << R) - 1 + b) };
            for t in 2 * b * half..(2 * b + 1) * half {
                (v[t], v[t + half]) = self.butterfly(v[t], v[t + half], f);
            }
        }
    }
}
