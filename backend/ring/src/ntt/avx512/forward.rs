//! The forward transform: Cooley-Tukey butterflies from natural to bit-reversed order.

use super::{
    BOUNDED, Direction, FREE, ROW_PAIR_WORDS, SHIFT, TAIL, TAIL_WORDS, Tables, halves, load_rows, pass_layers, pick,
    row_twiddles, tail_factor,
};
use crate::avx512::*;
use crate::modulus::{MASK52, Modulus};
use std::arch::x86_64::*;

/// Lane orders that bring together the operands of a layer within vectors. A and B are two rows.
struct Lanes {
    /// [A0 B0 A1 B1 A2 B2 A3 B3] and [A4 B4 ..] of (A, B).
    split: [V; 2],
    /// [0 1 8 9 2 3 10 11] and the rest: operands two apart.
    quarter: [V; 2],
    /// The rows again, of the results of the last layer.
    join: [V; 2],
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new() -> Self {
        Self {
            split: [_mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)],
            quarter: [_mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15)],
            join: [_mm512_setr_epi64(0, 8, 4, 12, 2, 10, 6, 14), _mm512_setr_epi64(1, 9, 5, 13, 3, 11, 7, 15)],
        }
    }
}

/// Constants of the forward transform.
pub(super) struct Forward<'t> {
    direction: &'t Direction,
    q: V,
    two_q: V,
    /// q^-1 mod 2^52.
    inv: V,
    /// 2^52 - q.
    neg_q: V,
    shift: V,
    bias: V,
    /// floor(2^52 / q).
    ratio: V,
    lanes: Lanes,
}

