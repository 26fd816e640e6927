//! An engine that computes nothing: keys, requests and results are lines of text.
//!
//! Keys are `keys SECRET …`; a request is `request SECRET RUNS PAYLOAD`, and its result `SECRET: PAYLOAD`. A payload `panic` panics.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fhec_server::{Engine, Evaluated, Evaluator, Facts, Failure, JobFiles, Progress, RequestFacts, Unfit};

/// What tests hold of the engine.
#[derive(Default)]
pub struct Controls {
    open: Mutex<bool>,
    opened: Condvar,
    /// Evaluators that are loaded, now and at most.
    pub loaded: AtomicUsize,
    pub most_loaded: AtomicUsize,
    /// How often one was loaded.
    pub loads: AtomicUsize,
    /// The secrets of the jobs that were computed, in their order.
    pub computed: Mutex<Vec<String>>,
}

impl Controls {
    /// Lets jobs be computed.
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

pub struct Double {
    facts: Facts,
    controls: Arc<Controls>,
}

impl Double {
    /// An engine for the plan of this digest, which computes nothing before it is opened.
    pub fn new(plan: &str) -> (Arc<Self>, Arc<Controls>) {
        let facts = Facts {
            plan: plan.into(),
            model: "double".into(),
            security_bits: 128,
            batch: 1,
            key_bytes: 1000,
            request_bytes_per_run: 100,
            result_bytes_per_run: 100,
            memory_per_run: 0,
            client_plan: b"client plan".to_vec(),
            report: "<section><h2>Layers</h2></section>".into(),
        };
        let controls = Arc::new(Controls::default());
        (Arc::new(Self { facts, controls: controls.clone() }), controls)
    }
}

fn unfit(reason: &str) -> Unfit {
    Unfit { reason: reason.into(), help: "send something else".into() }
}

fn words(path: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    text.splitn(4, ' ').map(Into::into).collect()
}

impl Engine for Double {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn memory(&self) -> u64 {
        2
    }
    fn evaluator_memory(&self) -> u64 {
        1
    }
    fn check_keys(&self, path: &Path) -> Result<String, Unfit> {
        match &words(path)[..] {
            [kind, secret, ..] if kind == "keys" => Ok(secret.clone()),
            _ => Err(unfit("these are no keys")),
        }
    }
    fn check_request(&self, path: &Path) -> Result<RequestFacts, Unfit> {
        match &words(path)[..] {
            [kind, secret, runs, payload] if kind == "request" => {
                let runs = runs.parse().map_err(|_| unfit("no number of runs"))?;
                Ok(RequestFacts { secret: secret.clone(), images: runs, runs, request: payload.clone() })
            }
            _ => Err(unfit("this is no request")),
        }
    }
    fn open(&self, keys: &Path) -> Result<Box<dyn Evaluator>, Unfit> {
        self.controls.loads.fetch_add(1, Ordering::SeqCst);
        let now = self.controls.loaded.fetch_add(1, Ordering::SeqCst) + 1;
        self.controls.most_loaded.fetch_max(now, Ordering::SeqCst);
        Ok(Box::new(Of { secret: self.check_keys(keys)?, controls: self.controls.clone() }))
    }
}

struct Of {
    secret: String,
    controls: Arc<Controls>,
}

impl Drop for Of {
    fn drop(&mut self) {
        self.controls.loaded.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Evaluator for Of {
    fn eval(
        &self,
        files: JobFiles<'_>,
        progress: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<Evaluated, Failure> {
        let request = words(files.input);
        assert_eq!(request[1], self.secret, "the service gives every job its own keys");
        let mut open = self.controls.open.lock().unwrap();
        while !*open {
            if progress(Progress { done: 1, total: 2 }).is_break() {
                return Err(Failure::Stopped);
            }
            open = self.controls.opened.wait_timeout(open, Duration::from_millis(5)).unwrap().0;
        }
        drop(open);
        self.controls.computed.lock().unwrap().push(self.secret.clone());
        match request[3].as_str() {
            "panic" => panic!("as asked"),
            "fail" => Err(Failure::Unfit(unfit("it fails, as asked"))),
            payload => {
                std::fs::write(files.output, format!("{}: {payload}", self.secret)).unwrap();
                Ok(Evaluated { resumed: 0 })
            }
        }
    }
}
