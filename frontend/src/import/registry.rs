//! The table of operators, put together from the families.

use super::context::{Context, Operand};
use super::node::NodeView;
use super::{activation, constant, elementwise, gemm, movement, norm, pool, reduce, window};
use crate::error::{Refusal, Result};

/// How one ONNX operator is imported.
pub struct Operator {
    /// The `op_type` of its nodes.
    pub name: &'static str,
    /// What is supported beyond or short of the specification, and what changed between opsets.
    pub notes: &'static str,
    pub(crate) import: Import,
}

/// Builds what the node computes: the values of its outputs, in order; outputs at the end may be left out.
pub(crate) type Import = fn(&mut Context, &NodeView<'_>) -> Result<Vec<Operand>>;

impl Operator {
    pub(super) const fn new(name: &'static str, import: Import, notes: &'static str) -> Self {
        Self { name, notes, import }
    }
}

const FAMILIES: &[&[Operator]] = &[
    window::OPERATORS,
    gemm::OPERATORS,
    norm::OPERATORS,
    activation::OPERATORS,
    elementwise::OPERATORS,
    pool::OPERATORS,
    movement::OPERATORS,
    reduce::OPERATORS,
    constant::OPERATORS,
];

/// All operators that can be imported, family by family.
pub fn operators() -> impl Iterator<Item = &'static Operator> {
    FAMILIES.iter().copied().flatten()
}

pub(super) fn find(name: &str) -> Option<&'static Operator> {
    operators().find(|o| o.name == name)
}

/// Why an operator that is not in the table is refused, and what helps.
pub(super) fn unsupported(op: &str) -> Refusal {
    let repair = match op {
        "If" | "Loop" | "Scan" => {
            "control flow must be resolved before encryption: export a traced model with fixed shapes, or run onnx-simplifier"
        }
        "ConvTranspose" | "Resize" | "Upsample" => "enlarge with Concat, Expand and Conv instead",
        "GlobalMaxPool" | "LpPool" | "GlobalLpPool" => {
            "use GlobalAveragePool or AveragePool, and fine-tune the network"
        }
        "InstanceNormalization" | "GroupNormalization" | "RMSNormalization" => {
            "use BatchNormalization, whose statistics are constants, and fine-tune the network"
        }
        "ArgMax" | "ArgMin" | "TopK" | "Hardmax" => {
            "leave it to the client: output the scores and rank them after decryption"
        }
        "LogSoftmax" => "leave it to the client: output the logits and apply it after decryption",
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "QLinearMatMul" | "ConvInteger" | "MatMulInteger" => {
            "export the float32 network before quantisation"
        }
        "LSTM" | "GRU" | "RNN" => "unroll the recurrence into MatMul, Add, Sigmoid and Tanh",
        "Max" | "Min" | "Greater" | "Less" | "Equal" | "Where" | "Not" | "And" | "Or" => {
            "comparisons of encrypted values are not available: express it by Relu or Clip"
        }
        "Softsign" | "ThresholdedRelu" | "Celu" | "Floor" | "Ceil" | "Round" | "Sign" => {
            "use one of the supported activations (Relu, Gelu, Silu, HardSwish, Sigmoid, Tanh, ...) and fine-tune the network"
        }
        _ => "replace it by supported operators (docs/onnx-conformance.md lists them), or remove it from the model",
    };
    Refusal::new("the operator is not supported", repair)
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
