//! Where tensor elements lie in slots, while packing.
//!
//! A layout is a list of digits of the row-major element number, so that reshapes leave it alone. The multiplexed layout of a
//! strided convolution (Lee et al., ICML 2022, section 3) keeps the pixel grid of its operand and fills the gaps between the
//! pixels that remain with channels: then no slot moves farther than the kernel and the channel offset require, and one
//! linear transform, hence one level, is enough (Ebel et al., Orion, 2024, "single-shot").

use std::sync::Arc;

use fhec_ir::{Digit, Layout, Shape};

/// One term of an address: `((element / divisor) mod size) · stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlatDigit {
    pub(super) divisor: usize,
    pub(super) size: usize,
    pub(super) stride: usize,
}

/// Digits that give every element of a tensor its own address.
pub(super) type Digits = Vec<FlatDigit>;

/// A layout with its addresses worked out. Equal ones have equal digits, not addresses alone: of two spellings of the same
/// addresses only one may be a layout that a port can state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placing {
    /// In the form of [`canonical`].
    pub(super) digits: Digits,
    /// Slots of one ciphertext.
    pub(super) slots: usize,
    /// Ciphertexts spanned.
    pub(super) ciphertexts: usize,
    /// The content repeats every `period` slots; equal to `slots` when it spans several ciphertexts.
    pub(super) period: usize,
    /// Address of every element; ciphertext `address / slots`, slot `address mod slots`.
    pub(super) addresses: Arc<[u32]>,
}

/// The same addresses of `len` elements in the fewest digits: a digit that goes on where the one before ends joins it, digits
/// without a second value and places past the last element go.
fn canonical(mut digits: Digits, len: usize) -> Digits {
    digits.sort_unstable();
    let mut out: Digits = Vec::with_capacity(digits.len());
    for mut d in digits {
        d.size = d.size.min(len.div_ceil(d.divisor));
        match out.last_mut() {
            _ if d.size <= 1 => {}
            Some(last) if d.divisor == last.divisor * last.size && d.stride == last.stride * last.size => {
                last.size = (last.size * d.size).min(len.div_ceil(last.divisor));
            }
            _ => out.push(d),
        }
    }
    out
}

/// The addresses of `len` elements under `digits`; `None` when two elements would share one or an address is out of range.
fn addresses(digits: &[FlatDigit], len: usize) -> Option<Vec<u32>> {
    const LARGEST: usize = 1 << 30;
    let out: Vec<u32> = (0..len)
        .map(|e| {
            let a: usize = digits.iter().map(|d| (e / d.divisor % d.size) * d.stride).sum();
            (a < LARGEST).then_some(a as u32)
        })
        .collect::<Option<_>>()?;
    let mut seen = vec![false; out.iter().max().map_or(0, |&a| a as usize + 1)];
    let distinct = out.iter().all(|&a| !std::mem::replace(&mut seen[a as usize], true));
    distinct.then_some(out)
}

/// Slots from the first to the last element; `None` for digits that are no layout of `len` elements.
pub(super) fn extent(digits: &[FlatDigit], len: usize) -> Option<usize> {
    addresses(digits, len)?.iter().max().map(|&a| a as usize + 1)
}

impl Placing {
    /// The placement of `len` elements in ciphertexts of `slots` slots, repeated as often as it fits; `None` when the digits
    /// are no layout.
    pub(super) fn new(digits: Digits, len: usize, slots: usize) -> Option<Self> {
        let digits = canonical(digits, len);
        let addresses = addresses(&digits, len)?;
        let extent = addresses.iter().max().map_or(1, |&a| a as usize + 1);
        let period = extent.next_power_of_two().min(slots);
        Some(Self { digits, slots, ciphertexts: extent.div_ceil(slots), period, addresses: addresses.into() })
    }
    /// The same without repetition below `period` slots.
    pub(super) fn with_period(&self, period: usize) -> Self {
        Self { period, ..self.clone() }
    }
    /// The layout as a port states it, over the dimensions of `shape`; `None` when a digit crosses dimensions unevenly.
    pub(super) fn to_layout(&self, shape: &Shape) -> Option<Layout> {
        let per_dim = by_dimension(&self.digits, shape)?;
        let digits = per_dim
            .iter()
            .enumerate()
            .flat_map(|(dim, list)| {
                list.iter().map(move |d| Digit { dim, divisor: d.divisor, size: d.size, stride: d.stride })
            })
            .collect();
        Some(Layout {
            slots: self.slots,
            ciphertexts: self.ciphertexts,
            period: self.period,
            offset: 0,
            digits,
            exponent: 0,
        })
    }
}

/// Row-major from slot 0.
pub(super) fn row_major(len: usize) -> Digits {
    vec![FlatDigit { divisor: 1, size: len.max(1), stride: 1 }]
}

