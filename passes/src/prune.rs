//! Structured pruning: which weights are to become zero, by the time that saves in packed ciphertexts.
//!
//! A zero among weights saves nothing by itself. A diagonal is left out where all weights in it are zero, and a rotation
//! where all diagonals that take it are. So the groups that are offered are those of a rotation or of a single diagonal, and
//! those are taken first that save most seconds for the least share of a layer's squares.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::{LatencyTable, Timed, predict};
use fhec_ir::nn::NnOp;
use fhec_ir::{Ckks, Entity, Issue, Module, Nn, Tensor, Value};

use crate::pack::{DiagonalWeights, Pack, TransformWeights};
use crate::pass::PassError;
use crate::pipeline::{MOST_SLOTS, PlanOptions, plan};
use crate::skips::with_polynomials;
use crate::target::Target;

const NAME: &str = "prune";

/// Weights that vanish together.
#[derive(Clone, Debug, PartialEq)]
pub struct PrunedGroup {
    /// Their places in the flattened constant, increasing.
    pub elements: Vec<u32>,
    /// Seconds that their zeros save, if all others stay.
    pub seconds: f64,
    /// Whether they are among those chosen.
    pub masked: bool,
}

/// What a network is pruned to.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruning {
    /// The groups of every constant that has some.
    pub groups: BTreeMap<Value, Vec<PrunedGroup>>,
    /// The network before and after.
    pub cost: [NetworkCost; 2],
}

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct NetworkCost {
    /// Predicted seconds.
    pub seconds: f64,
    /// Rotations.
    pub rotations: u64,
    /// Products with constant vectors.
    pub plain_products: u64,
}

/// Chooses weights of `module` whose zeros save `share` of the predicted time of its linear transforms, with activations of
/// `degree`.
///
/// # Errors
/// A network that has no encrypted form or cannot be planned; a share that cannot be had.
pub fn prune(module: &Module<Nn>, share: f64, degree: usize, target: &dyn Target) -> Result<Pruning, PassError> {
    let _span = tracing::debug_span!("prune").entered();
    let polynomial = numbered(module, degree);
    let (planned, before) = costed(&polynomial.module, target)?;
    let transforms = Pack::new(slots(&planned)).weights(&polynomial.module)?;
    let times = TransformTimes::of(&planned, target)?;
    let layer = |t: &TransformWeights| Ok(PrunedTransform::new(t, times.of_node(t.loc.name())?, &polynomial.module));
    let mut layers = transforms.iter().map(layer).collect::<Result<Vec<_>, PassError>>()?;
    let whole: f64 = layers.iter().map(PrunedTransform::seconds).sum();
    let mut zeros: BTreeMap<Value, BTreeSet<u32>> = BTreeMap::new();
    let mut saved = 0.0;
    let mut best: Vec<Option<(usize, f64)>> = layers.iter().map(|layer| layer.best(&zeros)).collect();
    while saved < share * whole {
        let offered = best.iter().enumerate().filter_map(|(k, best)| Some((k, (*best)?)));
        let Some((k, (candidate, _))) = offered.max_by(|a, b| a.1.1.total_cmp(&b.1.1)) else {
            return Err(too_much(saved / whole.max(f64::MIN_POSITIVE), share));
        };
        saved += layers[k].take(candidate, &mut zeros);
        let constant = layers[k].candidates[candidate].constant;
        for (layer, best) in layers.iter().zip(&mut best).filter(|(layer, _)| layer.importance.contains_key(&constant))
        {
            *best = layer.best(&zeros);
        }
    }
    let mut groups: BTreeMap<Value, Vec<PrunedGroup>> = BTreeMap::new();
    for layer in &layers {
        for (candidate, seconds) in layer.candidates.iter().zip(layer.alone()) {
            let zeros = zeros.get(&candidate.constant);
            let masked = zeros.is_some_and(|zeros| candidate.elements.iter().all(|e| zeros.contains(e)));
            let group = PrunedGroup { elements: candidate.elements.clone(), seconds, masked };
            groups.entry(polynomial.origins[&candidate.constant]).or_default().push(group);
        }
    }
    let (_, after) = costed(&with_zeros(&polynomial.module, &zeros), target)?;
    Ok(Pruning { groups, cost: [before, after] })
}

fn too_much(possible: f64, share: f64) -> PassError {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let reason =
        format!("zeros can save {} of the time of linear transforms, not {}", percent(possible), percent(share));
    PassError { pass: NAME, issues: vec![Issue::of_network(reason, "ask for less")] }
}

/// A network with polynomials for activations, and the values of the given one that its constants come from.
struct Numbered {
    module: Module<Nn>,
    origins: BTreeMap<Value, Value>,
}

fn numbered(module: &Module<Nn>, degree: usize) -> Numbered {
    // Live nodes keep their order.
    let live = module.func.live();
    let given = module.func.iter().filter(|(v, _)| live[v.index()]).map(|(v, _)| v);
    let polynomial = with_polynomials(module, degree);
    let origins = polynomial.func.iter().map(|(v, _)| v).zip(given).collect();
    Numbered { module: polynomial, origins }
}

