//! The transform on four lanes in double precision.
//!
//! AVX2 has no wide integer product, but a fused multiply-add gives the exact low part of a product of integers:
//! with `h = fl(x w)` and `b = round(x w/q)`, `x w - b q = (h - b q) + (x w - h)`, and both parentheses are exact as
//! long as they stay below 2^53. Values are integers held as doubles, centred around zero; a layer lets them grow by
//! little more than `q/2`, and with `q < 2^50` factors may be as large as `4 q`.

use crate::buffer::Buffer;
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Four lanes of integers held as doubles.
type D = __m256d;

/// Number of lanes.
const LANES: usize = 4;
/// Doubles of the stream of the last two layers per four vectors: three twiddles with their quotients.
const TAIL_WORDS: usize = 6 * LANES;
/// Values transformed together by the last two layers.
const TAIL: usize = LANES * LANES;
/// Adding and subtracting it rounds a double below 2^51 to the nearest integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Its sum with an integer below 2^52 holds that integer in its low bits.
const SHIFT: f64 = 4_503_599_627_370_496.0;

/// A pass over the data: how many layers, and whether values are reduced as they are loaded.
#[derive(Debug, Clone, Copy)]
struct Pass {
    layers: u32,
    reduce: bool,
}

/// Twiddles of one direction: centred value and quotient by q.
#[derive(Debug)]
struct Direction {
    /// Layers before the last two, in bit-reversed order.
    upper: Vec<[f64; 2]>,
    /// The last two layers, as bits of doubles.
    tails: Buffer,
}

/// Twiddles of both directions and the plan of the forward passes.
#[derive(Debug)]
pub(super) struct Tables {
    forward: Direction,
    inverse: Direction,
    passes: Vec<Pass>,
}

fn twiddle(m: &Modulus, w: u64) -> [f64; 2] {
    let w = m.centre(w) as f64;
    [w, w / m.value() as f64]
}

impl Direction {
    fn new(m: &Modulus, powers: &[u64]) -> Self {
        let n = powers.len();
        let mut tails = Buffer::zeroed(n / TAIL * TAIL_WORDS);
        for (g, words) in tails.chunks_exact_mut(TAIL_WORDS).enumerate() {
            for lane in 0..LANES {
                // Block `lane` of the four: one twiddle two apart, then two twiddles one apart.
                let block = n / 4 + g * LANES + lane;
                for (k, i) in [block, 2 * block, 2 * block + 1].into_iter().enumerate() {
                    let [w, quotient] = twiddle(m, powers[i]);
                    words[2 * k * LANES + lane] = w.to_bits();
                    words[(2 * k + 1) * LANES + lane] = quotient.to_bits();
                }
            }
        }
        Self { upper: powers[..n / 4].iter().map(|&w| twiddle(m, w)).collect(), tails }
    }
}

impl Tables {
    /// Smallest transform these kernels do.
    pub(super) const MIN_LOG_N: u32 = 4;

    /// `powers[i] = psi^brv(i)`, `inverse_powers[i] = psi^-brv(i)`; at least 2^4 of each.
    pub(super) fn new(m: &Modulus, powers: &[u64], inverse_powers: &[u64]) -> Self {
        let mut passes = Vec::new();
        // In units of q: a factor of magnitude B gives a product of magnitude at most 1/2 + B/16, since the quotient
        // is off by B q/2 ulps at most. Factors may reach 4 q.
        let grow = |bound: f64| bound + 0.5 + bound / 16.0;
        let (mut bound, mut left) = (1.0f64, powers.len().ilog2() - 2);
        while left > 0 {
            let layers = if left % 2 == 1 { 1 } else { 2 };
            let reduce = grow(bound) > 3.9;
            bound = if reduce { 0.51 } else { bound };
            (0..layers).for_each(|_| bound = grow(bound));
            passes.push(Pass { layers, reduce });
            left -= layers;
        }
        // The last two layers reduce as they load.
        Self { forward: Direction::new(m, powers), inverse: Direction::new(m, inverse_powers), passes }
    }

