//! Passes over the IR levels: folding, approximation, packing, lowering, parameters.

pub mod approx;
pub mod approximate;
pub mod batch;
pub mod ends;
pub mod fold;
pub mod lower;
pub mod pack;
pub mod params;
mod pass;
pub mod pipeline;
pub mod place;
pub mod placement;
pub mod program;
pub mod reconstruct;
pub mod registry;
pub mod sensitivity;
pub mod target;

pub use fhec_ir::Issue;
pub use pass::{Lower, Pass, PassError};
