//! The CKKS engine has parameters, encoding, ciphertexts, evaluation keys and homomorphic operations.
//!
//! CKKS (Cheon, Kim, Kim and Song, 2017) in RNS form (Cheon, Han, Kim, Kim and Song, A Full RNS Variant of Approximate
//! Homomorphic Encryption, 2018). This crate computes on ciphertexts and has no secret keys: those are the client's.
//!
//! - [`ParamSpec`] -> [`Params`]: the primes, the canonical scale of every level, the security gate, the digest.
//! - [`Context::new`]: tables, shared in an `Arc`. [`Context::encode`] gives a compact [`Plaintext`] for a [`Role`]: a
//!   factor for a ciphertext at some level (the product made at a level at or below it), or a term to add.
//! - [`Ciphertext`]: parts, level, scale degree 1 or 2, slots. [`write_ciphertexts`], [`read_ciphertexts`].
//! - [`KeySet`]: evaluation keys by [`KeyName`], in memory or mapped from a file, half of each a seed.
//!   [`KeyRequest`] lists go to the client's generator; [`LinearTransform::keys`] lists what a transform needs.
//! - [`Evaluator`]: `add sub neg add_plain add_scalar mul_plain mul_scalar mul_int mul square relinearize rescale
//!   mul_rescale level_drop rotate rotate_many conjugate linear bootstrap`, all checked; [`Evaluator::counts`] tells what was done.
//! - [`Bootstrapper`]: what [`Evaluator::bootstrap`] prepares; [`Bootstrapper::keys`] lists what it needs,
//!   [`Params::bootstrapping`] is the preset with the levels for it.
//!
//! **Scales.** A ciphertext at level `l` and scale degree `d` has exactly the scale `S_l^d`. A product has degree 2, and
//! [`Evaluator::rescale`] leads back to degree 1 one level below. Equal level and degree is all that sums ask for.
//!
//! **Threads.** Work runs on the `rayon` pool the caller is in (`pool.install(|| ..)`); results do not depend on it.

mod bootstrap;
mod ciphertext;
mod context;
mod encode;
mod error;
mod eval;
mod keys;
mod packing;
mod params;
mod progress;
mod sample;
mod security;

pub use bootstrap::{
    BootstrapStage, BootstrapWork, Bootstrapper, Distortion, EngineStep, KeyShape, MAX_FAILURE, StageWork,
};
pub use ciphertext::{
    Ciphertext, CiphertextFile, CiphertextInfo, ciphertexts_from_bytes, ciphertexts_to_bytes, read_ciphertexts,
    write_ciphertexts,
};
pub use context::Context;
pub use encode::{Decoded, Plaintext, Role};
pub use error::{CkksError, KeyName, Result, ShortDigest};
pub use eval::{Diagonal, EngineCounts, Evaluator, LinearTransform};
pub use fhec_parameters::{BootstrapSpec, Circuit, ParamSpec};
pub use fhec_ring::{RECYCLED_BYTES, bound_recycled};
pub use keys::{KeyInfo, KeyRequest, KeySet, KeySetWriter, PreparedKey, SwitchingKey};
pub use params::Params;
pub use progress::Verdict;
pub use sample::Seed;
