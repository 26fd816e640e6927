//! Imports normalisations and softmax.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, NnOp};

use super::context::{Context, Operand};
use super::node::{NodeView, axis, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new(
        "BatchNormalization",
        batch_norm,
        "inference only: no training_mode, no statistics of single activations",
    ),
    Operator::new("LayerNormalization", layer_norm, "with its outputs Mean and InvStdDev"),
    Operator::new("Softmax", softmax, "before opset 13 over all dimensions from axis on"),
    Operator::new("Dropout", dropout, "inference: the identity; its mask is not available"),
];

fn batch_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let training = node.flag("training_mode", false)?
        || (node.opset < 7 && !node.flag("is_test", false)?)
        || node.wanted.iter().skip(1).any(|&w| w);
    if training {
        return Err(Refusal::new(
            "it is in training mode, which normalises by the statistics of the batch",
            "export the model for inference: model.eval() in PyTorch, training=False in Keras",
        ));
    }
    if node.opset < 9 && !node.flag("spatial", true)? {
        return Err(Refusal::new("spatial=0 is not supported", "convert the model to opset 9 or later"));
    }
    let operands = (0..5).map(|i| node.input(i)).collect::<Result<Vec<_>>>()?;
    let epsilon = F64(f64::from(node.float("epsilon")?.unwrap_or(1e-5)));
    cx.push(NnOp::BatchNorm { epsilon }, &operands).map(|y| vec![y])
}

fn layer_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let first = axis(node.int("axis")?.unwrap_or(-1), rank)?;
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    let mut operands = vec![x];
    operands.extend(node.optional(1));
    if let Some(bias) = node.optional(2) {
        if operands.len() < 2 {
            return Err(Refusal::invalid("a bias without a scale"));
        }
        operands.push(bias);
    }
    let op = NnOp::LayerNorm { axis: first as i64, epsilon: F64(f64::from(epsilon)) };
    let mut outputs = vec![cx.push(op, &operands)?];
    if node.wanted.iter().skip(1).any(|&w| w) {
        let axes = signed(&(first..rank).collect::<Vec<_>>());
        let mean_op = NnOp::ReduceMean { axes, keepdims: true };
        let mean = cx.push(mean_op.clone(), &[x])?;
        let centred = cx.push(NnOp::Sub {}, &[x, &mean])?;
        let square = cx.push(NnOp::Mul {}, &[&centred, &centred])?;
        let variance = cx.push(mean_op, &[&square])?;
        let epsilon = cx.scalar(epsilon);
        let shifted = cx.push(NnOp::Add {}, &[&variance, &epsilon])?;
        let function = |function| NnOp::Activation { function, alpha: None, beta: None };
        let deviation = cx.push(function(Activation::Sqrt), &[&shifted])?;
        let inverse = cx.push(function(Activation::Reciprocal), &[&deviation])?;
        outputs.extend([mean, inverse]);
    }
    Ok(outputs)
}

fn softmax(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let default = if node.opset >= 13 { -1 } else { 1 };
    let stated = node.int("axis")?.unwrap_or(default);
    if node.opset >= 13 {
        let axis = axis(stated, shape.rank())? as i64;
        return cx.push(NnOp::Softmax { axis }, &[x]).map(|y| vec![y]);
    }
    // Early versions see a matrix: dimensions before the axis are its rows, the others its columns.
    let at = if stated == shape.rank() as i64 { shape.rank() } else { axis(stated, shape.rank())? };
    let (rows, columns) = (shape.0[..at].iter().product::<usize>(), shape.0[at..].iter().product::<usize>());
    let matrix = cx.push(NnOp::Reshape { shape: signed(&[rows, columns]) }, &[x])?;
    let matrix = cx.push(NnOp::Softmax { axis: 1 }, &[&matrix])?;
    cx.push(NnOp::Reshape { shape: signed(&shape.0) }, &[&matrix]).map(|y| vec![y])
}

fn dropout(_: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let training = if node.opset >= 12 {
        node.scalar_input(2, "training_mode")?.is_some_and(|t| t != 0.0) && node.scalar_input(1, "ratio")? != Some(0.0)
    } else {
        node.opset < 7 && !node.flag("is_test", false)?
    };
    if training {
        return Err(Refusal::new(
            "it is in training mode",
            "export the model for inference: model.eval() in PyTorch, training=False in Keras",
        ));
    }
    Ok(vec![node.input(0)?.clone()])
}
