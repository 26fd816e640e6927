//! EvalMod computes `y -> y - round(y)`, for `y` near an integer, as a polynomial.
//!
//! It has three parts. As `sin(2 pi y)` is `cos(2 pi (y - 1/4))`, there is an even Chebyshev interpolant of
//! `cos(2 pi (y - 1/4) / 2^r)`, then `r` double angles `c -> 2 c^2 - 1` (Han and Ki, Better Bootstrapping for Approximate
//! Homomorphic Encryption, 2020), then the Taylor polynomial of the arcsine (Lee, Lee, Lee, Kim and No, High-Precision
//! Bootstrapping of RNS-CKKS, 2021).

use super::scaled::{Machine, Scaled};
use crate::error::Result;
use fhec_parameters::Circuit;
use std::collections::BTreeMap;
use std::f64::consts::TAU;

/// The polynomials and the level of every product.
#[derive(Debug, Clone)]
pub(super) struct EvalMod {
    /// Coefficients of the interpolant in `T_j(z)`, `z = T_2(x)`; a power of two of them.
    coefficients: Vec<f64>,
    slots: usize,
    double_angle: usize,
    arcsine_degree: u32,
    /// The largest magnitude of `y - round(y)`.
    ratio: f64,
    /// Half the interval: the input is `y / width`.
    pub width: f64,
    /// `levels[d]`: the level of values that are `d` products deep.
    pub levels: Vec<usize>,
    /// log2 of the least scale after a division.
    least: f64,
}

impl EvalMod {
    /// `levels` as [`Circuit::drops`] gives them, the input's first.
    pub fn new(circuit: &Circuit, slots: usize, levels: Vec<usize>) -> Self {
        let ratio = 2f64.powi(-(circuit.ratio_bits as i32));
        let width = f64::from(circuit.k) + 0.25 + ratio;
        let rate = TAU * width / 2f64.powi(circuit.double_angle as i32);
        let count = circuit.degree as usize / 2 + 1;
        let mut coefficients = even_interpolant(|x| (rate * x).cos(), count);
        refine(&mut coefficients, circuit, width, rate);
        coefficients.resize(count.next_power_of_two(), 0.0);
        let (double_angle, arcsine_degree) = (circuit.double_angle as usize, circuit.arcsine_degree);
        let least = f64::from(circuit.mod_scale_bits.min(46));
        Self { slots, coefficients, double_angle, arcsine_degree, ratio, width, levels, least }
    }

    /// The result times this is `y - round(y)`.
    pub fn output_factor(&self) -> f64 {
        match self.arcsine_degree {
            1 => 1.0 / TAU,
            3 => 1.0 / (6.0 * TAU),
            _ => ARCSINE[3] / TAU,
        }
    }

    /// From `y / width` to `(y - round(y)) / output_factor`.
    pub fn apply(&self, m: &Machine<'_>, mut x: Scaled) -> Result<Scaled> {
        m.add_constant(&mut x, -0.25 / self.width);
        let mut depth = 0;
        let z = self.double_angle_step(m, &x, &mut depth)?;
        let k = self.coefficients.len().trailing_zeros() as usize;
        let powers = self.powers(m, z, k)?;
        let mut s = self.critical(m, &powers, &self.coefficients, k)?;
        depth += k;
        for _ in 0..self.double_angle {
            s = self.double_angle_step(m, &s, &mut depth)?;
        }
        match self.arcsine_degree {
            1 => Ok(s),
            3 => {
                // 6 (s + s^3 / 6) = s (s^2 + 6).
                let mut t = self.product(m, &s, &s, depth + 1)?;
                m.add_constant(&mut t, 6.0);
                self.product(m, &s, &t, depth + 2)
            }
            _ => {
                // With t = s^2: a_3 s (t + root) ((t + shift)^2 + rest).
                let ([root, shift, rest], first) = (cubic_factors(ARCSINE), cubic_factors(self.halved_arcsine()));
                let t = self.product(m, &s, &s, depth + 1)?;
                let mut shifted = t.clone();
                m.add_constants(&mut shifted, shift, first[1], self.slots)?;
                let mut square = self.product(m, &shifted, &shifted, depth + 2)?;
                m.add_constants(&mut square, rest, first[2], self.slots)?;
                let mut linear = t;
                m.add_constants(&mut linear, root, first[0], self.slots)?;
                let linear = self.product(m, &s, &linear, depth + 2)?;
                self.product(m, &linear, &square, depth + 3)
            }
        }
    }

