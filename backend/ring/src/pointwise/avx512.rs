//! Kernels on eight lanes. What is left over below eight goes to the scalar kernels.
//!
//! Every function needs AVX-512 F, DQ, VL and IFMA, and slices of one length; those two conditions are the whole
//! safety contract of each.

use super::portable;
use crate::avx512::*;
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Splits slices of one length where full vectors end.
fn split(len: usize) -> usize {
    len - len % LANES
}

/// Runs `$body` with the offset of every full vector.
macro_rules! vectors {
    ($len:expr, $p:ident, $body:block) => {
        for $p in (0..split($len)).step_by(LANES) {
            // SAFETY: `$p + 8 <= $len`, the length of every slice addressed.
            unsafe { $body }
        }
    };
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn add_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    let (q, len, o) = (splat(m.value()), a.len(), a.as_mut_ptr());
    vectors!(len, p, {
        let sum = crate::avx512::add(load(o.add(p)), load(b.as_ptr().add(p)));
        store(o.add(p), reduce_once(sum, q))
    });
    portable::add_assign(m, &mut a[split(len)..], &b[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn add(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    let (q, len, o) = (splat(m.value()), a.len(), out.as_mut_ptr());
    vectors!(len, p, {
        let sum = crate::avx512::add(load(a.as_ptr().add(p)), load(b.as_ptr().add(p)));
        store(o.add(p), reduce_once(sum, q))
    });
    portable::add(m, &a[split(len)..], &b[split(len)..], &mut out[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn sub_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    let (q, len, o) = (splat(m.value()), a.len(), a.as_mut_ptr());
    vectors!(len, p, {
        let difference = crate::avx512::sub(load(o.add(p)), load(b.as_ptr().add(p)));
        store(o.add(p), lift_negative(difference, q))
    });
    portable::sub_assign(m, &mut a[split(len)..], &b[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn sub(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    let (q, len, o) = (splat(m.value()), a.len(), out.as_mut_ptr());
    vectors!(len, p, {
        let difference = crate::avx512::sub(load(a.as_ptr().add(p)), load(b.as_ptr().add(p)));
        store(o.add(p), lift_negative(difference, q))
    });
    portable::sub(m, &a[split(len)..], &b[split(len)..], &mut out[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn neg_assign(m: &Modulus, a: &mut [u64]) {
    let (q, len, o) = (splat(m.value()), a.len(), a.as_mut_ptr());
    // q - a is in (0, q]; the q of a zero goes back to zero.
    vectors!(len, p, { store(o.add(p), reduce_once(crate::avx512::sub(q, load(o.add(p))), q)) });
    portable::neg_assign(m, &mut a[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn mul_assign(m: &Modulus, a: &mut [u64], b: &[u64]) {
    let (k, len, o) = (Wide::new(m), a.len(), a.as_mut_ptr());
    vectors!(len, p, { store(o.add(p), k.mul(load(o.add(p)), load(b.as_ptr().add(p)))) });
    portable::mul_assign(m, &mut a[split(len)..], &b[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn mul(m: &Modulus, a: &[u64], b: &[u64], out: &mut [u64]) {
    let (k, len, o) = (Wide::new(m), a.len(), out.as_mut_ptr());
    vectors!(len, p, { store(o.add(p), k.mul(load(a.as_ptr().add(p)), load(b.as_ptr().add(p)))) });
    portable::mul(m, &a[split(len)..], &b[split(len)..], &mut out[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn mul_add(m: &Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let (k, len, o) = (Wide::new(m), a.len(), acc.as_mut_ptr());
    vectors!(len, p, {
        let (x, y) = (load(a.as_ptr().add(p)), load(b.as_ptr().add(p)));
        let h = hi(_mm512_setzero_si512(), x, y);
        let l = lo(load(o.add(p)), x, y);
        store(o.add(p), k.reduce_sum::<true>(h, l))
    });
    portable::mul_add(m, &mut acc[split(len)..], &a[split(len)..], &b[split(len)..]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn tensor(m: &Modulus, [a0, a1]: [&[u64]; 2], [b0, b1]: [&[u64]; 2], out: [&mut [u64]; 3]) {
    let (k, len) = (Wide::new(m), a0.len());
    let [o0, o1, o2] = out;
    let (p0, p1, p2) = (o0.as_mut_ptr(), o1.as_mut_ptr(), o2.as_mut_ptr());
    vectors!(len, p, {
        let (x0, x1) = (load(a0.as_ptr().add(p)), load(a1.as_ptr().add(p)));
        let (y0, y1) = (load(b0.as_ptr().add(p)), load(b1.as_ptr().add(p)));
        let zero = _mm512_setzero_si512();
        store(p0.add(p), k.mul(x0, y0));
        store(p2.add(p), k.mul(x1, y1));
        let h = hi(hi(zero, x0, y1), x1, y0);
        let l = lo(lo(zero, x0, y1), x1, y0);
        store(p1.add(p), k.reduce_sum::<true>(h, l))
    });
    let t = split(len);
    portable::tensor(m, [&a0[t..], &a1[t..]], [&b0[t..], &b1[t..]], [&mut o0[t..], &mut o1[t..], &mut o2[t..]]);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn mul_scalar_assign(m: &Modulus, a: &mut [u64], w: u64) {
    let (q, f, len, o) = (splat(m.value()), Factor::splat(factor_words(m, w)), a.len(), a.as_mut_ptr());
    vectors!(len, p, { store(o.add(p), lift_negative(mul_lazy(load(o.add(p)), f, q), q)) });
    portable::mul_scalar_assign(m, &mut a[split(len)..], w);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn mul_scalar_add(m: &Modulus, acc: &mut [u64], a: &[u64], w: u64) {
    let (q, f, len, o) = (splat(m.value()), Factor::splat(factor_words(m, w)), a.len(), acc.as_mut_ptr());
    vectors!(len, p, {
        let product = lift_negative(mul_lazy(load(a.as_ptr().add(p)), f, q), q);
        store(o.add(p), reduce_once(crate::avx512::add(load(o.add(p)), product), q))
    });
    portable::mul_scalar_add(m, &mut acc[split(len)..], &a[split(len)..], w);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn add_scalar_assign(m: &Modulus, a: &mut [u64], w: u64) {
    let (q, v, len, o) = (splat(m.value()), splat(w), a.len(), a.as_mut_ptr());
    vectors!(len, p, { store(o.add(p), reduce_once(crate::avx512::add(load(o.add(p)), v), q)) });
    portable::add_scalar_assign(m, &mut a[split(len)..], w);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn sub_mul_assign(m: &Modulus, a: &mut [u64], b: &[u64], w: u64) {
    let (q, f, len, o) = (splat(m.value()), Factor::splat(factor_words(m, w)), a.len(), a.as_mut_ptr());
    vectors!(len, p, {
        // a - b + q is below 2q, well inside the 52 bits the product reads.
        let d = crate::avx512::sub(crate::avx512::add(load(o.add(p)), q), load(b.as_ptr().add(p)));
        store(o.add(p), lift_negative(mul_lazy(d, f, q), q))
    });
    portable::sub_mul_assign(m, &mut a[split(len)..], &b[split(len)..], w);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn split_conjugates(m: &Modulus, re: &mut [u64], im: &mut [u64], half: u64, half_i: u64) {
    let (q, len) = (splat(m.value()), re.len());
    let (f, g) = (Factor::splat(factor_words(m, half)), Factor::splat(factor_words(m, half_i)));
    let mirror = _mm512_set_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    let middle = split(len / 2);
    let (r, i) = (re.as_mut_ptr(), im.as_mut_ptr());
    vectors!(middle, p, {
        let back = len - LANES - p;
        let (x, y) = (load(r.add(p)), _mm512_permutexvar_epi64(mirror, load(r.add(back))));
        // Both stay below 2q, well inside the 52 bits the products read.
        let sum = crate::avx512::add(x, y);
        let difference = crate::avx512::sub(crate::avx512::add(y, q), x);
        let a = lift_negative(mul_lazy(sum, f, q), q);
        let b = lift_negative(mul_lazy(difference, g, q), q);
        store(r.add(p), a);
        store(r.add(back), _mm512_permutexvar_epi64(mirror, a));
        store(i.add(p), b);
        store(i.add(back), _mm512_permutexvar_epi64(mirror, b))
    });
    let rest = middle..len - middle;
    portable::split_conjugates(m, &mut re[rest.clone()], &mut im[rest], half, half_i);
}

/// # Safety
/// See the module.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn reduce_signed(m: &Modulus, values: &[i64], out: &mut [u64]) {
    let (q, len, o) = (splat(m.value()), values.len(), out.as_mut_ptr());
    let one = Factor::splat(factor_words(m, 1));
    let above = Factor::splat(factor_words(m, m.to_mont52(1)));
    vectors!(len, p, {
        let v = load(values.as_ptr().add(p).cast());
        let magnitude = _mm512_abs_epi64(v);
        let low = lift_negative(mul_lazy(magnitude, one, q), q);
        let high = lift_negative(mul_lazy(_mm512_srli_epi64::<52>(magnitude), above, q), q);
        let r = reduce_once(crate::avx512::add(low, high), q);
        let negated = reduce_once(crate::avx512::sub(q, r), q);
        store(o.add(p), _mm512_mask_mov_epi64(r, _mm512_movepi64_mask(v), negated))
    });
    portable::reduce_signed(m, &values[split(len)..], &mut out[split(len)..]);
}

/// # Safety
/// See the module; `x0` and `x1` have as many slices as `d`, at most [`MAX_TERMS`](crate::modulus::MAX_TERMS). `source`, if any, permutes `0..len`,
/// `len` a multiple of eight or below eight, and maps every aligned block of eight onto an aligned block of eight.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[expect(clippy::too_many_arguments)]
pub(crate) unsafe fn inner_product(
    m: &Modulus,
    d: &[&[u64]],
    x0: &[&[u64]],
    x1: &[&[u64]],
    source: Option<&[u32]>,
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    if !out0.len().is_multiple_of(LANES) {
        return portable::inner_product(m, d, x0, x1, source, accumulate, out0, out1);
    }
    // SAFETY: the contract of this function is that of the ones called.
    unsafe {
        match source {
            None => inner::<PLAIN>(m, d, &[], 1, x0, x1, accumulate, out0, out1),
            Some(source) => inner::<PERMUTED>(m, d, source, 1, x0, x1, accumulate, out0, out1),
        }
    }
}

/// # Safety
/// See the module; `x0` and `x1` have as many slices as `d`, at most [`MAX_TERMS`](crate::modulus::MAX_TERMS); `run` is a power of two and the slices of `d` are
/// the other's length over `run`, rounded up.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[expect(clippy::too_many_arguments)]
pub(crate) unsafe fn inner_product_of_runs(
    m: &Modulus,
    d: &[&[u64]],
    run: usize,
    x0: &[&[u64]],
    x1: &[&[u64]],
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    if !out0.len().is_multiple_of(LANES) {
        return portable::inner_product_of_runs(m, d, run, x0, x1, accumulate, out0, out1);
    }
    // SAFETY: the contract of this function is that of the one called.
    unsafe { inner::<RUNS>(m, d, &[], run, x0, x1, accumulate, out0, out1) }
}

/// How [`inner`] reads its first factors: in order, through a permutation, or each value for a run of places.
const PLAIN: u8 = 0;
const PERMUTED: u8 = 1;
const RUNS: u8 = 2;

/// # Safety
/// As [`inner_product`], the length a multiple of eight; `source` is read only when `PERMUTED`. With `RUNS` as
/// [`inner_product_of_runs`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[expect(clippy::too_many_arguments)]
unsafe fn inner<const READ: u8>(
    m: &Modulus,
    d: &[&[u64]],
    source: &[u32],
    run: usize,
    x0: &[&[u64]],
    x1: &[&[u64]],
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    // SAFETY: the contract of this function is that of the ones called.
    unsafe {
        match is_narrow(m, d.len()) {
            true => inner_sums::<true, READ>(m, d, source, run, x0, x1, accumulate, out0, out1),
            false => inner_sums::<false, READ>(m, d, source, run, x0, x1, accumulate, out0, out1),
        }
    }
}

/// # Safety
/// As [`inner`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[expect(clippy::too_many_arguments)]
unsafe fn inner_sums<const NARROW: bool, const READ: u8>(
    m: &Modulus,
    d: &[&[u64]],
    source: &[u32],
    run: usize,
    x0: &[&[u64]],
    x1: &[&[u64]],
    accumulate: bool,
    out0: &mut [u64],
    out1: &mut [u64],
) {
    let (k, zero, len) = (Wide::new(m), _mm512_setzero_si512(), out0.len());
    let (o0, o1) = (out0.as_mut_ptr(), out1.as_mut_ptr());
    let shift = run.trailing_zeros();
    // A vector of runs holds 8 / run values, at least one.
    let (values, spread) = (0xFFu8 >> (LANES - (LANES >> shift).max(1)), spread(shift));
    vectors!(len, p, {
        let (mut l0, mut l1, mut h0, mut h1) = (zero, zero, zero, zero);
        if accumulate {
            (l0, l1) = (load(o0.add(p)), load(o1.add(p)));
        }
        let (block, lanes) = match READ {
            PERMUTED => gather_plan(source, p),
            RUNS => (p >> shift, spread),
            _ => (p, zero),
        };
        for j in 0..d.len() {
            let from = d.get_unchecked(j).as_ptr().add(block);
            let digit = match READ {
                PERMUTED => _mm512_permutexvar_epi64(lanes, load(from)),
                RUNS => _mm512_permutexvar_epi64(lanes, _mm512_maskz_loadu_epi64(values, from.cast())),
                _ => load(from),
            };
            let (y0, y1) = (load(x0.get_unchecked(j).as_ptr().add(p)), load(x1.get_unchecked(j).as_ptr().add(p)));
            l0 = lo(l0, digit, y0);
            h0 = hi(h0, digit, y0);
            l1 = lo(l1, digit, y1);
            h1 = hi(h1, digit, y1);
        }
        store(o0.add(p), k.reduce_sum::<NARROW>(h0, l0));
        store(o1.add(p), k.reduce_sum::<NARROW>(h1, l1))
    });
}

/// For every lane the place, in a vector, of the value it takes when each stands for a run of `2^shift`.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn spread(shift: u32) -> V {
    let lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_srl_epi64(lanes, _mm_cvtsi32_si128(shift as i32))
}

/// Where the vector at `p` comes from under a permutation: the offset of the source block, and the lane order
/// within it (of which the permute instruction reads the low three bits).
///
/// # Safety
/// `source` must have at least `p + 8` elements.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn gather_plan(source: &[u32], p: usize) -> (usize, V) {
    // SAFETY: in bounds by the contract.
    unsafe {
        let indices = _mm256_loadu_si256(source.as_ptr().add(p).cast());
        (*source.get_unchecked(p) as usize & !(LANES - 1), _mm512_cvtepu32_epi64(indices))
    }
}

/// `out[p] = input[source[p]]`.
///
/// # Safety
/// See the module; `source` as in [`inner_product`], the length a multiple of eight.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn permute(source: &[u32], input: &[u64], out: &mut [u64]) {
    let o = out.as_mut_ptr();
    vectors!(source.len(), p, {
        let (block, lanes) = gather_plan(source, p);
        store(o.add(p), _mm512_permutexvar_epi64(lanes, load(input.as_ptr().add(block))))
    });
}
