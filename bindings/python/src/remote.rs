//! A service that computes, as one of its tenants sees it.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use fhec::Error;
use fhec::remote;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::errors::exception;
use crate::plan::ClientPlan;
use crate::server::Keys;
use crate::work::{self, Cancelled};

/// A service at an address, and the token of a tenant.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Service {
    service: remote::Service,
}

#[pymethods]
impl Service {
    #[new]
    fn new(
        py: Python<'_>,
        address: &str,
        token: Option<PyBackedStr>,
        plain_http: bool,
        patience: f64,
    ) -> PyResult<Self> {
        let token = token.map(|token| Zeroizing::new(token.to_string()));
        let patience = Duration::try_from_secs_f64(patience.max(0.0)).unwrap_or(Duration::MAX);
        let service = remote::Service::new(address, token, plain_http).map_err(|e| exception(py, &e))?;
        Ok(Self { service: service.patience(patience) })
    }

    /// What a client needs of the plan that the service runs.
    fn client_plan(&self, py: Python<'_>) -> PyResult<ClientPlan> {
        let service = self.service.clone();
        let plan =
            work::run(py, None, Cancelled::Left, move |watch| service.cancelled_by(watch.cancelled()).client_plan())?;
        Ok(ClientPlan { plan })
    }

    /// Uploads evaluation keys, after it has made sure that the service runs the plan; their name there.
    fn upload(&self, py: Python<'_>, plan: &ClientPlan, keys: Keys, progress: Option<Py<PyAny>>) -> PyResult<String> {
        let (service, plan) = (self.service.clone(), plan.plan.clone());
        work::run(py, progress, Cancelled::Left, move |watch| {
            let service = service.cancelled_by(watch.cancelled());
            service.runs(&plan)?;
            let tell = |done: u64, total: u64| {
                let _ = watch.tell(done as usize, total as usize, "bytes");
            };
            match keys {
                Keys::Bytes(bytes) => service.upload("the evaluation keys", &mut Cursor::new(&bytes[..]), tell),
                Keys::Path(path) => service.upload(&path.display().to_string(), &mut opened(&path)?, tell),
            }
        })
    }

    /// Encrypted results of an encrypted request, and the seconds in which the service computed them. They stay with the service if
    /// `keep`.
    fn eval<'py>(
        &self,
        py: Python<'py>,
        plan: &ClientPlan,
        keys: String,
        request: PyBackedBytes,
        keep: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, Option<f64>)> {
        let (service, plan) = (self.service.clone(), plan.plan.clone());
        let (result, seconds) = work::run(py, progress, Cancelled::Left, move |watch| {
            let service = service.cancelled_by(watch.cancelled());
            let computed = service.compute(&plan, &keys, &request, |job| {
                let _ = watch.tell(job.progress.done as usize, job.progress.total as usize, job.state.clone());
            })?;
            if !keep {
                // The results are here: that they stay there until they are kept no longer is no reason to fail.
                let _ = service.patience(Duration::ZERO).forget(&computed.job.id);
            }
            Ok((computed.result, computed.job.seconds))
        })?;
        Ok((PyBytes::new(py, &result), seconds))
    }
}

fn opened(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::File { file: path.display().to_string(), source })
}
