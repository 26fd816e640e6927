//! Users of the library see one error type. Every message says what is wrong with which file or node, and what helps.

use std::borrow::Cow;

use fhec_ckks::CkksError;
#[cfg(feature = "compiler")]
use fhec_frontend::ImportError;
use fhec_runtime::RuntimeError;
use miette::Diagnostic;
use thiserror::Error;

use crate::data::DataError;

/// Why something cannot be compiled, encrypted, evaluated or decrypted.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A NumPy file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// A plan, or its execution.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] RuntimeError),
    /// The engine: parameters, keys, ciphertexts.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] CkksError),
    /// A model that cannot be read.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Import(#[from] ImportError),
    /// A network that cannot be written as a model.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] fhec_frontend::ExportError),
    /// A model that cannot be compiled.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] fhec_passes::PassError),
    /// Activations that cannot be approximated.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Approximate(#[from] fhec_passes::activations::ApproximateError),
    /// Passes that did not run to the end.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Passes(#[from] fhec_passes::registry::RunError),
    /// An option of the compiler that cannot be obeyed.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Refused(#[from] crate::compile::Refused),
    /// A quantised network under TFHE.
    #[cfg(feature = "tfhe")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tfhe(#[from] fhec_tfhe::TfheError),
    /// A network that cannot be quantised.
    #[cfg(all(feature = "tfhe", feature = "compiler"))]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Quantise(#[from] fhec_passes::quantise::QuantiseError),
    /// A program in text form.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Text(#[from] fhec_ir::text::ParseError),
    /// A ciphertext file that does not go with the plan.
    #[error("{file}: {reason}")]
    Ciphertexts {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A plan that asks for more evaluation keys than its client admits.
    #[error(
        "the evaluation keys of this plan take {} in a file, the bound is {}",
        crate::report::units::bytes(*bytes), crate::report::units::bytes(*limit)
    )]
    #[diagnostic(help("if the plan comes from a source you trust, raise the bound: `--max-size {bytes}`"))]
    KeysTooLarge {
        /// Bytes of the keys in a file.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// A secret key that was made for another plan.
    #[error("{file}: the secret key was made for plan {found}, this is plan {expected}")]
    #[diagnostic(help(
        "give the plan, or the client plan, that `fhec keygen` made the key for; or make keys for this one"
    ))]
    OtherPlan {
        /// The file of the key.
        file: String,
        /// Beginning of the digest of the plan that the key was made for.
        found: String,
        /// Beginning of this plan's digest.
        expected: String,
    },
    /// An encrypted secret key without its passphrase, or a passphrase without such a key.
    #[error("{file}: {reason}")]
    Passphrase {
        /// The file of the key.
        file: String,
        /// What does not fit.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A file that cannot be read or written.
    #[error("{file} cannot be read or written")]
    #[diagnostic(help("check the path, the permission and the free space"))]
    File {
        /// The file.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An output that cannot be written, or must not be.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Output(#[from] fhec_files::OutputError),
    /// Inputs so unlike the calibration data that their results would be wrong.
    #[error("{file}: {reason}")]
    Inputs {
        /// The file.
        file: String,
        /// What is wrong with them.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// Results that must not be trusted: not finite, or far from anything that calibration data gave.
    #[error("{reason}")]
    Results {
        /// What is wrong with them.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// Parameters that are marked insecure, and nobody who accepted them.
    #[error("the parameters of `{plan}` are marked insecure: whoever has a ciphertext may be able to read it")]
    #[diagnostic(help(
        "compile the model anew without the mark, or ask the sender of the plan why it is there; for a test with data that \
         may be read give `--insecure`, in the library `Client::options().allow_insecure()`"
    ))]
    Insecure {
        /// The model that the plan is of.
        plan: String,
    },
    /// A service that refuses a request, does not answer, or answers what it should not.
    #[error("{service}: {reason}")]
    Service {
        /// Its address.
        service: String,
        /// What it said, or what is wrong.
        reason: String,
        /// What to do about it.
        #[help]
        repair: String,
    },
    /// A request that makes no sense.
    #[error("{reason}")]
    Usage {
        /// What is wrong.
        reason: String,
        /// What to do instead.
        #[help]
        repair: String,
    },
}

