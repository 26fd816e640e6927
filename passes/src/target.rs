//! An engine on a machine, as passes see it: the parameters it offers, and the times it takes.

use std::fmt::Debug;

use fhec_ir::ParamSpec;
use fhec_ir::cost::LatencyTable;

/// An engine on a machine. Passes choose parameters, degrees and bootstraps by what it says, and by nothing else that they
/// know of engines.
pub trait Target: Debug + Send + Sync {
    /// Secure parameters for programs of `levels` levels that bootstrap; `None` where so many do not fit, or where the engine
    /// does not bootstrap.
    fn bootstrapping(&self, levels: u32) -> Option<ParamSpec>;
    /// Times of the ops on vectors of `slots` slots under `spec`; `None` when the engine refuses the parameters.
    fn costs(&self, spec: &ParamSpec, slots: usize) -> Option<LatencyTable>;
}
