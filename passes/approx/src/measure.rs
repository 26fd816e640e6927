//! Errors of an approximation: under the distribution, on the interval, just outside it.

use serde::Serialize;

use super::distribution::Distribution;
use super::domain::check_domain;
use super::interval::Interval;
use fhec_functions::Function;

/// Errors of one approximation of one function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Root of the mean square error under the distribution inside the interval.
    pub rms: f64,
    /// Share of the distribution outside the interval, where `beyond` tells what happens.
    pub escaping: f64,
    /// Largest error on the interval.
    pub max: f64,
    /// Where it is reached.
    pub at: f64,
    /// Largest error between the interval and its stretching by the factors of [`STRETCHES`]; `None` where the function is not defined.
    pub beyond: [Option<f64>; STRETCHES.len()],
}

/// Stretchings of the interval about its centre at which errors outside it are stated.
pub const STRETCHES: [f64; 4] = [1.05, 1.1, 1.25, 1.5];

/// Even grid points for the largest error on the interval, and beyond each end, where it grows steadily.
const GRID: usize = 512;
const GRID_BEYOND: usize = 32;

/// Measures approximations of one function on one interval: what does not depend on the approximation is computed once.
#[derive(Clone, Debug)]
pub struct Ruler {
    f: Function,
    interval: Interval,
    nodes: Samples,
    weights: Vec<f64>,
    grid: Samples,
    beyond: [Option<[Samples; 2]>; STRETCHES.len()],
}

/// Points, ascending, and the function's values there.
#[derive(Clone, Debug)]
struct Samples {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Samples {
    fn new(f: Function, x: Vec<f64>) -> Self {
        let y = x.iter().map(|x| f.eval(*x)).collect();
        Samples { x, y }
    }

    /// The point and size of the largest error, sharpened between its neighbours.
    fn largest(&self, f: Function, p: &impl Fn(f64) -> f64) -> (f64, f64) {
        let (mut k, mut max) = (0, -1.0);
        for (i, (x, y)) in self.x.iter().zip(&self.y).enumerate() {
            let e = (p(*x) - y).abs();
            if e > max {
                (k, max) = (i, e);
            }
        }
        let error = |x: f64| (p(x) - f.eval(x)).abs();
        let (mut a, mut b) = (self.x[k.saturating_sub(1)], self.x[(k + 1).min(self.x.len() - 1)]);
        for _ in 0..30 {
            let (c, d) = (a + (b - a) / 3.0, b - (b - a) / 3.0);
            if error(c) < error(d) {
                a = c;
            } else {
                b = d;
            }
        }
        let x = 0.5 * (a + b);
        if error(x) > max { (x, error(x)) } else { (self.x[k], max) }
    }
}

impl Ruler {
    /// For approximations of `f` on `interval` under `distribution`.
    pub fn new(f: Function, distribution: &Distribution, interval: Interval) -> Self {
        let breaks = f.breaks();
        let nodes = distribution.nodes(interval, &breaks);
        let mut x = even(interval.lo(), interval.hi(), GRID);
        // Composites err most within a thousandth of the interval around a kink.
        for b in breaks.iter().filter(|b| interval.contains(**b)) {
            let near = (0..72).map(|k| 0.25 * interval.length() * (-0.25 * f64::from(k)).exp2());
            x.extend(near.flat_map(|d| [b - d, b + d]).filter(|x| interval.contains(*x)));
            x.push(*b);
        }
        x.sort_by(f64::total_cmp);
        let beyond = STRETCHES.map(|factor| {
            let wide = interval.stretched(factor).ok().filter(|i| check_domain(f, *i).is_ok())?;
            let side = |lo, hi| Samples::new(f, even(lo, hi, GRID_BEYOND));
            Some([side(wide.lo(), interval.lo()), side(interval.hi(), wide.hi())])
        });
        Ruler { f, interval, nodes: Samples::new(f, nodes.x), weights: nodes.w, grid: Samples::new(f, x), beyond }
    }

