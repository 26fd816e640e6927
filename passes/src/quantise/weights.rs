//! Integer weights for a sum, within bounds.
//!
//! A sum is scaled and shifted by the table behind it, at no cost. So integer weights q are as good as their sum is correlated with
//! what it should be: of all that fit, those are sought for which (q·d)² / qᵀCq is largest, where C are the covariances of the
//! operands and d their covariances with the sum that they should have. The search goes uphill in steps of one, from weights
//! rounded with several scales.

use super::Room;
use super::statistics::{Moments, dot};

/// Integer weights, and the factor that makes their sum the one wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rounded {
    pub(super) weights: Vec<i32>,
    pub(super) scale: f64,
    /// The variance of the sum wanted that this one explains.
    pub(super) explained: f64,
}

/// What a sum of integers from 0 to `tops` may be.
pub(super) struct Bounds<'a> {
    pub(super) tops: &'a [u32],
    pub(super) room: Room,
}

impl Bounds<'_> {
    /// The widest that a sum may be.
    fn width(&self) -> f64 {
        2f64.powi(self.room.bits as i32) - 1.0
    }
}

/// Scales that weights are rounded with first, as shares of the one that would use up the room.
const SCALES: [f64; 7] = [0.5, 0.7, 0.85, 1.0, 1.2, 1.6, 2.4];

/// The best weights found for a sum whose real weights are `wanted` and which should be covariant with its operands as `towards` says.
pub(super) fn rounded(wanted: &[f64], towards: &[f64], moments: &Moments, bounds: &Bounds<'_>) -> Rounded {
    let reach: f64 = wanted.iter().zip(bounds.tops).map(|(w, &top)| w.abs() * f64::from(top)).sum();
    let mut best = Rounded { weights: vec![0; wanted.len()], scale: 1.0, explained: 0.0 };
    if reach == 0.0 || !reach.is_finite() {
        return best;
    }
    for share in SCALES {
        let step = share * reach / bounds.width();
        let mut search = Search::new(wanted.iter().map(|w| (w / step).round()).collect(), towards, moments, bounds);
        search.shrink();
        search.climb();
        if let Some(found) = search.found().filter(|found| found.explained > best.explained) {
            best = found;
        }
    }
    best
}

struct Search<'a> {
    weights: Vec<f64>,
    towards: &'a [f64],
    moments: &'a Moments,
    bounds: &'a Bounds<'a>,
    /// C·q.
    image: Vec<f64>,
    /// q·d.
    along: f64,
    /// qᵀCq.
    variance: f64,
    width: f64,
    squares: f64,
}

