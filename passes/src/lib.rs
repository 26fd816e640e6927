//! Passes over the IR levels: folding, approximation, packing, lowering, parameters.

mod pass;

pub use pass::{Issue, Lower, Pass, PassError};