/// The plan of a network of polynomials, and what it costs.
fn costed(module: &Module<Nn>, target: &dyn Target) -> Result<(Module<Ckks>, NetworkCost), PassError> {
    let planned = plan(module, &PlanOptions::default(), Some(target), |_, _, _| {})?.module;
    let table = table(&planned, target)?;
    let seconds = predict(&planned, &table).map_err(|e| unpriced(&e))?.micros / 1e6;
    let counts = fhec_ir::cost::OpCounts::of(&planned, slots(&planned));
    let cost = NetworkCost { seconds, rotations: counts.rotations, plain_products: counts.plain_products };
    Ok((planned, cost))
}

fn slots(planned: &Module<Ckks>) -> usize {
    fhec_ir::cost::slots(planned).unwrap_or(MOST_SLOTS)
}

fn unpriced(reason: &dyn std::fmt::Display) -> PassError {
    let issue = Issue::of_network(reason.to_string(), "give --latency a profile of this machine");
    PassError { pass: NAME, issues: vec![issue] }
}

fn table(planned: &Module<Ckks>, target: &dyn Target) -> Result<LatencyTable, PassError> {
    let spec = planned.params.as_ref().and_then(|spec| target.costs(spec, slots(planned)));
    spec.ok_or_else(|| unpriced(&"the engine has no times for the parameters of this network"))
}

/// The module with zeros in constants.
fn with_zeros(module: &Module<Nn>, zeros: &BTreeMap<Value, BTreeSet<u32>>) -> Module<Nn> {
    let Ok(made) = module.rebuild(|out, v, node, operands| {
        let op = match (&node.op, zeros.get(&v)) {
            (NnOp::Const { value }, Some(zeros)) => {
                let tensor = module.consts.tensor(*value);
                let mut data = tensor.data().to_vec();
                zeros.iter().for_each(|&e| data[e as usize] = 0.0);
                NnOp::Const { value: out.consts.insert(node.loc.name(), Tensor::new(tensor.shape().clone(), data)) }
            }
            (op, _) => op.clone(),
        };
        Ok::<_, std::convert::Infallible>(out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone()))
    });
    made
}

/// Seconds of the steps of transforms, at the level of each.
struct TransformTimes {
    table: LatencyTable,
    /// Levels by the name of the node.
    levels: BTreeMap<String, u32>,
    highest: u32,
}

impl TransformTimes {
    fn of(planned: &Module<Ckks>, target: &dyn Target) -> Result<Self, PassError> {
        let level = |(_, node): (Value, &fhec_ir::Node<Ckks>)| match node.op {
            CkksOp::Linear { at, .. } => Some((node.loc.name().to_string(), at)),
            _ => None,
        };
        let levels = planned.func.iter().filter_map(level).collect();
        let highest = planned.params.as_ref().map_or(0, |spec| spec.levels);
        Ok(Self { table: table(planned, target)?, levels, highest })
    }

    /// Seconds of a baby step, of a giant step and of a diagonal in the transforms of node `name`.
    fn of_node(&self, name: &str) -> Result<[f64; 3], PassError> {
        let level = self.levels.get(name).copied().unwrap_or(self.highest);
        let seconds = |op| self.table.time(op, level).map(|micros| micros / 1e6).map_err(|e| unpriced(&e));
        Ok([seconds(Timed::BabyStep)?, seconds(Timed::GiantStep)?, seconds(Timed::Diagonal)?])
    }
}

/// Weights of one constant whose zeros take a rotation or a diagonal away.
struct RemovableSet {
    constant: Value,
    elements: Vec<u32>,
    /// The diagonals that vanish.
    diagonals: Vec<usize>,
}

/// A transform while weights are chosen.
struct PrunedTransform {
    steps: Vec<(i64, i64)>,
    /// Whether each diagonal is still made.
    made: Vec<bool>,
    candidates: Vec<RemovableSet>,
    /// Squares of the elements of each constant, over their sum.
    importance: BTreeMap<Value, Vec<f64>>,
    /// Seconds of a baby step, of a giant step and of a diagonal.
    times: [f64; 3],
}

