//! The content of a report, as data.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::{self, OpCounts};
use fhec_ir::{Ckks, Entity, Node, OpInfo};
use fhec_runtime::{MemoryPrediction, Plan, Security};
use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::prediction::{Key, Prediction};

/// What the time of an op goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Convolutions, products with matrices, pooling: transforms, rotations, constant vectors.
    Linear,
    /// Polynomials: products of ciphertexts and multiples.
    Polynomial,
    /// Bootstraps.
    Bootstrap,
}

/// Ops of one layer that follow each other at one level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Index of the layer.
    pub layer: usize,
    /// Phase.
    pub phase: Phase,
    /// Level of the results.
    pub level: u32,
    /// Beginning: predicted seconds from the start, or ops where no times are known.
    pub start: f64,
    /// Length in the same unit.
    pub length: f64,
    /// Ops by mnemonic.
    pub ops: BTreeMap<&'static str, u64>,
}

/// All ops of one node of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The model's node.
    pub node: String,
    /// Ops.
    pub ops: u64,
    /// Rotations, those inside transforms included.
    pub rotations: u64,
    /// Products of two ciphertexts.
    pub products: u64,
    /// Bootstraps.
    pub bootstraps: u64,
    /// Level of the highest operand from another layer; none where there is no such operand.
    pub level_in: Option<u32>,
    /// Level of the last result.
    pub level_out: u32,
    /// Predicted seconds; none where an op has no known time.
    pub seconds: Option<f64>,
    /// Distinct evaluation keys, bootstraps not counted.
    pub keys: usize,
    /// Index into the activations of the findings.
    pub activation: Option<usize>,
    /// Index into the reconstructed layers of the findings.
    pub reconstruction: Option<usize>,
}

/// Parameters of the scheme.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// Ring degree.
    pub n: u64,
    /// Slots that the program uses.
    pub slots: usize,
    /// Highest level of the program.
    pub levels: u32,
    /// Levels that a bootstrap consumes above it.
    pub bootstrap_levels: Option<u32>,
    /// log2 of the scale.
    pub scale_bits: u32,
    /// Bits of the first prime.
    pub first_bits: u32,
    /// Primes of ciphertexts.
    pub primes: usize,
    /// Special primes of key switching.
    pub special_primes: usize,
    /// What they promise.
    pub security: Security,
}

/// An encrypted run: the part of the JSON of `fhec run` and `fhec eval` that a report shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The digest of the plan that ran, in hexadecimal.
    #[serde(default)]
    pub plan_digest: Option<String>,
    /// Images.
    #[serde(default)]
    pub images: u64,
    /// Threads.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Mean seconds of a run.
    pub seconds_per_run: f64,
    /// Seconds by mnemonic, of one run.
    #[serde(default)]
    pub seconds_by_op: BTreeMap<String, f64>,
    /// The most memory the process has held.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// What had been predicted.
    #[serde(default)]
    pub predicted_memory_bytes: Option<u64>,
    /// Largest error of a result against the program in the clear.
    #[serde(default)]
    pub max_error: Option<f64>,
    /// Images whose class is that of the program in the clear.
    #[serde(default)]
    pub same_argmax: Option<u64>,
}

