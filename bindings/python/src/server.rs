//! The evaluator, which can decrypt nothing.

use std::path::PathBuf;
use std::sync::Arc;

use fhec::{Encrypted, ExecutorOptions};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::plan::Plan;
use crate::work::{self, Cancelled};

/// Evaluation keys: the bytes of a file, or where it is; a file stays on disk and is mapped.
#[derive(FromPyObject)]
pub enum Keys {
    /// Bytes; first, for bytes can be read as a path too.
    Bytes(PyBackedBytes),
    /// A file.
    Path(PathBuf),
}

/// A plan with the evaluation keys of one client.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Server {
    server: Arc<fhec::Server>,
}

#[pymethods]
impl Server {
    #[staticmethod]
    fn open(py: Python<'_>, plan: &Plan, keys: Keys, threads: Option<usize>, mem: Option<u64>) -> PyResult<Self> {
        let plan = plan.plan.clone();
        let server = work::run(py, None, Cancelled::Left, move |_| {
            let options = ExecutorOptions { threads: threads.unwrap_or(0), memory: mem };
            match keys {
                Keys::Bytes(bytes) => fhec::Server::from_bytes(plan, "the evaluation keys", &bytes, options),
                Keys::Path(path) => fhec::Server::open(plan, &path, options),
            }
        })?;
        Ok(Self { server: Arc::new(server) })
    }

    fn threads(&self) -> usize {
        self.server.threads()
    }

    fn predicted_memory(&self) -> u64 {
        self.server.predicted_memory()
    }

    /// Encrypted results of encrypted inputs, and as JSON how many images they are of and what the runs took, the last one also
    /// by op.
    fn eval<'py>(
        &self,
        py: Python<'py>,
        data: PyBackedBytes,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let server = self.server.clone();
        let (bytes, took) = work::run(py, progress, Cancelled::Awaited, move |watch| {
            let inputs = Encrypted::from_bytes(server.plan(), server.context(), "the input", &data)?;
            let (outputs, reports) = server.eval(&inputs, &mut |at| {
                let done = at.run * at.op.total + at.op.index;
                watch.tell(done, at.runs * at.op.total, format!("{} at level {}", at.op.op, at.op.level))
            })?;
            let took = serde_json::json!({
                "images": outputs.images(), "runs": reports, "op_seconds": reports.last().map(|r| &r.seconds_of)
            });
            Ok((outputs.to_bytes(server.context())?, took.to_string()))
        })?;
        Ok((PyBytes::new(py, &bytes), took))
    }
}
