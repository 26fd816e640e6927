//! Polynomials in the Chebyshev basis on an interval.

use serde::Serialize;

use super::error::ApproxError;
use super::interval::{Affine, Interval};
use fhec_functions::Parity;

/// Σ c_k T_k(u), where u maps `interval` to `[-1, 1]`.
///
/// Always at least one coefficient, all finite. Evaluation extends beyond the interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Polynomial {
    interval: Interval,
    coefficients: Vec<f64>,
}

/// Decimal digits that a change to powers of x may lose.
const MONOMIAL_DIGITS: f64 = 6.0;

impl Polynomial {
    /// From Chebyshev coefficients, lowest first; trailing zeros are dropped.
    ///
    /// # Errors
    /// No coefficients, or one that is not finite.
    pub fn new(interval: Interval, mut coefficients: Vec<f64>) -> Result<Self, ApproxError> {
        if coefficients.is_empty() || coefficients.iter().any(|c| !c.is_finite()) {
            return Err(ApproxError::NotFinite { what: "a polynomial coefficient" });
        }
        while coefficients.len() > 1 && coefficients.last() == Some(&0.0) {
            coefficients.pop();
        }
        Ok(Self { interval, coefficients })
    }

    /// The polynomial of degree at most `degree` that meets `f` in the Chebyshev points of the interval.
    ///
    /// # Errors
    /// A value of `f` that is not finite.
    pub fn interpolate(interval: Interval, degree: usize, f: impl Fn(f64) -> f64) -> Result<Self, ApproxError> {
        let n = degree + 1;
        let angle = |j: usize| std::f64::consts::PI * (j as f64 + 0.5) / n as f64;
        let values: Vec<f64> = (0..n).map(|j| f(interval.from_unit(angle(j).cos()))).collect();
        let coefficients = (0..n)
            .map(|k| {
                let sum: f64 = values.iter().enumerate().map(|(j, v)| v * (k as f64 * angle(j)).cos()).sum();
                sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
            })
            .collect();
        Self::new(interval, coefficients)
    }

    /// From powers of x, lowest first, expressed on `interval`.
    ///
    /// # Errors
    /// A coefficient that is not finite on the interval.
    pub fn from_monomial(interval: Interval, powers: &[f64]) -> Result<Self, ApproxError> {
        let (half, centre) = (0.5 * interval.length(), interval.centre());
        let mut c = vec![0.0; powers.len().max(1)];
        // Horner's rule with x = half·u + centre acting on Chebyshev coefficients: u·T_k = (T_{k+1} + T_{|k-1|})/2.
        for &a in powers.iter().rev() {
            let mut next: Vec<f64> = c.iter().map(|v| v * centre).collect();
            for (k, v) in c.iter().enumerate() {
                let up = 0.5 * half * v;
                if k + 1 < next.len() {
                    next[k + 1] += if k == 0 { 2.0 * up } else { up };
                }
                if k > 0 {
                    next[k - 1] += up;
                }
            }
            next[0] += a;
            c = next;
        }
        Self::new(interval, c)
    }

    /// Powers of x, lowest first.
    ///
    /// # Errors
    /// More than six decimal digits would cancel when evaluated on the interval.
    pub fn to_monomial(&self) -> Result<Vec<f64>, ApproxError> {
        let Affine { scale, shift } = self.interval.unit_map();
        let n = self.coefficients.len();
        // T_k as powers of x, two at a time.
        let (mut before, mut current) = (vec![0.0; n], vec![0.0; n]);
        before[0] = 1.0;
        current[0] = shift;
        if n > 1 {
            current[1] = scale;
        }
        let mut powers = vec![0.0; n];
        for (k, c) in self.coefficients.iter().enumerate() {
            for (p, t) in powers.iter_mut().zip(&before) {
                *p += c * t;
            }
            if k + 1 < n {
                let mut next: Vec<f64> = current.iter().zip(&before).map(|(t, b)| 2.0 * shift * t - b).collect();
                for i in 1..n {
                    next[i] += 2.0 * scale * current[i - 1];
                }
                before = std::mem::replace(&mut current, next);
            }
        }
        let bound = self.interval.bound();
        let grown: f64 = powers.iter().rev().fold(0.0, |sum, p| sum * bound + p.abs());
        let size = self.coefficients.iter().fold(0.0f64, |m, c| m.max(c.abs()));
        let digits = (grown / size).log10();
        if size > 0.0 && (digits.is_nan() || digits > MONOMIAL_DIGITS) {
            return Err(ApproxError::IllConditioned { degree: self.degree(), digits });
        }
        Ok(powers)
    }

    /// The interval.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// Chebyshev coefficients, lowest first.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The degree (0 for constants, zero included).
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// The value at `x`, inside or outside the interval (Clenshaw's recurrence).
    pub fn eval(&self, x: f64) -> f64 {
        let u = self.interval.to_unit(x);
        let (mut b1, mut b2) = (0.0, 0.0);
        for c in self.coefficients.iter().skip(1).rev() {
            (b1, b2) = (2.0f64.mul_add(u * b1, c - b2), b1);
        }
        u.mul_add(b1, self.coefficients[0] - b2)
    }

    /// The narrowest parity its exact zeros allow.
    pub fn parity(&self) -> Parity {
        let fits = |p: Parity| self.coefficients.iter().enumerate().all(|(k, c)| *c == 0.0 || p.allows(k));
        Parity::ALL.into_iter().find(|p| fits(*p)).unwrap_or(Parity::Mixed)
    }

