//! What becomes of weights in training: groups of zeros, and powers of two.

use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Issue, Module, Nn, OpInfo, Value};
use fhec_passes::PassError;
use fhec_passes::approx::{Interval, power_of_two_quadratic};
use fhec_passes::prune::{NetworkCost, Pruning};
use serde::Serialize;

use super::{Fitted, Namer, RecipeGroup, RecipeMask, RecipePowers};
use crate::error::Error;

/// Where activations without calibration data are approximated: inputs of standard deviation 1 lie there.
const REACH: f64 = 4.0;

/// What masks do to a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pruned {
    /// Weights in groups that could become zero.
    pub weights: usize,
    /// Those that do.
    pub zeros: usize,
    /// What the network costs as it is.
    pub before: NetworkCost,
    /// What it costs with the zeros.
    pub after: NetworkCost,
}

impl Pruned {
    pub(super) fn of(pruning: &Pruning, module: &Module<Nn>) -> Self {
        let size = |constant: &Value| module.func.ty(*constant).0.len();
        let zeros = pruning.groups.values().map(|groups| {
            let masked = groups.iter().filter(|g| g.masked).flat_map(|g| &g.elements);
            masked.collect::<BTreeSet<_>>().len()
        });
        let [before, after] = pruning.cost;
        Self { weights: pruning.groups.keys().map(size).sum(), zeros: zeros.sum(), before, after }
    }
}

impl Namer<'_> {
    /// The groups of weights, by the names of their initialisers.
    pub(super) fn masks(&self, pruning: &Pruning) -> Vec<RecipeMask> {
        let group = |g: &fhec_passes::prune::PrunedGroup| RecipeGroup {
            elements: g.elements.clone(),
            seconds: g.seconds,
            masked: g.masked,
        };
        let mask = |(&constant, groups): (&Value, &Vec<fhec_passes::prune::PrunedGroup>)| RecipeMask {
            weight: self.name(constant),
            groups: groups.iter().map(group).collect(),
        };
        pruning.groups.iter().map(mask).collect()
    }

    /// The exponents of every initialiser that holds weights or biases: `count` of them, the largest as in incremental network
    /// quantisation (Zhou et al., 2017), floor(log2(4/3 · max |w|)). Constants of zeros have none.
    pub(super) fn powers_of_two(&self, count: u32) -> Vec<RecipePowers> {
        let module = &self.converted.module;
        let powers = |constant: Value| {
            let NnOp::Const { value } = module.func.node(constant).op else { return None };
            let largest = module.consts.tensor(value).data().iter().fold(0.0f32, |m, w| m.max(w.abs()));
            let highest = (f64::from(largest) * 4.0 / 3.0).log2().floor();
            let lowest = highest as i32 + 1 - count as i32;
            (largest > 0.0).then(|| RecipePowers { weight: self.name(constant), lowest, highest: highest as i32 })
        };
        weights_and_biases(module).into_iter().filter_map(powers).collect()
    }
}

/// The constants that convolutions and matrix products multiply with, or that are added to their results.
fn weights_and_biases(module: &Module<Nn>) -> BTreeSet<Value> {
    let func = &module.func;
    let live = func.live();
    let is_constant = |v: Value| matches!(func.node(v).op, NnOp::Const { .. });
    let mut linear = vec![false; func.len()];
    let mut found = BTreeSet::new();
    for (v, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        let of_linear = node.operands.iter().any(|o| linear[o.index()]);
        linear[v.index()] = match &node.op {
            NnOp::Conv { .. } | NnOp::MatMul {} => true,
            NnOp::Add {} | NnOp::Reshape { .. } => of_linear,
            _ => false,
        };
        if matches!(node.op, NnOp::Conv { .. } | NnOp::MatMul {} | NnOp::Add {}) && linear[v.index()] {
            found.extend(node.operands.iter().copied().filter(|&o| is_constant(o)));
        }
    }
    found
}

/// For each of these activations the quadratic of powers of two of the least largest error, where its inputs were seen, or
/// else on [-4, 4] (Faster CryptoNets, arXiv 1811.09953).
pub(super) fn power_of_two_quadratics(
    module: &Module<Nn>,
    activations: &BTreeSet<Value>,
    fits: &BTreeMap<Value, Fitted>,
) -> Result<BTreeMap<Value, Fitted>, Error> {
    let mut found = BTreeMap::new();
    let mut issues = Vec::new();
    for &v in activations {
        let node = module.func.node(v);
        let Some(function) = node.op.function() else { continue };
        let seen = fits.get(&v).map_or([-REACH, REACH], |fit| fit.interval);
        let made = Interval::new(seen[0], seen[1]).and_then(|interval| power_of_two_quadratic(&function, interval));
        let reason = match made {
            Ok(quadratic) if quadratic.coefficients[2] != 0.0 => {
                let coefficients = vec![quadratic.coefficients.to_vec()];
                found.insert(v, Fitted { basis: "monomial".into(), interval: seen, coefficients });
                continue;
            }
            Ok(_) => {
                format!("no quadratic of powers of two is like `{}` on [{}, {}]", node.op.mnemonic(), seen[0], seen[1])
            }
            Err(e) => e.to_string(),
        };
        issues.push(Issue::new(&node.loc, node.op.mnemonic(), reason, "train a polynomial: --activations quadratic"));
    }
    if issues.is_empty() { Ok(found) } else { Err(PassError { pass: "prepare", issues }.into()) }
}