    /// # Safety
    /// The machine has AVX2 and FMA, and `a` has as many elements as the tables were built for.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn forward(&self, m: &Modulus, a: &mut [u64]) {
        let (k, n) = (Kernel::new(&self.forward, m), a.len());
        let a = a.as_mut_ptr();
        // SAFETY: passes cover all layers but two, in blocks that partition the array.
        unsafe {
            // Rows of integers become rows of doubles in place, both of 64 bits.
            for p in (0..n).step_by(LANES) {
                store(a.add(p), to_double(_mm256_loadu_si256(a.add(p).cast())));
            }
            let mut blocks = 1;
            for pass in &self.passes {
                let len = n / blocks;
                for i in 0..blocks {
                    let block = a.add(i * len);
                    match (pass.layers, pass.reduce) {
                        (1, false) => k.forward_pass::<false, 1, 2>(block, len, blocks + i),
                        (1, true) => k.forward_pass::<true, 1, 2>(block, len, blocks + i),
                        (_, false) => k.forward_pass::<false, 2, 4>(block, len, blocks + i),
                        (_, true) => k.forward_pass::<true, 2, 4>(block, len, blocks + i),
                    }
                }
                blocks <<= pass.layers;
            }
            for g in 0..n / TAIL {
                k.forward_tail(a.add(g * TAIL), g);
            }
        }
    }

    /// Includes the product with the residue `factor`.
    ///
    /// # Safety
    /// As [`forward`](Self::forward).
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn inverse(&self, m: &Modulus, a: &mut [u64], factor: u64) {
        let (k, n) = (Kernel::new(&self.inverse, m), a.len());
        let a = a.as_mut_ptr();
        // SAFETY: as in `forward`, the passes in opposite order.
        unsafe {
            for g in 0..n / TAIL {
                k.inverse_tail(a.add(g * TAIL), g);
            }
            let mut blocks = n / 4;
            for pass in self.passes.iter().rev() {
                blocks >>= pass.layers;
                let len = n / blocks;
                for i in 0..blocks {
                    let block = a.add(i * len);
                    match pass.layers {
                        1 => k.inverse_pass::<1, 2>(block, len, blocks + i),
                        _ => k.inverse_pass::<2, 4>(block, len, blocks + i),
                    }
                }
            }
            let [w, quotient] = twiddle(m, factor).map(|x| _mm256_set1_pd(x));
            for p in (0..n).step_by(LANES) {
                let scaled = k.mul(load(a.add(p)), w, quotient);
                _mm256_storeu_si256(a.add(p).cast(), k.canonical(scaled));
            }
        }
    }
}

/// # Safety
/// `p` must be readable for 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(p: *const u64) -> D {
    // SAFETY: readable by the contract.
    unsafe { _mm256_loadu_pd(p.cast()) }
}

/// # Safety
/// `p` must be writable for 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(p: *mut u64, v: D) {
    // SAFETY: writable by the contract.
    unsafe { _mm256_storeu_pd(p.cast(), v) }
}

/// Integers below 2^52 as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_double(x: __m256i) -> D {
    let shift = _mm256_set1_pd(SHIFT);
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(shift))), shift)
}

/// Rows to columns of a 4 by 4 matrix.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose([a, b, c, d]: [D; 4]) -> [D; 4] {
    let (ab0, ab1) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (cd0, cd1) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    [
        _mm256_permute2f128_pd::<0x20>(ab0, cd0),
        _mm256_permute2f128_pd::<0x20>(ab1, cd1),
        _mm256_permute2f128_pd::<0x31>(ab0, cd0),
        _mm256_permute2f128_pd::<0x31>(ab1, cd1),
    ]
}

/// Constants of one transform.
struct Kernel<'t> {
    direction: &'t Direction,
    q: D,
    reciprocal: D,
    round: D,
}

