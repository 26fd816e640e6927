//! What computes: the service knows files, and an [`Engine`] knows what is in them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use fhec::ir::text::to_hex;
use fhec::report::{Prediction, Report};
use fhec::runtime::{ClientPlan, KeySet, MemoryPrediction, context, params};
use fhec::{Content, EncryptedFile, Error, ExecutorOptions, Partial, Plan};
use fhec_ckks::Context;
use fhec_files::Destination;
use miette::Diagnostic;
use serde::Serialize;

use crate::error::ServeError;

/// What a service says of its plan, and the bounds that follow from it.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Digest of the plan, in hexadecimal.
    pub plan: String,
    /// Name of the model.
    pub model: String,
    /// Bits of classical security, 0 when the parameters are marked insecure.
    pub security_bits: u32,
    /// Images of one run.
    pub batch: usize,
    /// The most bytes of a file of evaluation keys.
    pub key_bytes: u64,
    /// The most bytes of a request of one run.
    pub request_bytes_per_run: u64,
    /// The most bytes of the result of one run.
    pub result_bytes_per_run: u64,
    /// Bytes of memory of one run's requests and results.
    #[serde(skip)]
    pub memory_per_run: u64,
    /// The bytes of the client plan.
    #[serde(skip)]
    pub client_plan: Vec<u8>,
    /// The report of the plan, as the content of a page.
    #[serde(skip)]
    pub report: String,
}

/// What a request says of itself.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// The secret key that it is under.
    pub secret: String,
    /// Number of images.
    pub images: usize,
    /// Number of runs.
    pub runs: usize,
    /// The request's own name, which its results carry.
    pub request: String,
}

/// A file that does not fit the plan.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub help: String,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Operations that are done, of all runs.
    pub done: u64,
    /// Operations in all.
    pub total: u64,
}

/// The files of a job. The plan's own file stands for the plan where partial results say what they belong to.
#[derive(Clone, Copy, Debug)]
pub struct JobFiles<'a> {
    /// The client plan.
    pub plan: &'a Path,
    /// The evaluation keys.
    pub keys: &'a Path,
    /// The request.
    pub input: &'a Path,
    /// Where the result goes, complete or not at all.
    pub output: &'a Path,
}

/// What an evaluation did.
#[derive(Clone, Copy, Debug)]
pub struct Evaluated {
    /// Runs whose results were there already.
    pub resumed: usize,
}

/// Why there is no result.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It was told to stop.
    Stopped,
    /// It cannot be computed.
    Unfit(Unfit),
}

/// What computes results of one plan.
pub trait Engine: Send + Sync + 'static {
    /// What is said of the plan.
    fn facts(&self) -> &Facts;
    /// The bytes that all evaluators may take together.
    fn memory(&self) -> u64;
    /// The bytes that one more evaluator will take.
    fn evaluator_memory(&self) -> u64;
    /// Checks a whole file of evaluation keys; the secret key that they belong to.
    ///
    /// # Errors
    /// Keys that do not fit.
    fn check_keys(&self, path: &Path) -> Result<String, Unfit>;
    /// Checks a whole request, of which no ciphertext is read into memory.
    ///
    /// # Errors
    /// A request that does not fit.
    fn check_request(&self, path: &Path) -> Result<RequestFacts, Unfit>;
    /// An evaluator with these keys, which stay on the disk and are mapped.
    ///
    /// # Errors
    /// Keys that do not fit.
    fn open(&self, keys: &Path) -> Result<Box<dyn Evaluator>, Unfit>;
}

/// What computes results with the keys of one client.
pub trait Evaluator: Send {
    /// Computes the result of a request, and goes on from partial results where there are any. `progress` is told how far it
    /// is, and answers whether to go on.
    ///
    /// # Errors
    /// When it was told to stop, or the request does not fit.
    fn eval(
        &self,
        files: JobFiles<'_>,
        progress: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<Evaluated, Failure>;
}

/// What a [`PlanEngine`] may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// Threads of each evaluation; 0 takes one per core.
    pub threads: usize,
    /// Bytes of memory of the service; without a bound as much as four evaluators take.
    pub memory: Option<u64>,
    /// Evaluations at one time; 0 is 1.
    pub workers: usize,
    /// Runs of one request; 0 is 64.
    pub runs: usize,
    /// Memory that reading a request may take; without one, what files may by default.
    pub max_size: Option<u64>,
}

