//! From a model to a plan.

use std::path::PathBuf;
use std::sync::Arc;

use fhec::passes::approx::{CompositeSign, PUBLISHED};
use fhec::passes::bootstraps::Strategy;
use fhec::passes::planner::Limits;
use fhec::report::profile;
use fhec::{CompileOptions, Compiler, Engine, Error, Model, ResultKind, Sizes, Validation, data};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::arrays::{self, Arrays};
use crate::errors::exception;
use crate::plan::Plan;
use crate::work::{self, Cancelled};

/// A model: the bytes of an ONNX file, or where it is.
#[derive(FromPyObject)]
pub enum Source {
    /// Bytes; first, for bytes can be read as a path too.
    Bytes(PyBackedBytes),
    /// A file, which may have external data.
    Path(PathBuf),
}

/// The options of the command line that shape a plan, by their names there. The package gives all of them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options {
    degree: Option<usize>,
    composite: Option<Vec<usize>>,
    place: String,
    guess_ranges: bool,
    no_reconstruct: bool,
    max_latency: Option<f64>,
    max_error: Option<f64>,
    min_agreement: Option<f64>,
    results: Option<String>,
    max_keys: Option<u64>,
    max_memory: Option<u64>,
    latency: Option<PathBuf>,
    margin: Option<f64>,
    batch: usize,
    precision: Option<u32>,
    pareto: bool,
    points: usize,
}

impl Options {
    fn compiler(&self) -> Result<Compiler, Error> {
        let mut options = CompileOptions::default();
        if let Some(degree) = self.degree {
            options.approximate.default.degree = degree;
            options.uniform = true;
        }
        if let Some(degrees) = &self.composite {
            options.approximate = options.approximate.with_composite(composite(degrees)?.clone());
        }
        options.plan.strategy = self.strategy()?;
        options.limits =
            Limits { max_latency_us: self.max_latency.map(|s| s * 1e6), max_error: self.max_error, ..options.limits };
        options.min_agreement = self.min_agreement.map(|percent| percent / 100.0);
        options.results = self.results.as_deref().map(result_kind).transpose()?;
        options.sizes = Sizes { max_keys: self.max_keys, max_memory: self.max_memory };
        options.guess_ranges = self.guess_ranges;
        options.keep_weights = self.no_reconstruct;
        if let Some(margin) = self.margin {
            options.approximate.margin = margin.into();
        }
        options.plan.batch = self.batch;
        options.precision = self.precision;
        options.front = self.pareto;
        let compiler = Compiler::with_options(options);
        Ok(match &self.latency {
            Some(path) => compiler.engine(Engine::new(profile(path)?)),
            None => compiler,
        })
    }

    /// Where bootstraps go, and whether that goes with the other options.
    fn strategy(&self) -> Result<Strategy, Error> {
        let strategy = match self.place.as_str() {
            "joint" => Strategy::Joint,
            "layerwise" => Strategy::Layerwise,
            "uniform" => Strategy::Uniform,
            "greedy" => Strategy::Greedy,
            other => {
                let reason = format!("bootstraps cannot be placed by `{other}`");
                let repair = "take `joint`, `layerwise`, `uniform` or `greedy`".into();
                return Err(Error::Usage { reason, repair });
            }
        };
        let limited = self.max_latency.is_some() || self.max_error.is_some();
        if strategy == Strategy::Greedy && (limited || self.pareto) {
            let reason = "the greedy placement takes polynomials as they are: it chooses none within limits".into();
            return Err(Error::Usage { reason, repair: "leave the limits out, or take another `--place`".into() });
        }
        let exclusive = [self.degree.is_some(), limited, self.pareto];
        if self.composite.is_some() && exclusive.contains(&true) {
            let reason = "a composite sign stands for every ReLU: there is nothing to choose".into();
            let repair = "leave out `--composite`, or `--degree`, `--max-latency`, `--max-error` and `--pareto`".into();
            return Err(Error::Usage { reason, repair });
        }
        Ok(strategy)
    }
}

