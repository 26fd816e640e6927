//! Runs a plan on ciphertexts.

mod cache;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fhec_ckks::{
    Bootstrapper, Ciphertext, CkksError, Context, Diagonal, EngineCounts, Evaluator, KeySet, LinearTransform, Role,
    Verdict, bound_recycled,
};
use fhec_ir::ckks::exec::{Backend, Constant, ExecError, LinearMap, Observer, RunStep, execute};
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Entity, Module, Node, OpInfo};
use serde::Serialize;

use crate::engine::params;
use crate::error::RuntimeError;
use crate::keys::key_steps;
use crate::memory::MemoryPrediction;
use crate::plan::Plan;
use crate::stats::{TraceEntry, expected_trace};
use cache::{CachedEncoding, EncodingCache, Use};

/// Computes the ops of the `ckks` level with the engine. Plain operands are encoded at the level of their use, once, and
/// kept in compact form within a memory bound.
#[derive(Debug)]
pub struct CkksBackend {
    evaluator: Evaluator,
    slots: usize,
    encodings: EncodingCache,
    bootstrappers: BTreeMap<u32, Bootstrapper>,
    /// What the engine counted inside bootstraps: a plan states them as one op.
    inside: EngineCounts,
    trace: Vec<TraceEntry>,
}

fn level(level: u32) -> usize {
    level as usize
}

fn ty(ct: &Ciphertext) -> CtTy {
    CtTy { level: ct.level() as u32, sd: ct.scale_degree(), parts: ct.parts().len() as u8 }
}

impl CkksBackend {
    /// A backend for programs of `slots` slots; encodings are kept up to `encoding_bytes`.
    pub fn new(evaluator: Evaluator, slots: usize, encoding_bytes: usize) -> Self {
        let (encodings, bootstrappers) = (EncodingCache::new(encoding_bytes), BTreeMap::new());
        Self { evaluator, slots, encodings, bootstrappers, inside: EngineCounts::default(), trace: Vec::new() }
    }

    /// Prepares the bootstraps to these levels.
    ///
    /// # Errors
    /// Parameters without bootstrapping, or a level above their highest.
    pub fn prepare_bootstraps(&mut self, levels: impl IntoIterator<Item = u32>) -> Result<(), CkksError> {
        for to in levels {
            if !self.bootstrappers.contains_key(&to) {
                let prepared = Bootstrapper::new(self.evaluator.context(), self.slots, level(to))?;
                self.bootstrappers.insert(to, prepared);
            }
        }
        Ok(())
    }