/// Everything a report shows of a [`Plan`].
///
/// ```no_run
/// use fhec::Plan;
/// use fhec::report::{Prediction, Report, html};
///
/// let plan = Plan::load("plan.fhe")?;
/// let report = Report::of(&plan, Prediction::of(&plan, None), None);
/// std::fs::write("report.html", html(&report)).expect("the file can be written");
/// # Ok::<(), fhec::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// Version of fhec that compiled it.
    pub compiled_by: String,
    /// Compiler options that shaped the plan.
    pub options: BTreeMap<String, String>,
    /// Parameters.
    pub parameters: Parameters,
    /// Bits of security, 0 where the parameters are marked insecure.
    pub security_bits: u32,
    /// Threads that times are predicted for; none where a table of measured times does not say.
    pub predicted_threads: Option<usize>,
    /// Predicted seconds of a run; none where an op has no known time.
    pub predicted_seconds: Option<f64>,
    /// Predicted seconds by mnemonic.
    pub predicted_seconds_by_op: BTreeMap<&'static str, f64>,
    /// Predicted seconds by phase.
    pub predicted_seconds_by_phase: BTreeMap<Phase, f64>,
    /// The program over time.
    pub spans: Vec<Span>,
    /// Its layers, in order of their first op.
    pub layers: Vec<Layer>,
    /// Predicted memory.
    pub predicted_memory: MemoryPrediction,
    /// All of it, in bytes.
    pub predicted_memory_bytes: u64,
    /// Evaluation keys.
    pub keys: Vec<Key>,
    /// What the passes reported.
    pub findings: Findings,
    /// An encrypted run, if given.
    pub run: Option<Run>,
}

impl Report {
    /// The report of a plan, of what it is predicted to take, and of an encrypted run of it.
    pub fn of(plan: &Plan, prediction: Prediction, run: Option<Run>) -> Self {
        let Prediction { threads, seconds, seconds_of, memory, keys } = prediction;
        let timed = seconds_of.is_some();
        let findings = Findings::of(plan.provenance().report.as_ref());
        let mut program = Program::new(plan, seconds_of, &findings);
        let func = &plan.module().func;
        let live = func.live();
        for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
            program.add(value.index(), node);
        }
        let Program { spans, layers, by_op, by_phase, .. } = program;
        let spec = plan.spec();
        let provenance = plan.provenance();
        Self {
            model: provenance.model.clone(),
            compiled_by: provenance.fhec.clone(),
            options: provenance.options.clone(),
            parameters: Parameters {
                n: 1 << spec.log_n,
                slots: plan.slots(),
                levels: spec.levels,
                bootstrap_levels: spec.bootstrap.as_ref().map(|b| b.levels),
                scale_bits: spec.scale_bits,
                first_bits: spec.first_bits,
                primes: spec.primes(),
                special_primes: spec.special as usize,
                security: plan.security(),
            },
            security_bits: plan.security().bits,
            predicted_threads: threads,
            predicted_seconds: seconds,
            predicted_seconds_by_op: if timed { by_op } else { BTreeMap::new() },
            predicted_seconds_by_phase: if timed { by_phase } else { BTreeMap::new() },
            spans,
            layers: layers.into_iter().map(|(layer, _)| layer).collect(),
            predicted_memory_bytes: memory.total(),
            predicted_memory: memory,
            keys,
            findings,
            run,
        }
    }
}

/// A program on its way into spans and layers.
struct Program<'a> {
    plan: &'a Plan,
    /// Seconds of every value, where all have known times.
    seconds: Option<Vec<f64>>,
    findings: &'a Findings,
    spans: Vec<Span>,
    /// Layers with the keys they use.
    layers: Vec<(Layer, BTreeSet<cost::KeyUse>)>,
    by_node: BTreeMap<String, usize>,
    by_op: BTreeMap<&'static str, f64>,
    by_phase: BTreeMap<Phase, f64>,
    /// Phase and layer of every value.
    values: Vec<Option<(Phase, usize)>>,
    now: f64,
}

impl<'a> Program<'a> {
    fn new(plan: &'a Plan, seconds: Option<Vec<f64>>, findings: &'a Findings) -> Self {
        Self {
            plan,
            seconds,
            findings,
            spans: Vec::new(),
            layers: Vec::new(),
            by_node: BTreeMap::new(),
            by_op: BTreeMap::new(),
            by_phase: BTreeMap::new(),
            values: vec![None; plan.module().func.len()],
            now: 0.0,
        }
    }

