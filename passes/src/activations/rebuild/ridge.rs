//! Ridge regression towards given weights, from batches of rows.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, MatRef, Par, Side};

/// Sums over rows x (inputs) and r (what the given weights miss of the target), from which the change of the weights follows.
pub(super) struct Normal {
    /// Σ x xᵀ.
    gram: Mat<f64>,
    /// Σ x rᵀ.
    cross: Mat<f64>,
    /// Σ |r|².
    square: f64,
    rows: usize,
}

/// A change of weights, and the mean square error per output before and after.
pub(super) struct Change {
    /// To be added to the weights, [inputs, outputs].
    pub(super) weights: Mat<f64>,
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Normal {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        Self { gram: Mat::zeros(inputs, inputs), cross: Mat::zeros(inputs, outputs), square: 0.0, rows: 0 }
    }

    /// Adds rows: `x` row-major [rows, inputs], `misses` row-major [rows, outputs].
    pub(super) fn add(&mut self, x: &[f32], misses: &[f32], rows: usize) {
        let (inputs, outputs) = (self.cross.nrows(), self.cross.ncols());
        let x = MatRef::from_row_major_slice(x, rows, inputs);
        let r = MatRef::from_row_major_slice(misses, rows, outputs);
        // Single precision within a batch of some hundred rows, double precision across batches.
        let (mut gram, mut cross) = (Mat::<f32>::zeros(inputs, inputs), Mat::<f32>::zeros(inputs, outputs));
        matmul(gram.as_mut(), Accum::Replace, x.transpose(), x, 1.0, Par::Seq);
        matmul(cross.as_mut(), Accum::Replace, x.transpose(), r, 1.0, Par::Seq);
        add_to(&mut self.gram, &gram);
        add_to(&mut self.cross, &cross);
        self.square += misses.iter().map(|&r| f64::from(r).powi(2)).sum::<f64>();
        self.rows += rows;
    }

    /// Adds the rows of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.gram += &other.gram;
        self.cross += &other.cross;
        self.square += other.square;
        self.rows += other.rows;
    }

    /// The change Δ that minimises E|r - Δᵀx|² + λ·Σ diag(G)·Δ², G = E[x xᵀ]; `None` where there are no rows or no inputs
    /// that vary.
    pub(super) fn solve(&self, lambda: f64) -> Option<Change> {
        let (inputs, outputs) = (self.cross.nrows(), self.cross.ncols());
        let mean = (0..inputs).map(|i| self.gram[(i, i)]).sum::<f64>() / inputs as f64;
        if self.rows == 0 || !(mean > 0.0 && mean.is_finite()) {
            return None;
        }
        let mut system = self.gram.clone();
        for i in 0..inputs {
            // Inputs that are always zero keep their weights.
            system[(i, i)] += lambda * system[(i, i)] + 1e-9 * mean;
        }
        let weights = system.llt(Side::Lower).ok()?.solve(&self.cross);
        // |r - Δᵀx|² = |r|² - 2·Δ·(Σ x rᵀ) + Δᵀ·G·Δ.
        let moved = &self.gram * &weights;
        let mut after = self.square;
        for j in 0..outputs {
            for i in 0..inputs {
                after += weights[(i, j)] * (moved[(i, j)] - 2.0 * self.cross[(i, j)]);
            }
        }
        let count = (self.rows * outputs) as f64;
        let change = Change { weights, before: self.square / count, after: after.max(0.0) / count };
        change.after.is_finite().then_some(change)
    }
}

fn add_to(sum: &mut Mat<f64>, part: &Mat<f32>) {
    for j in 0..part.ncols() {
        for i in 0..part.nrows() {
            sum[(i, j)] += f64::from(part[(i, j)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_worked_by_hand() {
        // x = (1, 1), (1, -1) with r = 3, 1: without a penalty Δ = (2, 1) fits exactly.
        let mut normal = Normal::new(2, 1);
        normal.add(&[1.0, 1.0, 1.0, -1.0], &[3.0, 1.0], 2);
        let exact = normal.solve(0.0).unwrap();
        assert!((exact.weights[(0, 0)] - 2.0).abs() < 1e-6 && (exact.weights[(1, 0)] - 1.0).abs() < 1e-6);
        assert!((exact.before - 5.0).abs() < 1e-9 && exact.after < 1e-9);
        // G = 2·1: a penalty of λ divides by 1 + λ.
        let held = normal.solve(1.0).unwrap();
        assert!((held.weights[(0, 0)] - 1.0).abs() < 1e-6 && (held.after - 1.25).abs() < 1e-6);
    }

    #[test]
    fn inputs_that_are_zero_change_nothing() {
        let mut normal = Normal::new(2, 1);
        normal.add(&[1.0, 0.0, 2.0, 0.0], &[1.0, 2.0], 2);
        let change = normal.solve(0.0).unwrap();
        assert!((change.weights[(0, 0)] - 1.0).abs() < 1e-6 && change.weights[(1, 0)] == 0.0);
        assert!(Normal::new(2, 1).solve(1e-3).is_none());
    }
}