/// The engine of fhec with a plan.
pub struct PlanEngine {
    plan: Arc<Plan>,
    client: ClientPlan,
    /// The engine's tables, which all evaluators share.
    context: Arc<Context>,
    facts: Facts,
    threads: usize,
    /// What all evaluators may take together.
    memory: u64,
    /// What each is bounded by, where a bound is needed.
    bound: Option<u64>,
    evaluator_memory: u64,
    max_size: Option<u64>,
}

/// What the process takes beside evaluators and requests: the program, the plan's file, buffers of connections.
const BASE_MEMORY: u64 = 64 << 20;
/// Evaluators that there is room for where no bound is given.
const DEFAULT_EVALUATORS: u64 = 4;
/// What a container says of one section beside its bytes, at most.
const PER_SECTION: u64 = 1 << 10;
/// What a container says beside its sections, at most.
const PER_FILE: u64 = 64 << 10;

impl From<Error> for Unfit {
    fn from(e: Error) -> Self {
        let help = e.help().map_or_else(|| "send what was made for this plan".into(), |help| help.to_string());
        Self { reason: e.to_string(), help }
    }
}

/// An error of the file at `path`, which tenants know as `name`: where the service has it is none of their business.
fn of_file(path: &Path, name: &'static str) -> impl Fn(Error) -> Unfit {
    let path = path.display().to_string();
    move |e| {
        let Unfit { reason, help } = e.into();
        Unfit { reason: reason.replace(&path, name), help: help.replace(&path, name) }
    }
}

const KEYS: &str = "the evaluation keys";
const REQUEST: &str = "the request";

impl PlanEngine {
    /// An engine for this plan.
    ///
    /// # Errors
    /// A plan that cannot be written down for its clients, or a memory bound under which no request can be computed.
    pub fn new(plan: impl Into<Arc<Plan>>, resources: Resources) -> Result<Self, ServeError> {
        let plan = plan.into();
        let client = plan.client().map_err(Error::from)?;
        let (workers, runs) =
            (resources.workers.max(1) as u64, if resources.runs == 0 { 64 } else { resources.runs as u64 });
        let threads = match resources.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let facts = facts(&plan, &client, threads)?;
        let prediction = MemoryPrediction::of(&plan, threads);
        let fixed = BASE_MEMORY + workers * runs * facts.memory_per_run;
        let whole = prediction.total();
        let memory = resources.memory.unwrap_or(fixed + DEFAULT_EVALUATORS.max(workers) * whole);
        let left = memory.saturating_sub(fixed);
        // Where not every worker has room for a whole evaluator, each works in its share.
        let bound = (left / workers < whole).then_some(left / workers);
        if let Some(bound) = bound
            && let Err(e) = prediction.within(bound, 0)
        {
            return Err(ServeError::Limit {
                reason: format!("{memory} bytes of memory, of which {left} are left for {workers} evaluations: {e}"),
                repair: "raise --mem, or lower --workers or --max-runs".into(),
            });
        }
        let evaluator_memory = bound.unwrap_or(whole);
        let context = context(&plan).map_err(Error::from)?;
        Ok(Self {
            plan,
            client,
            context,
            facts,
            threads,
            memory: left,
            bound,
            evaluator_memory,
            max_size: resources.max_size,
        })
    }
}

/// Bytes in memory of ciphertexts of these levels.
fn held_bytes(plan: &ClientPlan, levels: &[usize]) -> u64 {
    levels.iter().map(|&level| 2 * (level as u64 + 1) * plan.params().n() as u64 * 8).sum()
}

fn facts(plan: &Plan, client: &ClientPlan, threads: usize) -> Result<Facts, ServeError> {
    let keys = client.keys();
    let report = Report::of(plan, Prediction::of(plan, Some(threads)), None);
    Ok(Facts {
        plan: to_hex(&client.plan_digest()),
        model: client.model().into(),
        security_bits: plan.security().bits,
        batch: plan.batch(),
        key_bytes: keys.stored_bytes(client.params()) + keys.len() as u64 * PER_SECTION + PER_FILE,
        request_bytes_per_run: client.most_input_bytes(1),
        result_bytes_per_run: client.most_output_bytes(1),
        memory_per_run: held_bytes(client, &client.input_levels()) + held_bytes(client, &client.output_levels()),
        client_plan: client.to_bytes().map_err(Error::from)?,
        report: fhec::report::main(&report),
    })
}

