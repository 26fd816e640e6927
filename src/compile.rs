//! From a model to a plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fhec_frontend::ImportOptions;
use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::approximate::{ApproximateActivations, ApproximateOptions, Replacement};
use fhec_passes::fold::Fold;
use fhec_passes::pipeline::{self, PlanOptions};
use fhec_runtime::{Plan, Provenance};
use serde::Serialize;

pub use fhec_passes::pipeline::Snapshot;

use crate::error::Error;
use crate::target::Engine;

/// How a model is compiled.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// How activations become polynomials.
    pub approximate: ApproximateOptions,
    /// How the network is packed, and what its parameters must achieve.
    pub plan: PlanOptions,
}

/// Compiles models to plans.
///
/// Activations are fitted on the inputs they see on calibration data: a few hundred inputs from the training set, never
/// from the test set.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    options: CompileOptions,
    calibration: Option<Vec<Vec<Tensor>>>,
    engine: Arc<Engine>,
}

/// A model read from a file.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub module: Module<Nn>,
    /// blake3 of the file, in hexadecimal.
    pub digest: String,
}

/// A plan and how it came to be.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The network with polynomials in place of activations: what the plan computes.
    pub polynomial: Module<Nn>,
    /// What became of each activation.
    pub activations: Vec<Replacement>,
    /// Remarks of the passes, one sentence each.
    pub notes: Vec<String>,
    /// What the user should change.
    pub warnings: Vec<String>,
    /// The rewrites from the model's nodes to the folded ones.
    pub explanation: String,
    /// Seconds per stage, in order.
    pub seconds: Vec<(String, f64)>,
}

/// A network with polynomials, what became of each activation, and the samples they were fitted on.
pub type Approximated = (Module<Nn>, Vec<Replacement>, Vec<Vec<Tensor>>);

/// The report that travels in the plan.
#[derive(Serialize)]
struct Report<'a> {
    activations: &'a [Replacement],
    notes: &'a [String],
    warnings: &'a [String],
}

/// Inputs of a network whose user gave none: half of them like pixels, half of them normalised.
const SYNTHETIC_SAMPLES: usize = 64;
/// Synthetic inputs say little about real ones, so the intervals are wider.
const SYNTHETIC_MARGIN: f64 = 2.0;
/// Results and inputs beyond what calibration saw, as a factor.
const RESULT_ROOM: f64 = 1.5;
/// Inputs on which the magnitudes that decide the parameters are measured.
const MAGNITUDE_SAMPLES: usize = 8;

impl Model {
    /// Reads an ONNX file.
    ///
    /// # Errors
    /// When the file cannot be read, or has nodes that cannot be imported: all of them are listed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let module = fhec_frontend::import_file(path)?;
        let bytes = std::fs::read(path).map_err(|source| Error::File { file: path.display().to_string(), source })?;
        Ok(Self { module, digest: blake3::hash(&bytes).to_hex().to_string() })
    }

    /// Reads the bytes of an ONNX file without external data.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let options = ImportOptions { name: Some(name.into()), external_data: None };
        let module = fhec_frontend::import(bytes, &options)?;
        Ok(Self { module, digest: blake3::hash(bytes).to_hex().to_string() })
    }
}

impl Compiler {
    /// A compiler with default options: degree 15, 128-bit security.
    pub fn new() -> Self {
        Self::default()
    }

