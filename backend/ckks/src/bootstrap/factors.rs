//! The transform between slots and coefficients is a product of sparse matrices, each given by its diagonals.

use crate::encode::Fft;
use crate::error::KeyName;
use std::collections::{BTreeMap, BTreeSet};

/// A matrix by diagonals: `y[i] = sum_r d_r[i] x[i + r]`, indices and rotations modulo the number of slots.
#[derive(Debug, Clone)]
pub(super) struct FactorDiagonals {
    pub slots: usize,
    pub by_rotation: BTreeMap<usize, [Vec<f64>; 2]>,
}

impl FactorDiagonals {
    fn identity(slots: usize) -> Self {
        Self { slots, by_rotation: BTreeMap::from([(0, [vec![1.0; slots], vec![0.0; slots]])]) }
    }

    /// `self * right`: `right` is applied first.
    fn after(&self, right: &Self) -> Self {
        let n = self.slots;
        let mut out: BTreeMap<usize, [Vec<f64>; 2]> = BTreeMap::new();
        for (ra, [ar, ai]) in &self.by_rotation {
            for (rb, [br, bi]) in &right.by_rotation {
                let [or, oi] = out.entry((ra + rb) % n).or_insert_with(|| [vec![0.0; n], vec![0.0; n]]);
                for i in 0..n {
                    let j = (i + ra) % n;
                    or[i] += ar[i] * br[j] - ai[i] * bi[j];
                    oi[i] += ar[i] * bi[j] + ai[i] * br[j];
                }
            }
        }
        Self { slots: n, by_rotation: out }
    }

    /// Multiplies what goes in, slot by slot.
    pub fn scale_input(&mut self, factors: &[f64]) {
        for (r, [re, im]) in &mut self.by_rotation {
            for i in 0..self.slots {
                let f = factors[(i + r) % self.slots];
                re[i] *= f;
                im[i] *= f;
            }
        }
    }

    /// Rotations with their giant-step parts.
    pub fn steps(&self) -> Vec<(i64, i64)> {
        steps(self.slots, &self.by_rotation.keys().copied().collect())
    }
}

