//! fhec compiles trained neural networks (ONNX) into programs that a server runs on encrypted data (CKKS).
//!
//! # The pipeline
//!
//! | step | from | to | by |
//! |---|---|---|---|
//! | import | an ONNX file | [`Model`] | [`Model::load`] |
//! | compile | [`Model`], calibration data | [`Plan`], in [`Compiled`] | [`Compiler::compile`] |
//! | tell the client | [`Plan`] | [`ClientPlan`] | [`Plan::client`] |
//! | make keys | [`ClientPlan`] | [`Client`], evaluation keys | [`Client::generate`], [`Client::evaluation_keys`] |
//! | encrypt | tensors | [`Encrypted`] inputs | [`Client::encrypt`] |
//! | evaluate | [`Plan`], evaluation keys, inputs | [`Encrypted`] results | [`Server::eval`] |
//! | decrypt | results | tensors | [`Client::decrypt`] |
//!
//! The server computes on what it cannot read. Beside that path, [`Simulator`] runs a plan in the clear with modelled noise,
//! [`RangeCheck`] compares inputs and results with the calibration data, and [`report::Report`] says what a plan is and what
//! it costs.
//!
//! # Example
//!
#![cfg_attr(all(feature = "client", feature = "compiler"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "client", feature = "compiler")), doc = "```ignore")]
//! use fhec::{Client, ClientPlan, Compiler, ExecutorOptions, Model, Server, data};
//!
//! // Once: model to plan. Calibration data are inputs from the training set.
//! let model = Model::load("model.onnx")?;
//! let calibration = data::read_samples("calibration.npy".as_ref(), &model.module.inputs)?;
//! let plan = Compiler::new().calibration(calibration).compile(&model)?.plan;
//! plan.save("plan.fhe")?;
//! plan.client()?.save("client.fhe")?;
//!
//! // The client: keys, encryption. It needs nothing of the model but the client plan.
//! let client_plan = ClientPlan::load("client.fhe")?;
//! let mut client = Client::generate(&client_plan)?;
//! let keys = client.evaluation_keys(|_| ())?;
//! let images = data::read_samples("x.npy".as_ref(), &client_plan.image_inputs())?;
//! let encrypted = client.encrypt(&images)?;
//!
//! // The server: plan, evaluation keys, ciphertexts; nothing that decrypts.
//! let server = Server::new(plan, client.context().clone(), keys, ExecutorOptions::default())?;
//! let (results, _) = server.eval(&encrypted, &mut |_| ())?;
//!
//! // The client again.
//! let logits = client.decrypt(&results)?;
//! // A softmax, or the choice of a class, at the end of the network was left to the client.
//! let probabilities = client.apply_heads(&logits)?;
//! # Ok::<(), fhec::Error>(())
//! ```
//!
//! A network answers only inputs like those of its calibration data; [`RangeCheck`] finds inputs and results that are not.
//!
//! # Crate features
//!
//! `client` (secret keys) and `compiler` (ONNX to plan) are both on by default. Without them the crate only evaluates. `remote` adds
//! the module of that name, the client of a service; `tls` has it speak HTTPS, too.
//! `tfhe` adds quantised networks under TFHE, by a crate whose licence grants no patents (`docs/tfhe.md`).

#[cfg(feature = "compiler")]
mod accuracy;
#[cfg(feature = "client")]
pub mod bench;
#[cfg(feature = "client")]
pub mod calibrate;
mod ciphertexts;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "compiler")]
mod compile;
pub mod data;
mod error;
#[cfg(feature = "compiler")]
mod front;
#[cfg(feature = "client")]
pub mod heads;
mod partial;
#[cfg(feature = "compiler")]
pub mod prepare;
#[cfg(feature = "compiler")]
pub mod program;
mod ranges;
#[cfg(feature = "remote")]
pub mod remote;
pub mod report;
mod request;
mod server;
#[cfg(feature = "compiler")]
mod target;
#[cfg(feature = "tfhe")]
pub mod tfhe;

#[cfg(feature = "compiler")]
pub use accuracy::Accuracy;
pub use ciphertexts::{Content, Encrypted, EncryptedFile};
#[cfg(feature = "client")]
pub use client::{Client, ClientOptions, DEFAULT_KEY_BYTES, Published, Remains};
#[cfg(feature = "compiler")]
pub use compile::{
    ActivationForm, Agreement, CompileOptions, CompileProgress, Compiled, Compiler, DEFAULT_AGREEMENT, Forms,
    MOST_MARGIN, Model, Observer, PrecisionLimit, Refused, Resumed, Samples, SearchFolder, SearchFront, SearchOptions,
    SearchPoint, SearchProgress, Searched, SimulatedPrecision, Size, Sizes, Snapshot,
};
pub use error::Error;
pub use fhec_ckks::Ciphertext;
/// What a callback that hears of progress answers.
pub use fhec_ckks::Verdict;
/// What the publication of results promises.
#[cfg(feature = "client")]
pub use fhec_client::Publication;
/// How far key generation is.
#[cfg(feature = "client")]
pub use fhec_client::{KeyProgress, Passphrase};
/// Where outputs go.
pub use fhec_files::{Destination, STANDARD_OUTPUT, discard_unfinished, is_same_file};
pub use fhec_ir::Tensor;
/// What results are taken for where networks are compared.
#[cfg(feature = "compiler")]
pub use fhec_passes::activations::result_kind::ResultKind;
/// What an engine says of itself: implement it to compile for another one.
#[cfg(feature = "compiler")]
pub use fhec_passes::target::Target;
pub use fhec_runtime::{
    ClientPlan, ExecutorOptions, MemoryPrediction, NoiseReport, Plan, RunReport, Simulated, Simulation, Simulator,
    run_clear,
};
#[cfg(feature = "compiler")]
pub use front::{FrontPoint, Validation};
pub use partial::Partial;
pub use ranges::{Outside, RangeCheck};
pub use request::RequestId;
pub use server::{BatchProgress, Server};
#[cfg(feature = "compiler")]
pub use target::Engine;

/// The IR, for programs that look into plans.
pub use fhec_ir as ir;
/// The passes, for programs that compose their own pipeline.
#[cfg(feature = "compiler")]
pub use fhec_passes as passes;
/// Plans and executors.
pub use fhec_runtime as runtime;
