//! Decrypted values that others may see need noise, which is made here.
//!
//! A decrypted value carries the error of its computation, and that depends on the secret key: whoever sees values and
//! ciphertexts learns about the key with each of them (Li and Micciancio, On the Security of Homomorphic Encryption on
//! Approximate Numbers, 2021). Gaussian noise that drowns the error prevents that. By Li, Micciancio, Schultz and Sorrell
//! (Securing Approximate Homomorphic Encryption Using Differential Privacy, 2022) a deviation of `sqrt(12 Q) 2^(b/2) t` leaves
//! b bits of statistical security after Q decryptions whose vectors of errors have norms of at most t.
//!
//! The norm follows from the root mean square error e that is expected of the values: of n Gaussian errors it is at most
//! `e (sqrt(n) + sqrt(2 b ln 2))`, but for a probability of 2^-b. That the error is what is expected is an assumption: of
//! inputs like those the expectation was made for, and of a server that computes what it should.

use crate::random::Randomness;
use thiserror::Error;

/// What the publication of decrypted values promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// Bits of statistical security.
    pub bits: u32,
    /// Decryptions under one key whose values are published, all of them counted.
    pub queries: u64,
}

/// Why values cannot be published.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PublicationError {
    /// Out of range.
    #[error(
        "{bits} bits for {queries} decryptions of {values} values: at least one of each, at most 64 bits, and noise of up to 2^58 units are possible"
    )]
    Request {
        /// Bits of statistical security.
        bits: u32,
        /// Decryptions.
        queries: u64,
        /// Values of each.
        values: usize,
    },
    /// No expectation.
    #[error("the error to hide must be above zero and finite, not {0}")]
    Error(f64),
    /// A value that is no result.
    #[error("value {at} is {value}: it is not finite, or so large that no noise fits it")]
    Value {
        /// Its position.
        at: usize,
        /// The value.
        value: f64,
    },
}

/// Noise that hides the error of values of one decryption.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flooding {
    /// Values become multiples of this power of two before noise is added, so that noise is a whole number of it.
    grid: f64,
    /// Deviation of the noise in units of the grid.
    deviation: i64,
}

/// The grid is at least this many times finer than the mean share of a value in the norm of the errors.
const FINENESS: f64 = 16.0;
/// Largest deviation in units of the grid.
const MAX_DEVIATION: f64 = (1u64 << 58) as f64;
/// Largest multiple of the grid.
const MAX_VALUE: f64 = (1u64 << 61) as f64;

impl Publication {
    /// The noise for `values` values of one decryption whose errors have the root mean square `error`.
    ///
    /// # Errors
    /// A request or an error that is out of range.
    pub fn flooding(&self, error: f64, values: usize) -> Result<Flooding, PublicationError> {
        let Self { bits, queries } = *self;
        let refused = PublicationError::Request { bits, queries, values };
        if !(1..=64).contains(&bits) || queries == 0 || values == 0 {
            return Err(refused);
        }
        if !(error.is_finite() && error > 0.0) {
            return Err(PublicationError::Error(error));
        }
        let root = (values as f64).sqrt();
        let norm = error * (root + (2.0 * f64::from(bits) * std::f64::consts::LN_2).sqrt());
        let grid = power_of_two_below(norm / (root * FINENESS));
        // Two values on the grid differ by at most one unit more than before.
        let norm = norm / grid + root;
        let deviation = ((12.0 * queries as f64).sqrt() * (f64::from(bits) / 2.0).exp2() * norm).ceil();
        if deviation > MAX_DEVIATION || grid < f64::MIN_POSITIVE {
            return Err(refused);
        }
        Ok(Flooding { grid, deviation: deviation as i64 })
    }
}

impl Flooding {
    /// Standard deviation of the noise.
    pub fn deviation(&self) -> f64 {
        self.deviation as f64 * self.grid
    }

    /// What published values are multiples of: the largest power of two up to the deviation.
    pub fn step(&self) -> f64 {
        power_of_two_below(self.deviation())
    }

    /// Bits after the binary point that remain of a value; negative where some before it are gone too.
    pub fn remaining_bits(&self) -> i32 {
        -self.step().log2().round() as i32
    }

    /// Adds noise to `values` and rounds them.
    ///
    /// # Errors
    /// A value that is not finite, or too large.
    pub fn publish(&self, values: &mut [f64], random: &mut Randomness) -> Result<(), PublicationError> {
        let step = self.step();
        for (at, value) in values.iter_mut().enumerate() {
            let whole = (*value / self.grid).round();
            if whole.is_nan() || whole.abs() > MAX_VALUE {
                return Err(PublicationError::Value { at, value: *value });
            }
            let noisy = whole as i64 + random.gaussian(self.deviation);
            *value = (noisy as f64 * self.grid / step).round() * step;
        }
        Ok(())
    }
}

/// The largest power of two up to `x`, which is above zero.
fn power_of_two_below(x: f64) -> f64 {
    let power = x.log2().floor().exp2();
    // The logarithm of a number just below a power of two may be that of the power.
    if power > x { power / 2.0 } else { power }
}