    /// The interval.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// The errors of `p`.
    pub fn measure(&self, p: impl Fn(f64) -> f64) -> Errors {
        let points = self.nodes.x.iter().zip(&self.nodes.y).zip(&self.weights);
        let square: f64 = points.map(|((x, y), w)| w * (p(*x) - y).powi(2)).sum();
        let total: f64 = self.weights.iter().sum();
        let rms = if total > 0.0 { (square / total).sqrt() } else { 0.0 };
        let (at, max) = self.grid.largest(self.f, &p);
        let beyond = std::array::from_fn(|k| {
            let [below, above] = self.beyond[k].as_ref()?;
            Some(below.largest(self.f, &p).1.max(above.largest(self.f, &p).1))
        });
        Errors { rms, escaping: (1.0 - total).max(0.0), max, at, beyond }
    }
}

fn even(lo: f64, hi: f64, count: usize) -> Vec<f64> {
    let step = (hi - lo) / count as f64;
    (0..count).map(|k| lo + step * k as f64).chain([hi]).collect()
}

impl Errors {
    /// The errors of channels taken together: means of squares and shares, largest of the rest.
    pub fn together(channels: &[Errors]) -> Option<Errors> {
        let mut all = channels.first()?.clone();
        for e in &channels[1..] {
            if e.max > all.max {
                (all.max, all.at) = (e.max, e.at);
            }
            for (a, b) in all.beyond.iter_mut().zip(e.beyond) {
                *a = a.zip(b).map(|(a, b)| a.max(b));
            }
        }
        let count = channels.len() as f64;
        all.escaping = channels.iter().map(|e| e.escaping).sum::<f64>() / count;
        all.rms = (channels.iter().map(|e| e.rms * e.rms).sum::<f64>() / count).sqrt();
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompositeRelu, CompositeSign, FitOptions, Parity, least_squares, minimax};

    #[test]
    fn maximum_meets_the_exchange_and_rms_the_closed_form() {
        let i = Interval::symmetric(4.0).unwrap();
        let d = Distribution::normal(0.0, 1.0).unwrap();
        let m = minimax(|x| Function::Silu.eval(x), &[], &[i], 7, Parity::Mixed).unwrap();
        let e = Ruler::new(Function::Silu, &d, i).measure(|x| m.polynomial.eval(x));
        assert!((e.max / m.error - 1.0).abs() < 1e-6);
        assert!(e.beyond[0].unwrap() > e.max && e.beyond[3].unwrap() > e.beyond[0].unwrap());
        let wide = Interval::symmetric(8.0).unwrap();
        let plain = FitOptions { uniform_share: 0.0, ..FitOptions::default() };
        let p = least_squares(Function::Relu, &d, wide, 4, plain).unwrap();
        let e = Ruler::new(Function::Relu, &d, wide).measure(|x| p.eval(x));
        assert!((e.rms * e.rms - 4.636e-3).abs() < 1e-6, "{}", e.rms);
        let narrow = Ruler::new(Function::Relu, &d, Interval::symmetric(1.0).unwrap()).measure(|x| p.eval(x));
        assert!((narrow.escaping - 0.3173105).abs() < 1e-6 && narrow.rms < e.rms * 2.0);
    }

    #[test]
    fn narrow_peaks_at_kinks_are_found() {
        let sign = CompositeSign::published(14).unwrap();
        let relu = CompositeRelu::new(sign.clone(), 20.0, 0.0).unwrap();
        let d = Distribution::normal(0.0, 1.0).unwrap();
        let e = Ruler::new(Function::Relu, &d, Interval::symmetric(20.0).unwrap()).measure(|x| relu.eval(x));
        assert!((e.max / (20.0 * sign.relu_error()) - 1.0).abs() < 0.02, "{} at {}", e.max, e.at);
    }

    #[test]
    fn undefined_outside_is_said() {
        let i = Interval::new(0.1, 2.0).unwrap();
        let d = Distribution::samples(&[0.2, 1.0, 1.9]).unwrap();
        let e = Ruler::new(Function::Reciprocal, &d, i).measure(|_| 1.0);
        assert!(e.beyond[0].is_some() && e.beyond[3].is_none());
        assert!((e.max - 9.0).abs() < 1e-12 && e.at == 0.1);
    }
}