    /// Encodes the constants of a program ahead of its run.
    ///
    /// # Errors
    /// A constant that the engine refuses.
    pub fn prepare_constants(&mut self, module: &Module<Ckks>) -> Result<(), CkksError> {
        let func = &module.func;
        let live = func.live();
        let constant = |id| Constant { id, entry: module.consts.get(id) };
        for (_, node) in func.iter().filter(|(v, _)| live[v.index()]) {
            let operand = |node: &Node<Ckks>| *func.ty(node.operands[0]);
            match &node.op {
                CkksOp::AddPlain { value } => {
                    let CtTy { level: at, sd, .. } = operand(node);
                    self.vector(constant(*value), Role::Term { level: level(at), sd })?;
                }
                CkksOp::MulPlain { value, at } => {
                    let role = Role::Factor { operand: level(operand(node).level), at: level(*at) };
                    self.vector(constant(*value), role)?;
                }
                CkksOp::Linear { rotations, giants, diagonals, at } => {
                    let map = LinearMap { rotations, giants, diagonals: constant(*diagonals), at: *at };
                    self.transform(level(operand(node).level), map)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the engine has counted outside of bootstraps.
    fn counts(&self) -> EngineCounts {
        self.evaluator.counts() - self.inside
    }

    /// The ops computed since the last call, as the ciphertexts they gave tell.
    pub fn take_trace(&mut self) -> Vec<TraceEntry> {
        std::mem::take(&mut self.trace)
    }

    fn record(&mut self, op: &'static str, result: Result<Ciphertext, CkksError>) -> Result<Ciphertext, CkksError> {
        if let Ok(ct) = &result {
            self.trace.push(TraceEntry { op, ty: ty(ct) });
        }
        result
    }

    fn vector(&mut self, value: Constant<'_>, role: Role) -> Result<CachedEncoding, CkksError> {
        let context = self.evaluator.context().clone();
        self.encodings.get(Use::Vector { id: value.id, role: role_key(role) }, || {
            let slots: Vec<f64> = value.data().iter().map(|&x| f64::from(x)).collect();
            context.encode(&slots, role).map(CachedEncoding::Vector)
        })
    }

    /// The diagonals of a linear transform of a ciphertext at level `operand`.
    fn transform(&mut self, operand: usize, map: LinearMap<'_>) -> Result<CachedEncoding, CkksError> {
        let (at, slots) = (level(map.at), self.slots);
        let key = Use::Linear {
            id: map.diagonals.id,
            levels: (operand, at),
            rotations: map.rotations.to_vec(),
            giants: map.giants.to_vec(),
        };
        let context = self.evaluator.context().clone();
        self.encodings.get(key, || {
            let terms: Vec<(i64, i64, Vec<f64>)> =
                map.terms().map(|(r, g, d)| (r, g, d.iter().map(|&x| f64::from(x)).collect())).collect();
            let diagonals: Vec<Diagonal<'_>> =
                terms.iter().map(|(r, g, d)| Diagonal { rotation: *r, giant: *g, re: d, im: &[] }).collect();
            LinearTransform::new(&context, slots, operand, at, &diagonals).map(|t| CachedEncoding::Linear(Arc::new(t)))
        })
    }
}

/// An order on roles for the cache: kind, then levels.
fn role_key(role: Role) -> (u8, usize, usize) {
    match role {
        Role::Factor { operand, at } => (0, operand, at),
        Role::Term { level, sd } => (1, level, usize::from(sd)),
    }
}

impl Backend for CkksBackend {
    type Ct = Ciphertext;
    type Error = CkksError;

    fn ty(&self, ct: &Ciphertext) -> CtTy {
        ty(ct)
    }
    fn add(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.add(a, b);
        self.record("add", result)
    }
    fn sub(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.sub(a, b);
        self.record("sub", result)
    }
    fn neg(&mut self, x: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.neg(x);
        self.record("neg", result)
    }
    fn add_plain(&mut self, x: &Ciphertext, value: Constant<'_>) -> Result<Ciphertext, CkksError> {
        let role = Role::Term { level: x.level(), sd: x.scale_degree() };
        let result = self.vector(value, role).and_then(|v| self.evaluator.add_plain(x, v.vector()?));
        self.record("add_plain", result)
    }
    fn add_scalar(&mut self, x: &Ciphertext, value: f64) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.add_scalar(x, value);
        self.record("add_scalar", result)
    }
    fn mul_plain(&mut self, x: &Ciphertext, value: Constant<'_>, at: u32) -> Result<Ciphertext, CkksError> {
        let role = Role::Factor { operand: x.level(), at: level(at) };
        let result = self.vector(value, role).and_then(|v| self.evaluator.mul_plain(x, v.vector()?));
        self.record("mul_plain", result)
    }
    fn mul_scalar(&mut self, x: &Ciphertext, value: f64, at: u32) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.mul_scalar(x, value, level(at));
        self.record("mul_scalar", result)
    }
    fn mul_int(&mut self, x: &Ciphertext, by: i64) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.mul_int(x, by);
        self.record("mul_int", result)
    }
    fn mul(&mut self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.mul(a, b);
        self.record("mul", result)
    }
    fn square(&mut self, x: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.square(x);
        self.record("mul", result)
    }
    fn relinearize(&mut self, x: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.relinearize(x);
        self.record("relinearize", result)
    }
    fn rescale(&mut self, x: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.rescale(x);
        self.record("rescale", result)
    }
    fn level_drop(&mut self, x: &Ciphertext, to: u32) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.level_drop(x, level(to));
        self.record("level_drop", result)
    }
    fn rotate(&mut self, x: &Ciphertext, by: i64) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.rotate(x, by);
        self.record("rotate", result)
    }
    fn conjugate(&mut self, x: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let result = self.evaluator.conjugate(x);
        self.record("conjugate", result)
    }
    fn linear(&mut self, x: &Ciphertext, map: LinearMap<'_>) -> Result<Ciphertext, CkksError> {
        let encoded = self.transform(x.level(), map);
        let result = encoded.and_then(|t| self.evaluator.linear(x, t.linear()?));
        self.record("linear", result)
    }
    fn bootstrap(&mut self, x: &Ciphertext, to: u32) -> Result<Ciphertext, CkksError> {
        self.prepare_bootstraps([to])?;
        let before = self.evaluator.counts();
        let result = self.bootstrappers[&to].apply(&self.evaluator, x);
        let spent = self.evaluator.counts() - before;
        self.inside = self.inside + EngineCounts { bootstraps: 0, ..spent };
        self.record("bootstrap", result)
    }
}