    /// x ↦ p(map(x)); the interval becomes the preimage.
    ///
    /// # Errors
    /// The map is constant or not finite.
    pub fn substitute(&self, map: Affine) -> Result<Self, ApproxError> {
        let back = |y: f64| (y - map.shift) / map.scale;
        let (a, b) = (back(self.interval.lo()), back(self.interval.hi()));
        let mut coefficients = self.coefficients.clone();
        if map.scale < 0.0 {
            // The preimage runs backwards: T_k(-u) = (-1)^k T_k(u).
            coefficients.iter_mut().skip(1).step_by(2).for_each(|c| *c = -*c);
        }
        Self::new(Interval::new(a.min(b), a.max(b))?, coefficients)
    }

    /// x ↦ map(p(x)).
    ///
    /// # Errors
    /// A coefficient that would not be finite.
    pub fn mapped(&self, map: Affine) -> Result<Self, ApproxError> {
        let mut coefficients: Vec<f64> = self.coefficients.iter().map(|c| c * map.scale).collect();
        coefficients[0] += map.shift;
        Self::new(self.interval, coefficients)
    }

    /// The same polynomial, expressed on another interval. Coefficients grow like (ratio of lengths)^degree when it is much larger.
    ///
    /// # Errors
    /// A coefficient that would not be finite on the interval.
    pub fn on(&self, interval: Interval) -> Result<Self, ApproxError> {
        Self::interpolate(interval, self.degree(), |x| self.eval(x))
    }

    /// The derivative with respect to x, on the same interval.
    pub fn derivative(&self) -> Self {
        let n = self.degree();
        if n == 0 {
            return Self { interval: self.interval, coefficients: vec![0.0] };
        }
        let mut d = vec![0.0; n + 2];
        for k in (1..=n).rev() {
            d[k - 1] = d[k + 1] + 2.0 * k as f64 * self.coefficients[k];
        }
        d[0] *= 0.5;
        d.truncate(n);
        let scale = self.interval.unit_map().scale;
        Self { interval: self.interval, coefficients: d.iter().map(|c| c * scale).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
    }

    #[test]
    fn evaluates_inside_and_outside() {
        let i = Interval::new(-2.0, 6.0).unwrap();
        // T_3(u) = 4u³ - 3u, u = (x - 2)/4.
        let p = Polynomial::new(i, vec![0.0, 0.0, 0.0, 1.0]).unwrap();
        for x in [-7.0, -2.0, 0.5, 6.0, 11.0] {
            let u = (x - 2.0) / 4.0;
            assert!(close(p.eval(x), 4.0 * u * u * u - 3.0 * u, 1e-14));
        }
    }

    #[test]
    fn refuses_monomials_that_cancel() {
        let mut c = vec![0.0; 40];
        c[39] = 1.0;
        let p = Polynomial::new(Interval::UNIT, c).unwrap();
        assert!(matches!(p.to_monomial(), Err(ApproxError::IllConditioned { degree: 39, .. })));
        assert!(Interval::new(1.0, 1.0).is_err() && Interval::new(f64::NAN, 1.0).is_err());
        assert!(Polynomial::new(Interval::UNIT, vec![f64::INFINITY]).is_err());
    }

    #[test]
    fn parity_is_read_from_zeros() {
        let p = |c: &[f64]| Polynomial::new(Interval::UNIT, c.to_vec()).unwrap().parity();
        assert_eq!(p(&[0.0, 1.0, 0.0, 2.0]), Parity::Odd);
        assert_eq!(p(&[1.0, 0.0, 3.0]), Parity::Even);
        assert_eq!(p(&[1.0, 1.0, 3.0, 0.0, 1.0]), Parity::EvenPlusLinear);
        assert_eq!(p(&[1.0, 1.0, 0.0, 2.0]), Parity::OddPlusConstant);
        assert_eq!(p(&[1.0, 1.0, 3.0, 1.0]), Parity::Mixed);
    }

    proptest! {
        #[test]
        fn transformations_agree_with_values(
            c in prop::collection::vec(-2.0..2.0f64, 1..9),
            lo in -5.0..0.0f64, length in 0.5..8.0f64, scale in prop_oneof![0.3..3.0f64, -3.0..-0.3f64], shift in -2.0..2.0f64,
            t in -1.2..1.2f64,
        ) {
            let i = Interval::new(lo, lo + length).unwrap();
            let p = Polynomial::new(i, c).unwrap();
            let x = i.from_unit(t);
            let map = Affine { scale, shift };
            prop_assert!(close(p.substitute(map).unwrap().eval((x - shift) / scale), p.eval(x), 1e-9));
            prop_assert!(close(p.mapped(map).unwrap().eval(x), map.apply(p.eval(x)), 1e-12));
            prop_assert!(close(p.on(i.stretched(1.7).unwrap()).unwrap().eval(x), p.eval(x), 1e-9));
            if let Ok(powers) = p.to_monomial() {
                let horner = powers.iter().rev().fold(0.0, |s, a| s * x + a);
                prop_assert!(close(horner, p.eval(x), 1e-7));
                let back = Polynomial::from_monomial(i, &powers).unwrap();
                prop_assert!(close(back.eval(x), p.eval(x), 1e-7));
            }
            let h = 1e-5 * length;
            let slope = (p.eval(x + h) - p.eval(x - h)) / (2.0 * h);
            prop_assert!(close(p.derivative().eval(x), slope, 1e-4));
        }
    }
}