    fn add(&mut self, value: usize, node: &Node<Ckks>) {
        if node.op.as_input().is_some() {
            return;
        }
        let layer = self.layer(node.loc.name());
        let phase = self.phase(node);
        self.values[value] = Some((phase, layer));
        let seconds = self.seconds.as_ref().and_then(|all| all.get(value).copied());
        let length = seconds.unwrap_or(1.0);
        let seconds = seconds.unwrap_or(0.0);
        let op = node.op.mnemonic();
        *self.by_op.entry(op).or_default() += seconds;
        *self.by_phase.entry(phase).or_default() += seconds;
        self.count(layer, node, seconds);
        let start = self.now;
        self.now += length;
        match self.spans.last_mut() {
            Some(s) if (s.layer, s.phase, s.level) == (layer, phase, node.ty.level) && phase != Phase::Bootstrap => {
                s.length += length;
                *s.ops.entry(op).or_default() += 1;
            }
            _ => {
                let ops = BTreeMap::from([(op, 1)]);
                self.spans.push(Span { layer, phase, level: node.ty.level, start, length, ops });
            }
        }
    }

    /// The index of the layer of this name.
    fn layer(&mut self, name: &str) -> usize {
        if let Some(&known) = self.by_node.get(name) {
            return known;
        }
        // After fusion a name is several, joined.
        let matches = |node: &str| node == name || name.split('+').any(|part| part == node);
        let layer = Layer {
            node: name.to_string(),
            ops: 0,
            rotations: 0,
            products: 0,
            bootstraps: 0,
            level_in: None,
            level_out: 0,
            seconds: self.seconds.as_ref().map(|_| 0.0),
            keys: 0,
            activation: self.findings.activations.iter().position(|a| matches(&a.node)),
            reconstruction: self.findings.layers.iter().position(|l| matches(&l.node)),
        };
        self.layers.push((layer, BTreeSet::new()));
        self.by_node.insert(name.to_string(), self.layers.len() - 1);
        self.layers.len() - 1
    }

    /// Ops that both kinds of layer have belong to what they follow.
    fn phase(&self, node: &Node<Ckks>) -> Phase {
        match &node.op {
            CkksOp::Bootstrap { .. } => Phase::Bootstrap,
            CkksOp::Linear { .. }
            | CkksOp::Rotate { .. }
            | CkksOp::Conjugate {}
            | CkksOp::MulPlain { .. }
            | CkksOp::AddPlain { .. }
            | CkksOp::Input { .. } => Phase::Linear,
            CkksOp::Mul {}
            | CkksOp::Relinearize {}
            | CkksOp::MulScalar { .. }
            | CkksOp::MulInt { .. }
            | CkksOp::AddScalar { .. } => Phase::Polynomial,
            CkksOp::Add {} | CkksOp::Sub {} | CkksOp::Neg {} | CkksOp::Rescale {} | CkksOp::LevelDrop { .. } => {
                let before = node.operands.first().and_then(|x| self.values[x.index()]);
                before.map(|(phase, _)| phase).filter(|&phase| phase != Phase::Bootstrap).unwrap_or(Phase::Linear)
            }
        }
    }

    fn count(&mut self, index: usize, node: &Node<Ckks>, seconds: f64) {
        let func = &self.plan.module().func;
        let foreign = node.operands.iter().filter(|x| self.values[x.index()].is_none_or(|(_, layer)| layer != index));
        let level_in = foreign.map(|&x| func.ty(x).level).max();
        let (layer, keys) = &mut self.layers[index];
        layer.ops += 1;
        layer.level_in = layer.level_in.max(level_in);
        layer.level_out = node.ty.level;
        layer.seconds = layer.seconds.map(|sum| sum + seconds);
        let (consts, slots) = (&self.plan.module().consts, self.plan.slots());
        let mut counts = OpCounts::default();
        counts.add(node, consts, slots);
        layer.rotations += counts.rotations;
        layer.products += counts.products;
        layer.bootstraps += counts.bootstraps;
        keys.extend(cost::steps(node, func, consts, slots).into_iter().flat_map(|step| step.keys));
        layer.keys = keys.len();
    }
}