/// How an [`Executor`] executes a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutorOptions {
    /// Threads; 0 takes one per core.
    pub threads: usize,
    /// Bound on the memory of the run, in bytes. Keys and encodings are then made again when they are needed again, and
    /// the process keeps less of dropped polynomials.
    pub memory: Option<u64>,
}

/// One op that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Position of the op.
    pub index: usize,
    /// Number of ops.
    pub total: usize,
    /// Mnemonic.
    pub op: &'static str,
    /// Level of its result.
    pub level: u32,
    /// The model's node.
    pub node: &'a str,
}

/// What a run of an [`Executor`] did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunReport {
    /// Seconds from the first op to the last.
    pub seconds: f64,
    /// Seconds by mnemonic.
    pub seconds_by_op: BTreeMap<&'static str, f64>,
    /// Seconds of every op in program order.
    #[serde(skip)]
    pub seconds_of: Vec<f64>,
    /// Ops executed; a run whose ops differ from the plan is an error.
    pub ops: usize,
    /// Rotations executed.
    pub rotations: u64,
    /// Key switches executed.
    pub key_switches: u64,
    /// Products of two ciphertexts executed.
    pub products: u64,
    /// Products with plain vectors executed.
    pub plain_products: u64,
}

/// Runs one [`Plan`] on ciphertexts of one key. The ops that it executes are compared with the plan.
///
/// It may be shared between threads: its runs follow one another, each on all of its threads.
#[derive(Debug)]
pub struct Executor {
    plan: Arc<Plan>,
    pool: rayon::ThreadPool,
    backend: Mutex<CkksBackend>,
    expected: Vec<TraceEntry>,
    prediction: MemoryPrediction,
    /// Bytes that the run is predicted to need within its bound.
    predicted: u64,
}

/// Shows progress and takes times.
struct Watch<'p> {
    progress: &'p mut (dyn FnMut(Progress<'_>) -> bool + Send),
    started: Instant,
    report: RunReport,
}

impl Observer<CkksBackend> for Watch<'_> {
    fn before(&mut self, _: &mut CkksBackend, step: RunStep<'_>) -> ControlFlow<()> {
        let (op, level, node) = (step.node.op.mnemonic(), step.node.ty.level, step.node.loc.name());
        let goes_on = (self.progress)(Progress { index: step.index, total: step.total, op, level, node });
        self.started = Instant::now();
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
    fn after(&mut self, _: &mut CkksBackend, step: RunStep<'_>, _: &Ciphertext) {
        let seconds = self.started.elapsed().as_secs_f64();
        let (op, level, node) = (step.node.op.mnemonic(), step.node.ty.level, step.node.loc.name());
        tracing::trace!(index = step.index, op, level, node, seconds);
        *self.report.seconds_by_op.entry(op).or_default() += seconds;
        self.report.seconds_of.push(seconds);
    }
}

/// The tables of the engine for a plan's parameters.
///
/// # Errors
/// When the engine refuses the parameters.
pub fn context(plan: &Plan) -> Result<Arc<Context>, RuntimeError> {
    Ok(Context::new(params(plan))?)
}

