//! What a network computes last and the client can do as well after decryption.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Value};

/// The network that is encrypted in place of `module`, whose results are what the client decrypts, and a remark on every node
/// that is left to the client. These are softmax nodes that only feed results: they do not change the order of the logits.
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
    let uses = func.use_counts();
    let is_head = |v: Value| {
        let as_result = func.results().iter().filter(|&&r| r == v).count() as u32;
        matches!(func.node(v).op, NnOp::Softmax { .. }) && as_result > 0 && uses[v.index()] == as_result
    };
    let (mut notes, mut origins) = (Vec::new(), BTreeMap::new());
    let Ok(rest) = module.rebuild(|out, v, node, operands| {
        if is_head(v) {
            let name = node.loc.name();
            notes
                .push(format!("softmax `{name}` at the end is left to the client: the encrypted result is its logits"));
            return Ok::<_, Infallible>(operands[0]);
        }
        let made = out.func.push_unchecked(node.op.clone(), operands, node.ty.clone(), node.loc.clone());
        origins.insert(made, v);
        Ok(made)
    });
    Headless { module: rest, origins, notes }
}
