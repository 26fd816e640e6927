//! From a model to a plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fhec_frontend::ImportOptions;
use fhec_ir::nn::NnOp;
use fhec_ir::{Module, Nn, Tensor, Value};
use fhec_passes::approximate::{
    Alternatives, ApproximateActivations, ApproximateOptions, Calibration, CandidateRow, Choices, Replacement,
};
use fhec_passes::fold::Fold;
use fhec_passes::pipeline::{self, Packing, PlanOptions};
use fhec_passes::place::{Candidate, Candidates, Placement, Strategy};
use fhec_passes::placement::Limits;
use fhec_passes::reconstruct::{LayerGain, ReconstructOptions, Reconstructed, reconstruct};
use fhec_passes::sensitivity::Sensitivities;
use fhec_runtime::{Plan, Provenance};
use serde::Serialize;

pub use fhec_passes::pipeline::Snapshot;

use crate::ends::Ends;
use crate::error::Error;
use crate::front::{Accuracy, FrontPoint, Validation};
use crate::noise::result_errors;
use crate::target::Engine;

/// How a model is compiled.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// How activations become polynomials.
    pub approximate: ApproximateOptions,
    /// How the network is packed, and what its parameters must achieve.
    pub plan: PlanOptions,
    /// What the polynomials of a network that bootstraps are chosen for. Without a limit an error of [`DEFAULT_ERROR`] is
    /// allowed where weights are rebuilt. Without that or without calibration data, and where `uniform` or a composite is
    /// set, none are chosen.
    pub limits: Limits,
    /// All activations get the degree of `approximate`.
    pub uniform: bool,
    /// The weights stay as they are trained.
    pub keep_weights: bool,
    /// Report all plans that no other one beats in time and error.
    pub front: bool,
}

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
    /// What rebuilding its weights gained for each layer.
    pub layers: Vec<LayerGain>,
    /// Where and why the program is bootstrapped, if it is.
    pub placement: Option<Placement>,
    /// Plans none of which is better in both time and error, when asked for.
    pub front: Vec<FrontPoint>,
    /// How accurate the network is before and after, where there are validation inputs.
    pub accuracy: Option<Accuracy>,
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    layers: &'a [LayerGain],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootstraps: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joins: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", rename = "pareto")]
    front: &'a [FrontPoint],
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<Accuracy>,
    notes: &'a [String],
    warnings: &'a [String],
}

