//! The compiler makes a plan of a model.

mod agreement;
mod attempt;
mod choose;
mod extend;
mod fitting;
mod forms;
mod limits;
mod narrow;
mod options;
mod precision;
mod refused;
mod report;
mod result_errors;
mod resume;
mod samples;
mod search;
mod sizes;
mod trials;
mod warning;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fhec_frontend::{FixedBatch, ImportOptions};
use fhec_ir::{Issue, Loc, Module, Nn, Port, Tensor, Value};
use fhec_passes::PassError;
use fhec_passes::activations::Replacement;
use fhec_passes::activations::rebuild::{LayerGain, Reconstructed};
use fhec_passes::bootstraps::{Placement, RangeSamples};
use fhec_passes::ends::Ends;
use fhec_passes::pipeline::PlanOptions;
use fhec_passes::program::Facts;
use fhec_passes::target::Target;
use fhec_runtime::Plan;

pub use agreement::{Agreement, DEFAULT_AGREEMENT};
pub use extend::CompileProgress;
pub use fhec_passes::pipeline::Snapshot;
pub use forms::{ActivationForm, Forms};
pub use options::{CompileOptions, MOST_MARGIN};
pub use precision::SimulatedPrecision;
pub use refused::{PrecisionLimit, Refused, Size};
pub use resume::{Resumed, Samples};
pub use search::{SearchFolder, SearchFront, SearchOptions, SearchPoint, SearchProgress, Searched};
pub use sizes::Sizes;

use crate::accuracy::Accuracy;
use crate::error::Error;
use crate::front::{FrontPoint, Validation};
use crate::target::Engine;
use agreement::Reference;
use attempt::{Attempt, Laps, Prepared};
use choose::Chosen;
use extend::{Listener, OwnPasses};
use precision::Made;
use report::{Measured, PassReport};
use samples::has_activation;

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
    cancelled: Arc<AtomicBool>,
    passes: OwnPasses,
    listener: Listener,
}

/// A model read from an ONNX file, for a [`Compiler`].
#[derive(Clone, Debug)]
pub struct Model {
    /// The network of one image.
    pub module: Module<Nn>,
    /// blake3 of the file, in hexadecimal.
    pub digest: String,
    /// Images in the inputs of the file, where it fixes more than one; nothing in it mixes them.
    pub batch: Option<usize>,
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
    /// How far it agrees with the network as it was given, where there are calibration inputs and activations.
    pub agreement: Option<Agreement>,
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

/// What a compilation shows after every pass: its name, the program and the facts about it.
pub type Observer<'a> = dyn FnMut(&str, Snapshot<'_>, &Facts) + 'a;

/// `observe`, for passes of planning that run after those that `known` tells of.
fn after<'a>(known: &'a Facts, observe: &'a mut Observer<'_>) -> impl FnMut(&str, Snapshot<'_>, &Facts) + 'a {
    move |name, snapshot, facts| {
        let passes = known.passes.iter().chain(&facts.passes).cloned().collect();
        observe(name, snapshot, &Facts { passes, magnitudes: known.magnitudes, ..facts.clone() });
    }
}

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
            None => {
                let defect = |e: fhec_ir::TypeError| PassError {
                    pass: "import",
                    issues: vec![Issue::of_network(e.to_string(), "report this with the model")],
                };
                let one = fhec_frontend::as_one_image(&module).map_err(defect)?;
                Self { module: one.unwrap_or(module), digest, batch: None }
            }
        })
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
            cancelled: Arc::default(),
            passes: OwnPasses::default(),
            listener: Listener::default(),
        }
    }
}