    /// Whether slot 0 of the result is half of what the other slots have: the caller wants it so.
    pub fn halves_slot_0(&self) -> bool {
        self.arcsine_degree == 7
    }

    /// A cubic close to half of [`ARCSINE`] where it is used, with the same leading coefficient, so that slot 0 differs
    /// from the others by added constants alone.
    fn halved_arcsine(&self) -> [f64; 4] {
        let end = (TAU * self.ratio).sin().powi(2);
        // The cubic t^3 + .. of least magnitude on [0, end].
        let least = [-end.powi(3) / 32.0, 9.0 / 16.0 * end * end, -1.5 * end, 1.0];
        [0, 1, 2, 3].map(|i| (ARCSINE[i] + ARCSINE[3] * least[i]) / 2.0)
    }

    fn product(&self, m: &Machine<'_>, a: &Scaled, b: &Scaled, depth: usize) -> Result<Scaled> {
        let mut out = m.mul(a, b);
        m.rescale(&mut out, self.levels[depth], self.least)?;
        Ok(out)
    }

    /// `2 x^2 - 1`, one product deeper.
    fn double_angle_step(&self, m: &Machine<'_>, x: &Scaled, depth: &mut usize) -> Result<Scaled> {
        let mut out = m.mul(x, x);
        m.double_minus(&mut out, 1.0);
        *depth += 1;
        m.rescale(&mut out, self.levels[*depth], self.least)?;
        Ok(out)
    }

    /// `T_1(z) .. T_3(z)` and `T_(2^i)(z)` below degree `2^k`; `T_j` at depth `1 + log2(j)`, rounded up.
    fn powers(&self, m: &Machine<'_>, z: Scaled, k: usize) -> Result<BTreeMap<usize, Scaled>> {
        let mut powers = BTreeMap::from([(1, z)]);
        for i in 1..k {
            let mut depth = i;
            let next = self.double_angle_step(m, &powers[&(1 << (i - 1))], &mut depth)?;
            powers.insert(1 << i, next);
        }
        if k >= 3 {
            // T_3 = 2 T_1 T_2 - T_1.
            let (mut t1, t2) = (powers[&1].clone(), &powers[&2]);
            // The scale of T_4 at the same depth: sums with both then have large integer factors. After two primes
            // for T_2 that of T_1 is far too large for it.
            if t1.scale > 2.0 * t2.scale {
                m.rescale(&mut t1, t2.level, t2.scale.log2())?;
            }
            let mut t3 = m.mul(&t1, t2);
            m.double_minus(&mut t3, 0.0);
            m.add_multiple(&mut t3, &t1, -1.0)?;
            m.rescale(&mut t3, self.levels[3], powers[&4].scale.log2())?;
            powers.insert(3, t3);
        }
        Ok(powers)
    }

    /// `sum_j c_j T_j(z)` for `2^k` coefficients at the least possible depth, `k` products below `z`.
    fn critical(&self, m: &Machine<'_>, powers: &BTreeMap<usize, Scaled>, c: &[f64], k: usize) -> Result<Scaled> {
        if k == 1 {
            let t = &powers[&1];
            let zero = Vec::with_capacity(t.parts.len());
            let mut out = Scaled { parts: zero, level: t.level, scale: t.scale * t.scale };
            out.parts.extend(t.parts.iter().map(|p| fhec_ring::RnsPoly::zero(p.n(), p.limb_count())));
            m.add_multiple(&mut out, t, c[1])?;
            m.add_constant(&mut out, c[0]);
            m.rescale(&mut out, self.levels[2], self.least)?;
            return Ok(out);
        }
        // c = high T_half + low, from T_(half + i) = 2 T_half T_i - T_(half - i).
        let half = c.len() / 2;
        let (mut low, mut high) = (c[..half].to_vec(), c[half..].to_vec());
        for i in 1..half {
            low[half - i] -= high[i];
            high[i] *= 2.0;
        }
        let high = self.critical(m, powers, &high, k - 1)?;
        let mut out = m.mul(&high, &powers[&half]);
        if half <= 4 {
            for (j, &c) in low.iter().enumerate().skip(1) {
                m.add_multiple(&mut out, &powers[&j], c)?;
            }
            m.add_constant(&mut out, low[0]);
        } else {
            let low = self.critical(m, powers, &low, k - 1)?;
            m.add_multiple(&mut out, &low, 1.0)?;
        }
        m.rescale(&mut out, self.levels[k + 1], self.least)?;
        Ok(out)
    }
}

