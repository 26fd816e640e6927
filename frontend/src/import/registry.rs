//! The table of operators, put together from the families.

use super::context::{Context, Operand};
use super::node::NodeView;
use super::{
    activation, attention, compare, constant, depth, einsum, elementwise, gemm, linear_models, movement, norm, pool,
    reduce, reference, resize, scatter, transposed, window,
};
use crate::error::{Refusal, Result};

/// How one ONNX operator is imported.
pub struct Operator {
    /// The `op_type` of its nodes.
    pub name: &'static str,
    /// The domain of its nodes: empty for the standard operators.
    domain: &'static str,
    /// What is supported beyond or short of the specification, and what changed between opsets.
    pub notes: &'static str,
    pub(crate) import: Import,
}

/// The domain of models that are no neural networks.
pub(super) const ML_DOMAIN: &str = "ai.onnx.ml";

/// Builds what the node computes: the values of its outputs, in order; outputs at the end may be left out.
pub(crate) type Import = fn(&mut Context, &NodeView<'_>) -> Result<Vec<Operand>>;

impl Operator {
    pub(super) const fn new(name: &'static str, import: Import, notes: &'static str) -> Self {
        Self::of("", name, import, notes)
    }
    /// An operator of another domain than the standard one.
    pub(super) const fn of(domain: &'static str, name: &'static str, import: Import, notes: &'static str) -> Self {
        Self { name, domain, notes, import }
    }
}

const FAMILIES: &[&[Operator]] = &[
    window::OPERATORS,
    transposed::OPERATORS,
    gemm::OPERATORS,
    einsum::OPERATORS,
    attention::OPERATORS,
    norm::OPERATORS,
    activation::OPERATORS,
    elementwise::OPERATORS,
    compare::OPERATORS,
    pool::OPERATORS,
    movement::OPERATORS,
    scatter::OPERATORS,
    depth::OPERATORS,
    resize::OPERATORS,
    reduce::OPERATORS,
    constant::OPERATORS,
    linear_models::OPERATORS,
];

/// All operators that can be imported, family by family.
pub fn operators() -> impl Iterator<Item = &'static Operator> {
    FAMILIES.iter().copied().flatten()
}

/// The operator of a node; a standard one where `domain` is empty.
pub(super) fn find(domain: &str, name: &str) -> Option<&'static Operator> {
    operators().find(|o| o.name == name && o.domain == domain)
}

/// Why an operator that is not in the table is refused, and what helps.
pub(super) fn unsupported(op: &str) -> Refusal {
    let repair = match op {
        "Loop" | "Scan" => {
            "control flow must be resolved before encryption: export a traced model with fixed shapes, or run onnx-simplifier"
        }
        "LpNormalization" | "GlobalLpPool" => {
            "write it as ReduceL2 and Div, or fine-tune the network with GlobalAveragePool"
        }
        "ArgMin" | "TopK" | "Hardmax" => "leave it to the client: output the scores and rank them after decryption",
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => "export the float32 network before quantisation (weights alone may be quantised)",
        "LSTM" | "GRU" | "RNN" => "unroll the recurrence into MatMul, Add, Sigmoid and Tanh",
        "Equal" | "Xor" | "IsNaN" | "IsInf" => {
            "compare constants only, or express it by Relu or Clip: encrypted numbers are never exactly equal"
        }
        "ReduceMax" | "ReduceMin" => "use ReduceMean and fine-tune the network, or MaxPool over the dimension",
        "ReduceProd" => "write the product of the slices as Mul",
        "Floor" | "Ceil" | "Round" | "Mod" => {
            "rounding is no smooth function: remove it (and quantisation with it) and fine-tune the network"
        }
        "Range" | "NonZero" | "OneHot" | "EyeLike" => {
            "shapes and indices cannot depend on encrypted values: make the operands constants"
        }
        _ if reference::knows(op) => {
            "use one of the supported activations (Relu, Gelu, Silu, HardSwish, Sigmoid, Tanh, ...) and fine-tune the network"
        }
        _ => "replace it by supported operators (docs/onnx-conformance.md lists them), or remove it from the model",
    };
    let reason = if reference::knows(op) {
        "it is evaluated over constants only, and an operand depends on encrypted values"
    } else {
        "the operator is not supported"
    };
    Refusal::new(reason, repair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = operators().map(|o| o.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
