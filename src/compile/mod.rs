//! From a model to a plan.

mod choose;
mod limits;
mod options;
mod precision;
mod refused;
mod report;
mod result_errors;
mod samples;
mod warning;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fhec_frontend::{FixedBatch, ImportOptions};
use fhec_ir::{Issue, Loc, Module, Nn, Port, Tensor};
use fhec_passes::PassError;
use fhec_passes::approximate::{ApproximateActivations, Replacement};
use fhec_passes::fold::Fold;
use fhec_passes::params::Precision;
use fhec_passes::pipeline::PlanOptions;
use fhec_passes::place::Placement;
use fhec_passes::reconstruct::{LayerGain, Reconstructed};
use fhec_runtime::Plan;

pub use fhec_passes::pipeline::Snapshot;
pub use options::{CompileOptions, MOST_MARGIN};
pub use precision::SimulatedPrecision;
pub use refused::{PrecisionLimit, Refused};

use crate::ends::Ends;
use crate::error::Error;
use crate::front::{Accuracy, FrontPoint, Validation};
use crate::target::Engine;
use precision::Made;
use report::Report;

/// Compiles models to plans.
///
/// Activations are fitted on the inputs they see on calibration data: a few hundred inputs from the training set, never
/// from the test set.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    options: CompileOptions,
    calibration: Option<Vec<Vec<Tensor>>>,
    validation: Option<Validation>,
    engine: Arc<Engine>,
}

/// A model read from a file.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network of one image.
    pub module: Module<Nn>,
    /// blake3 of the file, in hexadecimal.
    pub digest: String,
    /// Images in the inputs of the file, where it fixes more than one; nothing in it mixes them.
    pub batch: Option<usize>,
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
    /// What rebuilding its weights gained for each layer.
    pub layers: Vec<LayerGain>,
    /// Where and why the program is bootstrapped, if it is.
    pub placement: Option<Placement>,
    /// Plans none of which is better in both time and error, when asked for.
    pub front: Vec<FrontPoint>,
    /// How accurate the network is before and after, where there are validation inputs.
    pub accuracy: Option<Accuracy>,
    /// How precise its results are in simulated runs on calibration inputs.
    pub precision: SimulatedPrecision,
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

