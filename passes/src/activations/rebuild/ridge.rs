//! Ridge regression towards given weights, from batches of rows.

use fhec_ir::matrix::{Cholesky, View, multiply_add};

/// Columns of a strip of Σ x xᵀ, of which what lies above the diagonal's block is left out.
const STRIP: usize = 64;

/// Sums over rows x (inputs) and r (what the given weights miss of the target), from which the change of the weights follows.
pub(super) struct Normal {
    inputs: usize,
    outputs: usize,
    /// Σ x xᵀ, [inputs, inputs], of which the lower triangle means something.
    gram: Vec<f64>,
    /// Σ x rᵀ, [inputs, outputs].
    cross: Vec<f64>,
    /// Σ |r|².
    square: f64,
    rows: usize,
}

/// A change of weights, and the mean square error per output before and after.
pub(super) struct Change {
    /// To be added to the weights, [inputs, outputs] row by row.
    pub(super) weights: Vec<f64>,
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Normal {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        let (gram, cross) = (vec![0.0; inputs * inputs], vec![0.0; inputs * outputs]);
        Self { inputs, outputs, gram, cross, square: 0.0, rows: 0 }
    }

    /// Adds rows: `x` row-major [rows, inputs], `misses` row-major [rows, outputs].
    pub(super) fn add(&mut self, x: &[f32], misses: &[f32], rows: usize) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (x, r) = (View::new(x, rows, inputs), View::new(misses, rows, outputs));
        // Single precision within a batch of some hundred rows, double precision across batches.
        let (mut gram, mut cross) = (vec![0.0f32; inputs * inputs], vec![0.0f32; inputs * outputs]);
        for start in (0..inputs).step_by(STRIP) {
            let (below, across) = ((start, inputs - start), (start, STRIP.min(inputs - start)));
            let out = &mut gram[start * inputs + start..];
            multiply_add(1.0, x.block((0, rows), below).transposed(), x.block((0, rows), across), out, inputs);
        }
        multiply_add(1.0, x.transposed(), r, &mut cross, outputs);
        add_to(&mut self.gram, &gram);
        add_to(&mut self.cross, &cross);
        self.square += misses.iter().map(|&r| f64::from(r).powi(2)).sum::<f64>();
        self.rows += rows;
    }

    /// Adds the rows of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        add_to(&mut self.gram, &other.gram);
        add_to(&mut self.cross, &other.cross);
        self.square += other.square;
        self.rows += other.rows;
    }

    /// The change Δ that minimises E|r - Δᵀx|² + λ·Σ diag(G)·Δ², G = E[x xᵀ]; `None` where there are no rows or no inputs
    /// that vary.
    pub(super) fn solve(&self, lambda: f64) -> Option<Change> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let diagonal = |i: usize| self.gram[i * inputs + i];
        let mean = (0..inputs).map(diagonal).sum::<f64>() / inputs as f64;
        if self.rows == 0 || !(mean > 0.0 && mean.is_finite()) {
            return None;
        }
        // Inputs that are always zero keep their weights.
        let penalty = |i: usize| lambda * diagonal(i) + 1e-9 * mean;
        let mut system = self.gram.clone();
        (0..inputs).for_each(|i| system[i * inputs + i] += penalty(i));
        let mut weights = self.cross.clone();
        Cholesky::new(system, inputs)?.solve(&mut weights, outputs);
        // |r - Δᵀx|² = |r|² - 2·Δ·(Σ x rᵀ) + Δᵀ·Σ x xᵀ·Δ, where (Σ x xᵀ + P)·Δ = Σ x rᵀ for the penalties P.
        let mut after = self.square;
        for (i, (weights, cross)) in weights.chunks_exact(outputs).zip(self.cross.chunks_exact(outputs)).enumerate() {
            after -= weights.iter().zip(cross).map(|(w, c)| w * (c + penalty(i) * w)).sum::<f64>();
        }
        let count = (self.rows * outputs) as f64;
        let change = Change { weights, before: self.square / count, after: after.max(0.0) / count };
        change.after.is_finite().then_some(change)
    }
}

fn add_to<T: Copy + Into<f64>>(sum: &mut [f64], part: &[T]) {
    sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part.into());
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
        assert!((exact.weights[0] - 2.0).abs() < 1e-6 && (exact.weights[1] - 1.0).abs() < 1e-6);
        assert!((exact.before - 5.0).abs() < 1e-9 && exact.after < 1e-9);
        // G = 2·1: a penalty of λ divides by 1 + λ.
        let held = normal.solve(1.0).unwrap();
        assert!((held.weights[0] - 1.0).abs() < 1e-6 && (held.after - 1.25).abs() < 1e-6);
    }

    #[test]
    fn inputs_that_are_zero_change_nothing() {
        let mut normal = Normal::new(2, 1);
        normal.add(&[1.0, 0.0, 2.0, 0.0], &[1.0, 2.0], 2);
        let change = normal.solve(0.0).unwrap();
        assert!((change.weights[0] - 1.0).abs() < 1e-6 && change.weights[1] == 0.0);
        assert!(Normal::new(2, 1).solve(1e-3).is_none());
    }
}
