//! The server evaluates: it runs a plan on ciphertexts it cannot read.

use std::path::Path;
use std::sync::Arc;

use fhec_ckks::{Ciphertext, Context, KeySet};
use fhec_runtime::{
    ClientPlan, Executor, ExecutorOptions, MemoryPrediction, Plan, Progress, RunReport, context, params,
};

use crate::ciphertexts::{Content, Encrypted};
use crate::error::Error;

/// A [`Plan`] with the evaluation keys of one client. It turns [`Encrypted`] inputs into [`Encrypted`] results and holds
/// nothing that decrypts.
///
/// ```no_run
/// use fhec::{Encrypted, ExecutorOptions, Plan, Server};
///
/// let plan = Plan::load("plan.fhe")?;
/// let mut server = Server::open(&plan, "server.key".as_ref(), ExecutorOptions::default())?;
/// let inputs = Encrypted::load(&plan.client()?, server.context(), "x.ct".as_ref())?;
/// let (results, reports) = server.eval(&inputs, &mut |progress| eprintln!("run {}", progress.run))?;
/// results.save(server.context(), "y.ct")?;
/// println!("{:.1} s", reports.iter().map(|run| run.seconds).sum::<f64>());
/// # Ok::<(), fhec::Error>(())
/// ```
#[derive(Debug)]
pub struct Server<'p> {
    /// What requests must fit.
    plan: ClientPlan,
    context: Arc<Context>,
    executor: Executor<'p>,
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

impl<'p> Server<'p> {
    /// A server with keys in memory.
    ///
    /// # Errors
    /// Keys that do not cover the plan, or a memory bound that is too small.
    pub fn new(
        plan: &'p Plan,
        context: Arc<Context>,
        keys: Arc<KeySet>,
        options: ExecutorOptions,
    ) -> Result<Self, Error> {
        let executor = Executor::new(plan, context.clone(), keys, options)?;
        Ok(Self { plan: plan.client()?, context, executor })
    }

    /// A server with a file of keys, which stays on disk and is mapped.
    ///
    /// # Errors
    /// As [`Server::new`], or a damaged file.
    pub fn open(plan: &'p Plan, keys: &Path, options: ExecutorOptions) -> Result<Self, Error> {
        // The keys first: the tables take memory by the plan's parameters, which keys of other parameters do not confirm.
        let keys = Arc::new(KeySet::open(&params(plan), keys)?);
        Self::new(plan, context(plan)?, keys, options)
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
    /// Ciphertexts that are no inputs of the plan or of another client, or an op that fails.
    pub fn eval(
        &mut self,
        inputs: &Encrypted,
        progress: &mut (dyn FnMut(BatchProgress<'_>) + Send),
    ) -> Result<(Encrypted, Vec<RunReport>), Error> {
        self.eval_from(inputs, Vec::new(), &mut |_| Ok(()), progress)
    }

    /// [`Server::eval`] that goes on after the runs whose results are `done`, and gives the results of every further run to
    /// `keep` as soon as they are there. Reports are of the further runs.
    ///
    /// # Errors
    /// As [`Server::eval`], or when `keep` fails.
    pub fn eval_from(
        &mut self,
        inputs: &Encrypted,
        done: Vec<Vec<Ciphertext>>,
        keep: &mut dyn FnMut(&[Ciphertext]) -> Result<(), Error>,
        progress: &mut (dyn FnMut(BatchProgress<'_>) + Send),
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
    pub fn eval_bytes(&mut self, name: &str, inputs: &[u8]) -> Result<Vec<u8>, Error> {
        let inputs = Encrypted::from_bytes(&self.plan, &self.context, name, inputs)?;
        let (outputs, _) = self.eval(&inputs, &mut |_| ())?;
        outputs.to_bytes(&self.context)
    }
}
