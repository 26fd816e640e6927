//! Passes over the IR levels: folding, approximation of activations, packing, bootstraps, lowering, parameters.

pub mod activations;
pub mod batch;
pub mod bootstraps;
pub mod compose;
pub mod ends;
pub mod fold;
pub mod lower;
pub mod pack;
pub mod parameters;
mod pass;
pub mod pipeline;
pub mod program;
pub mod prune;
pub mod quantise;
pub mod registry;
pub mod skips;
pub mod target;

pub use fhec_approx as approx;
pub use fhec_ir::Issue;
pub use fhec_planner as planner;
pub use pass::{Lower, Pass, PassError};
