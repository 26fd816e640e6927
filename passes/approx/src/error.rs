//! Errors of this module.

use thiserror::Error;

/// Why an approximation or an evaluation plan could not be made. Each message names the cause and a repair.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ApproxError {
    /// `lo >= hi`, or an end is not finite.
    #[error("[{lo}, {hi}] is not an interval: it needs finite ends with lo < hi; calibrate with data that varies")]
    EmptyInterval {
        /// Lower end.
        lo: f64,
        /// Upper end.
        hi: f64,
    },
    /// The interval leaves the set on which the function is defined and finite.
    #[error(
        "{function} is not finite on all of [{lo}, {hi}]; it needs an interval inside ({allowed_lo}, {allowed_hi}): narrow the range, or bound the operand before it"
    )]
    Domain {
        /// The function.
        function: String,
        /// Lower end asked for.
        lo: f64,
        /// Upper end asked for.
        hi: f64,
        /// Lower end of the domain.
        allowed_lo: f64,
        /// Upper end of the domain.
        allowed_hi: f64,
    },
    /// A parameter of a function, distribution or fit is out of its range.
    #[error("{what} is {value}: {expected}")]
    Parameter {
        /// The parameter.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A distribution without weight.
    #[error("the distribution holds no samples inside [{lo}, {hi}]; calibrate with data that reaches this activation")]
    NoData {
        /// Lower end of the interval.
        lo: f64,
        /// Upper end of the interval.
        hi: f64,
    },
    /// A function that a sign does not help to compute.
    #[error("{function} is not made of a sign: only ReLU, leaky ReLU and |x| have a composite form")]
    NoSign {
        /// The function.
        function: String,
    },
    /// A family that does not exist.
    #[error("there is no family of approximations `{name}`; known are {known}")]
    Family {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A coefficient, sample or function value is NaN or infinite.
    #[error("{what} is not finite")]
    NotFinite {
        /// What is not finite.
        what: &'static str,
    },
    /// A degree that the operation does not offer.
    #[error("degree {degree} is not possible here: {reason}")]
    Degree {
        /// The degree.
        degree: usize,
        /// Why not.
        reason: &'static str,
    },
    /// Powers of x would lose too many digits.
    #[error(
        "in powers of x this polynomial of degree {degree} loses {digits:.0} digits to cancellation; keep it in the Chebyshev basis"
    )]
    IllConditioned {
        /// The degree.
        degree: usize,
        /// Decimal digits lost.
        digits: f64,
    },
    /// Fewer levels than the evaluation needs.
    #[error("degree {degree} needs {needed} levels, {given} were given; lower the degree or bootstrap before it")]
    TooFewLevels {
        /// The degree.
        degree: usize,
        /// Levels needed.
        needed: u32,
        /// Levels given.
        given: u32,
    },
    /// The exchange algorithm did not level the error.
    #[error(
        "minimax fit of degree {degree} did not converge on {intervals} interval(s); lower the degree or widen the interval"
    )]
    NoConvergence {
        /// The degree.
        degree: usize,
        /// Number of intervals.
        intervals: usize,
    },
    /// Per-channel data of unequal lengths.
    #[error("{what}: {left} against {right} channels")]
    Channels {
        /// What was combined.
        what: &'static str,
        /// One count.
        left: usize,
        /// The other.
        right: usize,
    },
}