impl PrunedTransform {
    fn new(transform: &TransformWeights, times: [f64; 3], module: &Module<Nn>) -> Self {
        let diagonals = &transform.diagonals;
        let mut sets: BTreeSet<Vec<usize>> = (0..diagonals.len()).map(|k| vec![k]).collect();
        for step in [|d: &DiagonalWeights| (d.baby, 0), |d: &DiagonalWeights| (0, d.giant)] {
            let mut by_step: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
            diagonals.iter().enumerate().for_each(|(k, d)| by_step.entry(step(d)).or_default().push(k));
            by_step.remove(&(0, 0));
            sets.extend(by_step.into_values());
        }
        let mut importance = BTreeMap::new();
        let mut candidates = Vec::new();
        for set in sets {
            let mut elements = BTreeSet::new();
            let mut constants = BTreeSet::new();
            let mut fixed = false;
            for &k in &set {
                match &diagonals[k].weights {
                    Some((constant, of_diagonal)) => {
                        constants.insert(*constant);
                        elements.extend(of_diagonal.iter().copied());
                    }
                    None => fixed = true,
                }
            }
            let Some(&constant) = constants.first().filter(|_| !fixed && constants.len() == 1) else { continue };
            let NnOp::Const { value } = module.func.node(constant).op else { continue };
            importance.entry(constant).or_insert_with(|| {
                let squares: Vec<f64> =
                    module.consts.tensor(value).data().iter().map(|&w| f64::from(w) * f64::from(w)).collect();
                let sum: f64 = squares.iter().sum();
                squares.iter().map(|s| s / sum.max(f64::MIN_POSITIVE)).collect()
            });
            candidates.push(RemovableSet { constant, elements: elements.into_iter().collect(), diagonals: set });
        }
        Self {
            steps: diagonals.iter().map(|d| (d.baby, d.giant)).collect(),
            made: vec![true; diagonals.len()],
            candidates,
            importance,
            times,
        }
    }

    /// How many of these diagonals take each baby and each giant step, by `(baby, 0)` and `(0, giant)`; those without a
    /// rotation are left out.
    fn steps_of(&self, diagonals: impl Iterator<Item = usize>) -> BTreeMap<(i64, i64), usize> {
        let mut steps = BTreeMap::new();
        for (baby, giant) in diagonals.map(|k| self.steps[k]) {
            for step in [(baby, 0), (0, giant)].into_iter().filter(|step| *step != (0, 0)) {
                *steps.entry(step).or_default() += 1;
            }
        }
        steps
    }

    /// Seconds of so many diagonals and of rotations.
    fn seconds_of<'a>(&self, diagonals: usize, steps: impl Iterator<Item = &'a (i64, i64)>) -> f64 {
        let [baby, giant, diagonal] = self.times;
        steps.map(|step| if step.0 != 0 { baby } else { giant }).sum::<f64>() + diagonal * diagonals as f64
    }

    /// Seconds of the diagonals that are made and of their steps.
    fn seconds(&self) -> f64 {
        let made: Vec<usize> = (0..self.made.len()).filter(|&k| self.made[k]).collect();
        self.seconds_of(made.len(), self.steps_of(made.iter().copied()).keys())
    }

    /// Seconds that the zeros of a candidate save, where `made` says which diagonals are made and `all` how many of these
    /// take each step.
    fn saved(&self, candidate: &RemovableSet, made: &[bool], all: &BTreeMap<(i64, i64), usize>) -> f64 {
        let gone: Vec<usize> = candidate.diagonals.iter().copied().filter(|&k| made[k]).collect();
        let steps = self.steps_of(gone.iter().copied());
        self.seconds_of(
            gone.len(),
            steps.iter().filter(|(step, count)| all.get(step) == Some(count)).map(|(step, _)| step),
        )
    }

    /// Seconds that every candidate saves if all other diagonals stay.
    fn alone(&self) -> Vec<f64> {
        let all = self.steps_of(0..self.made.len());
        let made = vec![true; self.made.len()];
        self.candidates.iter().map(|candidate| self.saved(candidate, &made, &all)).collect()
    }

    /// The candidate that saves most seconds for what is lost, and that quotient.
    fn best(&self, zeros: &BTreeMap<Value, BTreeSet<u32>>) -> Option<(usize, f64)> {
        let all = self.steps_of((0..self.made.len()).filter(|&k| self.made[k]));
        let quotient = |(k, candidate): (usize, &RemovableSet)| {
            let saved = self.saved(candidate, &self.made, &all);
            let gone = zeros.get(&candidate.constant);
            let kept = candidate.elements.iter().filter(|e| gone.is_none_or(|gone| !gone.contains(e)));
            let lost: f64 = kept.map(|&e| self.importance[&candidate.constant][e as usize]).sum();
            (saved > 0.0).then(|| (k, saved / lost.max(f64::MIN_POSITIVE)))
        };
        self.candidates.iter().enumerate().filter_map(quotient).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Makes the elements of a candidate zeros, and returns the seconds that this saves.
    fn take(&mut self, candidate: usize, zeros: &mut BTreeMap<Value, BTreeSet<u32>>) -> f64 {
        let before = self.seconds();
        let RemovableSet { constant, elements, .. } = &self.candidates[candidate];
        let gone = zeros.entry(*constant).or_default();
        gone.extend(elements.iter().copied());
        for single in self.candidates.iter().filter(|c| c.diagonals.len() == 1 && c.constant == *constant) {
            if single.elements.iter().all(|e| gone.contains(e)) {
                self.made[single.diagonals[0]] = false;
            }
        }
        before - self.seconds()
    }
}
