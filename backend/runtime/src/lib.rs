//! This crate defines plans, stores them and executes them.
//!
//! A [`Plan`] is a program of the `ckks` level with its parameters, constants and key list; it is what `fhec` compiles a
//! model to. A [`ClientPlan`] is what a client needs of it. A plan runs exactly ([`run_clear`]), with modelled noise
//! ([`Simulator`]), or on ciphertexts ([`Executor`]). Nothing here can decrypt: this crate does not depend on the one that
//! knows secret keys.

mod client_plan;
mod encrypted;
mod engine;
mod error;
mod keys;
mod memory;
mod noise;
mod plan;
mod simulate;
mod stats;
mod tensors;
mod time;

pub use client_plan::{CLIENT_PLAN_KIND, CLIENT_PLAN_VERSION, ClientPlan};
pub use encrypted::{CkksBackend, Executor, ExecutorOptions, Progress, RunReport, context};
pub use engine::params;
pub use error::RuntimeError;
pub use keys::KeyList;
pub use memory::{MemoryPrediction, MemoryShares, OpMemory};
pub use noise::{
    ArgumentHistogram, Exact, LANES, Lanes, LayerEscape, NoiseBackend, NoiseModel, NoiseObserver, NoiseReport, NoisyCt,
    OpNoise, Range, RangeEscape, ResultError, chebyshev_arguments, slotwise,
};
pub use plan::{PLAN_KIND, PLAN_VERSION, Plan, Provenance, Security};
pub use simulate::{Simulated, Simulation, Simulator, run_clear};
pub use stats::{TraceEntry, ciphertext_bytes, expected_trace, peak_ciphertext_bytes};
pub use tensors::{pack_inputs, runs_of, unpack_outputs};
pub use time::{Costs, HostProfile, Measurement, StageTime, Unit, WorkKind, engine_steps, fit, predict_time};

pub use fhec_ckks::{KeyRequest, KeySet};
