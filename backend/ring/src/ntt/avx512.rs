//! The transform on eight lanes with the 52-bit multiplier.
//!
//! Forward layers are Cooley-Tukey butterflies `(u + x w, u - x w)` whose product lies in `(-q, q)`, so that a value
//! grows by `q` in a layer. Only the multiplied operand must fit 52 bits, and how it is kept there depends on
//! the prime ([`Growth`]). Inverse layers are Gentleman-Sande butterflies on `[0, 2q)`.
//!
//! Layers run depth first, three or so per pass over the data, so that a block soon stays in the first-level
//! cache; the last six layers of 64 values stay in registers ([`TAIL`]). Their twiddles are one sequential stream in
//! the order of use, and for the last three layers, which need most of them, the companion of a twiddle is
//! computed rather than loaded: the tables of a transform then are 1.25 times the size of its data.

use crate::avx512::*;
use crate::modulus::{MASK52, Modulus};
use std::arch::x86_64::*;

/// Values transformed in registers by the last six layers.
const TAIL: usize = 64;
/// Words of the twiddle stream per tail: seven factors and two words of padding, then for each of four pairs of rows
/// the eight, four and two twiddles of the last layers and two words of padding.
const TAIL_WORDS: usize = 16 + 4 * ROW_PAIR_WORDS;
/// Words of the stream for one pair of rows.
const ROW_PAIR_WORDS: usize = 16;

/// How the multiplied operands of the forward transform are kept below 2^52.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// All layers together stay below 2^52: primes up to about 2^46.8.
    Free,
    /// The prime is within 1/40 of a power of two: `x - (x >> k) q` before each product.
    Shift,
    /// Any prime: the other operand is kept in `[q, 3q)`.
    Bounded,
}

const FREE: u8 = 0;
const SHIFT: u8 = 1;
const BOUNDED: u8 = 2;

/// The layers before the last six (natural bit-reversed order, pairs of a factor) and the stream of the tails.
#[derive(Debug)]
struct Direction {
    upper: Vec<[u64; 2]>,
    tails: crate::buffer::Buffer,
}

/// Twiddles of both directions.
#[derive(Debug)]
pub(super) struct Tables {
    growth: Growth,
    /// Nearest power of two of the prime.
    shift: u32,
    /// Multiple of q added to the input so that values keep one sign (two's complement).
    bias: u64,
    forward: Direction,
    inverse: Direction,
}

impl Direction {
    /// `powers` in bit-reversed order, one per block of every layer.
    fn new(m: &Modulus, powers: &[u64]) -> Self {
        let tails = powers.len() / TAIL;
        let mut stream = crate::buffer::Buffer::zeroed(tails * TAIL_WORDS);
        for (b, words) in stream.chunks_exact_mut(TAIL_WORDS).enumerate() {
            let first = tails + b;
            let top = [first, 2 * first, 2 * first + 1, 4 * first, 4 * first + 1, 4 * first + 2, 4 * first + 3];
            for (slot, i) in words.chunks_exact_mut(2).zip(top) {
                slot.copy_from_slice(&factor_words(m, powers[i]));
            }
            for (pair, words) in words[16..].chunks_exact_mut(ROW_PAIR_WORDS).enumerate() {
                let row = 8 * first + 2 * pair;
                // Lane orders of the registers in `last_layers`.
                let last = [0, 4, 2, 6, 1, 5, 3, 7].map(|i| 4 * row + i);
                let middle = [0, 2, 1, 3].map(|i| 2 * row + i);
                let indices = last.into_iter().chain(middle).chain([row, row + 1]);
                for (word, i) in words.iter_mut().zip(indices) {
                    *word = m.to_mont52(powers[i]);
                }
            }
        }
        let upper = powers[..tails].iter().map(|&w| factor_words(m, w)).collect();
        Self { upper, tails: stream }
    }
}

impl Tables {
    /// Smallest transform these kernels do.
    pub(super) const MIN_LOG_N: u32 = 7;

    /// `powers[i] = psi^brv(i)`, `inverse_powers[i] = psi^-brv(i)`; at least 2^7 of each.
    pub(super) fn new(m: &Modulus, powers: &[u64], inverse_powers: &[u64]) -> Self {
        let q = m.value();
        let below = m.bits() - 1;
        let shift = if q - (1 << below) <= (2 << below) - q { below } else { below + 1 };
        let power = 1u64 << shift;
        // At most 17 layers, each adding less than q to an input below q.
        let (growth, bias) = if q < (1 << 52) / 38 {
            (Growth::Free, 18 * q)
        } else if 40 * power.abs_diff(q) < power {
            let magnitude = 18 * q;
            // x - (x >> k) q = (x mod 2^k) + (x >> k)(2^k - q) must not be negative.
            (Growth::Shift, if q < power { magnitude } else { (magnitude + q).wrapping_neg() })
        } else {
            (Growth::Bounded, 0)
        };
        Self { growth, shift, bias, forward: Direction::new(m, powers), inverse: Direction::new(m, inverse_powers) }
    }

