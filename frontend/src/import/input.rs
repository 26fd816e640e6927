//! The inputs of a graph.

use std::collections::HashSet;

use fhec_ir::Shape;

use crate::error::{Refusal, Result};
use crate::proto::{self, data_type};
use crate::tensor;

/// The inputs that are no constants: files of early versions list the initialisers among them.
pub(super) fn of(graph: &proto::Graph) -> impl Iterator<Item = &proto::ValueInfo> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(move |info| !constants.contains(info.name.as_str()))
}

fn dimensions(info: &proto::ValueInfo) -> &[proto::Dimension] {
    let shape = info.ty.as_ref().and_then(|t| t.tensor.as_ref()).and_then(|t| t.shape.as_ref());
    shape.map_or(&[], |shape| &shape.dim)
}

/// The dimension without a fixed extent, where there is one, and its symbol. It is the batch, or the model is refused
/// ([`super::batch`]).
pub(super) fn symbolic(info: &proto::ValueInfo) -> Option<(usize, Option<&str>)> {
    let (d, dim) = dimensions(info).iter().enumerate().find(|(_, dim)| dim.value.is_none())?;
    Some((d, dim.symbol.as_deref().filter(|s| !s.is_empty())))
}

/// The shape of a graph input: an extent that is not fixed is taken for the batch and becomes 1.
pub(super) fn shape(info: &proto::ValueInfo) -> Result<Shape> {
    let tensor = info
        .ty
        .as_ref()
        .and_then(|t| t.tensor.as_ref())
        .ok_or_else(|| Refusal::new("it is not a tensor", "models with sequences or maps cannot be compiled"))?;
    if !matches!(tensor.elem_type, data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16) {
        return Err(Refusal::new(
            format!("it is of type {}; encrypted values are real numbers", data_type::name(tensor.elem_type)),
            "make it a constant of the model, or cast before export so that the model takes float32",
        ));
    }
    let shape = tensor.shape.as_ref().ok_or_else(|| {
        Refusal::new(
            "its shape is not stated",
            "export the model with the shape of its inputs (batch may stay symbolic)",
        )
    })?;
    let batch = symbolic(info).map(|(d, _)| d);
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (d, dim) in shape.dim.iter().enumerate() {
        match dim.value {
            Some(extent) => dims.push(extent),
            None if Some(d) == batch => dims.push(1),
            None => {
                return Err(Refusal::new(
                    format!(
                        "dimension {d}{} has no fixed extent; only the batch may be symbolic",
                        quoted(dim.symbol.as_deref())
                    ),
                    "export with a fixed size, or fix it with `onnxruntime.tools.make_dynamic_shape_fixed`",
                ));
            }
        }
    }
    tensor::shape(&dims)
}

/// A symbol for messages.
pub(super) fn quoted(symbol: Option<&str>) -> String {
    symbol.filter(|s| !s.is_empty()).map_or(String::new(), |s| format!(" (`{s}`)"))
}
