//! Errors of the library become exceptions of the package, which carry what the library says as data.

use fhec::Error;
use miette::Diagnostic;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The exception for an error: `fhec.errors.make` chooses its class by the kind.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    made(py, error).unwrap_or_else(|failure| failure)
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        causes.push(e.to_string());
        cause = e.source();
    }
    let parts = PyDict::new(py);
    parts.set_item("kind", error.kind())?;
    parts.set_item("message", error.to_string())?;
    parts.set_item("help", error.help().map(|help| help.to_string()))?;
    parts.set_item("file", error.file().map(|file| file.into_owned()))?;
    parts.set_item("causes", causes)?;
    parts.set_item("issues", issues(error))?;
    let exception = py.import("fhec.errors")?.call_method("make", (), Some(&parts))?;
    Ok(PyErr::from_value(exception))
}

/// Node, op, reason and help of what cannot be compiled.
type Issue = (Option<String>, Option<String>, String, Option<String>);

/// Everything that cannot be compiled.
fn issues(error: &Error) -> Vec<Issue> {
    let known = error.issues();
    if !known.is_empty() {
        let parts = |issue: &fhec::ir::Issue| {
            let fhec::ir::Issue { node, reason, repair } = issue.clone();
            let (name, op) = node.map(|node| (node.name, node.op)).unzip();
            (name, op, reason, Some(repair))
        };
        return known.iter().map(parts).collect();
    }
    let related = error.related().into_iter().flatten();
    related.map(|d| (None, None, d.to_string(), d.help().map(|help| help.to_string()))).collect()
}

/// An error of how the package is used, where the library has none.
pub fn usage(py: Python<'_>, reason: impl Into<String>, repair: impl Into<String>) -> PyErr {
    exception(py, &Error::Usage { reason: reason.into(), repair: repair.into() })
}