    /// # Safety
    /// The machine has AVX-512 F, DQ, VL and IFMA, and `a` has as many elements as the tables were built for.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn forward(&self, m: &Modulus, a: &mut [u64]) {
        let k = Forward::new(self, m);
        // SAFETY: the contract of this function; block 1 is the whole transform.
        unsafe {
            match self.growth {
                Growth::Free => k.block::<FREE, true>(a.as_mut_ptr(), a.len(), 1),
                Growth::Shift => k.block::<SHIFT, true>(a.as_mut_ptr(), a.len(), 1),
                Growth::Bounded => k.block::<BOUNDED, true>(a.as_mut_ptr(), a.len(), 1),
            }
        }
    }

    /// Includes the product with the residue `factor`, which the caller makes `N^-1` times what it wants.
    ///
    /// # Safety
    /// As [`forward`](Self::forward).
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn inverse(&self, m: &Modulus, a: &mut [u64], factor: u64) {
        let k = Inverse::new(self, m, factor);
        // SAFETY: the contract of this function; block 1 is the whole transform.
        unsafe { k.block::<true>(a.as_mut_ptr(), a.len(), 1) }
    }
}

/// Layers of the next pass over a block of `len` values that still has `log2(len) - 6` layers before its tails.
fn pass_layers(len: usize) -> u32 {
    match len.ilog2() - TAIL.ilog2() {
        layers @ (1 | 2 | 4) => layers,
        _ => 3,
    }
}

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

/// Both vectors picked from `(a, b)` by a pair of lane orders.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn pick(a: V, b: V, [first, second]: [V; 2]) -> (V, V) {
    (_mm512_permutex2var_epi64(a, first, b), _mm512_permutex2var_epi64(a, second, b))
}

/// The low halves of `a` and `b`, and the high halves.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn halves(a: V, b: V) -> (V, V) {
    (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b))
}

/// Twiddles of the three layers within vectors for one pair of rows: eight, four twice, two four times.
///
/// # Safety
/// `words` must be readable for 14 words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn row_twiddles(words: *const u64) -> [V; 3] {
    // SAFETY: 8 + 4 + 2 words from `words` on.
    unsafe {
        [
            load(words),
            _mm512_broadcast_i64x4(_mm256_loadu_si256(words.add(8).cast())),
            _mm512_broadcast_i64x2(_mm_loadu_si128(words.add(12).cast())),
        ]
    }
}

/// Constants of the forward transform.
struct Forward<'t> {
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
    fn new(tables: &'t Tables, m: &Modulus) -> Self {
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
    unsafe fn block<const G: u8, const FIRST: bool>(&self, a: *mut u64, len: usize, index: usize) {
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

/// The eight rows of a tail.
///
/// # Safety
/// `a` must be readable for 64 words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn load_rows(a: *const u64) -> [V; 8] {
    // SAFETY: eight rows of eight words.
    [0, 1, 2, 3, 4, 5, 6, 7].map(|t| unsafe { load(a.add(t * LANES)) })
}

/// Factor `i` of the seven at the start of a tail's twiddles.
///
/// # Safety
/// `words` are the twiddles of a tail, `i < 7`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn tail_factor(words: *const u64, i: usize) -> Factor {
    // SAFETY: in bounds by the contract.
    unsafe { Factor { w: splat(*words.add(2 * i)), wq: splat(*words.add(2 * i + 1)) } }
}

/// Constants of the inverse transform.
struct Inverse<'t> {
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
    fn new(tables: &'t Tables, m: &Modulus, factor: u64) -> Self {
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
    unsafe fn block<const LAST: bool>(&self, a: *mut u64, len: usize, index: usize) {
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

/// The eight rows of a tail, to memory.
///
/// # Safety
/// `a` must be writable for 64 words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn store_rows(a: *mut u64, v: &[V; 8]) {
    for (t, v) in v.iter().enumerate() {
        // SAFETY: eight rows of eight words.
        unsafe { store(a.add(t * LANES), *v) };
    }
}
