//! Passes over the IR levels: folding, approximation, packing, lowering, parameters.

pub mod approx;
pub mod approximate;
pub mod pack;
mod pass;

pub use fhec_ir::Issue;
pub use pass::{Lower, Pass, PassError};
