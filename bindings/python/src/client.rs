//! The owner of the data.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fhec::{ClientOptions, Encrypted, Error, Passphrase, RangeCheck};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict};
use zeroize::Zeroizing;

use crate::arrays::{self, Arrays};
use crate::errors::{exception, usage};
use crate::plan::{ClientPlan, destination};
use crate::work::{self, Cancelled};

/// A secret key for one plan.
#[pyclass(frozen, module = "fhec._fhec")]
pub struct Client {
    // Randomness is drawn from one place, by one caller at a time.
    client: Arc<Mutex<fhec::Client>>,
    plan: fhec::ClientPlan,
}

fn options(insecure: bool, max_keys: Option<u64>) -> ClientOptions {
    let mut options = fhec::Client::options();
    if insecure {
        options = options.allow_insecure();
    }
    max_keys.map_or(options, |bytes| options.key_bytes(bytes))
}

fn passphrase(py: Python<'_>, text: Option<PyBackedStr>) -> PyResult<Option<Passphrase>> {
    let empty = || usage(py, "the passphrase is empty", "give one of at least a character, or none");
    text.map(|text| Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).ok_or_else(empty)).transpose()
}

fn locked(client: &Mutex<fhec::Client>) -> MutexGuard<'_, fhec::Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    fn new(client: fhec::Client, plan: &ClientPlan) -> Self {
        Self { client: Arc::new(Mutex::new(client)), plan: plan.plan.clone() }
    }
}

#[pymethods]
impl Client {
    #[staticmethod]
    fn generate(py: Python<'_>, plan: &ClientPlan, insecure: bool, max_keys: Option<u64>) -> PyResult<Self> {
        let client = py.detach(|| options(insecure, max_keys).generate(&plan.plan));
        Ok(Self::new(client.map_err(|e| exception(py, &e))?, plan))
    }

    #[staticmethod]
    fn load(
        py: Python<'_>,
        plan: &ClientPlan,
        path: PathBuf,
        secret: Option<PyBackedStr>,
        insecure: bool,
        max_keys: Option<u64>,
    ) -> PyResult<Self> {
        let secret = passphrase(py, secret)?;
        let options = options(insecure, max_keys);
        let client = py.detach(|| match &secret {
            Some(secret) => options.load_with_passphrase(&plan.plan, &path, secret),
            None => options.load(&plan.plan, &path),
        });
        Ok(Self::new(client.map_err(|e| exception(py, &e))?, plan))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, secret: Option<PyBackedStr>) -> PyResult<()> {
        let secret = passphrase(py, secret)?;
        let saved = py.detach(|| match &secret {
            Some(secret) => locked(&self.client).save_with_passphrase(path, secret),
            None => locked(&self.client).save(path),
        });
        saved.map_err(|e| exception(py, &e))
    }

    /// The evaluation keys as the bytes of a file.
    fn evaluation_keys<'py>(&self, py: Python<'py>, progress: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        let client = self.client.clone();
        let bytes = work::run(py, progress, Cancelled::Awaited, move |watch| {
            locked(&client).evaluation_key_bytes(|p| watch.tell(p.done, p.total, p.key.to_string()))
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The evaluation keys in a file, one in memory at a time.
    fn save_evaluation_keys(
        &self,
        py: Python<'_>,
        path: PathBuf,
        force: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let client = self.client.clone();
        work::run(py, progress, Cancelled::Awaited, move |watch| {
            let to = destination(path, force);
            locked(&client).write_evaluation_keys(to, |p| watch.tell(p.done, p.total, p.key.to_string()))
        })
    }

    /// Images encrypted, and warnings of those outside of what calibration data showed.
    fn encrypt<'py>(
        &self,
        py: Python<'py>,
        x: Arrays<'_>,
        force: bool,
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<String>)> {
        let ports = self.plan.image_inputs();
        let images = arrays::images(py, "the input", &x, &ports)?;
        let client = self.client.clone();
        let (bytes, warnings) = work::run(py, None, Cancelled::Left, move |_| {
            let checks = RangeCheck::of(&ports, &images);
            if !force {
                RangeCheck::admit_inputs(&checks, "the input")?;
            }
            let warnings: Vec<String> = checks.iter().filter_map(|c| c.warning("the input", images.len())).collect();
            let mut client = locked(&client);
            Ok((client.encrypt(&images)?.to_bytes(client.context())?, warnings))
        })?;
        Ok((PyBytes::new(py, &bytes), warnings))
    }

    /// Results decrypted, with what is left to the client applied if `apply_head`, and warnings.
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        data: PyBackedBytes,
        apply_head: bool,
        force: bool,
    ) -> PyResult<(Bound<'py, PyDict>, Vec<String>)> {
        let ports = self.plan.image_outputs();
        let (client, plan) = (self.client.clone(), self.plan.clone());
        let (results, outputs, warnings) = work::run(py, None, Cancelled::Left, move |_| {
            let client = locked(&client);
            let encrypted = Encrypted::from_bytes(&plan, client.context(), "the results", &data)?;
            let results = client.decrypt(&encrypted)?;
            let warnings = match RangeCheck::distrust(&RangeCheck::of(&ports, &results)) {
                Some(reason) if !force => {
                    let repair = "the input may be unlike the calibration data: `plan.simulate` on it names the layers whose \
                                  values are out of range; `--force` gives the results as they are";
                    return Err(Error::Results { reason, repair: repair.into() });
                }
                found => found.into_iter().collect::<Vec<_>>(),
            };
            if apply_head {
                let outputs = fhec::heads::outputs(&ports)?;
                return Ok((client.apply_heads(&results)?, outputs, warnings));
            }
            Ok((results, ports, warnings))
        })?;
        Ok((arrays::dictionary(py, &outputs, &results)?, warnings))
    }
}