/// Row-major with every channel (dimension 1) starting at a multiple of a power of two, so that channel offsets wrap.
pub(super) fn aligned_channels(shape: &Shape) -> Digits {
    let area: usize = shape.0.iter().skip(2).product();
    let outer = shape.len() / area.max(1);
    if area <= 1 || outer <= 1 {
        return row_major(shape.len());
    }
    vec![
        FlatDigit { divisor: 1, size: area, stride: 1 },
        FlatDigit { divisor: area, size: outer, stride: area.next_power_of_two() },
    ]
}

/// The digits cut at the boundaries of the dimensions of `shape`; divisors count within the dimension.
fn by_dimension(digits: &[FlatDigit], shape: &Shape) -> Option<Vec<Vec<FlatDigit>>> {
    let len = shape.len();
    let mut out = vec![Vec::new(); shape.rank()];
    for (dim, (&size, stride)) in shape.0.iter().zip(shape.strides()).enumerate() {
        if size == 1 {
            continue;
        }
        for d in digits {
            let lo = d.divisor.max(stride);
            let hi = (d.divisor * d.size).min(stride * size);
            if lo >= hi {
                continue;
            }
            // The outermost digit may reach past the last element; within a dimension it must divide evenly.
            let outermost = stride * size == len;
            let even = lo % d.divisor == 0 && lo % stride == 0 && (hi % lo == 0 || outermost);
            if !even {
                return None;
            }
            out[dim].push(FlatDigit {
                divisor: lo / stride,
                size: hi.div_ceil(lo),
                stride: d.stride * (lo / d.divisor),
            });
        }
        out[dim].sort_by_key(|d| d.divisor);
    }
    Some(out)
}

/// The inverse of [`by_dimension`].
fn flatten(per_dim: &[Vec<FlatDigit>], shape: &Shape) -> Digits {
    per_dim
        .iter()
        .zip(shape.strides())
        .flat_map(|(list, stride)| list.iter().map(move |d| FlatDigit { divisor: d.divisor * stride, ..*d }))
        .collect()
}

/// Layouts of a result of shape `out` that keep the pixel grid of an operand of shape `x` (batch, channels, spatial) whose
/// windows move by `strides`: with gaps filled by channels, and with gaps left empty.
pub(super) fn windowed(digits: &[FlatDigit], x: &Shape, out: &Shape, strides: &[i64]) -> Vec<Digits> {
    let Some(per_dim) = by_dimension(digits, x) else { return Vec::new() };
    if x.rank() < 3 || x.0[0] != 1 {
        return Vec::new();
    }
    let mut grid = vec![Vec::new(); x.rank()];
    let mut holes: Vec<FlatDigit> = Vec::new();
    let mut spatial_extent = 1;
    for d in 2..x.rank() {
        let (step, size) = (strides[d - 2] as usize, out.0[d]);
        match per_dim[d].as_slice() {
            [] => {}
            [one] if one.divisor == 1 => {
                spatial_extent += (x.0[d] - 1) * one.stride;
                if size > 1 {
                    grid[d].push(FlatDigit { divisor: 1, size, stride: one.stride * step });
                }
                let gap = if size > 1 { step } else { x.0[d] };
                if gap > 1 {
                    holes.push(FlatDigit { divisor: 1, size: gap, stride: one.stride });
                }
            }
            _ => return Vec::new(),
        }
    }
    let channels = &per_dim[1];
    let block = channels.last().map_or(spatial_extent.next_power_of_two(), |d| d.stride);
    let mut variants = Vec::new();
    let mut filled: Vec<FlatDigit> = holes.iter().chain(channels).copied().collect();
    filled.sort_by_key(|d| d.stride);
    for places in [filled, channels.clone()] {
        let mut layout = grid.clone();
        layout[1] = fill(&places, block, out.0[1]);
        let flat = flatten(&layout, out);
        if !variants.contains(&flat) {
            variants.push(flat);
        }
    }
    variants
}

/// Digits for `count` channels over the places given, smallest address first; the last one is extended in steps of `block`.
fn fill(places: &[FlatDigit], block: usize, count: usize) -> Vec<FlatDigit> {
    let mut out = Vec::new();
    let mut divisor = 1;
    for (i, p) in places.iter().enumerate() {
        let left = count.div_ceil(divisor);
        if left <= 1 {
            return out;
        }
        let last = i + 1 == places.len() && p.stride == block;
        let size = if last { left } else { p.size.min(left) };
        out.push(FlatDigit { divisor, size, stride: p.stride });
        divisor *= size;
    }
    let left = count.div_ceil(divisor);
    if left > 1 {
        out.push(FlatDigit { divisor, size: left, stride: block });
    }
    out
}

