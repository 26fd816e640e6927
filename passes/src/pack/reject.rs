//! What cannot be packed, and what its user can do about it.

use fhec_ir::nn::{Activation, Nn, NnOp};
use fhec_ir::{Entity, Issue, Module, OpInfo, Value};

/// For every value whether it depends on an input.
pub(crate) fn encrypted(module: &Module<Nn>) -> Vec<bool> {
    let mut out: Vec<bool> = Vec::with_capacity(module.func.len());
    for (_, node) in module.func.iter() {
        out.push(node.op.as_input().is_some() || node.operands.iter().any(|o| out[o.index()]));
    }
    out
}

/// Every live node that has no form on packed slots.
pub(super) fn issues(module: &Module<Nn>, encrypted: &[bool]) -> Vec<Issue> {
    let live = module.func.live();
    let at = |v: Value| encrypted[v.index()];
    module
        .func
        .iter()
        .filter(|(v, _)| live[v.index()] && at(*v))
        .filter_map(|(_, node)| {
            let secret: Vec<bool> = node.operands.iter().map(|&o| at(o)).collect();
            let (reason, repair) = obstacle(&node.op, &secret)?;
            Some(Issue::new(&node.loc, node.op.mnemonic(), reason, repair))
        })
        .collect()
}

/// Why `op` over operands of which `secret` are encrypted cannot be packed.
pub(crate) fn obstacle(op: &NnOp, secret: &[bool]) -> Option<(String, &'static str)> {
    let weights_secret = secret.iter().skip(1).any(|&s| s);
    let found = match op {
        NnOp::Activation { function, .. } => (
            format!("`{function}` is not a polynomial; ciphertexts only add and multiply"),
            match function {
                Activation::Log | Activation::Sqrt | Activation::Reciprocal | Activation::Pow | Activation::Exp => {
                    "keep its operand in a known range and give calibration data, so that it can be approximated there"
                }
                _ => "run `approximate-activations` first, with calibration data for its range",
            },
        ),
        NnOp::Composed { function } => (
            format!("`{function}` is not a polynomial; ciphertexts only add and multiply"),
            "run `approximate-activations` first, with calibration data for its range",
        ),
        NnOp::PRelu {} => (
            "`prelu` is not a polynomial; ciphertexts only add and multiply".into(),
            "use one slope for all channels (leaky ReLU), which `approximate-activations` replaces",
        ),
        NnOp::ArgMax { .. } => (
            "ciphertexts cannot be compared".into(),
            "cut the model before it: as the last op it is left to the client, which has the scores",
        ),
        NnOp::Softmax { .. } | NnOp::LogSoftmax { .. } => (
            "softmax divides by a sum of exponentials of ciphertexts".into(),
            "as the last op it is left to the client; inside a network (attention) replace it by a layer of constant weights, and retrain",
        ),
        NnOp::MaxPool { .. } => (
            "a maximum of ciphertexts is not a polynomial of low degree".into(),
            "replace max pooling by average pooling (or a strided convolution) and retrain briefly",
        ),
        NnOp::LayerNorm { .. } => (
            "layer normalisation divides by a standard deviation that depends on the input".into(),
            "use batch normalisation, which folds into the weights, and retrain",
        ),
        NnOp::Conv { .. } if weights_secret => (
            "the weights of the convolution depend on the input".into(),
            "only convolutions with constant weights can be encrypted",
        ),
        NnOp::BatchNorm { .. } if weights_secret => (
            "the parameters of the normalisation depend on the input".into(),
            "export the model in inference mode, with constant statistics",
        ),
        NnOp::MatMul {} if secret.iter().all(|&s| s) => (
            "both operands of the matrix product depend on the input".into(),
            "products of two encrypted matrices (attention) are not packed yet: use a constant factor",
        ),
        NnOp::Div {} if weights_secret => (
            "the divisor depends on the input".into(),
            "divide by a constant, or replace the quotient by a product with an approximated reciprocal",
        ),
        _ => return None,
    };
    Some(found)
}