/// Results and inputs beyond what calibration saw, as a factor.
const RESULT_ROOM: f64 = 1.5;
/// The surrogate error up to which a network that bootstraps is made faster unless the user says otherwise. Measured with
/// rebuilt weights on the ResNet-20 of CIFAR-10 and 4,000 training images that calibration does not see, of which 99.7 %
/// are classified right by the original: 98.2 % at 1.0e-3, 98.9 % at 8.0e-4, 99.3 % at 4.4e-4, 99.6 % at 2.0e-4.
pub const DEFAULT_ERROR: f64 = 5e-4;
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
        Self::of(module, &bytes)
    }

    /// Reads the bytes of an ONNX file without external data.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let options = ImportOptions { name: Some(name.into()), external_data: None };
        let module = fhec_frontend::import(bytes, &options)?;
        Self::of(module, bytes)
    }

    fn of(module: Module<Nn>, bytes: &[u8]) -> Result<Self, Error> {
        let empty = |port: &&Port| port.shape.is_empty();
        if let Some(port) = module.inputs.iter().find(empty) {
            let reason = format!("its shape {} has an extent of 0: there is nothing to encrypt", port.shape);
            let repair = "export the model with inputs that have elements";
            let issue = Issue::new(&Loc::onnx(&port.name), "input", reason, repair);
            return Err(PassError { pass: "import", issues: vec![issue] }.into());
        }
        let digest = blake3::hash(bytes).to_hex().to_string();
        Ok(match fhec_frontend::without_batch(&module) {
            Some(FixedBatch { extent, module }) => Self { module, digest, batch: Some(extent) },
            None => Self { module, digest, batch: None },
        })
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
        self.options.uniform = true;
        self
    }

    /// Plans for a host of these times.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// Sets the calibration data: one set of input tensors per image.
    pub fn calibration(mut self, samples: Vec<Vec<Tensor>>) -> Self {
        self.calibration = Some(samples);
        self
    }

    /// Measures the accuracy of the network and of its polynomial form on these inputs, and of plans of the front, where one
    /// is asked for.
    pub fn validation(mut self, validation: Validation) -> Self {
        self.validation = Some(validation);
        self
    }

    /// Compiles a model.
    ///
    /// # Errors
    /// Every node that stands in the way, with a repair; and [`Refused`] where an option cannot be obeyed.
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
        let _span = tracing::debug_span!("compile", model = model.module.func.name.as_str()).entered();
        self.options.check(&model.module)?;
        let mut seconds = Vec::new();
        let mut warnings = Vec::new();
        let mut clock = Instant::now();
        let mut lap = |stage: &str| {
            seconds.push((stage.to_string(), clock.elapsed().as_secs_f64()));
            clock = Instant::now();
        };
        observe("import", Snapshot::Nn(&model.module));
        let (folded, rewrites) = Fold::default().explain(&model.module)?;
        observe("fold", Snapshot::Nn(&folded));
        lap("fold");
        let (samples, approximate) = self.samples(&folded, &mut warnings)?;
        let mut chosen = self.choose(&folded, &samples, approximate, &mut warnings)?;
        lap("choose-polynomials");
        let Reconstructed { module: mut polynomial, activations, layers } =
            self.polynomials(&folded, &samples, approximate, &chosen.choices)?;
        let ends = Ends::measure(&polynomial, &samples)?;
        let options = self.plan_options(&ends, &samples);
        if self.calibration.is_some() {
            ends.describe(&mut polynomial, options.params.precision.allows(ends.result_bound));
        }
        observe("approximate-activations", Snapshot::Nn(&polynomial));
        self.check_fits(&activations)?;
        self.check_error(&folded, &samples, &activations, &chosen, &mut warnings)?;
        lap("approximate-activations");
        let Made { plan, placement, mut notes, precision, .. } =
            self.plan(&polynomial, &samples, options, observe, &mut warnings)?;
        if let Some(batch) = model.batch {
            let packed = batch.next_power_of_two();
            notes.push(format!(
                "the model fixes a batch of {batch}, of which it mixes no images: the plan is of one image; `--batch {packed}` packs {packed} into a run"
            ));
        }
        self.check_placed(placement.as_ref())?;
        self.check_latency(&plan, &chosen)?;
        warnings.extend(self.undone(&folded, &samples, placement.is_some()).map(|w| w.to_string()));
        lap("plan");
        let front = self.measured(std::mem::take(&mut chosen.front), &folded, &samples, approximate)?;
        let accuracy = |v: &Validation| -> Result<Accuracy, Error> {
            Ok(Accuracy { original: v.accuracy(&folded)?, polynomial: v.accuracy(&polynomial)? })
        };
        let accuracy = self.validation.as_ref().map(accuracy).transpose()?;
        lap("validate");
        let placed = placement.as_ref();
        let report = Report::new(&activations, &layers, placed, &front, accuracy, &notes, &warnings);
        let plan = plan.with_provenance(self.provenance(model, samples.len(), approximate.margin, &report));
        let mut explanation = rewrites.to_string();
        explanation.push_str(&chosen.forms);
        for placement in placement.iter().chain(&chosen.placement) {
            explanation.push_str(&placement.explanation.to_string());
        }
        Ok(Compiled {
            plan,
            polynomial,
            activations,
            layers,
            placement,
            front,
            accuracy,
            precision,
            notes,
            warnings,
            explanation,
            seconds,
        })
    }

    /// The network with polynomials in place of its activations, what became of each, and the samples they were fitted on:
    /// the calibration data, or synthetic inputs and a warning.
    ///
    /// # Errors
    /// When the network does not run on the samples, or an activation cannot be approximated.
    pub fn approximate(&self, module: &Module<Nn>, warnings: &mut Vec<String>) -> Result<Approximated, Error> {
        let (samples, options) = self.samples(module, warnings)?;
        let (polynomial, activations) = ApproximateActivations::calibrated(module, &samples, options)?;
        Ok((polynomial, activations, samples))
    }

    /// The options of packing and parameters, completed by the magnitudes that a network has on `samples`.
    fn plan_options(&self, ends: &Ends, samples: &[Vec<Tensor>]) -> PlanOptions {
        let mut options = self.options.plan.clone();
        if let Some(bits) = self.options.precision {
            options.params.precision = Precision::Absolute(bits);
        }
        options.params.input_bound = options.params.input_bound.max(ends.input_bound);
        options.params.result_bound.get_or_insert(ends.result_bound * RESULT_ROOM);
        if options.params.samples.is_empty() {
            options.params.samples = samples.iter().take(MAGNITUDE_SAMPLES).cloned().collect();
        }
        options
    }
}
