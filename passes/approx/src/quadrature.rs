//! Gauss-Legendre quadrature on panels.

use super::distribution::Nodes;
use super::interval::Interval;

/// Positive nodes and weights of the 16-point rule on `[-1, 1]`, by Newton's iteration on P_16.
fn rule() -> [(f64, f64); 8] {
    std::array::from_fn(|i| {
        let n = 16;
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..8 {
            let (mut p0, mut p1) = (1.0, x);
            for k in 2..=n {
                let k = k as f64;
                (p0, p1) = (p1, ((2.0 * k - 1.0) * x * p1 - (k - 1.0) * p0) / k);
            }
            slope = n as f64 * (x * p1 - p0) / (x * x - 1.0);
            x -= p1 / slope;
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
}

/// Nodes whose weighted sums are integrals over `interval`: 16 points on each of at least `count` panels, split at `breaks`.
pub fn panels(interval: Interval, breaks: &[f64], count: usize) -> Nodes {
    let rule = rule();
    let mut ends = vec![interval.lo()];
    ends.extend(breaks.iter().copied().filter(|b| interval.lo() < *b && *b < interval.hi()));
    ends.push(interval.hi());
    let mut nodes = Nodes::default();
    for pair in ends.windows(2) {
        let share = (pair[1] - pair[0]) / interval.length();
        let pieces = ((count as f64 * share).ceil() as usize).max(1);
        let half = 0.5 * (pair[1] - pair[0]) / pieces as f64;
        for k in 0..pieces {
            let centre = pair[0] + half * (2 * k + 1) as f64;
            let left = rule.iter().map(|(x, w)| (-x, w));
            let right = rule.iter().rev().map(|(x, w)| (*x, w));
            for (x, w) in left.chain(right) {
                nodes.x.push(centre + half * x);
                nodes.w.push(half * w);
            }
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_to_degree_31_and_across_kinks() {
        let i = Interval::new(-1.0, 2.0).unwrap();
        let sum = |f: &dyn Fn(f64) -> f64| {
            let n = panels(i, &[0.25], 1);
            n.x.iter().zip(&n.w).map(|(x, w)| w * f(*x)).sum::<f64>()
        };
        assert!((sum(&|x| x.powi(31)) / ((2f64.powi(32) - 1.0) / 32.0) - 1.0).abs() < 1e-13);
        let kink = (1.25f64.powi(2) + 1.75f64.powi(2)) / 2.0;
        assert!((sum(&|x| (x - 0.25).abs()) - kink).abs() < 1e-14);
    }
}
