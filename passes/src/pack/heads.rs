//! What a network computes last and the client can do as well after decryption.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Func, Head, Module, Nn, OpInfo, Value, io};

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
pub(crate) struct Headless {
    pub(crate) module: Module<Nn>,
    /// Where its values come from.
    pub(crate) origins: BTreeMap<Value, Value>,
    /// What the client makes of an image of every result.
    pub(crate) heads: Vec<Vec<Head>>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn headless(module: &Module<Nn>) -> Headless {
    let func = &module.func;
    let left = left(func);
    let (mut notes, mut origins) = (Vec::new(), BTreeMap::new());
    let Ok(mut rest) = module.rebuild(|out, v, node, operands| {
        if left[v.index()] {
            let encrypted = match node.op {
                NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } => Some("its logits"),
                NnOp::ArgMax { .. } => Some("the scores whose largest it finds"),
                _ => None,
            };
            notes.extend(encrypted.map(|encrypted| {
                let (name, what) = (node.loc.name(), node.op.mnemonic());
                format!("{what} `{name}` at the end is left to the client: the encrypted result is {encrypted}")
            }));
            return Ok::<_, Infallible>(operands[0]);
        }
        let made = out.func.push_unchecked(node.op.clone(), operands, node.ty.clone(), node.loc.clone());
        origins.insert(made, v);
        Ok(made)
    });
    let shapes: Vec<_> = rest.func.results().iter().map(|&r| rest.func.ty(r).0.clone()).collect();
    rest.outputs.iter_mut().zip(shapes).for_each(|(port, shape)| port.shape = shape);
    // What decrypts gives a head one image at a time.
    let images = io::batch(rest.inputs.iter().chain(&rest.outputs));
    let mut heads = Vec::with_capacity(func.results().len());
    for (at, &result) in func.results().iter().enumerate() {
        let chain = chain(func, &left, result);
        let of_image = chain.iter().map(|head| head.as_ref()?.of_image(images)).collect::<Option<Vec<_>>>();
        heads.push(of_image.unwrap_or_else(|| {
            let name = module.outputs.get(at).map_or_else(|| format!("output{at}"), |port| port.name.clone());
            notes.push(format!(
                "what is left to the client of output `{name}` mixes the {images} images of a run, so decryption, which gives \
                 them one by one, cannot apply it"
            ));
            Vec::new()
        }));
    }
    Headless { module: rest, origins, heads, notes }
}

/// Which values the client computes: heads of which all that becomes are results, and behind them what only moves elements.
fn left(func: &Func<Nn>) -> Vec<bool> {
    let live = func.live();
    let moves = |op: &NnOp| matches!(op, NnOp::Reshape { .. } | NnOp::Transpose { .. });
    let head = |op: &NnOp| matches!(op, NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } | NnOp::ArgMax { .. });
    // Whether all that becomes of a value is a result: by way of heads, or of ops that do not look at elements.
    let mut only_results = vec![true; func.len()];
    for (v, node) in func.iter().rev().filter(|(v, _)| live[v.index()]) {
        for o in &node.operands {
            only_results[o.index()] &= (moves(&node.op) || head(&node.op)) && only_results[v.index()];
        }
    }
    let mut left = vec![false; func.len()];
    for (v, node) in func.iter().filter(|(v, _)| live[v.index()] && only_results[v.index()]) {
        let behind = node.operands.first().is_some_and(|o| left[o.index()]);
        left[v.index()] = head(&node.op) || (moves(&node.op) && behind);
    }
    left
}

/// What the client computes of a result, first to last.
fn chain(func: &Func<Nn>, left: &[bool], result: Value) -> Vec<Option<Head>> {
    let (mut chain, mut value) = (Vec::new(), result);
    while left[value.index()] {
        let (node, operand) = (func.node(value), func.node(value).operands[0]);
        chain.push(Head::of(&node.op, &func.ty(operand).0, &node.ty.0));
        value = operand;
    }
    chain.reverse();
    chain
}
