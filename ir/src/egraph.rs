//! The ops of a level are also the language of its e-graph, so that no second vocabulary is needed: an [`ENode`] is an
//! op of the level over e-class ids.
//!
//! [`add_module`] brings a function into an e-graph (equal subexpressions fall into one class), rewriting adds
//! alternatives, [`extract`] chooses one node per class under a [`Cost`], counting shared nodes once, and [`rebuild`]
//! makes a module of the choice.
//!
//! ```
//! use egg::{Rewrite, Runner};
//! use fhec_ir::egraph::{self, ENode, OpCount};
//! use fhec_ir::slot::SlotOp;
//! use fhec_ir::text::{Blobs, parse_module, print_module};
//! use fhec_ir::{Loc, Slot};
//!
//! let text = "func @f(%x: slots<8>) -> slots<8> {
//!   %a = slot.rotate %x {by = 1} : slots<8>
//!   %b = slot.neg %a : slots<8>
//!   %c = slot.neg %b : slots<8>
//!   return %c
//! }";
//! let module = parse_module::<Slot>("example.fhir", text, &Blobs::default())?;
//! let rules: Vec<Rewrite<ENode<SlotOp>, ()>> = vec![egg::rewrite!("neg-neg"; "(neg (neg ?x))" => "?x")];
//! let mut egraph = egg::EGraph::default();
//! let ids = egraph::add_module(&module, &mut egraph);
//! let egraph = Runner::default().with_egraph(egraph).run(&rules).egraph;
//! let roots: Vec<_> = egraph::roots(&module, &ids);
//! let choice = egraph::extract(&egraph, &roots, &OpCount).expect("the function itself is a choice");
//! let module = egraph::rebuild(&module, module.consts.clone(), &egraph, &choice, &roots, |_, _| Loc::default())?;
//! assert_eq!(module.func.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod extract;

use std::fmt;

use egg::{Analysis, EGraph, FromOp, Id, Language, RecExpr};
use thiserror::Error;

pub use extract::{Choice, Cost, OpCount, Own, extract};

use crate::consts::ConstPool;
use crate::dialect::{Dialect, OpInfo, TypeError};
use crate::entity::{Entity, Value};
use crate::func::{Func, Module};
use crate::loc::Loc;
use crate::text::{op_text, read_op};

/// An op over e-classes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ENode<O> {
    /// The op with its attributes.
    pub op: O,
    /// The operands.
    pub children: Vec<Id>,
}

impl<O> ENode<O> {
    /// `op` over `children`.
    pub fn new(op: O, children: impl IntoIterator<Item = Id>) -> Self {
        Self { op, children: children.into_iter().collect() }
    }
}

impl<O: OpInfo> Language for ENode<O> {
    type Discriminant = O;

    fn discriminant(&self) -> O {
        self.op.clone()
    }
    fn matches(&self, other: &Self) -> bool {
        self.op == other.op && self.children.len() == other.children.len()
    }
    fn children(&self) -> &[Id] {
        &self.children
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

impl<O: OpInfo> fmt::Display for ENode<O> {
    /// `rotate{by=1}`: the op as it stands in a pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&op_text(&self.op))
    }
}

/// Why the text of an op in a pattern is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{op}`: {reason}")]
pub struct PatternOpError {
    /// The text.
    pub op: String,
    /// What is wrong.
    pub reason: String,
}

impl<O: OpInfo> FromOp for ENode<O> {
    type Error = PatternOpError;

    fn from_op(op: &str, children: Vec<Id>) -> Result<Self, PatternOpError> {
        let wrong = |reason| PatternOpError { op: op.to_string(), reason };
        let parsed: O = read_op(op).map_err(wrong)?;
        if !parsed.arity().contains(&children.len()) {
            return Err(wrong(format!("does not take {} operands", children.len())));
        }
        Ok(Self { op: parsed, children })
    }
}

/// The nodes of a function as an expression; node i is value i.
pub fn to_rec_expr<D: Dialect>(func: &Func<D>) -> RecExpr<ENode<D::Op>> {
    let id = |v: &Value| Id::from(v.index());
    func.iter().map(|(_, node)| ENode::new(node.op.clone(), node.operands.iter().map(id))).collect::<Vec<_>>().into()
}

/// Adds every node of a module; the class of each value, by index.
pub fn add_module<D: Dialect, N: Analysis<ENode<D::Op>>>(
    module: &Module<D>,
    egraph: &mut EGraph<ENode<D::Op>, N>,
) -> Vec<Id> {
    let mut ids: Vec<Id> = Vec::with_capacity(module.func.len());
    for (_, node) in module.func.iter() {
        let children = node.operands.iter().map(|o| ids[o.index()]);
        let enode = ENode::new(node.op.clone(), children);
        ids.push(egraph.add(enode));
    }
    ids
}

/// The classes of the results.
pub fn roots<D: Dialect>(module: &Module<D>, ids: &[Id]) -> Vec<Id> {
    module.func.results().iter().map(|r| ids[r.index()]).collect()
}

/// The function that `choice` makes of `roots`: parameters, ports and encryption parameters as in `original`, constants
/// from `consts`, the origin of every node from `loc`.
///
/// # Errors
/// When a chosen node is ill-typed, which only an unsound rewrite brings about.
pub fn rebuild<D: Dialect, N: Analysis<ENode<D::Op>>>(
    original: &Module<D>,
    consts: ConstPool,
    egraph: &EGraph<ENode<D::Op>, N>,
    choice: &Choice<D::Op>,
    roots: &[Id],
    mut loc: impl FnMut(Id, &ENode<D::Op>) -> Loc,
) -> Result<Module<D>, TypeError> {
    let mut out = Module {
        func: Func::new(original.func.name.clone()),
        consts,
        inputs: original.inputs.clone(),
        outputs: original.outputs.clone(),
        params: original.params.clone(),
    };
    for &param in original.func.params() {
        let node = original.func.node(param);
        out.func.add_param(node.ty.clone(), node.loc.clone());
    }
    let mut values: std::collections::BTreeMap<Id, Value> = std::collections::BTreeMap::new();
    for (class, node) in choice.postorder(egraph, roots) {
        let value = match node.op.as_input() {
            Some(index) => out
                .func
                .params()
                .get(index as usize)
                .copied()
                .ok_or_else(|| TypeError(format!("parameter {index} does not exist")))?,
            None => {
                let operands: Vec<Value> = node.children.iter().map(|&c| values[&egraph.find(c)]).collect();
                let loc = loc(class, node);
                out.push(node.op.clone(), operands, loc)?
            }
        };
        values.insert(class, value);
    }
    let results: Vec<Value> = roots.iter().map(|&r| values[&egraph.find(r)]).collect();
    out.func.set_results(results);
    Ok(out)
}