fn result_kind(name: &str) -> Result<ResultKind, Error> {
    match name {
        "classes" => Ok(ResultKind::Classes),
        "labels" => Ok(ResultKind::Labels),
        "values" => Ok(ResultKind::Values),
        other => {
            let reason = format!("results cannot be `{other}`");
            Err(Error::Usage { reason, repair: "take `classes`, `labels` or `values`".into() })
        }
    }
}

fn composite(degrees: &[usize]) -> Result<&'static CompositeSign, Error> {
    CompositeSign::of_degrees(degrees).ok_or_else(|| {
        let listed = |(_, degrees): &(u32, &[usize])| format!("{degrees:?}");
        let known = PUBLISHED.iter().map(listed).collect::<Vec<_>>().join("; ");
        Error::Usage {
            reason: format!("no composite of degrees {degrees:?} is known"),
            repair: format!("take one of {known}"),
        }
    })
}

/// What a compilation gives beside the plan.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Compiled {
    #[pyo3(get)]
    plan: Py<Plan>,
    #[pyo3(get)]
    warnings: Vec<String>,
    #[pyo3(get)]
    explanation: String,
    /// Stages and their seconds.
    #[pyo3(get)]
    stages: Vec<(String, f64)>,
    /// Simulated precision and the Pareto-optimal plans, as JSON.
    #[pyo3(get)]
    measured: String,
}

/// Compiles a model. `labels` are the bytes of a NumPy file with the classes of the `validation` inputs.
#[pyfunction]
#[pyo3(signature = (source, name, calibration, validation, labels, options, progress))]
#[expect(clippy::too_many_arguments, reason = "the package gives them by name")]
pub fn compile(
    py: Python<'_>,
    source: Source,
    name: String,
    calibration: Option<Arrays<'_>>,
    validation: Option<Arrays<'_>>,
    labels: Option<PyBackedBytes>,
    options: Options,
    progress: Option<Py<PyAny>>,
) -> PyResult<Compiled> {
    let raise = |error: Error| exception(py, &error);
    let model = py.detach(|| match &source {
        Source::Bytes(bytes) => Model::from_bytes(&name, bytes),
        Source::Path(path) => Model::load(path),
    });
    let model = model.map_err(raise)?;
    let mut compiler = options.compiler().map_err(raise)?;
    if let Some(calibration) = calibration {
        compiler =
            compiler.calibration(arrays::images(py, "the calibration data", &calibration, &model.module.inputs)?);
    }
    if let (Some(validation), Some(labels)) = (validation, labels) {
        let inputs = arrays::images(py, "the validation data", &validation, &model.module.inputs)?;
        let labels = data::labels_from_bytes("the labels", &labels, inputs.len(), &model.module.outputs);
        let labels = labels.map_err(|e| raise(e.into()))?;
        compiler = compiler.validation(Validation { inputs, labels, points: options.points });
    }
    let compiled = work::run(py, progress, Cancelled::Left, move |watch| {
        let mut passes = 0;
        let told = watch.clone();
        let compiler = compiler.progress(move |at| {
            let _ = told.tell(at.done, at.total, format!("{} {}", at.stage, at.layer).trim_end());
        });
        compiler.cancelled_by(watch.cancelled()).compile_observed(&model, &mut |pass, _, _| {
            passes += 1;
            // How many passes there will be is not known: a total of 0. What is told here is heard at the end of a stage.
            let _ = watch.tell(passes, 0, pass);
        })
    })?;
    let measured = serde_json::json!({ "precision": compiled.precision, "pareto": compiled.front });
    Ok(Compiled {
        plan: Py::new(py, Plan::from(Arc::new(compiled.plan)))?,
        warnings: compiled.warnings,
        explanation: compiled.explanation,
        stages: compiled.seconds,
        measured: measured.to_string(),
    })
}
