//! Walks over a program and sorts its ops into spans of time and into layers.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::{self, OpCounts};
use fhec_ir::{Ckks, Entity, Node, OpInfo};
use fhec_runtime::{OpMemory, Plan};

use super::findings::Findings;
use super::model::{Layer, Phase, Span};

/// A program, sorted.
pub struct Walked {
    pub spans: Vec<Span>,
    /// In order of their first op.
    pub layers: Vec<Layer>,
    /// Predicted seconds by mnemonic.
    pub by_op: BTreeMap<&'static str, f64>,
    /// Predicted seconds by phase.
    pub by_phase: BTreeMap<Phase, f64>,
}

/// Sorts the program of `plan`. `seconds` are those predicted of every value, `measured` those of every op that a run executes; a
/// run of another number of ops measured something else, and is left out.
pub fn walk(
    plan: &Plan,
    findings: &Findings,
    seconds: Option<Vec<f64>>,
    measured: Option<Vec<f64>>,
    memory: &[OpMemory],
) -> Walked {
    let measured = measured.filter(|all| all.len() == memory.len());
    let mut program = Program { seconds, measured, ..Program::new(plan, findings, memory) };
    let func = &plan.module().func;
    let live = func.live();
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        program.add(value.index(), node);
    }
    let Program { spans, layers, by_op, by_phase, .. } = program;
    Walked { spans, layers: layers.into_iter().map(|(layer, _)| layer).collect(), by_op, by_phase }
}

/// The phase of every op that a run executes, in order.
pub fn phases(plan: &Plan) -> Vec<Phase> {
    let findings = Findings::default();
    let mut program = Program::new(plan, &findings, &[]);
    let func = &plan.module().func;
    let live = func.live();
    let ops = func.iter().filter(|(v, n)| live[v.index()] && n.op.as_input().is_none());
    ops.map(|(value, node)| {
        let phase = program.phase(node);
        program.values[value.index()] = Some((phase, 0));
        phase
    })
    .collect()
}

/// A program on its way into spans and layers.
struct Program<'a> {
    plan: &'a Plan,
    /// Seconds of every value, where all have known times.
    seconds: Option<Vec<f64>>,
    /// Measured seconds of every op, in order.
    measured: Option<Vec<f64>>,
    memory: &'a [OpMemory],
    /// Ops so far.
    done: usize,
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
    fn new(plan: &'a Plan, findings: &'a Findings, memory: &'a [OpMemory]) -> Self {
        Self {
            plan,
            seconds: None,
            measured: None,
            memory,
            done: 0,
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
        let memory = self.memory.get(self.done).copied().unwrap_or(OpMemory { ciphertexts: 0, scratch: 0 });
        self.done += 1;
        let start = self.now;
        self.now += length;
        match self.spans.last_mut() {
            Some(s) if (s.layer, s.phase, s.level) == (layer, phase, node.ty.level) && phase != Phase::Bootstrap => {
                s.length += length;
                s.ciphertext_bytes = s.ciphertext_bytes.max(memory.ciphertexts);
                s.scratch_bytes = s.scratch_bytes.max(memory.scratch);
                *s.ops.entry(op).or_default() += 1;
            }
            _ => {
                let ops = BTreeMap::from([(op, 1)]);
                let (ciphertext_bytes, scratch_bytes) = (memory.ciphertexts, memory.scratch);
                let level = node.ty.level;
                self.spans.push(Span { layer, phase, level, start, length, ops, ciphertext_bytes, scratch_bytes });
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
            measured_seconds: self.measured.as_ref().map(|_| 0.0),
            noise: None,
            keys: 0,
            activation: self.findings.activation_of(name),
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
        if let (Some(sum), Some(&measured)) =
            (&mut layer.measured_seconds, self.measured.as_ref().and_then(|all| all.get(self.done)))
        {
            *sum += measured;
        }
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