impl Error {
    /// The exit code of the `fhec` command for this error: 3 for inputs and results that must not be trusted, else 1. 2 is
    /// clap's, for a wrong command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Inputs { .. } | Self::Results { .. } => 3,
            #[cfg(feature = "tfhe")]
            Self::Tfhe(fhec_tfhe::TfheError::Noise { .. }) => 3,
            _ => 1,
        }
    }

    /// What kind of error it is, in one word that stays the same between versions: the `code` of an error in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Data(_) => "data",
            Self::Runtime(e) => runtime_kind(e),
            Self::Engine(e) => engine_kind(e),
            #[cfg(feature = "compiler")]
            Self::Import(_) | Self::Export(_) => "model",
            #[cfg(feature = "compiler")]
            Self::Compile(_) => "compile",
            #[cfg(feature = "compiler")]
            Self::Passes(e) => run_kind(e),
            #[cfg(feature = "compiler")]
            Self::Approximate(_) => "calibration",
            #[cfg(feature = "compiler")]
            Self::Refused(_) => "refused",
            #[cfg(feature = "tfhe")]
            Self::Tfhe(e) => tfhe_kind(e),
            #[cfg(all(feature = "tfhe", feature = "compiler"))]
            Self::Quantise(_) => "compile",
            Self::Text(_) => "program",
            Self::Ciphertexts { .. } => "ciphertexts",
            Self::File { .. } | Self::Output(_) => "file",
            Self::Inputs { .. } => "inputs",
            Self::Results { .. } => "results",
            Self::Insecure { .. } => "insecure",
            Self::KeysTooLarge { .. } => "memory",
            Self::OtherPlan { .. } => "plan",
            Self::Passphrase { .. } => "passphrase",
            Self::Service { .. } => "service",
            Self::Usage { .. } => "usage",
        }
    }

    /// The nodes that cannot be compiled, all at once, where these are the reason.
    #[cfg(feature = "compiler")]
    pub fn issues(&self) -> &[fhec_ir::Issue] {
        use fhec_passes::activations::ApproximateError;
        use fhec_passes::registry::RunError;
        match self {
            Self::Import(e) => e.issues(),
            Self::Compile(e)
            | Self::Approximate(ApproximateError::Pass(e))
            | Self::Passes(RunError::Pass(e) | RunError::Approximate(ApproximateError::Pass(e))) => &e.issues,
            _ => &[],
        }
    }

    /// The end of work that was told to stop.
    #[cfg(any(feature = "compiler", feature = "remote"))]
    pub(crate) fn cancelled() -> Self {
        fhec_ckks::CkksError::Cancelled.into()
    }

    /// Whether this is the end of work that was told to stop.
    pub fn is_cancelled(&self) -> bool {
        self.kind() == "cancelled"
    }

    /// The file that is at fault, where there is one.
    pub fn file(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Data(e) => Some(e.file.as_str().into()),
            Self::Runtime(RuntimeError::Container(e)) => Some(e.file.as_str().into()),
            Self::Runtime(
                RuntimeError::Program { file, .. }
                | RuntimeError::Verify { file, .. }
                | RuntimeError::NotAPlan { file, .. },
            ) => Some(file.as_str().into()),
            #[cfg(feature = "compiler")]
            Self::Import(ImportError::Io { path, .. }) => Some(path.to_string_lossy()),
            #[cfg(feature = "tfhe")]
            Self::Tfhe(fhec_tfhe::TfheError::Container(e)) => Some(e.file.as_str().into()),
            Self::Text(e) => Some(e.source_code.name().into()),
            Self::Ciphertexts { file, .. }
            | Self::File { file, .. }
            | Self::Inputs { file, .. }
            | Self::Passphrase { file, .. }
            | Self::OtherPlan { file, .. } => Some(file.as_str().into()),
            Self::Output(e) => Some(e.file.as_str().into()),
            _ => None,
        }
    }
}

#[cfg(feature = "compiler")]
fn run_kind(error: &fhec_passes::registry::RunError) -> &'static str {
    use fhec_passes::registry::RunError;
    match error {
        RunError::Unknown { .. } | RunError::Level { .. } | RunError::Missing { .. } => "usage",
        RunError::Verify { .. } => "program",
        RunError::Approximate(_) => "calibration",
        RunError::Pass(_) => "compile",
    }
}

fn engine_kind(error: &CkksError) -> &'static str {
    match error {
        CkksError::Cancelled => "cancelled",
        _ => "engine",
    }
}

#[cfg(feature = "tfhe")]
fn tfhe_kind(error: &fhec_tfhe::TfheError) -> &'static str {
    use fhec_tfhe::TfheError;
    match error {
        TfheError::Container(_) => "file",
        TfheError::Program(_) | TfheError::NoParameters(_) => "plan",
        TfheError::DoesNotFit { .. } => "compile",
        TfheError::Noise { .. } => "results",
        _ => "ciphertexts",
    }
}

