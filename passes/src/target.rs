//! What passes are told about the engine and the machine: parameters it offers, times it takes.

use fhec_ir::ParamSpec;
use fhec_ir::cost::LatencyTable;

/// An engine on a machine.
pub trait Target: Sync {
    /// Secure parameters for programs of `levels` levels that bootstrap; `None` where so many do not fit.
    fn bootstrapping(&self, levels: u32) -> Option<ParamSpec>;
    /// Times of the ops on vectors of `slots` slots under `spec`; `None` when the engine refuses the parameters.
    fn costs(&self, spec: &ParamSpec, slots: usize) -> Option<LatencyTable>;
}
