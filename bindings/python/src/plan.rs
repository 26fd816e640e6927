//! Plans, what clients need of them, their reports and their runs in the clear.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fhec::ir::{images, text};
use fhec::report::{Costs, Prediction, Report as Content, Run, Simulation, card, html, trace};
use fhec::runtime::runs_of;
use fhec::{Destination, Error, Simulator};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::arrays::{self, Arrays};
use crate::errors::exception;
use crate::work::{self, Cancelled};

/// A file that is kept unless it may be replaced.
pub fn destination(path: PathBuf, force: bool) -> Destination {
    let to = Destination::new(path);
    if force { to } else { to.keeping() }
}

/// Name, shape and heads of a port.
type Described = (String, Vec<usize>, Vec<String>);

/// Results with noise and without, what happened as JSON, and warnings.
type Simulated<'py> = (Bound<'py, PyDict>, Bound<'py, PyDict>, String, Vec<String>);

/// What a plan and a client plan both say of a plan.
#[pyclass(frozen, get_all, module = "fhec._fhec")]
pub struct Facts {
    model: String,
    /// Digest of the plan, in hexadecimal.
    digest: String,
    batch: usize,
    security_bits: u32,
    inputs: Vec<Described>,
    outputs: Vec<Described>,
}

impl Facts {
    fn of(plan: &fhec::ClientPlan) -> Self {
        Self {
            model: plan.model().into(),
            digest: text::to_hex(&plan.plan_digest()),
            batch: plan.batch(),
            security_bits: plan.security().bits,
            inputs: arrays::described(&plan.image_inputs()),
            outputs: arrays::described(&plan.image_outputs()),
        }
    }
}

/// A compiled model.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Plan {
    pub plan: Arc<fhec::Plan>,
}

impl From<Arc<fhec::Plan>> for Plan {
    fn from(plan: Arc<fhec::Plan>) -> Self {
        Self { plan }
    }
}

#[pymethods]
impl Plan {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, max_size: Option<u64>) -> PyResult<Self> {
        let plan = py.detach(|| fhec::Plan::load_within(path, max_size));
        Ok(Arc::new(plan.map_err(|e| exception(py, &e.into()))?).into())
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: PyBackedBytes) -> PyResult<Self> {
        let plan = py.detach(|| fhec::Plan::from_bytes("the plan", &data));
        Ok(Arc::new(plan.map_err(|e| exception(py, &e.into()))?).into())
    }

    fn save(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        let saved = py.detach(|| self.plan.save(destination(path, force)));
        saved.map(drop).map_err(|e| exception(py, &e.into()))
    }

    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.plan.to_bytes()).map_err(|e| exception(py, &e.into()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn client_plan(&self, py: Python<'_>) -> PyResult<ClientPlan> {
        let plan = py.detach(|| self.plan.client()).map_err(|e| exception(py, &e.into()))?;
        Ok(ClientPlan { plan })
    }

    /// What a client knows of it.
    fn facts(&self, py: Python<'_>) -> PyResult<Facts> {
        let plan = py.detach(|| self.plan.client()).map_err(|e| exception(py, &e.into()))?;
        Ok(Facts::of(&plan))
    }

    /// Where the plan comes from, as JSON.
    fn provenance(&self) -> String {
        serde_json::json!(self.plan.provenance()).to_string()
    }

    /// The report. `run`, `simulation` and `front` are the JSON of `fhec run` or `fhec eval`, `fhec simulate --per-op`, and
    /// `fhec compile --pareto`.
    #[pyo3(signature = (run, simulation, front, latency))]
    fn report(
        &self,
        py: Python<'_>,
        run: Option<&str>,
        simulation: Option<&str>,
        front: Option<&str>,
        latency: Option<PathBuf>,
    ) -> PyResult<Report> {
        let plan = self.plan.clone();
        py.detach(|| Report::of(plan, run, simulation, front, latency)).map_err(|e| exception(py, &e))
    }

    /// Runs images in the clear, with modelled noise unless `exact`. Gives the results with noise and without, what happened as
    /// JSON, and warnings.
    #[expect(clippy::too_many_arguments, reason = "the package gives them by name")]
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        x: Arrays<'_>,
        labels: Option<PyBackedBytes>,
        exact: bool,
        seed: u64,
        threads: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Simulated<'py>> {
        let raise = |e: Error| exception(py, &e);
        let inputs = arrays::images(py, "the input", &x, &self.plan.image_inputs())?;
        let count = inputs.len();
        let outputs = self.plan.image_outputs();
        let labels = labels.map(|bytes| fhec::data::labels_from_bytes("the labels", &bytes, count, &outputs));
        let labels = labels.transpose().map_err(|e| raise(e.into()))?;
        let plan = self.plan.clone();
        let batch = plan.batch();
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let mut done = work::run(py, progress, Cancelled::Awaited, move |watch| {
            let simulator = if exact { Simulator::exact(&plan) } else { Simulator::new(&plan, seed) };
            let runs = runs_of(&plan.image_inputs(), batch, &inputs)?;
            let finished = AtomicUsize::new(0);
            let tell = |more| watch.tell(finished.fetch_add(more, Ordering::Relaxed) + more, runs.len(), "");
            Ok(simulator.run_many(&runs, threads, &tell)?)
        })?;
        for results in [&mut done.outputs, &mut done.exact] {
            *results = images(results, batch, count);
        }
        let right = |results: &[Vec<fhec::Tensor>]| labels.as_ref().map(|l| fhec::data::count_right(results, l));
        let happened = serde_json::json!({
            "right": right(&done.outputs),
            "right_exact": right(&done.exact),
            "layers": done.report.layers,
            "escapes": done.report.escapes,
            "ops": done.report.ops,
            "arguments": done.report.arguments,
        });
        let runs = count.div_ceil(batch);
        let warnings = done.report.layers.iter().map(|layer| layer.warning(runs, batch)).collect();
        let [noisy, exact] = [&done.outputs, &done.exact].map(|results| arrays::dictionary(py, &outputs, results));
        Ok((noisy?, exact?, happened.to_string(), warnings))
    }

    /// What the plan leaves to the client, applied to results.
    fn apply_heads<'py>(&self, py: Python<'py>, outputs: Arrays<'_>) -> PyResult<Bound<'py, PyDict>> {
        let ports = self.plan.image_outputs();
        let results = arrays::images(py, "the results", &outputs, &ports)?;
        let headed = fhec::heads::apply(&ports, &results).map_err(|e| exception(py, &e))?;
        let ports = fhec::heads::outputs(&ports).map_err(|e| exception(py, &e))?;
        arrays::dictionary(py, &ports, &headed)
    }
}

