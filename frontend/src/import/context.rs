//! The context is the module under construction, as the importers of the operators see it.

use std::collections::HashMap;

use fhec_ir::nn::{NnOp, TensorTy, eval};
use fhec_ir::{Dialect, Loc, Module, Nn, OpInfo, Shape, Tensor, Value};

use super::piecewise::PieceCondition;
use crate::error::{Refusal, Result};
use crate::known::{Ints, Known, too_large};

/// The value of a name in the graph.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// Known at import.
    Known(Known),
    /// A real tensor that depends on the inputs.
    Value(Value),
}

/// What folding of one model may produce in total, in elements: it keeps a small file from filling the memory.
const FOLD_ELEMENTS: usize = 1 << 27;
/// How many multiplications the folding of one model may take in total.
const FOLD_WORK: usize = 1 << 33;

/// Builds the module.
pub(crate) struct Context {
    pub(crate) module: Module<Nn>,
    /// Origin of the nodes pushed.
    pub(crate) loc: Loc,
    /// The truth values that compare a value with a number.
    pub(crate) conditions: HashMap<Value, PieceCondition>,
    elements_left: usize,
    work_left: usize,
}

impl Context {
    pub(super) fn new(name: String) -> Self {
        Self {
            module: Module::new(name),
            loc: Loc::default(),
            conditions: HashMap::new(),
            elements_left: FOLD_ELEMENTS,
            work_left: FOLD_WORK,
        }
    }
    pub(crate) fn shape<'a>(&'a self, operand: &'a Operand) -> &'a Shape {
        match operand {
            Operand::Known(known) => known.shape(),
            Operand::Value(value) => &self.module.func.ty(*value).0,
        }
    }
    /// The operand as a value of the module; a constant is added to its pool.
    pub(crate) fn value(&mut self, operand: &Operand) -> Result<Value> {
        match operand {
            Operand::Value(value) => Ok(*value),
            Operand::Known(Known::Ints(_)) => {
                Err(Refusal::invalid("a constant of integers stands where numbers belong"))
            }
            Operand::Known(Known::Floats(tensor)) => {
                let id = self.module.consts.insert(self.loc.name(), tensor.clone());
                let loc = self.loc.clone();
                self.module.push(NnOp::Const { value: id }, [], loc).map_err(|e| Refusal::invalid(e.0))
            }
        }
    }
    /// As [`Context::value`], and integers count as numbers.
    pub(crate) fn number(&mut self, operand: &Operand) -> Result<Value> {
        match operand {
            Operand::Known(known) => self.value(&Operand::Known(Known::Floats(known.to_floats()))),
            Operand::Value(value) => Ok(*value),
        }
    }
    /// The result of `op`: a constant when all operands are, else a node.
    pub(crate) fn push(&mut self, op: NnOp, operands: &[&Operand]) -> Result<Operand> {
        let known: Option<Vec<&Tensor>> = operands
            .iter()
            .map(|o| match o {
                Operand::Known(Known::Floats(tensor)) => Some(tensor),
                _ => None,
            })
            .collect();
        if let Some(known) = known.filter(|k| !k.is_empty()) {
            return self.fold(&op, &known).map(|t| Operand::Known(Known::Floats(t)));
        }
        let values = operands.iter().map(|o| self.value(o)).collect::<Result<Vec<_>>>()?;
        let loc = self.loc.clone();
        self.module.push(op, values, loc).map(Operand::Value).map_err(|e| Refusal::invalid(e.0))
    }
    /// As [`Context::push`] for ops that only move elements: integers may be moved too.
    pub(crate) fn moved(&mut self, op: NnOp, operands: &[&Operand]) -> Result<Operand> {
        let ints: Option<Vec<&Ints>> = operands
            .iter()
            .map(|o| match o {
                Operand::Known(Known::Ints(ints)) => Some(ints),
                _ => None,
            })
            .collect();
        match ints.filter(|k| !k.is_empty()) {
            None => self.push(op, operands),
            Some(ints) => {
                let shapes: Vec<&Shape> = ints.iter().map(|t| &t.shape).collect();
                self.charge(&op, &shapes)?;
                Ints::moved(&op, &ints).map(|t| Operand::Known(Known::Ints(t)))
            }
        }
    }
    /// A constant of one value.
    pub(crate) fn scalar(&self, x: f32) -> Operand {
        Operand::Known(Known::Floats(Tensor::scalar(x)))
    }
    /// A constant tensor of one value in every element, within the limits on folding.
    pub(crate) fn full(&mut self, shape: Shape, x: f32) -> Result<Operand> {
        self.take_elements(&shape)?;
        Ok(Operand::Known(Known::Floats(Tensor::full(shape, x))))
    }
    /// A constant tensor of these elements.
    pub(crate) fn constant(&mut self, shape: impl Into<Shape>, data: Vec<f32>) -> Result<Operand> {
        let shape = shape.into();
        self.take_elements(&shape)?;
        Ok(Operand::Known(Known::Floats(Tensor::new(shape, data))))
    }
    /// Counts a constant of shape `shape` that is about to be made.
    pub(crate) fn take_elements(&mut self, shape: &Shape) -> Result<()> {
        let left = Some(shape).filter(|s| s.is_bounded()).and_then(|s| self.elements_left.checked_sub(s.len()));
        self.elements_left = left.ok_or_else(too_large)?;
        Ok(())
    }

    fn fold(&mut self, op: &NnOp, operands: &[&Tensor]) -> Result<Tensor> {
        let shapes: Vec<&Shape> = operands.iter().map(|t| t.shape()).collect();
        self.charge(op, &shapes)?;
        eval::apply(op, operands, &self.module.consts).map_err(|e| Refusal::invalid(e.0))
    }

    /// Counts the evaluation of `op` against what is left for folding.
    fn charge(&mut self, op: &NnOp, operands: &[&Shape]) -> Result<()> {
        let types: Vec<TensorTy> = operands.iter().map(|&s| TensorTy(s.clone())).collect();
        let arity = op.arity();
        if !arity.contains(&types.len()) {
            return Err(Refusal::invalid(format!("{} operands", types.len())));
        }
        let TensorTy(out) =
            Nn::infer(op, &types.iter().collect::<Vec<_>>(), &self.module.consts).map_err(|e| Refusal::invalid(e.0))?;
        self.take_elements(&out)?;
        let inner = match op {
            NnOp::Conv { .. } => operands[1].0[1..].iter().product(),
            NnOp::MatMul {} => operands[0].0.last().copied().unwrap_or(1),
            NnOp::AvgPool { kernel, .. } | NnOp::MaxPool { kernel, .. } => {
                kernel.iter().fold(1usize, |n, &k| n.saturating_mul(k as usize))
            }
            _ => 1,
        };
        if let NnOp::Conv { .. } = op {
            // Convolution copies its input once per tap, whatever the number of filters.
            self.take_elements(&Shape([&[inner], &out.0[2..]].concat()))?;
        }
        let elements = operands.iter().fold(out.len(), |n, s| n.max(s.len()));
        let left = elements.checked_mul(inner.max(1)).and_then(|work| self.work_left.checked_sub(work));
        self.work_left = left.ok_or_else(too_large)?;
        Ok(())
    }
}
