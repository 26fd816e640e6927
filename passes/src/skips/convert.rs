//! A network with other forms of its skips; its weights are where training starts from.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fhec_ir::nn::NnOp;
use fhec_ir::{ConstPool, Issue, Loc, Module, Nn, Node, OpInfo, Operands, Tensor, Value};

use super::dirac::{self, Fit};
use super::{Block, SkipForm};
use crate::pass::PassError;

/// A convolution with a Dirac kernel: its weights are `diag(a)·δ + diag(b)·W/‖W‖`, with one element of a and of b per
/// filter.
#[derive(Clone, Debug, PartialEq)]
pub struct DiracConv {
    /// The convolution.
    pub conv: Value,
    /// a, 1 at the start.
    pub a: Vec<f32>,
    /// b, at the start the norms of the trained filters.
    pub b: Vec<f32>,
    /// The tap of δ, flat over the kernel's spatial dimensions.
    pub tap: usize,
}

/// A network after conversion.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The network.
    pub module: Module<Nn>,
    /// Its convolutions with Dirac kernels, in order.
    pub dirac: Vec<DiracConv>,
    /// Its values by those of the network that it was made of, where they are left. A join that was removed is the end
    /// of its trunk.
    pub values: BTreeMap<Value, Value>,
}

/// The network with one of `forms` for each of its `blocks`.
///
/// # Errors
/// A form that a block does not have, or a network that is ill-typed.
pub fn convert(module: &Module<Nn>, blocks: &[Block], forms: &[SkipForm]) -> Result<Converted, PassError> {
    let refused: Vec<Issue> = blocks.iter().zip(forms).filter_map(|(b, f)| refusal(module, b, *f)).collect();
    if !refused.is_empty() {
        return Err(PassError { pass: NAME, issues: refused });
    }
    let joins: BTreeMap<Value, (&Block, SkipForm)> =
        blocks.iter().zip(forms).map(|(block, form)| (block.join, (block, *form))).collect();
    let fits: BTreeMap<Value, Fit> = blocks
        .iter()
        .zip(forms)
        .filter(|(_, form)| **form == SkipForm::Dirac)
        .flat_map(|(block, _)| block.trunk.iter().filter_map(|&v| Some((v, dirac::fits(module, v)?))))
        .collect();
    let mut values: BTreeMap<Value, Value> = BTreeMap::new();
    let mut convs = Vec::new();
    let mut made = module.rebuild(|out, v, node, operands| {
        let at = |out: &Module<Nn>, v: Value| match module.func.node(v).op.as_input() {
            Some(index) => out.func.params()[index as usize],
            None => values[&v],
        };
        let new = match (joins.get(&v), fits.get(&v)) {
            (Some((block, SkipForm::Dirac)), _) => at(out, block.end()),
            (Some((block, SkipForm::Shared)), _) => {
                let operands = [at(out, block.end()), at(out, block.source.unwrap_or(block.fork))];
                push(out, NnOp::Add {}, operands.into_iter().collect(), &node.loc)?
            }
            (_, Some(fit)) => {
                let made = dirac_conv(module, out, fit, node, operands)?;
                convs.push(made);
                convs[convs.len() - 1].conv
            }
            _ => push(out, node.op.clone(), operands, &node.loc)?,
        };
        values.insert(v, new);
        Ok::<_, PassError>(new)
    })?;
    values.extend(module.func.params().iter().copied().zip(made.func.params().iter().copied()));
    // A kernel that was replaced is in no node any more.
    let moved = drop_dead(&mut made);
    convs.iter_mut().for_each(|conv| conv.conv = moved[&conv.conv]);
    let values = values.iter().filter_map(|(old, new)| Some((*old, *moved.get(new)?))).collect();
    Ok(Converted { module: made, dirac: convs, values })
}

const NAME: &str = "convert-skips";

/// Why a block does not have a form.
fn refusal(module: &Module<Nn>, block: &Block, form: SkipForm) -> Option<Issue> {
    let reason = match form {
        _ if block.forms().contains(&form) => return None,
        SkipForm::Dirac => "no convolution of its trunk takes a Dirac kernel",
        SkipForm::Shared => "it adds the first tensor of its stage already, or its skip is no identity",
        SkipForm::Residual => return None,
    };
    let node = module.func.node(block.join);
    Some(Issue::new(&node.loc, "add", format!("this join has no {form} form: {reason}"), "keep this skip"))
}

fn push(out: &mut Module<Nn>, op: NnOp, operands: Operands, loc: &Loc) -> Result<Value, PassError> {
    let what = op.mnemonic();
    out.push(op, operands, loc.clone()).map_err(|e| {
        let repair = "report this: the pass made an ill-typed node";
        PassError { pass: NAME, issues: vec![Issue::new(loc, what, e.0, repair)] }
    })
}

/// A convolution of a trunk with a Dirac kernel.
fn dirac_conv(
    module: &Module<Nn>,
    out: &mut Module<Nn>,
    fit: &Fit,
    node: &Node<Nn>,
    mut operands: Operands,
) -> Result<DiracConv, PassError> {
    let Some(weights) = constant(module, node.operands[1]) else {
        let issue = Issue::new(&node.loc, "conv", "its weights are computed", "keep this skip");
        return Err(PassError { pass: NAME, issues: vec![issue] });
    };
    let (a, b) = (vec![1.0; weights.shape().0[0]], dirac::norms(weights));
    let kernel = dirac::kernel(weights, fit.tap, &a, &b);
    let value = out.consts.insert("dirac", kernel);
    operands[1] = push(out, NnOp::Const { value }, Operands::new(), &node.loc)?;
    if let Some(pool) = &fit.pool {
        let pooled = Loc::onnx(&format!("{}.pool", node.loc.name()));
        operands[0] = push(out, pool.clone(), [operands[0]].into_iter().collect(), &pooled)?;
    }
    let conv = push(out, fit.op.clone(), operands, &node.loc)?;
    Ok(DiracConv { conv, a, b, tap: fit.tap })
}

fn constant(module: &Module<Nn>, v: Value) -> Option<&Tensor> {
    match module.func.node(v).op {
        NnOp::Const { value } => Some(module.consts.tensor(value)),
        _ => None,
    }
}

/// Takes away nodes and constants that nothing reads, as skips without a join; gives the values that are left by what
/// they were.
fn drop_dead(module: &mut Module<Nn>) -> BTreeMap<Value, Value> {
    let mut moved: BTreeMap<Value, Value> = BTreeMap::new();
    let mut consts = ConstPool::default();
    let Ok(mut left) = module.rebuild(|out, v, node, operands| {
        let op = match &node.op {
            NnOp::Const { value } => {
                let known = module.consts.get(*value);
                NnOp::Const { value: consts.insert(&known.name, known.tensor.clone()) }
            }
            op => op.clone(),
        };
        let new = out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone());
        moved.insert(v, new);
        Ok::<_, Infallible>(new)
    });
    left.consts = consts;
    moved.extend(module.func.params().iter().copied().zip(left.func.params().iter().copied()));
    *module = left;
    moved
}
