//! A node with its operands resolved, and typed access to its attributes.

use fhec_ir::{Shape, Tensor};

use super::context::{Context, Operand};
use crate::error::{Refusal, Result};
use crate::known::{Ints, Known};
use crate::proto::{self, attribute_kind};

/// A node whose operands are resolved.
pub(crate) struct NodeView<'a> {
    pub(crate) proto: &'a proto::Node,
    /// The attributes by name; those that a function takes from its call are the call's.
    pub(crate) attributes: Vec<(&'a str, &'a proto::Attribute)>,
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<Option<Operand>>,
    /// For each output, whether anything uses it.
    pub(crate) wanted: Vec<bool>,
}

impl<'a> NodeView<'a> {
    /// Operand `i`, which the operator requires.
    pub(crate) fn input(&self, i: usize) -> Result<&Operand> {
        self.optional(i).ok_or_else(|| Refusal::invalid(format!("its input number {} is missing", i + 1)))
    }
    /// Operand `i`, unless it is left out.
    pub(crate) fn optional(&self, i: usize) -> Option<&Operand> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// All operands of an operator that takes any number of them.
    pub(crate) fn all_inputs(&self) -> Result<Vec<&Operand>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }
    /// Operand `i` as constant integers.
    pub(crate) fn ints_input(&self, i: usize, what: &str) -> Result<Option<&Ints>> {
        match self.optional(i) {
            None => Ok(None),
            Some(Operand::Known(Known::Ints(ints))) => Ok(Some(ints)),
            Some(Operand::Known(Known::Floats(_))) => Err(Refusal::invalid(format!("its {what} are not integers"))),
            Some(Operand::Value(_)) => Err(Refusal::not_constant(&format!("its operand `{what}`"))),
        }
    }
    /// Operand `i` as constant numbers.
    pub(crate) fn floats_input(&self, i: usize, what: &str) -> Result<Option<Tensor>> {
        match self.optional(i) {
            None => Ok(None),
            Some(Operand::Known(known)) => Ok(Some(known.to_floats())),
            Some(Operand::Value(_)) => Err(Refusal::not_constant(&format!("its operand `{what}`"))),
        }
    }
    /// Operand `i` as one constant number.
    pub(crate) fn scalar_input(&self, i: usize, what: &str) -> Result<Option<f32>> {
        match self.floats_input(i, what)? {
            None => Ok(None),
            Some(t) => match t.data() {
                [x] => Ok(Some(*x)),
                _ => Err(Refusal::invalid(format!("its operand `{what}` has shape {}, not one element", t.shape()))),
            },
        }
    }
    /// The operands, if all that are given are constants.
    pub(crate) fn known(&self) -> Option<Vec<Option<&Known>>> {
        let known = |input| match input {
            &None => Some(None),
            Some(Operand::Known(known)) => Some(Some(known)),
            Some(Operand::Value(_)) => None,
        };
        self.inputs.iter().map(known).collect()
    }
    /// The shape of operand `i`.
    pub(crate) fn input_shape(&self, cx: &Context, i: usize) -> Result<Shape> {
        Ok(cx.shape(self.input(i)?).clone())
    }

    fn attribute<T>(
        &self,
        name: &str,
        kind: i32,
        read: impl FnOnce(&'a proto::Attribute) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(&(_, attribute)) = self.attributes.iter().find(|(own, _)| *own == name) else { return Ok(None) };
        let value = if attribute.kind == kind || attribute.kind == 0 { read(attribute) } else { None };
        value.map(Some).ok_or_else(|| Refusal::invalid(format!("its attribute `{name}` is of another type")))
    }
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>> {
        self.attribute(name, attribute_kind::INT, |a| Some(a.i.unwrap_or(0)))
    }
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name)?.map_or(default, |i| i != 0))
    }
    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>> {
        self.attribute(name, attribute_kind::FLOAT, |a| Some(a.f.unwrap_or(0.0)))
    }
    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        self.attribute(name, attribute_kind::INTS, |a| Some(a.ints.as_slice()))
    }
    pub(crate) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        self.attribute(name, attribute_kind::FLOATS, |a| Some(a.floats.as_slice()))
    }
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        self.attribute(name, attribute_kind::STRING, |a| std::str::from_utf8(a.s.as_deref().unwrap_or_default()).ok())
    }
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a proto::Tensor>> {
        self.attribute(name, attribute_kind::TENSOR, |a| a.t.as_ref())
    }
    /// A graph that the operator requires.
    pub(crate) fn graph(&self, name: &str) -> Result<&'a proto::Graph> {
        let graph = self.attribute(name, attribute_kind::GRAPH, |a| a.g.as_deref())?;
        graph.ok_or_else(|| Refusal::invalid(format!("its attribute `{name}` is missing")))
    }
    /// A list of integers that is an operand from opset `since` on and an attribute before.
    pub(crate) fn ints_by_opset(&self, since: i64, operand: usize, name: &str) -> Result<Option<Vec<i64>>> {
        if self.opset >= since {
            Ok(self.ints_input(operand, name)?.map(|t| t.data.to_vec()))
        } else {
            Ok(self.ints(name)?.map(<[i64]>::to_vec))
        }
    }
}

/// Dimension `axis` of a tensor of rank `rank`, negative ones counted from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let d = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&d) {
        Ok(d as usize)
    } else {
        Err(Refusal::invalid(format!("axis {axis} of a tensor of rank {rank}")))
    }
}

/// Dimensions `axes`, in rising order.
pub(crate) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(Refusal::invalid(format!("axes {list:?} name a dimension twice")));
    }
    Ok(out)
}

/// Extents as the signed integers that op attributes hold.
pub(crate) fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&d| d as i64).collect()
}
