//! The functions that networks apply to single numbers, stated once: the interpreter of networks computes them and their
//! derivatives, the approximation fits polynomials to them.

mod domain;
mod erf;
mod expression;
mod function;
mod names;
mod parity;
mod text;

pub use domain::Domain;
pub use erf::{erf, erfc};
pub use expression::{Expression, ExpressionError, Step};
pub use function::Function;
pub use parity::Parity;
