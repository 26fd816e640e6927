//! What operators compute over constants, with the semantics of the reference implementation of ONNX, integers and truth
//! values included: exporters compute shapes, indices and masks with them.
//!
//! A node whose operands are all constants is evaluated here, if its operator is in one of the tables; what only moves
//! elements, and what is an op of `nn`, is folded where it is imported ([`Context::moved`], [`Context::push`]).

mod elementwise;
mod index;
mod quantise;
mod reduce;

use super::context::Context;
use super::node::NodeView;
use crate::error::Result;
use crate::known::Known;

/// The values of a node's outputs, of constant operands.
pub(super) type Rule = fn(&mut Context, &NodeView<'_>) -> Result<Vec<Known>>;

const RULES: &[&[(&str, Rule)]] = &[index::RULES, quantise::RULES];

/// How the node is evaluated, if all its operands are constants and its operator is in a table.
pub(super) fn find(node: &NodeView<'_>) -> Option<Rule> {
    node.known().filter(|known| !known.is_empty())?;
    let name = node.proto.op_type.as_str();
    if elementwise::has(node) {
        return Some(elementwise::evaluate);
    }
    if reduce::has(name) {
        return Some(reduce::evaluate);
    }
    RULES.iter().copied().flatten().find(|(own, _)| *own == name).map(|(_, rule)| *rule)
}

/// The operators that are evaluated over constants, those among them that encrypted values can pass too.
pub fn constant_operators() -> impl Iterator<Item = &'static str> {
    let rules = RULES.iter().copied().flatten().map(|(name, _)| *name);
    elementwise::names().chain(reduce::names()).chain(rules)
}

/// Whether the operator is evaluated over constants.
pub(super) fn knows(name: &str) -> bool {
    constant_operators().any(|own| own == name)
}