impl Executor {
    /// An executor with the evaluation keys of one client.
    ///
    /// # Errors
    /// Keys of other parameters, keys that do not cover the plan, or a memory bound that is too small for any run.
    pub fn new(
        plan: impl Into<Arc<Plan>>,
        context: Arc<Context>,
        keys: Arc<KeySet>,
        options: ExecutorOptions,
    ) -> Result<Self, RuntimeError> {
        let plan = plan.into();
        let _span = tracing::debug_span!("prepare").entered();
        plan.keys().check_covered(&keys)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|i| format!("fhec-{i}"))
            .build()
            .map_err(|e| CkksError::System(format!("threads cannot be started: {e}")))?;
        let prediction = MemoryPrediction::of(&plan, pool.current_num_threads());
        let resident = keys.resident_bytes() as u64;
        let shares = options.memory.map(|bound| prediction.within(bound, resident)).transpose()?;
        if let Some(shares) = shares {
            keys.expect_uses(&key_steps(plan.module(), &params(&plan), plan.slots())?);
            keys.set_memory_bound(shares.keys);
            bound_recycled(shares.recycled);
        }
        let encoding_bytes = shares.map_or(usize::MAX, |shares| shares.encodings);
        let evaluator = Evaluator::new(context, keys)?;
        let mut backend = CkksBackend::new(evaluator, plan.slots(), encoding_bytes);
        pool.install(|| {
            backend.prepare_bootstraps(plan.bootstrap_levels())?;
            // Where not all encodings fit, they are made when they are needed.
            if encoding_bytes == usize::MAX { backend.prepare_constants(plan.module()) } else { Ok(()) }
        })?;
        let predicted = shares.map_or(prediction.total(), |shares| shares.total);
        let expected = expected_trace(plan.module());
        Ok(Self { plan, pool, backend: Mutex::new(backend), expected, prediction, predicted })
    }

    /// What a run without a memory bound is predicted to need.
    pub fn prediction(&self) -> &MemoryPrediction {
        &self.prediction
    }

    /// Bytes that the run is predicted to need within its bound.
    pub fn predicted_memory(&self) -> u64 {
        self.predicted
    }

    /// Threads of the run.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs the plan. `progress` is called before every op.
    ///
    /// # Errors
    /// When the ciphertexts do not fit, an op fails, `progress` says to stop, or what was executed is not what the plan says.
    pub fn run<V: Verdict>(
        &self,
        inputs: Vec<Ciphertext>,
        progress: &mut (impl FnMut(Progress<'_>) -> V + Send + ?Sized),
    ) -> Result<(Vec<Ciphertext>, RunReport), RuntimeError> {
        // A run that panicked has left a trace, and no more: it is cleared here.
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = &mut *backend;
        let before = backend.counts();
        backend.take_trace();
        let started = Instant::now();
        let mut progress = |op: Progress<'_>| progress(op).goes_on();
        let mut watch = Watch { progress: &mut progress, started, report: RunReport::default() };
        // The log's span is that of this thread, the ops run on another.
        let span = tracing::Span::current();
        let execute = || span.in_scope(|| execute(self.plan.module(), backend, inputs, &mut watch));
        let outputs = self.pool.install(execute).map_err(|e| match e {
            ExecError::Cancelled => CkksError::Cancelled.into(),
            e => RuntimeError::from(e),
        })?;
        let mut report = watch.report;
        report.seconds = started.elapsed().as_secs_f64();
        let done = backend.counts() - before;
        let trace = backend.take_trace();
        self.check_trace(&trace)?;
        // The engine counts conjugations among rotations, and products with a number among those with vectors.
        let planned = self.plan.counts();
        let ops = |mnemonic: &str| planned.ops.get(mnemonic).copied().unwrap_or(0);
        let (conjugations, with_numbers) = (ops("conjugate"), ops("mul_scalar"));
        for (what, executed, planned) in [
            ("rotations", done.rotations, planned.rotations + conjugations),
            ("key switches", done.key_switches, planned.key_switches),
            ("products", done.products, planned.products),
            ("products with constants", done.plain_products, planned.plain_products + with_numbers),
            ("bootstraps", done.bootstraps, planned.bootstraps),
        ] {
            if executed != planned {
                return Err(RuntimeError::Trace(format!("{executed} {what} were executed, the plan has {planned}")));
            }
        }
        (report.ops, report.rotations, report.key_switches) = (trace.len(), done.rotations, done.key_switches);
        (report.products, report.plain_products) = (done.products, done.plain_products - with_numbers);
        Ok((outputs, report))
    }

    fn check_trace(&self, trace: &[TraceEntry]) -> Result<(), RuntimeError> {
        let differs = |i: usize| trace.get(i) != self.expected.get(i);
        let describe =
            |entry: Option<&TraceEntry>| entry.map_or("nothing".to_string(), |e| format!("{} to {}", e.op, e.ty));
        match (0..trace.len().max(self.expected.len())).find(|&i| differs(i)) {
            None => Ok(()),
            Some(i) => Err(RuntimeError::Trace(format!(
                "op {i} was {}, the plan has {}",
                describe(trace.get(i)),
                describe(self.expected.get(i))
            ))),
        }
    }
}