impl Engine for PlanEngine {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn memory(&self) -> u64 {
        self.memory
    }
    fn evaluator_memory(&self) -> u64 {
        self.evaluator_memory
    }

    fn check_keys(&self, path: &Path) -> Result<String, Unfit> {
        let unfit = of_file(path, KEYS);
        let keys = KeySet::open(&params(&self.plan), path).map_err(|e| unfit(e.into()))?;
        self.plan.keys().check_covered(&keys).map_err(|e| unfit(e.into()))?;
        Ok(keys.key_id().to_string())
    }

    fn check_request(&self, path: &Path) -> Result<RequestFacts, Unfit> {
        let unfit = of_file(path, REQUEST);
        let file =
            EncryptedFile::open(&self.client, path).and_then(|file| file.expect(Content::Inputs)).map_err(&unfit)?;
        let wrong = |reason: &str| Unfit { reason: reason.into(), help: "encrypt again with `fhec encrypt`".into() };
        let key = file.key().ok_or_else(|| wrong("it holds no ciphertext, or ciphertexts of different secret keys"))?;
        file.verify().map_err(unfit)?;
        let (images, runs, request) = (file.images(), file.runs(), file.request().to_string());
        Ok(RequestFacts { secret: key.to_string(), images, runs, request })
    }

    fn open(&self, keys: &Path) -> Result<Box<dyn Evaluator>, Unfit> {
        let options = ExecutorOptions { threads: self.threads, memory: self.bound };
        let unfit = of_file(keys, KEYS);
        let keys = Arc::new(KeySet::open(&params(&self.plan), keys).map_err(|e| unfit(e.into()))?);
        let server = fhec::Server::new(self.plan.clone(), self.context.clone(), keys, options).map_err(unfit)?;
        Ok(Box::new(PlanEvaluator { server, max_size: self.max_size }))
    }
}

/// A [`fhec::Server`] with the keys of one client.
struct PlanEvaluator {
    server: fhec::Server,
    max_size: Option<u64>,
}

impl Evaluator for PlanEvaluator {
    fn eval(
        &self,
        files: JobFiles<'_>,
        progress: &mut (dyn FnMut(Progress) -> ControlFlow<()> + Send),
    ) -> Result<Evaluated, Failure> {
        let unfit = of_file(files.input, REQUEST);
        let failed = |e: Error| if e.is_cancelled() { Failure::Stopped } else { Failure::Unfit(unfit(e)) };
        let file = EncryptedFile::open(self.server.plan(), files.input).and_then(|file| file.expect(Content::Inputs));
        let context = self.server.context();
        let inputs = file.and_then(|file| file.with_limit(self.max_size).read(context)).map_err(failed)?;
        // What takes several runs goes on from the results of the first ones when it is interrupted.
        let several = inputs.ciphertexts().len() > 1;
        let partial = several.then(|| Partial::open(files.output, context, [files.plan, files.keys, files.input]));
        let (mut partial, done) = partial.transpose().map_err(failed)?.unzip();
        let done = done.unwrap_or_default();
        let resumed = done.len();
        let mut keep =
            |results: &[_]| partial.as_mut().map_or(Ok(()), |partial: &mut Partial| partial.keep(context, results));
        let mut tell = |at: fhec::BatchProgress<'_>| {
            let (done, total) = (at.run * at.op.total + at.op.index, at.runs * at.op.total);
            progress(Progress { done: done as u64, total: total as u64 })
        };
        let (results, _) = self.server.eval_from(&inputs, done, &mut keep, &mut tell).map_err(failed)?;
        results.save(context, Destination::new(files.output).private()).map_err(failed)?;
        partial.map_or(Ok(()), Partial::finish).map_err(failed)?;
        Ok(Evaluated { resumed })
    }
}
