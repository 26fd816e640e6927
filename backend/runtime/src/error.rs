//! Why a plan cannot be made, read or run.

use fhec_ckks::CkksError;
use fhec_ir::ckks::exec::{ClearError, ExecError};
use fhec_ir::text::ParseError;
use fhec_ir::verify::VerifyError;
use miette::Diagnostic;
use thiserror::Error;

/// What the runtime refuses, and why.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The file cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Container(#[from] fhec_container::ContainerError),
    /// The plan's program is not well-formed text.
    #[error("{file}: the program cannot be read")]
    #[diagnostic(help("the plan was not written by fhec, or by an incompatible version: compile the model again"))]
    Program {
        /// The plan file.
        file: String,
        /// What is wrong with the text.
        #[source]
        source: Box<ParseError>,
    },
    /// The plan's program breaks a rule of its level.
    #[error("{file}: the program does not verify: {}", source.listing())]
    #[diagnostic(help("compile the model again; if that does not help, report the model to the authors"))]
    Verify {
        /// The plan file.
        file: String,
        /// The violations.
        #[source]
        source: Box<VerifyError>,
    },
    /// A program that is no plan yet.
    #[error("{file}: {reason}")]
    #[diagnostic(help("a plan needs parameters, ports with layouts, and results that are ciphertexts"))]
    NotAPlan {
        /// The plan file or function name.
        file: String,
        /// What is missing.
        reason: String,
    },
    /// One of the bootstraps of a run fails with too high a probability.
    #[error(
        "{file}: a run of {bootstraps} bootstraps of {slots} slots fails with a probability of up to 2^{log2:.1}, the limit is \
         2^{limit}"
    )]
    #[diagnostic(help("compile the model again; where that does not help, take fewer layers or lower degrees"))]
    Failure {
        /// The plan file or function name.
        file: String,
        /// Bootstraps of a run.
        bootstraps: u64,
        /// Slots of each.
        slots: usize,
        /// log2 of the probability.
        log2: f64,
        /// log2 of the largest probability admitted.
        limit: f64,
    },
    /// A plan that was written and cannot be read.
    #[error("{file}: the plan was written but cannot be read back, so it must not be used")]
    #[diagnostic(help("check the disk; if that does not help, report the model to the authors"))]
    ReadBack {
        /// The plan file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: Box<RuntimeError>,
    },
    /// An input tensor does not fit the plan.
    #[error("input `{port}`: {reason}")]
    #[diagnostic(help(
        "give one tensor per input of the plan, of the shape `fhec inspect` shows; a leading dimension of images is allowed"
    ))]
    Input {
        /// The port.
        port: String,
        /// What does not fit.
        reason: String,
    },
    /// A simulated run failed.
    #[error("the simulated run stopped")]
    #[diagnostic(help("{}", advice(_0)))]
    Simulation(#[from] ExecError<ClearError>),
    /// An encrypted run failed.
    #[error("the encrypted run stopped")]
    #[diagnostic(help("{}", advice(_0)))]
    Evaluation(#[from] ExecError<CkksError>),
    /// The engine refused.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] CkksError),
    /// The memory bound leaves no room for a run.
    #[error(
        "the run needs at least {:.2} GiB with keys and constants made again for every use, the bound is {:.2} GiB",
        gib(*least), gib(*bound)
    )]
    #[diagnostic(help("raise --mem; without a bound the run needs {:.2} GiB", gib(*unbounded)))]
    Memory {
        /// The bound in bytes.
        bound: u64,
        /// The least that works.
        least: u64,
        /// What a run without a bound needs.
        unbounded: u64,
    },
    /// What ran is not what the plan says.
    #[error("the executed operations differ from the plan: {0}")]
    #[diagnostic(help("this is an error in fhec: report it with the plan"))]
    Trace(String),
}

/// The help of the error that a run stopped with.
fn advice(error: &dyn Diagnostic) -> String {
    error.help().map(|help| help.to_string()).unwrap_or_default()
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}
