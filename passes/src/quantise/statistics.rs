//! What the operands of sums are on calibration data, and what the sums should be.

/// Means and covariances of the operands of sums that share their weights, and their covariances with what the sums should be.
pub(super) struct Moments {
    /// Number of operands.
    pub(super) operands: usize,
    /// Covariances, row-major.
    pub(super) covariance: Vec<f64>,
}

/// Added to variances, as a share of their mean: operands that calibration data never moves keep their weight where there is room.
const RIDGE: f64 = 0.01;

impl Moments {
    /// The moments of `observations`, each of `operands` numbers.
    pub(super) fn of(observations: &[f64], operands: usize) -> Self {
        let count = (observations.len() / operands.max(1)).max(1) as f64;
        let mean = mean(observations, operands);
        let mut covariance = vec![0.0; operands * operands];
        let mut centred = vec![0.0; operands];
        for x in observations.chunks_exact(operands.max(1)) {
            centred.iter_mut().zip(x).zip(&mean).for_each(|((c, x), m)| *c = x - m);
            for (i, &a) in centred.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                let row = &mut covariance[i * operands..][..=i];
                row.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b);
            }
        }
        covariance.iter_mut().for_each(|c| *c /= count);
        let ridge = RIDGE * (0..operands).map(|i| covariance[i * operands + i]).sum::<f64>() / operands.max(1) as f64;
        for i in 0..operands {
            covariance[i * operands + i] += ridge.max(f64::MIN_POSITIVE);
            for j in 0..i {
                covariance[j * operands + i] = covariance[i * operands + j];
            }
        }
        Self { operands, covariance }
    }
    /// A row of the covariances.
    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.covariance[i * self.operands..][..self.operands]
    }
    /// The product with a vector.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        (0..self.operands).map(|i| dot(self.row(i), x)).collect()
    }
}

/// The means of `operands` numbers over observations.
fn mean(observations: &[f64], operands: usize) -> Vec<f64> {
    let mut sums = vec![0.0; operands];
    let rows = observations.chunks_exact(operands.max(1));
    let count = rows.len().max(1) as f64;
    rows.for_each(|x| sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x));
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// The covariances of each operand with `what`, one number per observation.
pub(super) fn covariances_with(observations: &[f64], operands: usize, what: &[f64]) -> Vec<f64> {
    let centre = what.iter().sum::<f64>() / what.len().max(1) as f64;
    let mut sums = vec![0.0; operands];
    for (x, y) in observations.chunks_exact(operands.max(1)).zip(what) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * (y - centre));
    }
    sums.iter_mut().for_each(|sum| *sum /= what.len().max(1) as f64);
    sums
}

/// The inner product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
