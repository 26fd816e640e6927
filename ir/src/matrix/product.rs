//! The product of two matrices, added to a third.

use pulp::{Arch, Simd, WithSimd};

use super::View;

/// Rows of a tile: with two vectors across, its sums and what they are made of fill the sixteen registers of AVX2.
const ROWS: usize = 6;
/// Vectors across a tile.
const ACROSS: usize = 2;
/// Inner elements of a block: a panel of so many rows of a tile's width stays in the first-level cache.
const INNER: usize = 256;
/// Rows of the left side that are packed at a time.
const LEFT: usize = 80 * ROWS;
/// Fewer rows than this on the left are not worth packing the right side for.
const FEW: usize = 4;

/// A number that products are made of.
pub trait Element: Copy + Default + Send + Sync + 'static + std::ops::Mul<Output = Self> {
    /// A vector of them.
    type Vector<S: Simd>: Copy;

    /// Vectors in a slice, and what is left of it.
    fn vectors<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The same, to be written.
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// A vector whose elements are all `x`.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// a·b + c, rounded once.
    fn fused<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// a·b + c, rounded once.
    #[must_use]
    fn mul_add(self, b: Self, c: Self) -> Self;
}

macro_rules! element {
    ($type:ty, $vector:ident, $vectors:ident, $vectors_mut:ident, $splat:ident, $fused:ident) => {
        impl Element for $type {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn vectors<S: Simd>(slice: &[Self]) -> (&[S::$vector], &[Self]) {
                S::$vectors(slice)
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
                S::$vectors_mut(slice)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$fused(a, b, c)
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                <$type>::mul_add(self, b, c)
            }
        }
    };
}

element!(f32, f32s, as_simd_f32s, as_mut_simd_f32s, splat_f32s, mul_add_f32s);
element!(f64, f64s, as_simd_f64s, as_mut_simd_f64s, splat_f64s, mul_add_f64s);

/// Adds `factor`·a·b to `out`, whose rows begin `stride` elements apart, for a of [m, k] and b of [k, n].
///
/// Every element of the result is out ← (factor·a[i, l])·b[l, j] + out for l = 0, 1, … k - 1, each step rounded once. One thread.
///
/// # Panics
/// Where the inner dimensions differ, or `out` is too short for m rows of n elements.
pub fn multiply_add<T: Element>(factor: T, a: View<'_, T>, b: View<'_, T>, out: &mut [T], stride: usize) {
    assert_eq!(a.columns, b.rows, "inner dimensions of a product");
    let (m, n) = (a.rows, b.columns);
    if m * n * a.columns == 0 {
        return;
    }
    assert!(n <= stride && (m - 1) * stride + n <= out.len(), "room for a product of [{m}, {n}]");
    Arch::new().dispatch(Product { factor, a, b, out, stride });
}

struct Product<'a, T> {
    factor: T,
    a: View<'a, T>,
    b: View<'a, T>,
    out: &'a mut [T],
    stride: usize,
}

impl<T: Element> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.a.rows < FEW { self.row_by_row() } else { self.in_tiles(simd) }
    }
}

// All of this is inlined, so that it is compiled for several instruction sets.
impl<T: Element> Product<'_, T> {
    #[inline(always)]
    fn row_by_row(self) {
        let Self { factor, a, b, out, stride } = self;
        for i in 0..a.rows {
            let row = &mut out[i * stride..][..b.columns];
            for l in 0..a.columns {
                let x = factor * a.at(i, l);
                let from = &b.data[l * b.row..];
                if b.column == 1 {
                    row.iter_mut().zip(from).for_each(|(y, &b)| *y = x.mul_add(b, *y));
                } else {
                    row.iter_mut().zip(from.iter().step_by(b.column)).for_each(|(y, &b)| *y = x.mul_add(b, *y));
                }
            }
        }
    }

    #[inline(always)]
    fn in_tiles<S: Simd>(self, simd: S) {
        let Self { factor, a, b, out, stride } = self;
        let width = ACROSS * (size_of::<T::Vector<S>>() / size_of::<T>());
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut tile = vec![T::default(); ROWS * width];
        for inner in (0..a.columns).step_by(INNER) {
            let depth = INNER.min(a.columns - inner);
            for top in (0..a.rows).step_by(LEFT) {
                let rows = LEFT.min(a.rows - top);
                pack(&mut left, ROWS, a.block((top, rows), (inner, depth)).transposed(), |x| factor * x);
                for first in (0..b.columns).step_by(width) {
                    let columns = width.min(b.columns - first);
                    pack(&mut right, width, b.block((inner, depth), (first, columns)), |x| x);
                    let (panel, _) = T::vectors::<S>(&right);
                    for (strip, packed) in left.chunks_exact(ROWS * depth).enumerate() {
                        let at = top + strip * ROWS;
                        let place = Place { first, columns, at, rows: ROWS.min(a.rows - at) };
                        place.copy(out, stride, &mut tile, width, |out, tile| tile.copy_from_slice(out));
                        add_products::<S, T>(simd, packed, panel, &mut tile);
                        place.copy(out, stride, &mut tile, width, |out, tile| out.copy_from_slice(tile));
                    }
                }
            }
        }
    }
}