/// The report of a plan; what is not asked for is not written.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Report {
    plan: Arc<fhec::Plan>,
    prediction: Prediction,
    content: Content,
    /// What the user should know of what was given.
    #[pyo3(get)]
    warnings: Vec<String>,
}

impl Report {
    fn of(
        plan: Arc<fhec::Plan>,
        run: Option<&str>,
        simulation: Option<&str>,
        front: Option<&str>,
        latency: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let digest = text::to_hex(&plan.digest()?);
        let run = run.map(|json| Run::read("the run", json, &digest)).transpose()?;
        let simulation = simulation.map(|json| Simulation::read("the simulation", json, &digest)).transpose()?;
        let warnings = simulation.as_ref().and_then(|s| s.warning("the simulation")).into_iter().collect();
        let threads = run.as_ref().and_then(|run| run.threads);
        let prediction = match latency {
            Some(path) => Prediction::by(&plan, &Costs::read(&path, &plan)?)?,
            None => Prediction::of(&plan, threads),
        };
        let mut content = Content::of(&plan, prediction.clone(), run);
        if let Some(simulation) = simulation {
            content = content.with_simulation(simulation);
        }
        if let Some(front) = front {
            content = content.with_front("the front", front)?;
        }
        Ok(Self { plan, prediction, content, warnings })
    }
}

#[pymethods]
impl Report {
    /// All that the page shows, as JSON.
    fn data(&self) -> String {
        serde_json::json!(self.content).to_string()
    }

    /// The page.
    fn html(&self, py: Python<'_>) -> String {
        py.detach(|| html(&self.content))
    }

    /// The small page.
    fn card(&self, py: Python<'_>) -> String {
        py.detach(|| card(&self.content))
    }

    /// The run as trace events, as JSON.
    fn trace(&self, py: Python<'_>) -> PyResult<String> {
        let events = py.detach(|| trace(&self.plan, &self.prediction, self.content.run.as_ref()));
        events.map_err(|e| exception(py, &e))
    }
}

/// What a client needs of a plan.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct ClientPlan {
    pub plan: fhec::ClientPlan,
}

#[pymethods]
impl ClientPlan {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, max_size: Option<u64>) -> PyResult<Self> {
        let plan = py.detach(|| fhec::ClientPlan::load_within(path, max_size));
        Ok(Self { plan: plan.map_err(|e| exception(py, &e.into()))? })
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: PyBackedBytes) -> PyResult<Self> {
        let plan = py.detach(|| fhec::ClientPlan::from_bytes("the client plan", &data));
        Ok(Self { plan: plan.map_err(|e| exception(py, &e.into()))? })
    }

    fn save(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        let saved = py.detach(|| self.plan.save(destination(path, force)));
        saved.map_err(|e| exception(py, &e.into()))
    }

    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.plan.to_bytes()).map_err(|e| exception(py, &e.into()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// What a client knows of the plan.
    fn facts(&self) -> Facts {
        Facts::of(&self.plan)
    }
}
