//! Requests in parts, for servers that compute them apart.

use fhec::Encrypted;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::plan::ClientPlan;
use crate::work::{self, Cancelled};

/// A request in parts of so many runs of the plan.
#[pyfunction]
pub fn split<'py>(
    py: Python<'py>,
    plan: &ClientPlan,
    request: PyBackedBytes,
    runs: usize,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let plan = plan.plan.clone();
    let parts =
        work::run(py, None, Cancelled::Left, move |_| Encrypted::split_bytes(&plan, "the request", &request, runs))?;
    Ok(parts.iter().map(|part| PyBytes::new(py, part)).collect())
}

/// The results of all parts as those of the request.
#[pyfunction]
pub fn join<'py>(py: Python<'py>, plan: &ClientPlan, results: Vec<PyBackedBytes>) -> PyResult<Bound<'py, PyBytes>> {
    let plan = plan.plan.clone();
    let whole = work::run(py, None, Cancelled::Left, move |_| Encrypted::join_bytes(&plan, "the results", &results))?;
    Ok(PyBytes::new(py, &whole))
}
