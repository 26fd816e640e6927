//! The factorisation of a positive definite matrix, and solutions by it.

use super::{View, multiply_add};

/// Rows and columns that are factorised element by element; what they change beyond is a product.
const BLOCK: usize = 48;

/// A lower triangular L with A = L·Lᵀ.
#[derive(Clone, Debug)]
pub struct Cholesky {
    /// [size, size], row by row; what is above the diagonal means nothing.
    factor: Vec<f64>,
    size: usize,
}

impl Cholesky {
    /// The factor of symmetric `a`, [size, size] row by row, of which the lower triangle is read; `None` where `a` is not
    /// positive definite, to the rounding, or not finite.
    ///
    /// # Panics
    /// Where `a` has another length.
    pub fn new(a: Vec<f64>, size: usize) -> Option<Self> {
        assert_eq!(a.len(), size * size, "a square matrix");
        let mut l = a;
        for start in (0..size).step_by(BLOCK) {
            let end = (start + BLOCK).min(size);
            for j in start..end {
                let pivot = l[j * size + j];
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return None;
                }
                let pivot = pivot.sqrt();
                l[j * size + j] = pivot;
                let below = &mut l[(j + 1) * size..];
                below.chunks_exact_mut(size).for_each(|row| row[j] /= pivot);
                // The columns of the block that are still to come.
                let factors: Vec<f64> = below.chunks_exact(size).take(end - j - 1).map(|row| row[j]).collect();
                for row in below.chunks_exact_mut(size) {
                    let (known, rest) = row.split_at_mut(j + 1);
                    subtract(&mut rest[..end - j - 1], known[j], &factors);
                }
            }
            // What is left less the product of the block's columns with themselves, in strips that stop at the diagonal.
            let panel: Vec<f64> =
                l[end * size..].chunks_exact(size).flat_map(|row| &row[start..end]).copied().collect();
            let width = end - start;
            for first in (end..size).step_by(BLOCK) {
                let (columns, rows) = (BLOCK.min(size - first), size - first);
                let panel = View::new(&panel, size - end, width);
                let below = panel.block((first - end, rows), (0, width));
                let across = panel.block((first - end, columns), (0, width)).transposed();
                multiply_add(-1.0, below, across, &mut l[first * size + first..], size);
            }
        }
        Some(Self { factor: l, size })
    }

    /// X with A·X = B, both [size, columns] row by row; B becomes X.
    ///
    /// # Panics
    /// Where `b` has another length.
    pub fn solve(&self, b: &mut [f64], columns: usize) {
        let (size, l) = (self.size, &self.factor);
        assert_eq!(b.len(), size * columns, "as many right sides as columns");
        if columns == 0 {
            return;
        }
        let whole = View::new(l, size, size);
        let starts: Vec<usize> = (0..size).step_by(BLOCK).collect();
        for &start in &starts {
            let end = (start + BLOCK).min(size);
            let (done, rest) = b.split_at_mut(start * columns);
            let left = whole.block((start, end - start), (0, start));
            multiply_add(-1.0, left, View::new(done, start, columns), rest, columns);
            for i in start..end {
                let (known, row) = b.split_at_mut(i * columns);
                for k in start..i {
                    subtract(&mut row[..columns], l[i * size + k], &known[k * columns..][..columns]);
                }
                row[..columns].iter_mut().for_each(|x| *x /= l[i * size + i]);
            }
        }
        for &start in starts.iter().rev() {
            let end = (start + BLOCK).min(size);
            let (rest, done) = b.split_at_mut(end * columns);
            let below = whole.block((end, size - end), (start, end - start)).transposed();
            multiply_add(-1.0, below, View::new(done, size - end, columns), &mut rest[start * columns..], columns);
            for i in (start..end).rev() {
                let (head, known) = b.split_at_mut((i + 1) * columns);
                let row = &mut head[i * columns..];
                for k in i + 1..end {
                    subtract(row, l[k * size + i], &known[(k - i - 1) * columns..][..columns]);
                }
                row.iter_mut().for_each(|x| *x /= l[i * size + i]);
            }
        }
    }
}

fn subtract(row: &mut [f64], factor: f64, of: &[f64]) {
    row.iter_mut().zip(of).for_each(|(x, &y)| *x -= factor * y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_systems_of_every_size() {
        for size in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            // Aᵢⱼ = 1/(1 + |i - j|) and more on the diagonal.
            let a: Vec<f64> = (0..size * size)
                .map(|at| {
                    let (i, j) = (at / size, at % size);
                    1.0 / (1.0 + i.abs_diff(j) as f64) + if i == j { 2.0 } else { 0.0 }
                })
                .collect();
            let columns = 3;
            let x: Vec<f64> = (0..size * columns).map(|i| ((i * 37) % 11) as f64 - 5.0).collect();
            let mut b = vec![0.0; size * columns];
            multiply_add(1.0, View::new(&a, size, size), View::new(&x, size, columns), &mut b, columns);
            Cholesky::new(a, size).unwrap().solve(&mut b, columns);
            let error = b.iter().zip(&x).map(|(b, x)| (b - x).abs()).fold(0.0, f64::max);
            assert!(error < 1e-11, "{error} of {size}");
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_factor() {
        assert!(Cholesky::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::new(vec![f64::NAN], 1).is_none());
        assert!(Cholesky::new(Vec::new(), 0).is_some());
    }
}
