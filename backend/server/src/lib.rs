//! An HTTP service that runs one plan for several tenants. A tenant uploads evaluation keys once, sends ciphertexts, and fetches
//! results; the service computes on what it cannot read and holds nothing that decrypts: neither this crate nor what it depends on
//! knows a secret key.
//!
//! What was accepted is not lost. A request is on the disk before it is acknowledged, the same request sent again is the same
//! [job](job::Job), and a job that was interrupted runs again. What tenants may use is bounded: the memory of all evaluators
//! together, the disk, the queue, the length of every upload and the time it may take ([`Limits`]).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use fhec_server::{Config, PlanEngine, Resources, Service};
//!
//! let plan = fhec::Plan::load("plan.fhe")?;
//! let engine = Arc::new(PlanEngine::new(plan, Resources::default())?);
//! let service = Service::start(engine, Config::new("keys"))?;
//! println!("listening on {}", service.address());
//! service.wait();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The protocol is in `docs/serving.md`, and in the service itself as `/openapi.json`.

mod app;
mod config;
mod disk;
mod engine;
mod error;
mod http;
mod id;
pub mod job;
mod keys;
mod metrics;
mod pool;
mod queue;
mod refusal;
mod service;
mod store;
mod submit;
mod tokens;
mod worker;

pub use config::{Config, Limits};
pub use engine::{
    Engine, Evaluated, Evaluator, Facts, Failure, JobFiles, PlanEngine, Progress, RequestFacts, Resources, Unfit,
};
pub use error::ServeError;
pub use http::{OPENAPI, routes};
pub use id::{JobId, KeyId};
pub use service::{Service, Stopper};
pub use tokens::{NewToken, Tokens};
