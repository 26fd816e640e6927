//! Base conversion on eight lanes sums the low and high halves of the products lazily and makes one reduction per
//! output.

use super::{BLOCK, BaseConverter, Lift};
use crate::avx512::*;
use crate::modulus::Modulus;
use std::arch::x86_64::*;

/// Vectors of coefficients per tile.
const WIDTH: usize = 2;
/// Sums of so many products of a word below 2^50 with a residue of p stay below `2^53 p`.
const SHORT: usize = 8;
/// Sums of so many stay below `2^54 p`.
const MIDDLE: usize = 16;

/// As the portable kernel; lengths a multiple of eight, table constants in Montgomery form.
///
/// # Safety
/// The machine has AVX-512 F, DQ, VL and IFMA; every source has at least `start` plus the length of the outputs
/// elements, the outputs have one length, a multiple of eight, and `first` plus their number is at most that of the
/// targets.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) unsafe fn convert(
    table: &BaseConverter,
    sources: &[&[u64]],
    start: usize,
    lift: Lift,
    first: usize,
    out: &mut [&mut [u64]],
) {
    let len = out.first().map_or(0, |o| o.len());
    let mut quotient = [0u64; BLOCK];
    // One more source for the multiple of Q to take off.
    let mut inputs: Vec<*const u64> = sources.iter().map(|s| s.as_ptr()).collect();
    let terms = match lift {
        Lift::Approximate => sources.len(),
        Lift::Centred => sources.len() + 1,
    };
    inputs.push(quotient.as_ptr());
    let outputs: Vec<*mut u64> = out.iter_mut().map(|o| o.as_mut_ptr()).collect();
    for block in (0..len).step_by(BLOCK) {
        let width = BLOCK.min(len - block);
        // SAFETY: block + width <= len, so that sources are read and outputs written in bounds; rows have
        // sources.len() + 1 >= terms constants; `quotient` has BLOCK elements.
        unsafe {
            for (input, source) in inputs.iter_mut().zip(sources) {
                *input = source.as_ptr().add(start + block);
            }
            if lift == Lift::Centred {
                overflow(table, &inputs, width, quotient.as_mut_ptr());
                if let Some(last) = inputs.last_mut() {
                    *last = quotient.as_ptr();
                }
            }
            let inputs = &inputs[..terms];
            let mut j = 0;
            while j + 4 <= outputs.len() {
                targets::<4>(table, inputs, first + j, &outputs[j..], block, width);
                j += 4;
            }
            match outputs.len() - j {
                3 => targets::<3>(table, inputs, first + j, &outputs[j..], block, width),
                2 => targets::<2>(table, inputs, first + j, &outputs[j..], block, width),
                1 => targets::<1>(table, inputs, first + j, &outputs[j..], block, width),
                _ => {}
            }
        }
    }
}

/// `round(sum_i y_i / q_i)` in the order of the sources, as the portable kernel rounds it.
///
/// # Safety
/// One readable input of `width` words per source, `out` writable for as many, `width` a multiple of eight.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn overflow(table: &BaseConverter, inputs: &[*const u64], width: usize, out: *mut u64) {
    for p in (0..width).step_by(LANES) {
        let mut sum = _mm512_set1_pd(0.5);
        for (input, &reciprocal) in inputs.iter().zip(&table.reciprocals) {
            // SAFETY: p + 8 <= width.
            let y = _mm512_cvtepu64_pd(unsafe { load(input.add(p)) });
            sum = _mm512_add_pd(sum, _mm512_mul_pd(y, _mm512_set1_pd(reciprocal)));
        }
        // SAFETY: p + 8 <= width.
        unsafe { store(out.add(p), _mm512_cvttpd_epu64(sum)) };
    }
}

/// Converts a block to the targets `first .. first + T`, the first `T` of `outputs`.
///
/// # Safety
/// Inputs are readable for `width` words, outputs writable at `block .. block + width`, rows have a constant per
/// input, `width` is a multiple of eight.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn targets<const T: usize>(
    table: &BaseConverter,
    inputs: &[*const u64],
    first: usize,
    outputs: &[*mut u64],
    block: usize,
    width: usize,
) {
    let rows: [&[u64]; T] = std::array::from_fn(|t| table.row(first + t));
    let moduli: [&Modulus; T] = std::array::from_fn(|t| &table.targets[first + t]);
    let wide = width - width % (WIDTH * LANES);
    // SAFETY: both loops stay below `width`.
    unsafe {
        for p in (0..wide).step_by(WIDTH * LANES) {
            // The lines the next targets will be written to: stores would otherwise wait for each.
            for next in outputs[T..].iter().take(4) {
                for w in 0..WIDTH {
                    _mm_prefetch::<_MM_HINT_ET0>(next.add(block + p + w * LANES).cast());
                }
            }
            tile::<T, WIDTH>(inputs, rows, moduli, outputs, p, block);
        }
        for p in (wide..width).step_by(LANES) {
            tile::<T, 1>(inputs, rows, moduli, outputs, p, block);
        }
    }
}

/// `W` vectors of coefficients at `p` for `T` targets.
///
/// # Safety
/// As [`targets`], `p + 8 W <= width`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn tile<const T: usize, const W: usize>(
    inputs: &[*const u64],
    rows: [&[u64]; T],
    moduli: [&Modulus; T],
    outputs: &[*mut u64],
    p: usize,
    block: usize,
) {
    let zero = _mm512_setzero_si512();
    let (mut low, mut high) = ([[zero; W]; T], [[zero; W]; T]);
    // SAFETY: in bounds by the contract.
    unsafe {
        for (i, input) in inputs.iter().enumerate() {
            let x: [V; W] = std::array::from_fn(|w| load(input.add(p + w * LANES)));
            for t in 0..T {
                let c = splat(*rows[t].get_unchecked(i));
                for w in 0..W {
                    low[t][w] = lo(low[t][w], x[w], c);
                    high[t][w] = hi(high[t][w], x[w], c);
                }
            }
        }
        for t in 0..T {
            for w in 0..W {
                let r = if inputs.len() <= SHORT {
                    reduce_short::<false>(moduli[t], high[t][w], low[t][w])
                } else if inputs.len() <= MIDDLE {
                    reduce_short::<true>(moduli[t], high[t][w], low[t][w])
                } else {
                    Wide::montgomery(moduli[t]).reduce_sum::<false>(high[t][w], low[t][w])
                };
                store(outputs.get_unchecked(t).add(block + p + w * LANES), r);
            }
        }
    }
}

/// Canonical Montgomery reduction of a sum of at most [`SHORT`] products, or [`MIDDLE`] of them.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn reduce_short<const MANY: bool>(m: &Modulus, h: V, l: V) -> V {
    let (zero, q) = (_mm512_setzero_si512(), splat(m.value()));
    // h 2^52 + l < 8 * 2^50 * q, so the high part is below 2q and the difference in (-q, 2q); twice that for many.
    let h = add(h, _mm512_srli_epi64::<52>(l));
    let t = sub(h, hi(zero, lo(zero, l, splat(m.inv52())), q));
    let t = lift_negative(t, q);
    let t = if MANY { reduce_once(t, add(q, q)) } else { t };
    reduce_once(t, q)
}