/// Where a tile belongs.
struct Place {
    first: usize,
    columns: usize,
    at: usize,
    rows: usize,
}

impl Place {
    #[inline(always)]
    fn copy<T: Copy>(
        &self,
        out: &mut [T],
        stride: usize,
        tile: &mut [T],
        width: usize,
        each: impl Fn(&mut [T], &mut [T]),
    ) {
        for (i, row) in tile.chunks_exact_mut(width).take(self.rows).enumerate() {
            each(&mut out[(self.at + i) * stride + self.first..][..self.columns], &mut row[..self.columns]);
        }
    }
}

/// Strips of `width` columns of `of`, row by row, filled up with zeros.
#[inline(always)]
fn pack<T: Element>(into: &mut Vec<T>, width: usize, of: View<'_, T>, map: impl Fn(T) -> T) {
    into.clear();
    into.resize(of.columns.div_ceil(width) * width * of.rows, T::default());
    for (strip, packed) in into.chunks_exact_mut(width * of.rows).enumerate() {
        let first = strip * width;
        let columns = width.min(of.columns - first);
        if of.column == 1 {
            for (l, row) in packed.chunks_exact_mut(width).enumerate() {
                let from = &of.data[l * of.row + first..][..columns];
                row.iter_mut().zip(from).for_each(|(y, &x)| *y = map(x));
            }
        } else {
            for j in 0..columns {
                let from = of.data[(first + j) * of.column..].iter().step_by(of.row.max(1));
                packed[j..].iter_mut().step_by(width).zip(from).for_each(|(y, &x)| *y = map(x));
            }
        }
    }
}

/// Adds the product of a strip on the left, [depth, ROWS], and a panel on the right, [depth, ACROSS vectors], to a tile.
#[inline(always)]
fn add_products<S: Simd, T: Element>(simd: S, left: &[T], right: &[T::Vector<S>], tile: &mut [T]) {
    let (tile, _) = T::vectors_mut::<S>(tile);
    let (tile, _) = tile.as_chunks_mut::<ACROSS>();
    let Some(tile) = tile.first_chunk_mut::<ROWS>() else { return };
    let mut sums = *tile;
    let ((left, _), (right, _)) = (left.as_chunks::<ROWS>(), right.as_chunks::<ACROSS>());
    for (a, b) in left.iter().zip(right) {
        for i in 0..ROWS {
            let x = T::splat(simd, a[i]);
            for j in 0..ACROSS {
                sums[i][j] = T::fused(simd, x, b[j], sums[i][j]);
            }
        }
    }
    *tile = sums;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// One chain of fused steps for each element.
    fn chain(factor: f32, a: View<'_, f32>, b: View<'_, f32>, out: &mut [f32], stride: usize) {
        for i in 0..a.rows {
            for j in 0..b.columns {
                let y = &mut out[i * stride + j];
                *y = (0..a.columns).fold(*y, |y, l| (factor * a.at(i, l)).mul_add(b.at(l, j), y));
            }
        }
    }

    #[test]
    fn every_element_is_one_chain_of_fused_steps() {
        for (m, k, n) in [(1, 7, 5), (3, 300, 33), (6, 1, 32), (13, 257, 70), (64, 577, 100), (500, 20, 17), (5, 40, 1)]
        {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let stride = n + 3;
            let start = numbers(m * stride, 3);
            let views: [(View<'_, f32>, View<'_, f32>); 2] = [
                (View::new(&a, m, k), View::new(&b, k, n)),
                (View::new(&a, k, m).transposed(), View::new(&b, n, k).transposed()),
            ];
            for (a, b) in views {
                for factor in [1.0, -1.0] {
                    let (mut found, mut expected) = (start.clone(), start.clone());
                    multiply_add(factor, a, b, &mut found, stride);
                    chain(factor, a, b, &mut expected, stride);
                    assert_eq!(found, expected, "[{m}, {k}] by [{k}, {n}]");
                    // And on processors without wide vectors.
                    let mut narrow = start.clone();
                    pulp::Scalar.vectorize(Product { factor, a, b, out: &mut narrow, stride });
                    assert_eq!(narrow, expected, "[{m}, {k}] by [{k}, {n}], one lane");
                }
            }
        }
    }

    #[test]
    fn empty_products_change_nothing() {
        let mut out = [1.0f64, 2.0];
        multiply_add(1.0, View::new(&[], 2, 0), View::new(&[], 0, 1), &mut out, 1);
        multiply_add(1.0, View::new(&[], 0, 3), View::new(&[1.0; 3], 3, 1), &mut out, 1);
        assert_eq!(out, [1.0, 2.0]);
    }
}
