//! The server evaluates: it runs a plan on ciphertexts it cannot read.

use std::path::Path;
use std::sync::Arc;

use fhec_ckks::{Ciphertext, Context, KeySet, Verdict};
use fhec_runtime::{
    ClientPlan, Executor, ExecutorOptions, MemoryPrediction, Plan, Progress, RunReport, context, params,
};

use crate::ciphertexts::{Content, Encrypted};
use crate::error::Error;

/// A [`Plan`] with the evaluation keys of one client. It turns [`Encrypted`] inputs into [`Encrypted`] results and holds
/// nothing that decrypts. It may be shared between threads: its evaluations follow one another.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use fhec::{Encrypted, ExecutorOptions, Plan, Server};
///
/// let plan = Arc::new(Plan::load("plan.fhe")?);
/// let server = Server::open(plan.clone(), "server.key".as_ref(), ExecutorOptions::default())?;
/// let inputs = Encrypted::load(&plan.client()?, server.context(), "x.ct".as_ref())?;
/// let (results, reports) = server.eval(&inputs, &mut |progress| eprintln!("run {}", progress.run))?;
/// results.save(server.context(), "y.ct")?;
/// println!("{:.1} s", reports.iter().map(|run| run.seconds).sum::<f64>());
/// # Ok::<(), fhec::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    /// What requests must fit.
    plan: ClientPlan,
    context: Arc<Context>,
    executor: Executor,
}

/// How far the evaluation of many images is: what [`Server::eval`] tells.
#[derive(Clone, Copy, Debug)]
pub struct BatchProgress<'a> {
    /// The run, from 0.
    pub run: usize,
    /// Number of runs.
    pub runs: usize,
    /// The op that runs next.
    pub op: Progress<'a>,
}

impl Server {
    /// A server with keys in memory.
    ///
    /// # Errors
    /// Keys that do not cover the plan, or a memory bound that is too small.
    pub fn new(
        plan: impl Into<Arc<Plan>>,
        context: Arc<Context>,
        keys: Arc<KeySet>,
        options: ExecutorOptions,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        let client = plan.client()?;
        let executor = Executor::new(plan, context.clone(), keys, options)?;
        Ok(Self { plan: client, context, executor })
    }

    /// A server with a file of keys, which stays on disk and is mapped.
    ///
    /// # Errors
    /// As [`Server::new`], or a damaged file.
    pub fn open(plan: impl Into<Arc<Plan>>, keys: &Path, options: ExecutorOptions) -> Result<Self, Error> {
        let plan = plan.into();
        // The keys first: the tables take memory by the plan's parameters, which keys of other parameters do not confirm.
        let keys = Arc::new(KeySet::open(&params(&plan), keys)?);
        let context = context(&plan)?;
        Self::new(plan, context, keys, options)
    }

    /// A server with the bytes of a file of keys; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Server::new`], or damaged bytes.
    pub fn from_bytes(
        plan: impl Into<Arc<Plan>>,
        name: &str,
        keys: &[u8],
        options: ExecutorOptions,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        let keys = Arc::new(KeySet::from_bytes(&params(&plan), name, keys)?);
        let context = context(&plan)?;
        Self::new(plan, context, keys, options)
    }

    /// What it knows of the plan, as its clients do.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// The engine's tables.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
    /// Threads it runs on.
    pub fn threads(&self) -> usize {
        self.executor.threads()
    }
    /// The memory that a run without a bound is predicted to need.
    pub fn prediction(&self) -> &MemoryPrediction {
        self.executor.prediction()
    }
    /// Bytes that its runs are predicted to need, within their bound.
    pub fn predicted_memory(&self) -> u64 {
        self.executor.predicted_memory()
    }

    /// Runs the plan until all images are done, one run after another. The executed ops are checked against the plan.
    ///
    /// # Errors
    /// Ciphertexts that are no inputs of the plan or of another client, an op that fails, or when `progress`, which is
    /// called before every op, says to stop ([`Verdict`]).
    pub fn eval<V: Verdict>(
        &self,
        inputs: &Encrypted,
        progress: &mut (impl FnMut(BatchProgress<'_>) -> V + Send + ?Sized),
    ) -> Result<(Encrypted, Vec<RunReport>), Error> {
        self.eval_from(inputs, Vec::new(), &mut |_| Ok(()), progress)
    }

    /// [`Server::eval`] that goes on after the runs whose results are `done`, and gives the results of every further run to
    /// `keep` as soon as they are there. Reports are of the further runs.
    ///
    /// # Errors
    /// As [`Server::eval`], or when `keep` fails.
    pub fn eval_from<V: Verdict>(
        &self,
        inputs: &Encrypted,
        done: Vec<Vec<Ciphertext>>,
        keep: &mut dyn FnMut(&[Ciphertext]) -> Result<(), Error>,
        progress: &mut (impl FnMut(BatchProgress<'_>) -> V + Send + ?Sized),
    ) -> Result<(Encrypted, Vec<RunReport>), Error> {
        inputs.expect(&self.plan, Content::Inputs)?;
        let runs = inputs.runs.len();
        let mut outputs = done;
        outputs.truncate(runs);
        let mut reports = Vec::with_capacity(runs - outputs.len());
        for (run, ciphertexts) in inputs.runs.iter().enumerate().skip(outputs.len()) {
            let mut step = |op: Progress<'_>| progress(BatchProgress { run, runs, op });
            let _span = tracing::debug_span!("eval", run, runs).entered();
            let (result, report) = self.executor.run(ciphertexts.clone(), &mut step)?;
            keep(&result)?;
            outputs.push(result);
            reports.push(report);
        }
        let Encrypted { plan, images, request, .. } = *inputs;
        Ok((Encrypted { plan, content: Content::Outputs, runs: outputs, images, request }, reports))
    }

    /// [`Server::eval`] from bytes to bytes: what a service does with a request.
    ///
    /// # Errors
    /// As [`Server::eval`], or damaged bytes.
    pub fn eval_bytes(&self, name: &str, inputs: &[u8]) -> Result<Vec<u8>, Error> {
        let inputs = Encrypted::from_bytes(&self.plan, &self.context, name, inputs)?;
        let (outputs, _) = self.eval(&inputs, &mut |_| ())?;
        outputs.to_bytes(&self.context)
    }
}
