//! The functions that networks apply to single numbers, stated once: the interpreter of networks computes them and their
//! derivatives, the approximation fits polynomials to them.

mod erf;
mod function;
mod parity;

pub use erf::{erf, erfc};
pub use function::Function;
pub use parity::Parity;
