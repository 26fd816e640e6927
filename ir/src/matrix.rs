//! Products of dense matrices and solutions of positive definite systems, with the same bits on every machine.
//!
//! Plans hold weights that were fitted on calibration data, and a plan must not depend on the machine that made it. So every
//! element of a product is one chain of fused multiply-adds in the order of the inner dimension, whatever the width of the
//! vectors and the sizes of blocks: libraries choose both, and with them the order of sums, by the processor and its caches.

mod cholesky;
mod product;

pub use cholesky::Cholesky;
pub use product::{Element, multiply_add};

/// A matrix in a slice, with rows and columns at constant distances.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    /// Elements from one row to the next.
    row: usize,
    /// Elements from one column to the next.
    column: usize,
}

impl<'a, T: Copy> View<'a, T> {
    /// A matrix [rows, columns] whose rows lie one after the other.
    ///
    /// # Panics
    /// Where `data` is shorter than that.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self { data: &data[..rows * columns], rows, columns, row: columns, column: 1 }
    }

    /// Its transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    /// `rows` rows from `row` and `columns` columns from `column`.
    ///
    /// # Panics
    /// Where they are not all within the matrix.
    #[must_use]
    pub fn block(self, (row, rows): (usize, usize), (column, columns): (usize, usize)) -> Self {
        assert!(row + rows <= self.rows && column + columns <= self.columns, "a block within the matrix");
        let start = if rows * columns == 0 { 0 } else { row * self.row + column * self.column };
        Self { data: &self.data[start..], rows, columns, ..self }
    }

    fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.row + j * self.column]
    }
}
