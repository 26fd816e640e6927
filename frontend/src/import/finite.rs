//! Constants that are not finite, named by node and initialiser.

use std::collections::{HashMap, HashSet};

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Issue, Module, Nn, OpInfo, Value};

use crate::known::Known;
use crate::proto;

/// The initialisers that hold NaN or infinity, and what is computed from them.
#[derive(Default)]
pub(super) struct Origins {
    /// By the name of a value: the initialiser.
    values: HashMap<String, String>,
    /// By the name of a node for messages: the initialiser among its operands.
    nodes: HashMap<String, String>,
}

impl Origins {
    pub(super) fn constant(&mut self, name: &str, known: &Known) {
        if let Known::Floats(t) = known
            && t.data().iter().any(|x| !x.is_finite())
        {
            self.values.insert(name.to_string(), name.to_string());
        }
    }

    /// Notes that node `name` was imported, with results of which `known` are constants.
    pub(super) fn node(&mut self, name: &str, node: &proto::Node, known: impl Iterator<Item = bool>) {
        let Some(origin) = node.input.iter().find_map(|input| self.values.get(input)).cloned() else { return };
        for (output, _) in node.output.iter().zip(known).filter(|(_, known)| *known) {
            self.values.insert(output.clone(), origin.clone());
        }
        self.nodes.insert(name.to_string(), origin);
    }
}

/// Every node with an operand or a parameter that is not finite. An infinity that is only added to the operand of a softmax
/// is no harm: so attention masks what it must not see.
pub(super) fn issues(module: &Module<Nn>, origins: &Origins) -> Vec<Issue> {
    let func = &module.func;
    let live = func.live();
    let mut users: Vec<Vec<Value>> = vec![Vec::new(); func.len()];
    for (v, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        node.operands.iter().for_each(|o| users[o.index()].push(v));
    }
    let masks = |v: Value| {
        let ops = |v: Value| users[v.index()].iter().map(|&u| (u, &func.node(u).op));
        !func.results().contains(&v)
            && ops(v).all(|(sum, op)| {
                matches!(op, NnOp::Add {}) && ops(sum).all(|(_, op)| matches!(op, NnOp::Softmax { .. }))
            })
    };
    let mut named = HashSet::new();
    let mut out = Vec::new();
    for (v, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        let found = match &node.op {
            NnOp::Const { value } => {
                let data = module.consts.tensor(*value).data();
                let at = data.iter().position(|x| x.is_nan());
                at.or_else(|| data.iter().position(|x| x.is_infinite()).filter(|_| !masks(v))).map(|at| data[at])
            }
            NnOp::Activation { alpha, beta, .. } => {
                [alpha, beta].into_iter().flatten().map(|p| p.0 as f32).find(|p| p.is_nan())
            }
            _ => None,
        };
        let Some(x) = found else { continue };
        // The node that uses the constant says more than the constant.
        let user = users[v.index()].first().map_or(node, |&u| func.node(u));
        let origin = origins.nodes.get(user.loc.name()).or_else(|| origins.nodes.get(node.loc.name()));
        if !named.insert((user.loc.name().to_string(), origin.cloned())) {
            continue;
        }
        let reason = match origin {
            Some(initialiser) => format!("the initialiser `{initialiser}` among its operands holds {x}"),
            None => format!("a constant among its operands holds {x}"),
        };
        let repair =
            "the training has diverged, or the export is damaged: look for the last checkpoint with finite weights";
        out.push(Issue::new(&user.loc, user.op.mnemonic(), reason, repair));
    }
    out
}
