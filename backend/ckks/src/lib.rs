//! The CKKS evaluator: parameters, encoding, ciphertexts, evaluation keys, homomorphic operations.

mod ciphertext;
mod context;
mod encode;
mod error;
mod eval;
mod keys;
mod packing;
mod params;
mod sample;
mod security;

pub use ciphertext::{
    Ciphertext, ciphertexts_from_bytes, ciphertexts_to_bytes, read_ciphertexts, write_ciphertexts,
};
pub use context::Context;
pub use encode::{Plaintext, Role};
pub use error::{CkksError, Digest, KeyName, Result};
pub use eval::{Counts, Diagonal, Evaluator, LinearTransform};
pub use keys::{KeyInfo, KeyRequest, KeySet, KeySetWriter, PreparedKey, SwitchingKey};
pub use params::{BootstrapSpec, ParamSpec, Params};
pub use sample::Seed;
pub use security::max_log_qp;