impl<'t> Kernel<'t> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(direction: &'t Direction, m: &Modulus) -> Self {
        let q = m.value() as f64;
        Self { direction, q: _mm256_set1_pd(q), reciprocal: _mm256_set1_pd(1.0 / q), round: _mm256_set1_pd(ROUND) }
    }

    /// `x w mod q` around zero, given `w/q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mul(&self, x: D, w: D, quotient: D) -> D {
        let h = _mm256_mul_pd(x, w);
        let l = _mm256_fmsub_pd(x, w, h);
        let b = _mm256_sub_pd(_mm256_fmadd_pd(x, quotient, self.round), self.round);
        _mm256_add_pd(_mm256_fnmadd_pd(b, self.q, h), l)
    }

    /// `x mod q` around zero.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(&self, x: D) -> D {
        let b = _mm256_sub_pd(_mm256_fmadd_pd(x, self.reciprocal, self.round), self.round);
        _mm256_fnmadd_pd(b, self.q, x)
    }

    /// The residue of a value in `(-q, q)`, as an integer.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn canonical(&self, x: D) -> __m256i {
        // The sign bit selects.
        let x = _mm256_blendv_pd(x, _mm256_add_pd(x, self.q), x);
        // A negative zero has become q by that.
        let x = _mm256_sub_pd(x, _mm256_and_pd(_mm256_cmp_pd::<_CMP_GE_OQ>(x, self.q), self.q));
        let shift = _mm256_set1_pd(SHIFT);
        _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, shift)), _mm256_castpd_si256(shift))
    }

    /// Twiddle and quotient of block `i`.
    ///
    /// # Safety
    /// `i` must be below a quarter of N.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn upper(&self, i: usize) -> [D; 2] {
        // SAFETY: the table has N/4 entries.
        unsafe { self.direction.upper.get_unchecked(i) }.map(|x| _mm256_set1_pd(x))
    }

    /// `R` layers of block `index` of `len` values, `L = 2^R`.
    ///
    /// # Safety
    /// `a` is writable for `len` values, `len >= 4 L`, and `index` times `L/2` below N/4 ends its layers.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn forward_pass<const REDUCE: bool, const R: usize, const L: usize>(
        &self,
        a: *mut u64,
        len: usize,
        index: usize,
    ) {
        let stride = len / L;
        // SAFETY: j + t stride + 4 <= len; at least four values remain in each part, so that the blocks of these
        // layers come before the last quarter of all.
        unsafe {
            for j in (0..stride).step_by(LANES) {
                let mut v = [self.q; L];
                for (t, v) in v.iter_mut().enumerate() {
                    *v = load(a.add(j + t * stride));
                    if REDUCE {
                        *v = self.reduce(*v);
                    }
                }
                for r in 0..R {
                    let half = L >> (r + 1);
                    for b in 0..1 << r {
                        let [w, quotient] = self.upper((index << r) + b);
                        for t in 2 * b * half..(2 * b + 1) * half {
                            let x = self.mul(v[t + half], w, quotient);
                            (v[t], v[t + half]) = (_mm256_add_pd(v[t], x), _mm256_sub_pd(v[t], x));
                        }
                    }
                }
                for (t, v) in v.iter().enumerate() {
                    store(a.add(j + t * stride), *v);
                }
            }
        }
    }

    /// The last two layers of 16 values, canonical integers at the end.
    ///
    /// # Safety
    /// `a` is writable for 16 values, `g < N/16`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn forward_tail(&self, a: *mut u64, g: usize) {
        // SAFETY: in bounds by the contract.
        unsafe {
            let words = self.direction.tails.as_ptr().add(g * TAIL_WORDS);
            let word = |k: usize| load(words.add(k * LANES));
            let rows: [D; 4] = [0, 1, 2, 3].map(|t| load(a.add(t * LANES)));
            let mut v = transpose(rows.map(|x| self.reduce(x)));
            for t in 0..2 {
                let x = self.mul(v[t + 2], word(0), word(1));
                (v[t], v[t + 2]) = (_mm256_add_pd(v[t], x), _mm256_sub_pd(v[t], x));
            }
            for b in 0..2 {
                let x = self.mul(v[2 * b + 1], word(2 + 2 * b), word(3 + 2 * b));
                (v[2 * b], v[2 * b + 1]) = (_mm256_add_pd(v[2 * b], x), _mm256_sub_pd(v[2 * b], x));
            }
            for (t, row) in transpose(v).into_iter().enumerate() {
                _mm256_storeu_si256(a.add(t * LANES).cast(), self.canonical(self.reduce(row)));
            }
        }
    }

    /// The first two layers backwards of 16 canonical integers.
    ///
    /// # Safety
    /// As [`forward_tail`](Self::forward_tail).
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn inverse_tail(&self, a: *mut u64, g: usize) {
        // SAFETY: in bounds by the contract.
        unsafe {
            let words = self.direction.tails.as_ptr().add(g * TAIL_WORDS);
            let word = |k: usize| load(words.add(k * LANES));
            let rows: [D; 4] =
                [0, 1, 2, 3].map(|t| self.reduce(to_double(_mm256_loadu_si256(a.add(t * LANES).cast()))));
            let mut v = transpose(rows);
            for b in 0..2 {
                let difference = _mm256_sub_pd(v[2 * b], v[2 * b + 1]);
                v[2 * b] = _mm256_add_pd(v[2 * b], v[2 * b + 1]);
                v[2 * b + 1] = self.mul(difference, word(2 + 2 * b), word(3 + 2 * b));
            }
            for t in 0..2 {
                let difference = _mm256_sub_pd(v[t], v[t + 2]);
                v[t] = self.reduce(_mm256_add_pd(v[t], v[t + 2]));
                v[t + 2] = self.mul(difference, word(0), word(1));
            }
            for (t, row) in transpose(v).into_iter().enumerate() {
                store(a.add(t * LANES), row);
            }
        }
    }

    /// As [`forward_pass`](Self::forward_pass), backwards. Values come and go below `0.8 q`, so that sums of four
    /// and their differences stay below `4 q`.
    ///
    /// # Safety
    /// As [`forward_pass`](Self::forward_pass).
    #[target_feature(enable = "avx2,fma")]
    unsafe fn inverse_pass<const R: usize, const L: usize>(&self, a: *mut u64, len: usize, index: usize) {
        let stride = len / L;
        // SAFETY: as in `forward_pass`.
        unsafe {
            for j in (0..stride).step_by(LANES) {
                let mut v = [self.q; L];
                for (t, v) in v.iter_mut().enumerate() {
                    *v = load(a.add(j + t * stride));
                }
                for r in (0..R).rev() {
                    let half = L >> (r + 1);
                    for b in 0..1 << r {
                        let [w, quotient] = self.upper((index << r) + b);
                        for t in 2 * b * half..(2 * b + 1) * half {
                            let difference = _mm256_sub_pd(v[t], v[t + half]);
                            let sum = _mm256_add_pd(v[t], v[t + half]);
                            v[t] = if r == 0 { self.reduce(sum) } else { sum };
                            v[t + half] = self.mul(difference, w, quotient);
                        }
                    }
                }
                for (t, v) in v.iter().enumerate() {
                    store(a.add(j + t * stride), *v);
                }
            }
        }
    }
}