    /// A compiler with these options.
    pub fn with_options(options: CompileOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Sets the degree of every polynomial.
    pub fn degree(mut self, degree: usize) -> Self {
        self.options.approximate.degree = degree;
        self
    }

    /// Sets the calibration data: one set of input tensors per image.
    pub fn calibration(mut self, samples: Vec<Vec<Tensor>>) -> Self {
        self.calibration = Some(samples);
        self
    }

    /// Compiles a model.
    ///
    /// # Errors
    /// Every node that stands in the way, with a repair.
    pub fn compile(&self, model: &Model) -> Result<Compiled, Error> {
        self.compile_observed(model, &mut |_, _| ())
    }

    /// As [`Compiler::compile`]; `observe` sees the program after every pass.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile_observed(
        &self,
        model: &Model,
        observe: &mut dyn FnMut(&str, Snapshot<'_>),
    ) -> Result<Compiled, Error> {
        let mut seconds = Vec::new();
        let mut warnings = Vec::new();
        let mut clock = Instant::now();
        let mut lap = |stage: &str| {
            seconds.push((stage.to_string(), clock.elapsed().as_secs_f64()));
            clock = Instant::now();
        };
        observe("import", Snapshot::Nn(&model.module));
        let (folded, explanation) = Fold::default().explain(&model.module)?;
        observe("fold", Snapshot::Nn(&folded));
        lap("fold");
        let (polynomial, activations, samples) = self.approximate(&folded, &mut warnings)?;
        observe("approximate-activations", Snapshot::Nn(&polynomial));
        lap("approximate-activations");
        let mut plan_options = self.options.plan.clone();
        let bounds = bounds(&polynomial, &samples)?;
        plan_options.params.input_bound = plan_options.params.input_bound.max(bounds.0);
        plan_options.params.result_bound.get_or_insert(bounds.1 * RESULT_ROOM);
        if plan_options.params.samples.is_empty() {
            plan_options.params.samples = samples.iter().take(MAGNITUDE_SAMPLES).cloned().collect();
        }
        let planned =
            pipeline::plan(&polynomial, &plan_options, Some(&*self.engine), |name, snapshot| observe(name, snapshot))?;
        lap("plan");
        let report = Report { activations: &activations, notes: &planned.notes, warnings: &warnings };
        let provenance = Provenance {
            fhec: env!("CARGO_PKG_VERSION").into(),
            model: model.module.func.name.clone(),
            model_digest: model.digest.clone(),
            options: self.described(&samples),
            report: Some(serde_json::json!(report)),
        };
        let notes = planned.notes.clone();
        let plan = Plan::new(planned.module, provenance)?;
        lap("verify");
        let explanation = explanation.to_string();
        Ok(Compiled { plan, polynomial, activations, notes, warnings, explanation, seconds })
    }

    /// The network with polynomials in place of its activations, what became of each, and the samples they were fitted on:
    /// the calibration data, or synthetic inputs and a warning.
    ///
    /// # Errors
    /// When the network does not run on the samples, or an activation cannot be approximated.
    pub fn approximate(&self, module: &Module<Nn>, warnings: &mut Vec<String>) -> Result<Approximated, Error> {
        let (samples, options) = self.samples(module, warnings);
        let (polynomial, activations) = ApproximateActivations::calibrated(module, &samples, options)?;
        Ok((polynomial, activations, samples))
    }

    /// The calibration data, or stand-ins for it.
    fn samples(&self, module: &Module<Nn>, warnings: &mut Vec<String>) -> (Vec<Vec<Tensor>>, ApproximateOptions) {
        if let Some(samples) = &self.calibration {
            return (samples.clone(), self.options.approximate);
        }
        let has_activation = module.func.iter().any(|(_, n)| matches!(n.op, NnOp::Activation { .. }));
        if has_activation {
            warnings.push(
                "no calibration data: the ranges of activations are guessed from synthetic inputs and results may be \
                 wrong on real ones; give --calibration with a few hundred training inputs"
                    .into(),
            );
        }
        let margin = self.options.approximate.margin.max(SYNTHETIC_MARGIN);
        (synthetic(module), ApproximateOptions { margin, ..self.options.approximate })
    }

    fn described(&self, samples: &[Vec<Tensor>]) -> BTreeMap<String, String> {
        let calibrated = if self.calibration.is_some() { samples.len().to_string() } else { "synthetic".into() };
        BTreeMap::from([
            ("degree".to_string(), self.options.approximate.degree.to_string()),
            ("margin".to_string(), self.options.approximate.margin.to_string()),
            ("calibration".to_string(), calibrated),
            ("precision_bits".to_string(), self.options.plan.params.precision_bits.to_string()),
        ])
    }
}

/// Deterministic inputs without knowledge of the data.
fn synthetic(module: &Module<Nn>) -> Vec<Vec<Tensor>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    let shapes: Vec<_> = module.func.params().iter().map(|&p| module.func.ty(p).0.clone()).collect();
    (0..SYNTHETIC_SAMPLES)
        .map(|i| {
            let mut tensor = |shape: &fhec_ir::Shape| {
                let element = |_| {
                    if i % 2 == 0 {
                        uniform()
                    } else {
                        // Twelve uniform numbers: mean 6, variance 1.
                        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
                    }
                };
                Tensor::new(shape.clone(), (0..shape.len()).map(element).collect::<Vec<_>>())
            };
            shapes.iter().map(&mut tensor).collect()
        })
        .collect()
}

/// The largest magnitude of an input and of a result on the samples.
fn bounds(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<(f64, f64), Error> {
    let largest = |tensors: &[Tensor]| {
        let all = tensors.iter().flat_map(|t| t.data());
        all.fold(0.0f64, |m, &x| m.max(f64::from(x).abs()))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outputs =
        eval::eval_many(module, samples, threads).map_err(fhec_passes::approximate::ApproximateError::from)?;
    let inputs = samples.iter().map(|s| largest(s)).fold(0.0, f64::max);
    Ok((inputs, outputs.iter().map(|o| largest(o)).fold(0.0, f64::max)))
}
