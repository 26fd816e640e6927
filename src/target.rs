//! The engine of this project on a host, as passes see it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fhec_ckks::{Circuit, Params};
use fhec_ir::ParamSpec;
use fhec_ir::cost::LatencyTable;
use fhec_passes::target::Target;
use fhec_runtime::HostProfile;

/// Bits of the scale of programs that bootstrap. Their values lie in [-1, 1] and bootstraps leave some 16 bits: at this scale
/// the errors of all other ops stay below that.
const SCALE_BITS: u32 = 40;

/// The engine of this project with the times of one host.
#[derive(Debug)]
pub struct Engine {
    profile: HostProfile,
    /// Tables made so far: the same parameters are priced again and again.
    tables: Mutex<HashMap<String, Option<LatencyTable>>>,
}

impl Engine {
    /// The engine on a host of these times.
    pub fn new(profile: HostProfile) -> Self {
        Self { profile, tables: Mutex::default() }
    }
}

impl Default for Engine {
    /// On a host like that of the built-in times, with as many threads as this one has cores.
    fn default() -> Self {
        Self::new(HostProfile::builtin(std::thread::available_parallelism().map_or(1, usize::from)))
    }
}

impl Target for Engine {
    fn bootstrapping(&self, levels: u32) -> Option<ParamSpec> {
        let params = Params::with_bootstrap(levels, SCALE_BITS, Circuit::compact(SCALE_BITS)).ok()?;
        Some(params.spec().clone())
    }
    fn costs(&self, spec: &ParamSpec, slots: usize) -> Option<LatencyTable> {
        let key = format!("{spec:?} {slots}");
        let tables = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tables().get(&key) {
            return known.clone();
        }
        // Unlocked, so that several are made at once.
        let made = Params::new(spec.clone()).ok().map(|params| self.profile.table(&params, slots));
        tables().insert(key, made.clone());
        made
    }
}
