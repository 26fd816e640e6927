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

mod forward;
mod inverse;

use crate::avx512::*;
use crate::modulus::Modulus;
use forward::Forward;
use inverse::Inverse;
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
