//! Polynomial approximation of activation functions, over double precision numbers; no dependence on the IR.
//!
//! - [`Function`]: what is approximated; [`Interval`] and [`Distribution`]: where, and with what weight; [`Margin`] and
//!   [`Tail`]: how far beyond what was seen.
//! - [`Polynomial`]: a polynomial in the Chebyshev basis on an interval.
//! - [`least_squares`]: fits under a distribution.
//! - [`minimax`], [`CompositeSign`], [`CompositeRelu`], [`power_of_two_quadratic`]: the other families.
//! - [`EvalTree`]: an approximation as ciphertext steps of least depth, which a lowering turns into operations.
//! - [`Family`]: a way to approximate activations, as the passes see it; [`families`] has those of this crate.
//!
//! ```
//! use fhec_approx::{Distribution, EvalTree, FitOptions, Function, TreeOptions, least_squares};
//!
//! let inputs = Distribution::normal(0.0, 1.0)?;
//! let interval = inputs.symmetric_interval(1.0)?;
//! let p = least_squares(&Function::Relu, &inputs, interval, 15, FitOptions::default())?;
//! let tree = EvalTree::chebyshev(&[p], TreeOptions::default())?;
//! assert_eq!(tree.counts().depth, 4);
//! assert!((tree.eval(1.5, 0) - 1.5).abs() < 0.1);
//! # Ok::<(), fhec_approx::ApproxError>(())
//! ```

mod build;
mod distribution;
mod domain;
mod error;
pub mod families;
mod interval;
mod least_squares;
mod polynomial;
mod quadratic;
mod quadrature;
mod remez;
mod scheme;
mod sign;
mod tail;
mod tree;

pub use distribution::{Distribution, Histogram, Nodes, Seen};
pub use domain::check_domain;
pub use error::ApproxError;
pub use families::{Approximation, Choice, Families, Family, Site};
pub use fhec_functions::{Function, Parity};
pub use interval::{Affine, Interval};
pub use least_squares::{FitOptions, Fits, MAX_DEGREE, fit, least_squares, least_squares_family};
pub use polynomial::Polynomial;
pub use quadratic::{CompletedSquare, PowerOfTwoQuadratic, minimax_quadratic, power_of_two_quadratic};
pub use remez::{MAX_MINIMAX_DEGREE, MinimaxFit, minimax, minimax_function};
pub use scheme::{Weights, min_depth};
pub use sign::{CompositeRelu, CompositeSign, PUBLISHED};
pub use tail::{Margin, Tail};
pub use tree::{Counts, EvalTree, Product, TreeOperand, TreeOptions, TreeStep, TreeTerm};
