//! What a network computes last and the client can do as well after decryption.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, OpInfo, Value};

/// The network that is encrypted in place of `module`, whose results are what the client decrypts, and a remark on every node
/// that is left to the client. These are softmax, its logarithm and the place of a maximum where they only feed results: they
/// do not change the order of the logits.
///
/// What is known of the results, such as their bounds on samples, must be measured on this network.
pub fn without_heads(module: &Module<Nn>) -> (Module<Nn>, Vec<String>) {
    let Headless { module, notes, .. } = headless(module);
    (module, notes)
}

/// A network without its heads.
pub(super) struct Headless {
    pub(super) module: Module<Nn>,
    /// Where its values come from.
    pub(super) origins: BTreeMap<Value, Value>,
    pub(super) notes: Vec<String>,
}

pub(super) fn headless(module: &Module<Nn>) -> Headless {
    let func = &module.func;
    let live = func.live();
    // Whether all that becomes of a value is a result: by way of heads, or of ops that do not look at elements.
    let mut only_results = vec![true; func.len()];
    let mut used = vec![false; func.len()];
    func.results().iter().for_each(|r| used[r.index()] = true);
    for (v, node) in func.iter().rev().filter(|(v, _)| live[v.index()]) {
        let moves = matches!(node.op, NnOp::Reshape { .. } | NnOp::Transpose { .. });
        let head = matches!(node.op, NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. });
        for o in &node.operands {
            used[o.index()] = true;
            // An index has another shape than what it is an index of: nothing may follow it.
            let index = matches!(func.node(*o).op, NnOp::ArgMax { .. });
            only_results[o.index()] &= (moves || head) && !index && only_results[v.index()];
        }
    }
    let (mut notes, mut origins) = (Vec::new(), BTreeMap::new());
    let Ok(mut rest) = module.rebuild(|out, v, node, operands| {
        let (name, what) = (node.loc.name(), node.op.mnemonic());
        if used[v.index()] && only_results[v.index()] {
            let encrypted = match node.op {
                NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } => Some("its logits"),
                NnOp::ArgMax { .. } => Some("the scores whose largest it finds"),
                _ => None,
            };
            if let Some(encrypted) = encrypted {
                notes.push(format!(
                    "{what} `{name}` at the end is left to the client: the encrypted result is {encrypted}"
                ));
                return Ok::<_, Infallible>(operands[0]);
            }
        }
        let made = out.func.push_unchecked(node.op.clone(), operands, node.ty.clone(), node.loc.clone());
        origins.insert(made, v);
        Ok(made)
    });
    let shapes: Vec<_> = rest.func.results().iter().map(|&r| rest.func.ty(r).0.clone()).collect();
    rest.outputs.iter_mut().zip(shapes).for_each(|(port, shape)| port.shape = shape);
    Headless { module: rest, origins, notes }
}