impl<'a> Search<'a> {
    fn new(weights: Vec<f64>, towards: &'a [f64], moments: &'a Moments, bounds: &'a Bounds<'a>) -> Self {
        let image = moments.times(&weights);
        let (along, variance) = (dot(&weights, towards), dot(&weights, &image));
        let width = weights.iter().zip(bounds.tops).map(|(q, &top)| q.abs() * f64::from(top)).sum();
        let squares = dot(&weights, &weights);
        Self { weights, towards, moments, bounds, image, along, variance, width, squares }
    }
    fn fits(&self, width: f64, squares: f64) -> bool {
        width <= self.bounds.width() && squares <= self.bounds.room.norm.powi(2)
    }
    /// Width and sum of squares after weight `at` has grown by `by`.
    fn grown(&self, at: usize, by: f64) -> (f64, f64) {
        let (old, new) = (self.weights[at], self.weights[at] + by);
        let top = f64::from(self.bounds.tops[at]);
        (self.width + (new.abs() - old.abs()) * top, self.squares + new * new - old * old)
    }
    /// What the sum explains after weight `at` has grown by `by`.
    fn explained(&self, at: usize, by: f64) -> f64 {
        let along = self.along + by * self.towards[at];
        let variance = self.variance + 2.0 * by * self.image[at] + by * by * self.moments.row(at)[at];
        if along > 0.0 && variance > 0.0 { along * along / variance } else { 0.0 }
    }
    fn step(&mut self, at: usize, by: f64) {
        (self.width, self.squares) = self.grown(at, by);
        self.variance += 2.0 * by * self.image[at] + by * by * self.moments.row(at)[at];
        self.along += by * self.towards[at];
        self.weights[at] += by;
        self.image.iter_mut().zip(self.moments.row(at)).for_each(|(image, c)| *image += by * c);
    }
    /// Makes weights smaller until the sum fits, each time where least is lost.
    fn shrink(&mut self) {
        while !self.fits(self.width, self.squares) {
            let nonzero = (0..self.weights.len()).filter(|&at| self.weights[at] != 0.0);
            let loss = |at: &usize| self.explained(*at, -self.weights[*at].signum());
            let Some(at) = nonzero.max_by(|a, b| loss(a).total_cmp(&loss(b))) else { return };
            self.step(at, -self.weights[at].signum());
        }
    }
    /// Takes the best step that fits as long as one helps.
    fn climb(&mut self) {
        // Every step raises what is explained, so no weights come back; the bound is for rounding errors.
        for _ in 0..64 * self.weights.len() {
            let now = if self.variance > 0.0 { self.along.max(0.0).powi(2) / self.variance } else { 0.0 };
            let steps = (0..self.weights.len()).flat_map(|at| [(at, 1.0), (at, -1.0)]);
            let fitting = steps.filter(|&(at, by)| {
                let (width, squares) = self.grown(at, by);
                self.fits(width, squares)
            });
            let valued = fitting.map(|(at, by)| (self.explained(at, by), at, by));
            let best = valued.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|best| best.0 > now * (1.0 + 1e-9));
            let Some((_, at, by)) = best else { return };
            self.step(at, by);
        }
    }
    fn found(&self) -> Option<Rounded> {
        (self.along > 0.0 && self.variance > 0.0).then(|| Rounded {
            weights: self.weights.iter().map(|&q| q as i32).collect(),
            scale: self.along / self.variance,
            explained: self.along * self.along / self.variance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn independent(n: usize) -> Moments {
        let mut covariance = vec![0.0; n * n];
        (0..n).for_each(|i| covariance[i * n + i] = 1.0);
        Moments { operands: n, covariance }
    }

    #[test]
    fn weights_on_a_grid_come_out_as_they_are() {
        let wanted: Vec<f64> = [3.0, -1.0, 0.0, 2.0, 1.0].iter().map(|q| q * 0.37).collect();
        let moments = independent(5);
        let bounds = Bounds { tops: &[1; 5], room: Room { bits: 3, norm: 5.0 } };
        let found = rounded(&wanted, &moments.times(&wanted), &moments, &bounds);
        assert_eq!(found.weights, [3, -1, 0, 2, 1]);
        assert!((found.scale - 0.37).abs() < 1e-12);
    }

    #[test]
    fn no_sum_leaves_its_room() {
        let wanted: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 13) - 6.0).collect();
        let moments = independent(40);
        for (bits, norm, top) in [(4, 5.0, 1), (4, 2.0, 1), (6, 9.0, 3), (6, 9.0, 15), (2, 3.0, 3)] {
            let bounds = Bounds { tops: &[top; 40], room: Room { bits, norm } };
            let Rounded { weights, explained, .. } = rounded(&wanted, &moments.times(&wanted), &moments, &bounds);
            let width: i32 = weights.iter().map(|q| q.abs() * top as i32).sum();
            assert!(width < 1 << bits, "{width} in {bits} bits");
            assert!(weights.iter().map(|q| q * q).sum::<i32>() as f64 <= norm * norm);
            assert!(explained > 0.0 || top as i32 >= 1 << bits);
        }
    }

    #[test]
    fn operands_that_move_together_share_their_weight() {
        // Two operands that are always equal: one weight of 1 does what weights of 0.5 each do.
        let moments = Moments { operands: 2, covariance: vec![1.0; 4] };
        let bounds = Bounds { tops: &[1; 2], room: Room { bits: 1, norm: 1.0 } };
        let found = rounded(&[0.5, 0.5], &moments.times(&[0.5, 0.5]), &moments, &bounds);
        assert_eq!(found.weights.iter().sum::<i32>(), 1);
        assert!((found.explained - 1.0).abs() < 1e-12);
    }
}