/// Inputs of a network whose user gave none: half of them like pixels, half of them normalised.
const SYNTHETIC_SAMPLES: usize = 64;
/// Synthetic inputs say little about real ones, so the intervals are wider.
const SYNTHETIC_MARGIN: f64 = 2.0;
/// Results and inputs beyond what calibration saw, as a factor.
const RESULT_ROOM: f64 = 1.5;
/// Least number of calibration inputs for rebuilding weights: fewer fit the inputs rather than the network.
const RECONSTRUCTION_SAMPLES: usize = 512;
/// The surrogate error up to which a network that bootstraps is made faster unless the user says otherwise. Measured with
/// rebuilt weights on the ResNet-20 of CIFAR-10 and 4,000 training images that calibration does not see, of which 99.7 %
/// are classified right by the original: 98.2 % at 1.0e-3, 98.9 % at 8.0e-4, 99.3 % at 4.4e-4, 99.6 % at 2.0e-4.
pub const DEFAULT_ERROR: f64 = 5e-4;
/// Calibration inputs on which the errors of candidates are measured.
const CANDIDATE_SAMPLES: usize = 256;
/// Calibration inputs on which the sensitivity of the loss to each activation is measured.
const SENSITIVITY_SAMPLES: usize = 64;
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
        let (samples, approximate) = self.samples(&folded, &mut warnings);
        let chosen = self.choose(&folded, &samples, approximate)?;
        lap("choose-polynomials");
        let Reconstructed { module: mut polynomial, activations, layers } =
            self.polynomials(&folded, &samples, approximate, &chosen.choices)?;
        let ends = Ends::measure(&polynomial, &samples)?;
        let plan_options = self.plan_options(&ends, &samples);
        if self.calibration.is_some() {
            ends.describe(&mut polynomial, plan_options.params.allowed_error(ends.result_bound));
        }
        observe("approximate-activations", Snapshot::Nn(&polynomial));
        lap("approximate-activations");
        let planned =
            pipeline::plan(&polynomial, &plan_options, Some(&*self.engine), |name, snapshot| observe(name, snapshot))?;
        lap("plan");
        let front = self.measured(chosen.front, &folded, &samples, approximate)?;
        let accuracy = |v: &Validation| -> Result<Accuracy, Error> {
            Ok(Accuracy { original: v.accuracy(&folded)?, polynomial: v.accuracy(&polynomial)? })
        };
        let accuracy = self.validation.as_ref().map(accuracy).transpose()?;
        lap("validate");
        let placed = planned.placement.as_ref().map(|p| &p.plan);
        let bootstraps = placed.iter().flat_map(|p| &p.bootstraps);
        let joins = placed.iter().flat_map(|p| &p.joins);
        let report = Report {
            activations: &activations,
            layers: &layers,
            bootstraps: bootstraps
                .map(|b| serde_json::json!({"node": b.place.to_string(), "from": b.from, "to": b.to, "us": b.us}))
                .collect(),
            joins: joins
                .map(|j| {
                    let (main, skip) = (j.main.arrives, j.skip.arrives);
                    let (node, level, paid) = (&j.residual, j.level, j.paid());
                    serde_json::json!({"node": node, "main": main, "skip": skip, "level": level, "paid": paid})
                })
                .collect(),
            front: &front,
            accuracy,
            notes: &planned.notes,
            warnings: &warnings,
        };
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
        let errors = result_errors(&plan, &samples)?;
        let plan = if errors.iter().all(|&e| e > 0.0 && e.is_finite()) {
            plan.with_result_errors(errors)?
        } else {
            warnings.push(format!(
                "the errors of the results cannot be told on these samples ({errors:?}), so that `decrypt --publish` will \
                 refuse them; give calibration data like the inputs"
            ));
            plan
        };
        lap("result-errors");
        let mut explanation = explanation.to_string();
        explanation.push_str(&chosen.forms);
        for placement in planned.placement.iter().chain(&chosen.placement) {
            explanation.push_str(&placement.explanation.to_string());
        }
        let placement = planned.placement;
        Ok(Compiled {
            plan,
            polynomial,
            activations,
            layers,
            placement,
            front,
            accuracy,
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
        let (samples, options) = self.samples(module, warnings);
        let (polynomial, activations) = ApproximateActivations::calibrated(module, &samples, options)?;
        Ok((polynomial, activations, samples))
    }

    /// The options of packing and parameters, completed by the magnitudes that a network has on `samples`.
    fn plan_options(&self, ends: &Ends, samples: &[Vec<Tensor>]) -> PlanOptions {
        let mut options = self.options.plan.clone();
        options.params.input_bound = options.params.input_bound.max(ends.input_bound);
        options.params.result_bound.get_or_insert(ends.result_bound * RESULT_ROOM);
        if options.params.samples.is_empty() {
            options.params.samples = samples.iter().take(MAGNITUDE_SAMPLES).cloned().collect();
        }
        options
    }

    /// The polynomials of a network that needs bootstraps, chosen together with them; nothing for one that does not.
    fn choose(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
    ) -> Result<Chosen, Error> {
        let has_activation = folded.func.iter().any(|(_, n)| matches!(n.op, NnOp::Activation { .. }));
        let limited = self.options.limits != Limits::default();
        // The walk takes polynomials as they are.
        let walks = self.options.plan.strategy == Strategy::Greedy;
        let given = self.options.uniform || approximate.composite.is_some() || walks;
        let by_default = !limited && self.rebuilds(samples);
        if self.calibration.is_none() || given || !has_activation || !(limited || by_default || self.options.front) {
            return Ok(Chosen::default());
        }
        let default = Limits { max_error: by_default.then_some(DEFAULT_ERROR), ..Limits::default() };
        let limits = if limited { self.options.limits } else { default };
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        // Layouts, and with them costs, do not depend on which polynomials there are.
        let (first, _) = ApproximateActivations::calibrated(folded, few, approximate)?;
        let options = self.plan_options(&Ends::measure(&first, few)?, few);
        let packing = Packing::new(&first, &options)?;
        if !packing.needs_bootstraps(&first, &options) {
            return Ok(Chosen::default());
        }
        let calibration = Calibration::measure(folded, &samples[..samples.len().min(CANDIDATE_SAMPLES)])?;
        let alternatives = Alternatives::of_all_degrees(folded, &calibration, &approximate)?;
        let table = alternatives.table();
        // A network without a loss has no sensitivities: then all activations count alike.
        let weights = Sensitivities::measure(folded, few, None).unwrap_or_default();
        let names: BTreeMap<Value, String> =
            table.keys().map(|&v| (v, folded.func.node(v).loc.name().to_string())).collect();
        let candidates: Candidates = table
            .iter()
            .map(|(v, rows)| {
                let weight = weights.of(*v).unwrap_or(1.0);
                let candidate = |row: &CandidateRow| Candidate {
                    choice: row.choice,
                    rule: Some(row.rule),
                    error: weight * row.mean_square,
                    max_error: row.max_error,
                };
                (names[v].clone(), rows.iter().filter(|row| offered(row)).map(candidate).collect())
            })
            .collect();
        let front = self.options.front.then_some(&self.options.limits);
        let choose = |limits| pipeline::choose(&packing, &options, &*self.engine, &candidates, limits, front);
        let (found, met) = match choose(&limits) {
            Ok(found) => (found, limited || by_default),
            // Nothing meets the default limit: then accuracy comes first, with the default degree everywhere.
            Err(_) if by_default => (choose(&Limits::default())?, false),
            Err(e) => return Err(e.into()),
        };
        let chosen = names.into_iter().filter_map(|(v, name)| Some((v, *found.choices.get(&name)?)));
        let choices = if met { chosen.collect() } else { Choices::new() };
        let front = found.front.iter().map(|(plan, spec)| FrontPoint {
            latency_us: plan.latency_us,
            error: plan.error,
            bootstraps: plan.bootstraps.len(),
            levels: spec.levels,
            choices: pipeline::Chosen::choices(plan, &candidates),
            accuracy: None,
        });
        let (front, forms) = (front.collect(), alternatives.to_string());
        Ok(Chosen { choices, front, placement: Some(found.placement), forms })
    }

    /// Whether weights are rebuilt: a composite leaves no errors to make up for, and few samples no room.
    fn rebuilds(&self, samples: &[Vec<Tensor>]) -> bool {
        let enough = self.calibration.is_some() && samples.len() >= RECONSTRUCTION_SAMPLES;
        enough && !self.options.keep_weights && self.options.approximate.composite.is_none()
    }

    /// The network with polynomials in place of its activations, and with rebuilt weights where there is enough calibration
    /// data for it.
    fn polynomials(
        &self,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
        choices: &Choices,
    ) -> Result<Reconstructed, Error> {
        let has_activation = folded.func.iter().any(|(_, n)| matches!(n.op, NnOp::Activation { .. }));
        if !self.rebuilds(samples) || !has_activation {
            let (module, activations) = ApproximateActivations::calibrated_with(folded, samples, approximate, choices)?;
            return Ok(Reconstructed { module, activations, layers: Vec::new() });
        }
        let options = ReconstructOptions { approximate, choices: choices.clone(), ..Default::default() };
        Ok(reconstruct(folded, samples, &options, &mut |_, _, _| ())?)
    }

    /// The front with the accuracy of some of its plans, where there are inputs to measure it on.
    fn measured(
        &self,
        mut front: Vec<FrontPoint>,
        folded: &Module<Nn>,
        samples: &[Vec<Tensor>],
        approximate: ApproximateOptions,
    ) -> Result<Vec<FrontPoint>, Error> {
        let Some(validation) = &self.validation else { return Ok(front) };
        for pick in validation.picks(&front) {
            let point = &mut front[pick];
            let choice = |(value, name): (Value, &str)| Some((value, *point.choices.get(name)?));
            let choices = folded.func.iter().filter_map(|(v, node)| choice((v, node.loc.name()))).collect();
            let polynomial = self.polynomials(folded, samples, approximate, &choices)?.module;
            point.accuracy = Some(validation.accuracy(&polynomial)?);
        }
        Ok(front)
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
        let ApproximateOptions { degree, composite, .. } = self.options.approximate;
        let degrees = composite.map(|sign| sign.degrees().iter().map(usize::to_string).collect::<Vec<_>>().join(","));
        BTreeMap::from([
            ("degree".to_string(), degrees.unwrap_or_else(|| degree.to_string())),
            ("margin".to_string(), self.options.approximate.margin.to_string()),
            ("calibration".to_string(), calibrated),
            ("batch".to_string(), self.options.plan.batch.to_string()),
            ("precision_bits".to_string(), self.options.plan.params.precision_bits.to_string()),
        ])
    }
}

/// What the planner chose for the activations.
#[derive(Default)]
struct Chosen {
    choices: Choices,
    front: Vec<FrontPoint>,
    placement: Option<Placement>,
    /// The forms among which the planner chose, by rule.
    forms: String,
}

/// Whether the planner is offered a row of the table: a bootstrap needs its operand in [-1, 1], which completed squares do
/// not keep; polynomials per channel pay where they are of low degree.
fn offered(row: &CandidateRow) -> bool {
    const PER_CHANNEL: usize = 7;
    (3..=31).contains(&row.choice.degree) && (!row.choice.per_channel || row.choice.degree <= PER_CHANNEL)
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
