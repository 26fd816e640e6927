//! Sparse matrices by rows: what a linear op does to the elements of a tensor.

use std::hash::{Hash, Hasher};

/// A sparse matrix; a row per element of the result, a column per element of the operand, both in row-major order.
/// Columns of a row are strictly increasing and no stored value is zero.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sparse {
    cols: usize,
    starts: Vec<usize>,
    index: Vec<u32>,
    value: Vec<f64>,
}

/// Builds a [`Sparse`] row by row.
pub(crate) struct RowBuilder {
    matrix: Sparse,
    row: Vec<(u32, f64)>,
}

impl RowBuilder {
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(0);
        Self { matrix: Sparse { cols, starts, index: Vec::new(), value: Vec::new() }, row: Vec::new() }
    }
    /// Makes room for so many entries.
    pub(crate) fn with_room(mut self, entries: usize) -> Self {
        self.matrix.index.reserve(entries);
        self.matrix.value.reserve(entries);
        self
    }
    /// Adds to an entry of the current row.
    pub(crate) fn push(&mut self, col: usize, value: f64) {
        self.row.push((col as u32, value));
    }
    /// Closes the current row.
    pub(crate) fn end_row(&mut self) {
        if !self.row.is_sorted_by(|a, b| a.0 < b.0) {
            self.row.sort_by_key(|e| e.0);
            self.row.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 += next.1;
                }
                same
            });
        }
        let m = &mut self.matrix;
        for &(i, v) in self.row.iter().filter(|e| e.1 != 0.0) {
            m.index.push(i);
            m.value.push(v);
        }
        m.starts.push(m.index.len());
        self.row.clear();
    }
    pub(crate) fn finish(self) -> Sparse {
        self.matrix
    }
}

impl Sparse {
    /// The identity on `n` elements.
    pub(crate) fn identity(n: usize) -> Self {
        Self { cols: n, starts: (0..=n).collect(), index: (0..n as u32).collect(), value: vec![1.0; n] }
    }
    /// The map whose row r copies column `pick(r)`, or is zero.
    pub(crate) fn selection(rows: usize, cols: usize, pick: impl Fn(usize) -> Option<usize>) -> Self {
        let mut b = RowBuilder::new(rows, cols);
        for r in 0..rows {
            if let Some(c) = pick(r) {
                b.push(c, 1.0);
            }
            b.end_row();
        }
        b.finish()
    }
    pub(crate) fn columns(&self) -> usize {
        self.cols
    }
    pub(crate) fn rows(&self) -> usize {
        self.starts.len() - 1
    }
    /// A hash of which entries are stored, whatever their values.
    pub(crate) fn pattern(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.cols, &self.starts, &self.index).hash(&mut hasher);
        hasher.finish()
    }
    pub(crate) fn nnz(&self) -> usize {
        self.index.len()
    }
    pub(crate) fn row(&self, r: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.starts[r]..self.starts[r + 1];
        self.index[range.clone()].iter().zip(&self.value[range]).map(|(&i, &v)| (i as usize, v))
    }
    /// Whether every row copies its own column unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        self.uniform_diagonal() == Some(1.0)
    }
    /// The factor c when the matrix is c times the identity, c ≠ 0.
    pub(crate) fn uniform_diagonal(&self) -> Option<f64> {
        let c = *self.value.first()?;
        let square = self.rows() == self.cols && self.nnz() == self.cols;
        let diagonal = square && (0..self.cols).all(|r| self.starts[r] == r && self.index[r] as usize == r);
        (diagonal && self.value.iter().all(|&v| v == c)).then_some(c)
    }
    /// Whether no row reads more than one element: such a map is free to compose.
    pub(crate) fn is_light(&self) -> bool {
        self.starts.windows(2).all(|w| w[1] - w[0] <= 1)
    }
    /// Whether every entry lies on the diagonal.
    pub(crate) fn is_diagonal(&self) -> bool {
        (0..self.rows()).all(|r| self.row(r).all(|(c, _)| c == r))
    }
    /// The product `self · inner`: first `inner`, then `self`.
    pub(crate) fn compose(&self, inner: &Self) -> Self {
        assert_eq!(self.cols, inner.rows(), "composing maps of different sizes");
        if inner.is_identity() {
            return self.clone();
        }
        if self.is_identity() {
            return inner.clone();
        }
        let mut sums = vec![0.0; inner.cols];
        let mut touched: Vec<u32> = Vec::new();
        let mut seen = vec![false; inner.cols];
        let mut b = RowBuilder::new(self.rows(), inner.cols);
        for r in 0..self.rows() {
            for (mid, a) in self.row(r) {
                for (c, v) in inner.row(mid) {
                    if !seen[c] {
                        seen[c] = true;
                        touched.push(c as u32);
                    }
                    sums[c] += a * v;
                }
            }
            touched.sort_unstable();
            for &c in &touched {
                b.push(c as usize, sums[c as usize]);
                sums[c as usize] = 0.0;
                seen[c as usize] = false;
            }
            touched.clear();
            b.end_row();
        }
        b.finish()
    }
    /// The sum of two maps of equal size.
    pub(crate) fn add(&self, other: &Self) -> Self {
        assert_eq!((self.rows(), self.cols), (other.rows(), other.cols), "adding maps of different sizes");
        let mut b = RowBuilder::new(self.rows(), self.cols);
        for r in 0..self.rows() {
            for (c, v) in self.row(r).chain(other.row(r)) {
                b.push(c, v);
            }
            b.end_row();
        }
        b.finish()
    }
    /// The map with every row multiplied by its factor.
    pub(crate) fn scale_rows(&self, factor: impl Fn(usize) -> f64) -> Self {
        let mut out = self.clone();
        for r in 0..self.rows() {
            let f = factor(r);
            out.value[self.starts[r]..self.starts[r + 1]].iter_mut().for_each(|v| *v *= f);
        }
        out.without_zeros()
    }
    /// Drops entries that have become zero.
    fn without_zeros(self) -> Self {
        if !self.value.contains(&0.0) {
            return self;
        }
        let mut b = RowBuilder::new(self.rows(), self.cols);
        for r in 0..self.rows() {
            self.row(r).for_each(|(c, v)| b.push(c, v));
            b.end_row();
        }
        b.finish()
    }
    /// The image of a vector.
    pub(crate) fn apply(&self, x: &[f64]) -> Vec<f64> {
        (0..self.rows()).map(|r| self.row(r).map(|(c, v)| v * x[c]).sum()).collect()
    }
}
