//! Passes over the IR levels: folding, approximation, packing, lowering, parameters.

pub mod approx;
mod pass;

pub use pass::{Issue, Lower, Pass, PassError};
