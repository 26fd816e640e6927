//! Imports constants, and operators whose result follows from shapes and types alone.

use fhec_ir::Tensor;
use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::NodeView;
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::{IntType, Ints, Known};
use crate::proto::data_type;
use crate::tensor;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Constant", constant, "numbers and integers, scalar, list or tensor; no text, no sparse tensors"),
    Operator::new("ConstantOfShape", constant_of_shape, "constant shape"),
    Operator::new("Shape", shape, "start and end from opset 15"),
    Operator::new("Cast", cast, "between real types; to integers only of constants"),
    Operator::new("CastLike", cast_like, "as Cast; every real type is one"),
    Operator::new("Size", size, ""),
    Operator::new("Identity", |_, node| Ok(vec![node.input(0)?.clone()]), ""),
    Operator::new("Expand", expand, "constant shape"),
];

fn constant(_: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let known = if let Some(t) = node.tensor("value")? {
        tensor::decode(t, None)?
    } else if let Some(x) = node.float("value_float")? {
        Known::Floats(Tensor::scalar(x))
    } else if let Some(list) = node.floats("value_floats")? {
        Known::Floats(Tensor::new([list.len()], list))
    } else if let Some(i) = node.int("value_int")? {
        Known::int(i)
    } else if let Some(list) = node.ints("value_ints")? {
        Known::ints(list.to_vec())
    } else {
        return Err(Refusal::new("a constant that is neither number nor integer", "use a dense constant of numbers"));
    };
    Ok(vec![Operand::Known(known)])
}

fn constant_of_shape(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let dims = node.ints_input(0, "shape")?.ok_or_else(|| Refusal::invalid("its shape is missing"))?;
    let shape = tensor::shape(&dims.data)?;
    let fill = match node.tensor("value")? {
        Some(t) => tensor::decode(t, None)?,
        None => Known::Floats(Tensor::scalar(0.0)),
    };
    let y = match &fill {
        Known::Floats(t) if t.data().len() == 1 => cx.full(shape, t.data()[0])?,
        Known::Ints(t) if t.data.len() == 1 => {
            cx.take_elements(&shape)?;
            let data = vec![t.data[0]; shape.len()].into();
            Operand::Known(Known::Ints(Ints { shape, data, ty: t.ty }))
        }
        _ => return Err(Refusal::invalid("its value is not one element")),
    };
    Ok(vec![y])
}

fn shape(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let dims: Vec<i64> = node.input_shape(cx, 0)?.0.iter().map(|&d| d as i64).collect();
    let rank = dims.len() as i64;
    let clamp = |i: i64| (if i < 0 { i + rank } else { i }).clamp(0, rank) as usize;
    let (start, end) = (clamp(node.int("start")?.unwrap_or(0)), clamp(node.int("end")?.unwrap_or(rank)));
    Ok(vec![Operand::Known(Known::ints(dims.get(start..end).unwrap_or_default().to_vec()))])
}

fn cast(_: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let to = node.int("to")?.ok_or_else(|| Refusal::invalid("its attribute `to` is missing"))?;
    converted(node.input(0)?, i32::try_from(to).unwrap_or(0)).map(|y| vec![y])
}

/// The operand as elements of the type of ONNX code `to`.
fn converted(x: &Operand, to: i32) -> Result<Operand> {
    let float = matches!(to, data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16);
    match (x, IntType::of(to)) {
        // Numbers keep their precision: what a narrower type would round away is below the noise of encryption.
        (Operand::Value(_), None) if float => Ok(x.clone()),
        (Operand::Known(k), None) if float => Ok(Operand::Known(Known::Floats(k.to_floats()))),
        (Operand::Known(k), Some(ty)) => Ok(Operand::Known(Known::Ints(k.to_ints(ty)))),
        (Operand::Value(_), _) => Err(Refusal::new(
            format!("it rounds encrypted values to {}", data_type::name(to)),
            "keep the network in float32: remove the cast, or quantisation altogether",
        )),
        _ => Err(Refusal::new(format!("a constant cast to {}", data_type::name(to)), "use int64 or float32")),
    }
}

fn cast_like(_: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let y = match (x, node.input(1)?) {
        (Operand::Known(k), Operand::Known(Known::Ints(like))) => Operand::Known(Known::Ints(k.to_ints(like.ty))),
        (_, Operand::Known(Known::Ints(_))) => {
            return Err(Refusal::new(
                "it rounds encrypted values to integers",
                "keep the network in float32: remove the cast, or quantisation altogether",
            ));
        }
        (_, Operand::Known(Known::Floats(_)) | Operand::Value(_)) => converted(x, data_type::FLOAT)?,
    };
    Ok(vec![y])
}

fn size(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    Ok(vec![Operand::Known(Known::int(node.input_shape(cx, 0)?.len() as i64))])
}

fn expand(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let to = node.ints_input(1, "shape")?.ok_or_else(|| Refusal::invalid("its shape is missing"))?;
    let to = tensor::shape(&to.data)?;
    let out =
        cx.shape(x).broadcast(&to).ok_or_else(|| Refusal::invalid(format!("{} expanded to {to}", cx.shape(x))))?;
    let shape = out.0.iter().map(|&d| d as i64).collect();
    cx.moved(NnOp::Expand { shape }, &[x]).map(|y| vec![y])
}