/// Rotations of a matrix with their giant-step parts: babies are the low half of the bits of `rotation / stride`.
fn steps(slots: usize, rotations: &BTreeSet<usize>) -> Vec<(i64, i64)> {
    let n = slots as i64;
    let stride = rotations.iter().fold(n, |g, &r| gcd(g, r as i64));
    let places = n / stride;
    let cyclic = rotations.len() as i64 == places;
    let index = |r: usize| {
        let k = r as i64 / stride;
        if !cyclic && 2 * k > places { k - places } else { k }
    };
    let bits = (rotations.len() as u64).next_power_of_two().trailing_zeros();
    let babies = 1i64 << bits.div_ceil(2);
    let step = |&r: &usize| {
        let k = index(r);
        (k * stride, k.div_euclid(babies) * babies * stride)
    };
    rotations.iter().map(step).collect()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One layer of butterflies of blocks of `2 half`: slots to coefficients (halved, so that all layers together are the
/// exact inverse) or back.
fn layer(fft: &Fft, slots: usize, half: usize, to_coefficients: bool) -> FactorDiagonals {
    let (wr, wi) = fft.roots(half);
    let (forward, backward) = (half % slots, (slots - half) % slots);
    let zero = || [vec![0.0; slots], vec![0.0; slots]];
    let mut by_rotation = BTreeMap::from([(0, zero())]);
    by_rotation.insert(forward, zero());
    by_rotation.insert(backward, zero());
    let mut put = |rotation: usize, i: usize, re: f64, im: f64| {
        if let Some([dr, di]) = by_rotation.get_mut(&rotation) {
            dr[i] += re;
            di[i] += im;
        }
    };
    for i in 0..slots {
        let j = i % half;
        let first = i % (2 * half) < half;
        match (to_coefficients, first) {
            (true, true) => {
                put(0, i, 0.5, 0.0);
                put(forward, i, 0.5, 0.0);
            }
            (true, false) => {
                put(0, i, -0.5 * wr[j], 0.5 * wi[j]);
                put(backward, i, 0.5 * wr[j], -0.5 * wi[j]);
            }
            (false, true) => {
                put(0, i, 1.0, 0.0);
                put(forward, i, wr[j], wi[j]);
            }
            (false, false) => {
                put(0, i, -wr[j], -wi[j]);
                put(backward, i, 1.0, 0.0);
            }
        }
    }
    FactorDiagonals { slots, by_rotation }
}

/// The layers of every factor, by half their block length; layers and factors in the order they are applied.
pub(super) fn factor_layers(slots: usize, count: usize, to_coefficients: bool) -> Vec<Vec<usize>> {
    let layers = slots.trailing_zeros() as usize;
    let halves: Vec<usize> = (0..layers).map(|l| 1 << if to_coefficients { layers - 1 - l } else { l }).collect();
    let count = factor_count(slots, count);
    (0..count).map(|i| halves[layers * i / count..layers * (i + 1) / count].to_vec()).collect()
}

/// All layers in at most `count` factors of nearly equal numbers of layers, the one applied first in front.
/// The coefficients are in bit-reversed order.
pub(super) fn factors(fft: &Fft, slots: usize, count: usize, to_coefficients: bool) -> Vec<FactorDiagonals> {
    let product = |halves: Vec<usize>| {
        halves
            .into_iter()
            .fold(FactorDiagonals::identity(slots), |acc, half| layer(fft, slots, half, to_coefficients).after(&acc))
    };
    factor_layers(slots, count, to_coefficients).into_iter().map(product).collect()
}

/// The steps of all [`factors`], without the matrices.
pub(super) fn factor_steps(slots: usize, count: usize, to_coefficients: bool) -> Vec<Vec<(i64, i64)>> {
    let rotations = |halves: Vec<usize>| {
        halves.into_iter().fold(BTreeSet::from([0]), |acc, half| {
            acc.into_iter().flat_map(|r| [r, (r + half) % slots, (r + slots - half) % slots]).collect()
        })
    };
    factor_layers(slots, count, to_coefficients).into_iter().map(|halves| steps(slots, &rotations(halves))).collect()
}

/// The baby and the giant rotations of one of [`factor_steps`], each once.
pub(super) fn babies_and_giants(steps: &[(i64, i64)], slots: usize) -> [BTreeSet<KeyName>; 2] {
    let names = |by: fn(&(i64, i64)) -> i64| steps.iter().filter_map(|s| KeyName::rotation(by(s), slots)).collect();
    [names(|(rotation, giant)| rotation - giant), names(|(_, giant)| *giant)]
}

/// Number of factors that [`factors`] gives.
pub(super) fn factor_count(slots: usize, count: usize) -> usize {
    count.min(slots.trailing_zeros() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(d: &FactorDiagonals, x: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let n = d.slots;
        (0..n)
            .map(|i| {
                d.by_rotation.iter().fold((0.0, 0.0), |(re, im), (r, [dr, di])| {
                    let (xr, xi) = x[(i + r) % n];
                    (re + dr[i] * xr - di[i] * xi, im + dr[i] * xi + di[i] * xr)
                })
            })
            .collect()
    }

    #[test]
    fn factors_are_the_transform_and_its_inverse() {
        let fft = Fft::new(64);
        for (slots, count) in [(64, 3), (64, 4), (8, 2), (2, 3), (1, 2)] {
            let x: Vec<(f64, f64)> = (0..slots).map(|i| ((i * i % 7) as f64 - 3.0, (i % 5) as f64)).collect();
            let (mut re, mut im): (Vec<f64>, Vec<f64>) = x.iter().copied().unzip();
            fft.slots_to_coefficients(&mut re, &mut im);
            let inverse = factors(&fft, slots, count, true).iter().fold(x.clone(), |v, d| apply(d, &v));
            for (i, (r, j)) in inverse.iter().enumerate() {
                assert!((r - re[i] / slots as f64).abs() < 1e-9 && (j - im[i] / slots as f64).abs() < 1e-9);
            }
            let back = factors(&fft, slots, count, false).iter().fold(inverse, |v, d| apply(d, &v));
            assert!(back.iter().zip(&x).all(|(a, b)| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9));
        }
    }

    #[test]
    fn steps_are_known_before_the_matrices() {
        let fft = Fft::new(1 << 9);
        for (slots, count, to_coefficients) in [(512, 3, true), (512, 2, false), (4, 3, true), (1, 1, false)] {
            let built: Vec<_> =
                factors(&fft, slots, count, to_coefficients).iter().map(FactorDiagonals::steps).collect();
            assert_eq!(factor_steps(slots, count, to_coefficients), built);
        }
    }

    #[test]
    fn few_rotations_for_many_diagonals() {
        let fft = Fft::new(1 << 10);
        for d in factors(&fft, 1 << 10, 2, true) {
            let steps = d.steps();
            let mut keys: Vec<i64> = steps.iter().flat_map(|&(r, g)| [g, r - g]).collect();
            keys.sort_unstable();
            keys.dedup();
            assert!(steps.len() >= 32 && keys.len() <= 15, "{} diagonals, {} keys", steps.len(), keys.len() - 1);
        }
    }
}
