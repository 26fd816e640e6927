//! Weighted sums: a sparse matrix of integers over the elements of tensors.

use crate::error::ProgramError;

/// Weighted sums over the elements of tensors, one sum per row.
///
/// The columns are the elements of the operands, one tensor after the other, each in row-major order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Tensors by number.
    pub operands: Vec<usize>,
    /// Where each row begins in `columns` and `weights`, and where the last one ends.
    pub starts: Vec<u32>,
    /// Columns of the entries of a row, strictly increasing.
    pub columns: Vec<u32>,
    /// Their weights.
    pub weights: Vec<i32>,
}

impl Sums {
    /// Sums without rows over these tensors.
    pub fn over(operands: Vec<usize>) -> Self {
        Self { operands, starts: vec![0], columns: Vec::new(), weights: Vec::new() }
    }

    /// Appends a row. Weights of zero are left out.
    ///
    /// # Panics
    /// When there are more than 2³² entries.
    pub fn push(&mut self, row: impl IntoIterator<Item = (usize, i32)>) {
        for (column, weight) in row.into_iter().filter(|(_, weight)| *weight != 0) {
            self.columns.push(u32::try_from(column).expect("tensors of fewer than 2^32 elements"));
            self.weights.push(weight);
        }
        self.starts.push(u32::try_from(self.columns.len()).expect("fewer than 2^32 weights"));
    }

    /// Number of sums.
    pub fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Columns and weights of a row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, i32)> + '_ {
        let range = self.starts[row] as usize..self.starts[row + 1] as usize;
        self.columns[range.clone()].iter().zip(&self.weights[range]).map(|(&c, &w)| (c as usize, w))
    }

    /// For every column what `of` says of its tensor: how many elements it has, and what is wanted of each.
    pub fn spread<T: Copy>(&self, of: impl Fn(usize) -> (usize, T)) -> Vec<T> {
        let element = |&tensor: &usize| {
            let (len, value) = of(tensor);
            std::iter::repeat_n(value, len)
        };
        self.operands.iter().flat_map(element).collect()
    }

    /// The least and the largest value of a row's sum over all operands whose elements lie between 0 and `top(column)`.
    /// Both are reached.
    ///
    /// # Errors
    /// When one is beyond 63 bits.
    pub fn bounds(&self, row: usize, top: impl Fn(usize) -> u32) -> Result<(i64, i64), ProgramError> {
        let mut bounds = (Some(0i64), Some(0i64));
        for (column, weight) in self.row(row) {
            let reach = i64::from(weight) * i64::from(top(column));
            let side = if weight < 0 { &mut bounds.0 } else { &mut bounds.1 };
            *side = side.and_then(|sum| sum.checked_add(reach));
        }
        let beyond = || ProgramError::new(format!("sum {row}"), "its bounds are beyond 63 bits");
        Ok((bounds.0.ok_or_else(beyond)?, bounds.1.ok_or_else(beyond)?))
    }

    /// The square of the Euclidean norm of a row's weights: what a sum makes of the variance of independent noise.
    pub fn squared_norm(&self, row: usize) -> f64 {
        self.row(row).map(|(_, weight)| f64::from(weight).powi(2)).sum()
    }

    /// The sums over `elements`.
    pub(crate) fn apply(&self, elements: &[u32]) -> Vec<i64> {
        let row = |r| self.row(r).map(|(column, weight)| i64::from(weight) * i64::from(elements[column])).sum();
        (0..self.rows()).map(row).collect()
    }
}
