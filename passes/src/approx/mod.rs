//! Polynomial approximation of activation functions, over double precision numbers; no dependence on the IR.
//!
//! - [`Function`]: what is approximated; [`Interval`] and [`Distribution`]: where, and with what weight.
//! - [`Polynomial`]: a polynomial in the Chebyshev basis on an interval.
//! - [`least_squares`]: fits under a distribution, shared or per channel.
//! - [`EvalTree`]: a polynomial as ciphertext steps of least depth, which a lowering turns into operations.

mod distribution;
mod error;
mod function;
mod interval;
mod least_squares;
mod polynomial;
mod quadrature;
mod scheme;
mod tree;

pub use distribution::{Distribution, Histogram, Nodes};
pub use error::ApproxError;
pub use function::{Function, erf, erfc};
pub use interval::{Affine, Interval};
pub use least_squares::{
    Family, FitOptions, MAX_DEGREE, fit, least_squares, least_squares_family, least_squares_per_channel,
    least_squares_with_lead,
};
pub use polynomial::{Parity, Polynomial};
pub use scheme::{Weights, min_depth};
pub use tree::{Counts, EvalTree, Operand, Product, Step, Term, TreeOptions};