/// The layout of a slice: digits of dimensions taken whole stay, a stepped dimension of one digit is stretched.
pub(super) fn sliced(digits: &[FlatDigit], x: &Shape, out: &Shape, steps: &[i64]) -> Option<Digits> {
    let mut per_dim = by_dimension(digits, x)?;
    for d in 0..x.rank() {
        if x.0[d] == out.0[d] && steps[d] == 1 {
            continue;
        }
        match per_dim[d].as_mut_slice() {
            [one] if one.divisor == 1 && steps[d] > 0 => {
                one.stride *= steps[d] as usize;
                one.size = out.0[d];
            }
            _ => return None,
        }
    }
    Some(flatten(&per_dim, out))
}

/// The layout with every dimension's outermost digit resized to the extent in `out`.
pub(super) fn grown(digits: &[FlatDigit], x: &Shape, out: &Shape) -> Option<Digits> {
    let mut per_dim = by_dimension(digits, x)?;
    for (list, (before, after)) in per_dim.iter_mut().zip(x.0.iter().zip(&out.0)) {
        if before != after {
            let last = list.last_mut()?;
            last.size = after.div_ceil(last.divisor);
        }
    }
    Some(flatten(&per_dim, out))
}

/// The layout of the operand with its dimensions permuted.
pub(super) fn transposed(digits: &[FlatDigit], x: &Shape, out: &Shape, perm: &[usize]) -> Option<Digits> {
    let per_dim = by_dimension(digits, x)?;
    let permuted: Vec<Vec<FlatDigit>> = perm.iter().map(|&p| per_dim[p].clone()).collect();
    Some(flatten(&permuted, out))
}

/// The layout of what is left when `axes` are reduced to one element each.
pub(super) fn reduced(digits: &[FlatDigit], x: &Shape, axes: &[usize]) -> Option<Digits> {
    let mut per_dim = by_dimension(digits, x)?;
    let mut kept = x.clone();
    for &axis in axes {
        per_dim[axis].clear();
        kept.0[axis] = 1;
    }
    Some(flatten(&per_dim, &kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(shape: [usize; 4]) -> Shape {
        Shape(shape.to_vec())
    }

    #[test]
    fn strided_convolution_fills_gaps_with_channels() {
        let x = stage([1, 16, 32, 32]);
        let out = stage([1, 32, 16, 16]);
        let layouts = windowed(&row_major(x.len()), &x, &out, &[2, 2]);
        let p = Placing::new(layouts[0].clone(), out.len(), 1 << 14).unwrap();
        // Channel 1 beside channel 0, channel 2 a row below, channel 4 in the next block of 32 x 32.
        let at = |c: usize, h: usize, w: usize| p.addresses[(c * 16 + h) * 16 + w];
        assert_eq!((at(1, 0, 0), at(2, 0, 0), at(4, 0, 0)), (1, 32, 1024));
        assert_eq!((at(0, 0, 1), at(0, 1, 0), at(31, 15, 15)), (2, 64, 8191));
        assert_eq!((p.period, p.ciphertexts), (8192, 1));
        // Left empty: half the density, blocks as before.
        let q = Placing::new(layouts[1].clone(), out.len(), 1 << 14).unwrap();
        assert_eq!((q.addresses[256], q.ciphertexts), (1024, 2));
    }

    #[test]
    fn addresses_agree_with_the_port_layout() {
        let x = stage([1, 6, 24, 24]);
        let out = stage([1, 6, 12, 12]);
        for digits in windowed(&aligned_channels(&x), &x, &out, &[2, 2]) {
            let p = Placing::new(digits, out.len(), 8192).unwrap();
            let layout = p.to_layout(&out).unwrap();
            assert!(layout.addresses(&out).zip(p.addresses.iter()).all(|(a, &b)| a == b as usize));
        }
    }

    #[test]
    fn equal_addresses_in_either_spelling_are_one_placement() {
        let digit = |divisor, size, stride| FlatDigit { divisor, size, stride };
        // Twelve elements one after the other, spelled over rows of 4 and as if 15 came in rows of 5.
        let rows = vec![digit(4, 3, 4), digit(1, 4, 1), digit(12, 1, 77)];
        let past_the_end = vec![digit(1, 5, 1), digit(5, 3, 5)];
        let plain = Placing::new(row_major(12), 12, 16).unwrap();
        for digits in [rows, past_the_end] {
            let p = Placing::new(digits, 12, 16).unwrap();
            assert_eq!(p, plain);
            assert!(p.to_layout(&stage([1, 3, 2, 2])).is_some());
        }
        // A digit that starts inside another one does not join it.
        let gap = Placing::new(vec![digit(1, 2, 1), digit(2, 6, 4)], 12, 32).unwrap();
        assert_eq!(gap.digits.len(), 2);
    }

    #[test]
    fn colliding_layouts_are_refused() {
        let grown = vec![FlatDigit { divisor: 1, size: 5, stride: 1 }, FlatDigit { divisor: 5, size: 2, stride: 4 }];
        assert!(Placing::new(grown, 10, 16).is_none());
    }
}