fn runtime_kind(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::Container(_) => "file",
        RuntimeError::Program { .. } | RuntimeError::Verify { .. } | RuntimeError::NotAPlan { .. } => "plan",
        RuntimeError::Input { .. } => "data",
        RuntimeError::Memory { .. } => "memory",
        RuntimeError::Engine(e) => engine_kind(e),
        _ => "engine",
    }
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use fhec_ckks::{KeyName, ShortDigest};
    use fhec_ir::ckks::exec::ExecError;
    use fhec_ir::nn::eval::EvalError;
    use fhec_ir::{Entity, Issue, Loc, Value};
    use fhec_passes::PassError;
    use fhec_passes::activations::ApproximateError;
    use fhec_passes::activations::sensitivity::SensitivityError;
    use fhec_passes::planner::PlanError;

    use super::*;

    fn rendered(error: impl Diagnostic + Send + Sync + 'static) -> String {
        format!("{:?}", miette::Report::new(error))
    }

    #[track_caller]
    fn check(error: impl Diagnostic + Send + Sync + 'static) {
        let text = rendered(error);
        assert!(text.contains("help: ") && !text.contains("help: \n"), "no help: {text}");
    }

    #[test]
    fn errors_of_the_engine_print_their_help() {
        let (op, what, digest) = ("rotate", "ciphertext", ShortDigest::default());
        let name = KeyName::Relin;
        let all = || {
            [
                CkksError::Params("too many".into()),
                CkksError::Security { log_n: 13, log_qp: 300.0, limit: 214, needed: 14 },
                CkksError::Failure { k: 8, weight: 32, log2: -10.0, limit: -60.0, least_k: 12 },
                CkksError::Level { op, level: 3, max: 2 },
                CkksError::LevelMismatch { op, left: 1, right: 2 },
                CkksError::ScaleDegree { op, found: 2, wanted: 1 },
                CkksError::Parts { op, found: 3, wanted: 2 },
                CkksError::Slots { op, found: 3, wanted: "4".into() },
                CkksError::Encode { slot: 0, value: 1e30, log_scale: 40.0 },
                CkksError::MissingKey(name),
                CkksError::KeyLevel { name, have: 1, need: 2 },
                CkksError::ParamsMismatch { what, found: digest, expected: digest },
                CkksError::KeyMismatch { what, found: digest, expected: digest },
                CkksError::Format { what, reason: "short".into() },
                CkksError::System("full".into()),
                CkksError::Cancelled,
            ]
        };
        all().into_iter().for_each(|e| check(Error::from(e)));
        all().into_iter().for_each(|e| check(Error::from(RuntimeError::from(e))));
        let stopped = |source| ExecError::Op { op, value: Value::new(0), node: "conv".into(), source };
        all().into_iter().for_each(|e| check(Error::from(RuntimeError::from(stopped(e)))));
    }

    #[test]
    fn errors_of_plans_and_runs_print_their_help() {
        let (file, reason) = ("plan.fhe".to_string(), "short".to_string());
        check(Error::from(RuntimeError::NotAPlan { file: file.clone(), reason: reason.clone() }));
        check(Error::from(RuntimeError::Input { port: "x".into(), reason: reason.clone() }));
        check(Error::from(RuntimeError::Simulation(ExecError::InputCount { expected: 1, found: 2 })));
        check(Error::from(RuntimeError::Memory { bound: 1, least: 2, unbounded: 3 }));
        check(Error::from(RuntimeError::Trace(reason.clone())));
        check(Error::from(fhec_runtime::Plan::load("nothing.fhe").unwrap_err()));
        check(Error::Ciphertexts { file: file.clone(), reason: reason.clone(), repair: "mend it".into() });
        check(Error::File { file, source: std::io::ErrorKind::NotFound.into() });
        check(Error::Inputs { file: "x.npy".into(), reason: reason.clone(), repair: "mend it".into() });
        check(Error::Results { reason: reason.clone(), repair: "mend it".into() });
        check(Error::Passphrase { file: "client.key".into(), reason: reason.clone(), repair: "mend it".into() });
        check(Error::Insecure { plan: "tiny".into() });
        check(Error::Service { service: "http://x".into(), reason: reason.clone(), repair: "mend it".into() });
        check(Error::Usage { reason, repair: "mend it".into() });
    }

    #[test]
    fn errors_of_the_compiler_print_their_help() {
        let model = || "m".to_string();
        let eval = || EvalError::InputCount { expected: 1, found: 2 };
        let issues = || vec![Issue::new(&Loc::onnx("conv"), "Conv", "it is wrong", "mend it")];
        check(Error::from(ImportError::Io { path: "m.onnx".into(), source: std::io::ErrorKind::NotFound.into() }));
        check(Error::from(ImportError::NotOnnx { model: model(), reason: "short".into() }));
        check(Error::from(ImportError::Opset { model: model(), found: 1 }));
        check(Error::from(ImportError::Nodes { model: model(), issues: issues() }));
        check(Error::from(fhec_frontend::ExportError::TooLarge { bytes: 1 << 32 }));
        check(Error::from(PassError { pass: "pack", issues: issues() }));
        check(Error::from(ApproximateError::Eval(eval())));
        check(Error::from(ApproximateError::NotFinite { node: "relu".into() }));
        check(Error::from(ApproximateError::NoSamples));
        check(Error::from(ApproximateError::Pass(PassError { pass: "fold", issues: issues() })));
        check(SensitivityError::Eval(eval()));
        check(SensitivityError::NoSamples);
        check(PlanError::Network { at: "a".into(), what: "b".into() });
        check(PlanError::Starved { stage: "a".into(), needs: 3, level: 2 });
        check(PlanError::Limits { asked: "a".into(), nearest: "b".into() });
        check(PlanError::Candidate { activation: "a".into(), what: "b".into() });
    }
}
