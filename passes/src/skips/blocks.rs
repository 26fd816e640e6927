//! Residual blocks are recognised: a fork, a trunk with activations, a skip without, a join.

use std::fmt;

use fhec_ir::nn::{NnOp, PadMode};
use fhec_ir::{Entity, Func, Module, Nn, Node, Value};

use super::SkipForm;
use super::dirac;

/// A residual block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The sum.
    pub join: Value,
    /// The last value that both branches are computed from.
    pub fork: Value,
    /// The values of the branch with activations, from behind the fork to before the join.
    pub trunk: Vec<Value>,
    /// Those of the other branch, none where the fork itself is added.
    pub skip: Vec<Value>,
    /// Activations of the trunk.
    pub activations: usize,
    /// The first tensor of the stage, where the fork is another one of the same shape.
    pub source: Option<Value>,
    /// Whether a convolution of the trunk can be given a Dirac kernel.
    pub(super) has_dirac: bool,
    /// Name of the join.
    pub name: String,
}

impl Block {
    /// The forms that it can have.
    pub fn forms(&self) -> Vec<SkipForm> {
        let has = |form: &SkipForm| match form {
            SkipForm::Residual => true,
            SkipForm::Dirac => self.has_dirac,
            SkipForm::Shared => self.source.is_some(),
        };
        SkipForm::ALL.into_iter().filter(has).collect()
    }

    /// What the trunk computes, the operand of the join.
    pub(super) fn end(&self) -> Value {
        self.trunk.last().copied().unwrap_or(self.fork)
    }

    /// `form`, or the residual one where it does not have that.
    pub fn nearest(&self, form: SkipForm) -> SkipForm {
        if self.forms().contains(&form) { form } else { SkipForm::Residual }
    }
}

/// For explanations.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let over = count(self.activations, "activation");
        let skip = if self.skip.is_empty() { "the identity".into() } else { count(self.skip.len(), "linear op") };
        let forms: Vec<String> = self.forms().iter().map(SkipForm::to_string).collect();
        write!(f, "`{}`: a skip of {skip} over {over}; forms {}", self.name, forms.join(", "))
    }
}

/// The residual blocks of a network, in order. A trunk is a chain of ops of one operand; what branches within is none.
pub fn blocks(module: &Module<Nn>) -> Vec<Block> {
    let func = &module.func;
    let live = func.live();
    let joins = func.iter().filter(|(v, node)| live[v.index()] && matches!(node.op, NnOp::Add {}));
    let mut blocks: Vec<Block> = joins.filter_map(|(join, node)| block(module, join, node)).collect();
    stages(func, &mut blocks);
    blocks
}

/// How an op of one operand treats it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Activation,
}

/// The operand of a node that has only one besides constants, and how it is treated.
fn unary(func: &Func<Nn>, node: &Node<Nn>) -> Option<(Value, Kind)> {
    let is_constant = |v: &Value| matches!(func.node(*v).op, NnOp::Const { .. });
    let mut operands = node.operands.iter().copied().filter(|v| !is_constant(v));
    let (Some(x), None) = (operands.next(), operands.next()) else { return None };
    let first = node.operands.first() == Some(&x);
    let kind = match &node.op {
        NnOp::Conv { .. } | NnOp::BatchNorm { .. } if first => Kind::Linear,
        NnOp::MatMul {} | NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} | NnOp::Neg {} => Kind::Linear,
        NnOp::Div {} if first => Kind::Linear,
        NnOp::AvgPool { .. } | NnOp::ReduceMean { .. } | NnOp::ReduceSum { .. } => Kind::Linear,
        NnOp::Reshape { .. } | NnOp::Transpose { .. } | NnOp::Slice { .. } | NnOp::Gather { .. } => Kind::Linear,
        NnOp::Expand { .. } | NnOp::Concat { .. } => Kind::Linear,
        NnOp::Pad { mode, .. } if *mode == PadMode::Constant => Kind::Linear,
        NnOp::Activation { .. } | NnOp::Polynomial { .. } | NnOp::PRelu {} | NnOp::MaxPool { .. } => Kind::Activation,
        _ => return None,
    };
    Some((x, kind))
}

/// The values that `from` is computed from one after the other, itself first, with the activations behind each.
fn chain(func: &Func<Nn>, from: Value) -> Vec<(Value, usize)> {
    let mut out = vec![(from, 0)];
    let (mut at, mut activations) = (from, 0);
    while let Some((x, kind)) = unary(func, func.node(at)) {
        activations += usize::from(kind == Kind::Activation);
        out.push((x, activations));
        at = x;
    }
    out
}

fn block(module: &Module<Nn>, join: Value, node: &Node<Nn>) -> Option<Block> {
    let func = &module.func;
    let (a, b) = (node.operands[0], node.operands[1]);
    if func.ty(a) != &node.ty || func.ty(b) != &node.ty {
        return None;
    }
    let (a, b) = (chain(func, a), chain(func, b));
    // The nearest value in common.
    let (i, j) = a.iter().enumerate().find_map(|(i, (v, _))| Some((i, b.iter().position(|(w, _)| v == w)?)))?;
    let values = |list: &[(Value, usize)], n: usize| list[..n].iter().rev().map(|(v, _)| *v).collect::<Vec<Value>>();
    let (trunk, skip, activations) = match (a[i].1, b[j].1) {
        (0, n) if n > 0 => (values(&b, j), values(&a, i), n),
        (n, 0) if n > 0 => (values(&a, i), values(&b, j), n),
        _ => return None,
    };
    let has_dirac = trunk.iter().any(|&v| dirac::fits(module, v).is_some());
    let (fork, name) = (a[i].0, node.loc.name().to_string());
    Some(Block { join, fork, trunk, skip, activations, source: None, has_dirac, name })
}

/// Finds the source of each block's stage: blocks that follow each other, on tensors of one shape.
fn stages(func: &Func<Nn>, blocks: &mut [Block]) {
    let mut source: Option<(Value, Value)> = None;
    for block in blocks {
        if !block.skip.is_empty() {
            source = None;
            continue;
        }
        let follows = source.filter(|(_, last)| {
            func.ty(*last) == func.ty(block.join) && chain(func, block.fork).iter().any(|(v, _)| v == last)
        });
        block.source = follows.map(|(first, _)| first);
        source = Some((follows.map_or(block.fork, |(first, _)| first), block.join));
    }
}