/// Taylor coefficients of `asin(s) / s` in `t = s^2`.
const ARCSINE: [f64; 4] = [1.0, 1.0 / 6.0, 3.0 / 40.0, 15.0 / 336.0];

/// The truncated arcsine that follows a sine: of degree 1 (none), 3 or 7.
pub(super) fn arcsine(s: f64, degree: u32) -> f64 {
    let terms = degree as usize / 2 + 1;
    s * ARCSINE[..terms.min(ARCSINE.len())].iter().rev().fold(0.0, |sum, a| sum * s * s + a)
}

/// `[root, shift, rest]` with `sum_i a_i t^i = a_3 (t + root) ((t + shift)^2 + rest)`, for an increasing cubic.
fn cubic_factors([a0, a1, a2, a3]: [f64; 4]) -> [f64; 3] {
    // Newton from far left finds the one real zero.
    let mut t = -10.0f64;
    for _ in 0..100 {
        let value = a0 + t * (a1 + t * (a2 + t * a3));
        t -= value / (a1 + t * (2.0 * a2 + 3.0 * t * a3));
    }
    let root = -t;
    // Division by (t + root): t^2 + (a2/a3 - root) t + a0 / (a3 root).
    let shift = (a2 / a3 - root) / 2.0;
    [root, shift, a0 / (a3 * root) - shift * shift]
}

/// Coefficients of `T_0(z) ..`, `z = T_2(x)`, of the Chebyshev interpolant of an even function on [-1, 1].
fn even_interpolant(f: impl Fn(f64) -> f64, count: usize) -> Vec<f64> {
    let nodes = 512;
    let angle = |i: usize| TAU / 2.0 * (i as f64 + 0.5) / nodes as f64;
    let values: Vec<f64> = (0..nodes).map(|i| f(angle(i).cos())).collect();
    (0..count)
        .map(|j| {
            let sum: f64 = values.iter().enumerate().map(|(i, v)| v * (2.0 * j as f64 * angle(i)).cos()).sum();
            sum * if j == 0 { 1.0 } else { 2.0 } / nodes as f64
        })
        .collect()
}

/// Improves the interpolant where it is used: near integers, small ones before all.
///
/// `I` is a sum of `h + 1` uniform errors, so nearly normal. The coefficients of a message add up in every slot, hence it
/// is the mean square error over that distribution that counts, weighted least squares find it, and rare large `I` may err
/// more; the interval's interpolant, from which this starts, keeps them in check.
fn refine(coefficients: &mut [f64], circuit: &Circuit, width: f64, rate: f64) {
    let variance = (f64::from(circuit.sparse_weight) + 1.0) / 12.0;
    if circuit.sparse_weight == 0 {
        return;
    }
    let ratio = 2f64.powi(-(circuit.ratio_bits as i32));
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for i in -i64::from(circuit.k)..=i64::from(circuit.k) {
        let density = (-0.5 * (i * i) as f64 / variance).exp().max(LEAST_DENSITY);
        // Most messages have small coefficients; the slope must fit for the largest too.
        for (offset, share) in [(0.0, 1.0), (ratio, SLOPE_SHARE), (-ratio, SLOPE_SHARE)] {
            let x = (i as f64 + offset - 0.25) / width;
            let (weight, theta) = ((density * share).sqrt(), 2.0 * x.clamp(-1.0, 1.0).acos());
            let row: Vec<f64> = (0..coefficients.len()).map(|j| (j as f64 * theta).cos()).collect();
            let value: f64 = row.iter().zip(coefficients.iter()).map(|(t, c)| t * c).sum();
            errors.push(weight * ((rate * x).cos() - value));
            rows.push(row.into_iter().map(|t| t * weight).collect());
        }
    }
    for (c, d) in coefficients.iter_mut().zip(least_squares(rows, errors)) {
        *c += d;
    }
}

/// Weights below this share of the largest are raised to it.
const LEAST_DENSITY: f64 = 1e-6;
/// Weight of the ends of a message's range against its middle.
const SLOPE_SHARE: f64 = 1e-2;

