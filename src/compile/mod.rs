//! The compiler makes a plan of a model.

mod choose;
mod limits;
mod options;
mod precision;
mod refused;
mod report;
mod result_errors;
mod samples;
mod warning;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fhec_frontend::ImportOptions;
use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::activations::rebuild::{LayerGain, Reconstructed};
use fhec_passes::activations::{ApproximateActivations, Approximated, Replacement};
use fhec_passes::bootstraps::Placement;
use fhec_passes::fold::Fold;
use fhec_passes::parameters::Precision;
use fhec_passes::pipeline::{Placed, PlanOptions};
use fhec_passes::target::Target;
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

/// Compiles a [`Model`] to a [`Plan`]. [`CompileOptions`] says what may be asked for, and [`Compiled`] what came of it.
///
/// ```no_run
/// use fhec::{CompileOptions, Compiler, Model, data};
///
/// let model = Model::load("model.onnx")?;
/// let calibration = data::read_samples("calibration.npy".as_ref(), &model.module.inputs)?;
/// let options = CompileOptions { precision: Some(12), ..CompileOptions::default() };
/// let compiled = Compiler::with_options(options).calibration(calibration).compile(&model)?;
/// for warning in &compiled.warnings {
///     eprintln!("{warning}");
/// }
/// compiled.plan.save("plan.fhe")?;
/// compiled.plan.client()?.save("client.fhe")?;
/// # Ok::<(), fhec::Error>(())
/// ```
///
/// Activations are fitted on the inputs they see on calibration data: a few hundred inputs from the training set, never
/// from the test set.
#[derive(Clone, Debug)]
pub struct Compiler {
    options: CompileOptions,
    calibration: Option<Vec<Vec<Tensor>>>,
    validation: Option<Validation>,
    engine: Arc<dyn Target>,
}

/// A model read from an ONNX file, for a [`Compiler`].
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub module: Module<Nn>,
    /// blake3 of the file, in hexadecimal.
    pub digest: String,
}

/// A [`Plan`] and how it came to be: what [`Compiler::compile`] gives.
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
    /// The Pareto-optimal plans in time and error, when asked for.
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

impl Default for Compiler {
    /// Plans for the engine of this project, with the built-in times.
    fn default() -> Self {
        Self {
            options: CompileOptions::default(),
            calibration: None,
            validation: None,
            engine: Arc::new(Engine::default()),
        }
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
        self.options.approximate.default.degree = degree;
        self.options.uniform = true;
        self
    }

    /// Plans for this engine: [`Engine`](crate::Engine) with the times of a host, or another one.
    pub fn engine(mut self, engine: impl Target + 'static) -> Self {
        self.engine = Arc::new(engine);
        self
    }

    /// Sets the calibration data: one set of input tensors per image, as [`data::read_samples`](crate::data::read_samples)
    /// gives them.
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
    /// Every node that cannot be compiled, with a help text; and [`Refused`] where an option cannot be obeyed.
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
        let mut chosen = self.choose(&folded, &samples, approximate.clone(), &mut warnings)?;
        lap("choose-polynomials");
        let Reconstructed { module: mut polynomial, activations, layers, polynomials } =
            self.polynomials(&folded, &samples, approximate.clone(), &chosen.choices)?;
        let ends = Ends::measure(&polynomial, &samples)?;
        let options = self.plan_options(&ends, &samples);
        if self.calibration.is_some() {
            ends.describe(&mut polynomial, options.params.precision.allows(ends.result_bound));
        }
        observe("approximate-activations", Snapshot::Nn(&polynomial));
        self.check_fits(&activations)?;
        self.check_error(&folded, &samples, &activations, &chosen, &mut warnings)?;
        lap("approximate-activations");
        let placed = chosen.placed.as_ref().map(|placed| placed_in(placed, &polynomials));
        let Made { plan, placement, notes, precision, .. } =
            self.plan(&polynomial, &samples, placed, options, observe, &mut warnings)?;
        self.check_placed(placement.as_ref())?;
        self.check_latency(&plan, &chosen)?;
        warnings.extend(self.undone(&folded, &samples, placement.is_some()).map(|w| w.to_string()));
        lap("plan");
        let front = self.measured(std::mem::take(&mut chosen.front), &folded, &samples, approximate.clone())?;
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
        if let Some(placement) = &placement {
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

    /// The network with polynomials in place of its activations, fitted on the calibration data, or on synthetic inputs and with a
    /// warning.
    ///
    /// # Errors
    /// When the network does not run on the samples, or an activation cannot be approximated.
    pub fn approximate(&self, module: &Module<Nn>, warnings: &mut Vec<String>) -> Result<Approximated, Error> {
        let (samples, options) = self.samples(module, warnings)?;
        Ok(ApproximateActivations::calibrated(module, &samples, options)?)
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

/// The placement in terms of the polynomials that became of the activations before which it bootstraps.
fn placed_in(placed: &Placed, polynomials: &BTreeMap<Value, Vec<Value>>) -> Placed {
    let first = |activation: &Value| polynomials.get(activation)?.first().copied();
    Placed { before: placed.before.iter().filter_map(first).collect(), ..placed.clone() }
}
