//! Quantised networks under TFHE.
//!
//! An [integer program](fhec_integer) runs exactly on ciphertexts that hold one small integer each: a weighted sum is a sum of LWE
//! ciphertexts with integer weights, which costs next to nothing, and a look-up table is one programmable bootstrap, which costs
//! all the time. A [`Plan`] is a program with a standard parameter set of the crate `tfhe` in which its sums fit; it decrypts to what
//! [`Program::evaluate`](fhec_integer::Program::evaluate) gives in the clear, integer for integer, but for a failure probability below
//! 2^-128 for each look-up and result.
//!
//! Without the feature `engine` the crate holds plans alone, and nothing of `tfhe` is compiled. With it, a `Server` evaluates; with
//! `client`, a `Client` makes keys, encrypts and decrypts. The licence of `tfhe`, BSD-3-Clause-Clear, grants no patents.

mod client_plan;
mod error;
mod parameters;
mod plan;
mod plan_file;

#[cfg(feature = "engine")]
mod ciphertexts;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "engine")]
mod evaluation_keys;
#[cfg(feature = "engine")]
mod seeded;
#[cfg(feature = "engine")]
mod server;

/// Programs of quantised networks.
pub use fhec_integer as integer;

pub use client_plan::{CLIENT_PLAN_KIND, ClientPlan, Decoding};
pub use error::TfheError;
pub use parameters::{ParameterSet, SETS};
pub use plan::Plan;
pub use plan_file::PLAN_KIND;

#[cfg(feature = "engine")]
pub use ciphertexts::{CIPHERTEXTS_KIND, Content, Encrypted};
#[cfg(feature = "client")]
pub use client::{Client, SECRET_KEY_KIND};
#[cfg(feature = "engine")]
pub use evaluation_keys::{EVALUATION_KEYS_KIND, EvaluationKeys};
#[cfg(feature = "engine")]
pub use server::Server;
