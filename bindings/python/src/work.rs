//! Long work runs on a thread of its own. The caller waits without the interpreter's lock, calls back with how far it is, and
//! looks for Ctrl-C.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fhec::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often the caller looks at signals and calls back.
const PERIOD: Duration = Duration::from_millis(50);

/// How far work is.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub done: usize,
    pub total: usize,
    /// What was done last, or is done now.
    pub what: String,
}

/// What the thread of the work and its caller share.
#[derive(Clone, Default)]
pub struct Watch {
    cancelled: Arc<AtomicBool>,
    step: Arc<Mutex<Option<Step>>>,
}

impl Watch {
    /// Tells how far the work is; whether it goes on.
    pub fn tell(&self, done: usize, total: usize, what: impl Into<String>) -> ControlFlow<()> {
        let step = Step { done, total, what: what.into() };
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
        if self.cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What is set when the work is to stop.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    /// Calls back with the last step, if it is a new one.
    fn show(&self, py: Python<'_>, progress: Option<&Py<PyAny>>) -> PyResult<()> {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (progress, step) {
            (Some(progress), Some(Step { done, total, what })) => progress.call1(py, (done, total, what)).map(drop),
            _ => Ok(()),
        }
    }
}

/// What becomes of work that is cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It stops within a moment: the caller waits for it, so that nothing runs on.
    Awaited,
    /// It stops at the end of a stage, which may take long, or cannot be stopped: the caller does not wait, and what it gives is
    /// dropped.
    Left,
}

/// Runs `work` and gives its result. `progress` is called in the caller's thread; what it raises, and Ctrl-C, stop the work.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    cancelled: Cancelled,
    work: impl FnOnce(&Watch) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let watch = Watch::default();
    let (send, receive) = mpsc::channel();
    // What waits without the interpreter's lock must be shared between threads.
    let receive = Mutex::new(receive);
    let thread = {
        let watch = watch.clone();
        let work = move || {
            // Nobody receives the result of work that was left.
            let _ = send.send(work(&watch));
        };
        std::thread::Builder::new().name("fhec".into()).spawn(work)?
    };
    let result = loop {
        let wait = || receive.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PERIOD);
        let received = py.detach(wait);
        let finished = match received {
            Ok(result) => Some(Ok(result)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(())),
        };
        if let Err(raised) = watch.show(py, progress.as_ref()).and_then(|()| py.check_signals()) {
            watch.cancelled.store(true, Ordering::Relaxed);
            if cancelled == Cancelled::Awaited {
                let _ = py.detach(|| thread.join());
            }
            return Err(raised);
        }
        if let Some(result) = finished {
            break result;
        }
    };
    // A thread that sent nothing has panicked: that is a defect of fhec, not of what it was given.
    let joined = py.detach(|| thread.join());
    match (result, joined) {
        (Ok(result), _) => result.map_err(|error| crate::errors::exception(py, &error)),
        (Err(()), Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            Err(PyRuntimeError::new_err(format!("an error in fhec, please report it: {text}")))
        }
        (Err(()), Ok(())) => Err(PyRuntimeError::new_err("an error in fhec, please report it: work without a result")),
    }
}
