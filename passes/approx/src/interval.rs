//! Closed real intervals and the affine map to `[-1, 1]`.

use std::fmt;

use serde::Serialize;

use super::error::ApproxError;

/// A closed interval `[lo, hi]` with finite ends and `lo < hi`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    lo: f64,
    hi: f64,
}

/// The map `x ↦ scale·x + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Affine {
    /// Factor of x.
    pub scale: f64,
    /// Added constant.
    pub shift: f64,
}

impl Affine {
    /// The image of `x`.
    pub fn apply(&self, x: f64) -> f64 {
        self.scale.mul_add(x, self.shift)
    }
}

impl Interval {
    /// `[-1, 1]`, on which Chebyshev polynomials live.
    pub const UNIT: Interval = Interval { lo: -1.0, hi: 1.0 };

    /// `[lo, hi]`.
    ///
    /// # Errors
    /// An end is not finite, or `lo >= hi`.
    pub fn new(lo: f64, hi: f64) -> Result<Self, ApproxError> {
        // The length must be finite too: halves of ±f64::MAX would overflow in the map.
        if lo < hi && (hi - lo).is_finite() { Ok(Self { lo, hi }) } else { Err(ApproxError::EmptyInterval { lo, hi }) }
    }

    /// `[-bound, bound]`.
    ///
    /// # Errors
    /// A bound that is not finite or not above 0.
    pub fn symmetric(bound: f64) -> Result<Self, ApproxError> {
        Self::new(-bound, bound)
    }

    /// Lower end.
    pub fn lo(&self) -> f64 {
        self.lo
    }

    /// Upper end.
    pub fn hi(&self) -> f64 {
        self.hi
    }

    /// `hi - lo`.
    pub fn length(&self) -> f64 {
        self.hi - self.lo
    }

    /// The middle.
    pub fn centre(&self) -> f64 {
        self.lo + 0.5 * (self.hi - self.lo)
    }

    /// The largest magnitude in the interval.
    pub fn bound(&self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// Whether `x` lies in the interval.
    pub fn contains(&self, x: f64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// The image of `x` under the map that takes the interval to `[-1, 1]`.
    pub fn to_unit(&self, x: f64) -> f64 {
        ((x - self.lo) + (x - self.hi)) / (self.hi - self.lo)
    }

    /// The point that [`Self::to_unit`] takes to `u`.
    pub fn from_unit(&self, u: f64) -> f64 {
        0.5 * ((1.0 - u) * self.lo + (1.0 + u) * self.hi)
    }

    /// The map to `[-1, 1]` as scale and shift, to be folded into the layer before.
    pub fn unit_map(&self) -> Affine {
        Affine { scale: 2.0 / (self.hi - self.lo), shift: -(self.lo + self.hi) / (self.hi - self.lo) }
    }

    /// The interval stretched about its centre by `factor` > 0.
    ///
    /// # Errors
    /// An end that would not be finite, or a factor not above 0.
    pub fn stretched(&self, factor: f64) -> Result<Self, ApproxError> {
        let (centre, half) = (self.centre(), 0.5 * self.length() * factor);
        Self::new(centre - half, centre + half)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.lo, self.hi)
    }
}