/// Calibration inputs on which agreement is measured where polynomials were not chosen for it.
const AGREEMENT_SAMPLES: usize = 512;

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

    /// Stops compilations once `cancelled` is set, at the end of the stage, or of the trial of polynomials, that they are in: each
    /// takes up to some ten seconds. They then end in an error of which [`Error::is_cancelled`] holds.
    pub fn cancelled_by(mut self, cancelled: Arc<AtomicBool>) -> Self {
        self.cancelled = cancelled;
        self
    }

    /// Compiles a model.
    ///
    /// # Errors
    /// Every node that cannot be compiled, with a help text; and [`Refused`] where an option cannot be obeyed.
    pub fn compile(&self, model: &Model) -> Result<Compiled, Error> {
        self.compile_observed(model, &mut |_, _, _| ())
    }

    /// As [`Compiler::compile`]; `observe` sees the program after every pass, also of plans that are made again since they are beyond
    /// [`Sizes`].
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile_observed(&self, model: &Model, observe: &mut Observer<'_>) -> Result<Compiled, Error> {
        let _span = tracing::debug_span!("compile", model = model.module.func.name.as_str()).entered();
        self.options.check(&model.module)?;
        if let Some(forms) = &self.options.forms {
            forms.check(model)?;
        }
        let mut laps = Laps::start(self.cancelled.clone());
        let prepared = self.prepared(model, &mut laps, observe)?;
        let mut attempt = self.attempt(&prepared, &mut laps, observe)?;
        let Prepared { folded, samples, approximate, .. } = &prepared;
        let plan = &attempt.made.plan;
        if let Some(batch) = model.batch {
            let packed = batch.next_power_of_two();
            attempt.made.notes.push(format!(
                "the model fixes a batch of {batch}, of which it mixes no images: the plan is of one image; `--batch {packed}` packs {packed} into a run"
            ));
        }
        self.check_placed(attempt.made.placement.as_ref())?;
        self.check_latency(plan, &attempt.chosen)?;
        let mut warnings = prepared.warnings.clone();
        warnings.append(&mut attempt.warnings);
        warnings.extend(self.undone(folded, samples).map(|w| w.to_string()));
        let Attempt { chosen, rebuilt, agreement, made, .. } = attempt;
        let Reconstructed { module: polynomial, activations, layers, polynomials } = rebuilt;
        let Made { plan, placement, notes, precision, .. } = made;
        let front = self.measured(chosen.front, folded, samples, approximate.clone())?;
        let first: Vec<Value> = polynomials.values().filter_map(|stages| stages.first().copied()).collect();
        let accuracy = |v| Accuracy::measure(folded, &polynomial, &first, v);
        let accuracy = self.validation.as_ref().map(accuracy).transpose()?;
        laps.lap("validate")?;
        let measured = Measured { agreement, accuracy };
        let report = PassReport::new(&activations, &layers, placement.as_ref(), &front, measured, &notes, &warnings);
        let each = !chosen.choices.is_empty();
        let plan = plan.with_provenance(self.provenance(model, samples.len(), approximate.margin, each, &report));
        let mut explanation = prepared.rewrites;
        explanation.push_str(&chosen.forms);
        explanation.extend(placement.iter().map(|p| p.explanation.to_string()));
        Ok(Compiled {
            plan,
            polynomial,
            activations,
            layers,
            placement,
            front,
            agreement,
            accuracy,
            precision,
            notes,
            warnings,
            explanation,
            seconds: laps.seconds,
        })
    }

    /// How far the polynomials agree with the network as it was given: as measured when they were chosen, or on calibration inputs.
    fn agreement(
        &self,
        chosen: &Chosen,
        folded: &Module<Nn>,
        polynomial: &Module<Nn>,
        samples: &[Vec<Tensor>],
    ) -> Result<Option<Agreement>, Error> {
        if chosen.agreement.is_some() || self.calibration.is_none() || !has_activation(folded) {
            return Ok(chosen.agreement);
        }
        let inputs = &samples[..samples.len().min(AGREEMENT_SAMPLES)];
        let found = Reference::of(folded, inputs, self.options.results)?.agreement(polynomial, 1.0)?;
        let asked = self.options.min_agreement.unwrap_or(DEFAULT_AGREEMENT);
        let (measured, of) = (found.agreement, found.of);
        Ok(Some(Agreement { asked, measured, inputs: inputs.len(), held_back: false, of }))
    }

    /// The options of packing and parameters, completed by the magnitudes that a network has on `samples`.
    fn plan_options(&self, ends: &Ends, samples: &[Vec<Tensor>]) -> PlanOptions {
        ends.magnitudes.complete(&self.asked_of_plans(samples), samples)
    }

    /// What the options ask of plans; values are measured on `samples` where these are calibration data.
    fn asked_of_plans(&self, samples: &[Vec<Tensor>]) -> PlanOptions {
        let margin = self.options.approximate.margin;
        let ranges = self.calibration.as_ref().and_then(|_| RangeSamples::new(samples, margin));
        PlanOptions { ranges, ..self.options.asked_of_plans() }
    }
}