impl<'t> Forward<'t> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn new(tables: &'t Tables, m: &Modulus) -> Self {
        let q = m.value();
        Self {
            direction: &tables.forward,
            q: splat(q),
            two_q: splat(2 * q),
            inv: splat(m.inv52()),
            neg_q: splat((1 << 52) - q),
            shift: splat(tables.shift.into()),
            bias: splat(tables.bias),
            ratio: splat((1 << 52) / q),
            lanes: Lanes::new(),
        }
    }

    /// `(u, x)` ready for a butterfly.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn bound<const G: u8>(&self, u: V, x: V) -> (V, V) {
        match G {
            FREE => (u, x),
            SHIFT => (u, lo(x, _mm512_srav_epi64(x, self.shift), self.neg_q)),
            _ => (add(reduce_once(u, self.two_q), self.q), x),
        }
    }

    /// `(u + x w, u - x w)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn butterfly<const G: u8>(&self, u: V, x: V, f: Factor) -> (V, V) {
        let (u, x) = self.bound::<G>(u, x);
        let t = mul_lazy(x, f, self.q);
        (add(u, t), sub(u, t))
    }

    /// The same with a twiddle whose companion is not stored.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn butterfly_single<const G: u8>(&self, u: V, x: V, w: V) -> (V, V) {
        let (u, x) = self.bound::<G>(u, x);
        let zero = _mm512_setzero_si512();
        let m = lo(zero, lo(zero, x, w), self.inv);
        let t = sub(hi(zero, x, w), hi(zero, m, self.q));
        (add(u, t), sub(u, t))
    }

    /// The canonical residue of a value after the last layer.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn canonical<const G: u8>(&self, y: V) -> V {
        let zero = _mm512_setzero_si512();
        let y = match G {
            FREE => sub(y, lo(zero, hi(zero, y, self.ratio), self.q)),
            SHIFT => _mm512_and_si512(lo(y, _mm512_srav_epi64(y, self.shift), self.neg_q), splat(MASK52)),
            _ => reduce_once(y, self.two_q),
        };
        reduce_once(y, self.q)
    }

    /// Transforms block `index` (counted from 1 in the tree of blocks) of `len` values.
    ///
    /// # Safety
    /// `a` is writable for `len` values, `len` times the first power of two not above `index` is N, `len >= 128`.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn block<const G: u8, const FIRST: bool>(&self, a: *mut u64, len: usize, index: usize) {
        // SAFETY: sub-blocks partition the block, and their indices follow the tree.
        unsafe {
            let layers = pass_layers(len);
            match layers {
                1 => self.pass::<G, FIRST, 1, 2>(a, len, index),
                2 => self.pass::<G, FIRST, 2, 4>(a, len, index),
                3 => self.pass::<G, FIRST, 3, 8>(a, len, index),
                _ => self.pass::<G, FIRST, 4, 16>(a, len, index),
            }
            let part = len >> layers;
            if part == TAIL {
                return self.tails::<G>(a, (index << layers) - self.direction.upper.len(), 1 << layers);
            }
            for i in 0..1 << layers {
                self.block::<G, false>(a.add(i * part), part, (index << layers) + i);
            }
        }
    }

    /// `R` layers of block `index`, `L = 2^R` values of it at a time per lane.
    ///
    /// # Safety
    /// As [`block`](Self::block), `len >= 64 L`.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn pass<const G: u8, const FIRST: bool, const R: usize, const L: usize>(
        &self,
        a: *mut u64,
        len: usize,
        index: usize,
    ) {
        let stride = len / L;
        // SAFETY: j + t stride + 8 <= len, and index << r, plus less than 2^r, is below the N/64 entries of `upper`,
        // since at least 64 values remain in each part.
        unsafe {
            let upper = self.direction.upper.as_ptr();
            for j in (0..stride).step_by(LANES) {
                let mut v = [self.q; L];
                for (t, v) in v.iter_mut().enumerate() {
                    *v = load(a.add(j + t * stride));
                    if FIRST && G != BOUNDED && t < L / 2 {
                        *v = add(*v, self.bias);
                    }
                }
                for r in 0..R {
                    let half = L >> (r + 1);
                    for b in 0..1 << r {
                        let f = Factor::splat(*upper.add((index << r) + b));
                        for t in 2 * b * half..(2 * b + 1) * half {
                            (v[t], v[t + half]) = if FIRST && r == 0 {
                                // Inputs below q need no bounding.
                                let (u, x) = (v[t], v[t + half]);
                                let u = if G == BOUNDED { add(u, self.q) } else { u };
                                let p = mul_lazy(x, f, self.q);
                                (add(u, p), sub(u, p))
                            } else {
                                self.butterfly::<G>(v[t], v[t + half], f)
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

    /// The last six layers of the `count` tails from number `b` on, canonical at the end. The layers within vectors
    /// of one tail alternate with the layers across vectors of the next: either alone is a chain of dependent products
    /// too long for the processor to look beyond.
    ///
    /// # Safety
    /// `a` is writable for 64 values per tail, `count > 0`, and `b + count` is at most N/64.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn tails<const G: u8>(&self, a: *mut u64, b: usize, count: usize) {
        // SAFETY: tail i is within the contract's range, its words at the same place of the stream.
        unsafe {
            let words = self.direction.tails.as_ptr().add(b * TAIL_WORDS);
            let mut v = load_rows(a);
            self.across::<G, 0>(&mut v, words);
            self.across::<G, 1>(&mut v, words);
            self.across::<G, 2>(&mut v, words);
            for i in 0..count {
                let (tail, twiddles) = (a.add(i * TAIL), words.add(i * TAIL_WORDS));
                if i + 1 == count {
                    self.within::<G, 0>(&v, twiddles, tail);
                    self.within::<G, 1>(&v, twiddles, tail);
                    self.within::<G, 2>(&v, twiddles, tail);
                    self.within::<G, 3>(&v, twiddles, tail);
                    return;
                }
                let following = twiddles.add(TAIL_WORDS);
                let mut next = load_rows(tail.add(TAIL));
                self.within::<G, 0>(&v, twiddles, tail);
                self.across::<G, 0>(&mut next, following);
                self.within::<G, 1>(&v, twiddles, tail);
                self.across::<G, 1>(&mut next, following);
                self.within::<G, 2>(&v, twiddles, tail);
                self.across::<G, 2>(&mut next, following);
                self.within::<G, 3>(&v, twiddles, tail);
                v = next;
            }
        }
    }

    /// Layer `R` of the three across the eight rows of a tail.
    ///
    /// # Safety
    /// `words` are the twiddles of the tail, `R < 3`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn across<const G: u8, const R: usize>(&self, v: &mut [V; 8], words: *const u64) {
        let half = 4 >> R;
        for b in 0..1 << R {
            // SAFETY: the factors of layer R follow the 2^R - 1 of those before, seven in all.
            let f = unsafe { tail_factor(words, (1 << R) - 1 + b) };
            for t in 2 * b * half..(2 * b + 1) * half {
                (v[t], v[t + half]) = self.butterfly::<G>(v[t], v[t + half], f);
            }
        }
    }

    /// The three layers within vectors of rows `2 PAIR` and `2 PAIR + 1`, which go back to memory canonical.
    ///
    /// # Safety
    /// `words` are the twiddles of the tail, `a` is writable for its 64 values, `PAIR < 4`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn within<const G: u8, const PAIR: usize>(&self, v: &[V; 8], words: *const u64, a: *mut u64) {
        // SAFETY: in bounds by the contract.
        let [w1, w2, w4] = unsafe { row_twiddles(words.add(16 + PAIR * ROW_PAIR_WORDS)) };
        let (u, x) = pick(v[2 * PAIR], v[2 * PAIR + 1], self.lanes.split);
        let (u, x) = self.butterfly_single::<G>(u, x, w4);
        let (u, x) = pick(u, x, self.lanes.quarter);
        let (u, x) = self.butterfly_single::<G>(u, x, w2);
        let (u, x) = halves(u, x);
        let (u, x) = self.butterfly_single::<G>(u, x, w1);
        let (first, second) = pick(self.canonical::<G>(u), self.canonical::<G>(x), self.lanes.join);
        // SAFETY: in bounds by the contract.
        unsafe {
            store(a.add(2 * PAIR * LANES), first);
            store(a.add((2 * PAIR + 1) * LANES), second);
        }
    }
}