/// The `x` of least `|A x - b|`, by Householder reflections; `A` has more rows than columns and full rank.
fn least_squares(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let columns = a.first().map_or(0, Vec::len);
    for k in 0..columns {
        let norm = a[k..].iter().map(|row| row[k] * row[k]).sum::<f64>().sqrt();
        let head = if a[k][k] > 0.0 { -norm } else { norm };
        let mut v: Vec<f64> = a[k..].iter().map(|row| row[k]).collect();
        v[0] -= head;
        let length = v.iter().map(|x| x * x).sum::<f64>();
        if length == 0.0 {
            continue;
        }
        for j in k..columns {
            let dot: f64 = v.iter().zip(&a[k..]).map(|(v, row)| v * row[j]).sum();
            v.iter().zip(&mut a[k..]).for_each(|(v, row)| row[j] -= 2.0 * dot / length * v);
        }
        let dot: f64 = v.iter().zip(&b[k..]).map(|(v, b)| v * b).sum();
        v.iter().zip(&mut b[k..]).for_each(|(v, b)| *b -= 2.0 * dot / length * v);
    }
    let mut x = vec![0.0; columns];
    for k in (0..columns).rev() {
        let known: f64 = (k + 1..columns).map(|j| a[k][j] * x[j]).sum();
        x[k] = (b[k] - known) / a[k][k];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cubics_are_the_products_of_their_factors() {
        let circuit = Circuit {
            cts_levels: 1,
            stc_levels: 1,
            stc_bits: 42,
            mod_bits: 50,
            mod_scale_bits: 50,
            sum_scale_bits: 50,
            k: 12,
            degree: 30,
            double_angle: 3,
            arcsine_degree: 7,
            ratio_bits: 5,
            sparse_weight: 32,
        };
        let halved = EvalMod::new(&circuit, 4, Vec::new()).halved_arcsine();
        for a in [ARCSINE, halved] {
            let [root, shift, rest] = cubic_factors(a);
            for t in [-0.5, 0.0, 0.01, 0.3] {
                let product = a[3] * (t + root) * ((t + shift).powi(2) + rest);
                let sum: f64 = a.iter().rev().fold(0.0, |acc, a| acc * t + a);
                assert!((product - sum).abs() < 1e-13, "{t}: {product} {sum}");
            }
        }
        assert_eq!(halved[3], ARCSINE[3]);
        let eval = |a: [f64; 4], t: f64| a.iter().rev().fold(0.0, |acc, a| acc * t + a);
        for t in [0.0, 0.01, 0.02, 0.038] {
            assert!((2.0 * eval(halved, t) - eval(ARCSINE, t)).abs() < 1.2e-7, "{t}");
        }
    }

    #[test]
    fn least_squares_of_a_line() {
        let rows = (0..5).map(|i| vec![1.0, f64::from(i)]).collect();
        // 1 + 2 i, with errors orthogonal to both columns.
        let x = least_squares(rows, vec![1.0 + 1.0, 3.0 - 2.0, 5.0 + 0.0, 7.0 + 2.0, 9.0 - 1.0]);
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12, "{x:?}");
    }

    #[test]
    fn refinement_lowers_the_expected_error_and_bounds_the_rest() {
        let circuit = Circuit {
            cts_levels: 1,
            stc_levels: 1,
            stc_bits: 42,
            mod_bits: 50,
            mod_scale_bits: 50,
            sum_scale_bits: 50,
            k: 13,
            degree: 30,
            double_angle: 3,
            arcsine_degree: 7,
            ratio_bits: 5,
            sparse_weight: 32,
        };
        let width = 13.25 + 1.0 / 32.0;
        let rate = TAU * width / 8.0;
        let plain = even_interpolant(|x| (rate * x).cos(), 16);
        let mut refined = plain.clone();
        refine(&mut refined, &circuit, width, rate);
        let error = |c: &[f64], i: i32, offset: f64| {
            let x = (f64::from(i) + offset - 0.25) / width;
            let value: f64 = c.iter().enumerate().map(|(j, c)| c * (2.0 * j as f64 * x.acos()).cos()).sum();
            (value - (rate * x).cos()).abs()
        };
        for i in -13..=13 {
            for offset in [-1.0 / 32.0, 0.0, 1.0 / 32.0] {
                eprintln!(
                    "{i} {offset} {:.1} {:.1}",
                    error(&plain, i, offset).log2(),
                    error(&refined, i, offset).log2()
                );
                let bound = if i32::abs(i) <= 6 && offset == 0.0 { 1e-13 } else { 1e-9 };
                assert!(error(&refined, i, offset) < bound, "{i} {offset}");
            }
        }
    }

    #[test]
    fn interpolation_of_an_even_function() {
        let c = even_interpolant(|x| (11.0 * x).cos(), 16);
        for x in [-1.0f64, -0.3, 0.0, 0.77] {
            let theta = 2.0 * x.acos();
            let value: f64 = c.iter().enumerate().map(|(j, c)| c * (j as f64 * theta).cos()).sum();
            assert!((value - (11.0 * x).cos()).abs() < 1e-10, "{x}");
        }
    }
}
