//! Imports normalisations and softmax.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, NnOp};

use super::activation;
use super::context::{Context, Operand};
use super::node::{NodeView, axes, axis, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new(
        "BatchNormalization",
        batch_norm,
        "inference only: no training_mode, no statistics of single activations",
    ),
    Operator::new(
        "LayerNormalization",
        layer_norm,
        "with its outputs Mean and InvStdDev; a product with the power -1/2 of a variance",
    ),
    Operator::new("InstanceNormalization", instance_norm, "of every channel: its deviation is a power of a variance"),
    Operator::new("GroupNormalization", group_norm, "of every group of channels, likewise"),
    Operator::new("MeanVarianceNormalization", mean_variance_norm, "over the axes, likewise"),
    Operator::new("RMSNormalization", rms_norm, "a product with the power -1/2 of a mean of squares"),
    Operator::new("LRN", lrn, "a product with a power of a sum of squares over near channels"),
    Operator::new("LogSoftmax", log_softmax, "before opset 13 over all dimensions from axis on"),
    Operator::new("ArgMax", arg_max, "of encrypted values as the last node, which is left to the client"),
    Operator::new(
        "Softmax",
        |cx, node| over_axis(cx, node, |axis| NnOp::Softmax { axis }),
        "before opset 13 over all dimensions from axis on",
    ),
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

/// x over `axes` with zero mean and unit variance, the mean, and what the difference is multiplied with: the power -1/2 of the
/// variance.
fn normalised(cx: &mut Context, x: &Operand, axes: &[usize], epsilon: f32) -> Result<[Operand; 3]> {
    let mean_op = NnOp::ReduceMean { axes: signed(axes), keepdims: true };
    let mean = cx.push(mean_op.clone(), &[x])?;
    let centred = cx.push(NnOp::Sub {}, &[x, &mean])?;
    let square = cx.push(NnOp::Mul {}, &[&centred, &centred])?;
    let variance = cx.push(mean_op, &[&square])?;
    let epsilon = cx.scalar(epsilon);
    let shifted = cx.push(NnOp::Add {}, &[&variance, &epsilon])?;
    let inverse = activation::apply(cx, &shifted, Activation::Pow, Some(-0.5), None)?;
    Ok([cx.push(NnOp::Mul {}, &[&centred, &inverse])?, mean, inverse])
}

fn layer_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let first = axis(node.int("axis")?.unwrap_or(-1), rank)?;
    let axes: Vec<usize> = (first..rank).collect();
    let [mut y, mean, inverse] = normalised(cx, x, &axes, node.float("epsilon")?.unwrap_or(1e-5))?;
    if let Some(scale) = node.optional(1) {
        y = cx.push(NnOp::Mul {}, &[&y, scale])?;
    }
    if let Some(bias) = node.optional(2) {
        y = cx.push(NnOp::Add {}, &[&y, bias])?;
    }
    if cx.shape(&y) != cx.shape(x) {
        return Err(Refusal::invalid(format!("a scale or bias that does not broadcast to {}", cx.shape(x))));
    }
    Ok(vec![y, mean, inverse])
}

/// A function over one dimension; before opset 13 over a matrix, whose columns are the dimensions from the axis on.
fn over_axis(cx: &mut Context, node: &NodeView<'_>, op: fn(i64) -> NnOp) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let default = if node.opset >= 13 { -1 } else { 1 };
    let stated = node.int("axis")?.unwrap_or(default);
    if node.opset >= 13 {
        let axis = axis(stated, shape.rank())? as i64;
        return cx.push(op(axis), &[x]).map(|y| vec![y]);
    }
    let at = if stated == shape.rank() as i64 { shape.rank() } else { axis(stated, shape.rank())? };
    let (rows, columns) = (shape.0[..at].iter().product::<usize>(), shape.0[at..].iter().product::<usize>());
    if shape.0 == [rows, columns] {
        return cx.push(op(1), &[x]).map(|y| vec![y]);
    }
    let matrix = cx.push(NnOp::Reshape { shape: signed(&[rows, columns]) }, &[x])?;
    let matrix = cx.push(op(1), &[&matrix])?;
    cx.push(NnOp::Reshape { shape: signed(&shape.0) }, &[&matrix]).map(|y| vec![y])
}

fn log_softmax(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    over_axis(cx, node, |axis| NnOp::LogSoftmax { axis })
}

fn arg_max(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let axis = axis(node.int("axis")?.unwrap_or(0), cx.shape(x).rank())? as i64;
    if node.flag("select_last_index", false)? {
        return Err(Refusal::new(
            "it takes the last of equal maxima",
            "leave out select_last_index: encrypted results are never exactly equal",
        ));
    }
    cx.push(NnOp::ArgMax { axis, keepdims: node.flag("keepdims", true)? }, &[x]).map(|y| vec![y])
}

/// x [N, C, ..] with zero mean and unit variance in each of `groups` groups of channels.
fn normalised_groups(cx: &mut Context, x: &Operand, groups: usize, epsilon: f32) -> Result<Operand> {
    let shape = cx.shape(x).clone();
    let n = shape.0[0];
    let inner = shape.len() / (n * groups).max(1);
    let flat = cx.push(NnOp::Reshape { shape: signed(&[n, groups, inner]) }, &[x])?;
    let [flat, ..] = normalised(cx, &flat, &[2], epsilon)?;
    cx.push(NnOp::Reshape { shape: signed(&shape.0) }, &[&flat])
}

/// x [N, C, ..] times one factor per channel, plus one number per channel.
fn per_channel(cx: &mut Context, x: &Operand, scale: &Operand, bias: &Operand) -> Result<Operand> {
    let mut shape = vec![1; cx.shape(x).rank() - 1];
    shape[0] = cx.shape(x).0[1] as i64;
    let scale = cx.push(NnOp::Reshape { shape: shape.clone() }, &[scale])?;
    let bias = cx.push(NnOp::Reshape { shape }, &[bias])?;
    let y = cx.push(NnOp::Mul {}, &[x, &scale])?;
    cx.push(NnOp::Add {}, &[&y, &bias])
}

/// The channels of operand 0.
fn channels(cx: &Context, node: &NodeView<'_>) -> Result<usize> {
    let shape = node.input_shape(cx, 0)?;
    if shape.rank() < 2 {
        return Err(Refusal::invalid(format!("an input of shape {shape} has no channels")));
    }
    Ok(shape.0[1])
}

fn instance_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let groups = channels(cx, node)?;
    let y = normalised_groups(cx, node.input(0)?, groups, node.float("epsilon")?.unwrap_or(1e-5))?;
    per_channel(cx, &y, node.input(1)?, node.input(2)?).map(|y| vec![y])
}

fn group_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let channels = channels(cx, node)?;
    let groups = node.int("num_groups")?.and_then(|g| usize::try_from(g).ok());
    let groups = groups.filter(|&g| g > 0 && channels.is_multiple_of(g));
    let groups = groups.ok_or_else(|| Refusal::invalid(format!("its groups do not divide {channels} channels")))?;
    let y = normalised_groups(cx, node.input(0)?, groups, node.float("epsilon")?.unwrap_or(1e-5))?;
    let spread = |cx: &mut Context, x: &Operand| -> Result<Operand> {
        if cx.shape(x).len() == channels {
            return Ok(x.clone());
        }
        // Before opset 21 there is one number per group.
        let x = cx.push(NnOp::Reshape { shape: signed(&[groups, 1]) }, &[x])?;
        cx.push(NnOp::Expand { shape: signed(&[groups, channels / groups]) }, &[&x])
    };
    let (scale, bias) = (spread(cx, node.input(1)?)?, spread(cx, node.input(2)?)?);
    per_channel(cx, &y, &scale, &bias).map(|y| vec![y])
}

/// What keeps a variance from being 0: the reference implementation adds 1e-9 to the deviation.
const VARIANCE_EPSILON: f32 = 1e-18;

fn mean_variance_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let along = axes(node.ints("axes")?.unwrap_or(&[0, 2, 3]), cx.shape(x).rank())?;
    normalised(cx, x, &along, VARIANCE_EPSILON).map(|[y, ..]| vec![y])
}

/// x · (bias + alpha/size · Σ x²)^-beta, the sum over `size` channels around each.
fn lrn(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let n = channels(cx, node)?;
    let shape = cx.shape(x).clone();
    let size = node.int("size")?.filter(|s| (1..1 << 24).contains(s));
    let size = size.ok_or_else(|| Refusal::invalid("its attribute `size` is missing or not positive"))?;
    let (alpha, beta) = (node.float("alpha")?.unwrap_or(1e-4), node.float("beta")?.unwrap_or(0.75));
    cx.take_elements(&[n, n].into())?;
    let (before, after) = ((size - 1) / 2, size / 2);
    let near = |at: usize| (-before..=after).contains(&((at % n) as i64 - (at / n) as i64));
    let band = (0..n * n).map(|at| if near(at) { alpha / size as f32 } else { 0.0 }).collect();
    let band = cx.constant([n, n], band)?;
    let square = cx.push(NnOp::Mul {}, &[x, x])?;
    let planes = signed(&[shape.0[0], n, shape.0[2..].iter().product()]);
    let square = cx.push(NnOp::Reshape { shape: planes }, &[&square])?;
    let sums = cx.push(NnOp::MatMul {}, &[&band, &square])?;
    let bias = cx.scalar(node.float("bias")?.unwrap_or(1.0));
    let shifted = cx.push(NnOp::Add {}, &[&sums, &bias])?;
    let factor = activation::apply(cx, &shifted, Activation::Pow, Some(-beta), None)?;
    let factor = cx.push(NnOp::Reshape { shape: signed(&shape.0) }, &[&factor])?;
    cx.push(NnOp::Mul {}, &[x, &factor]).map(|y| vec![y])
}

fn rms_norm(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let first = axis(node.int("axis")?.unwrap_or(-1), rank)?;
    let axes = signed(&(first..rank).collect::<Vec<_>>());
    let square = cx.push(NnOp::Mul {}, &[x, x])?;
    let mean = cx.push(NnOp::ReduceMean { axes, keepdims: true }, &[&square])?;
    let epsilon = cx.scalar(node.float("epsilon")?.unwrap_or(1e-5));
    let shifted = cx.push(NnOp::Add {}, &[&mean, &epsilon])?;
    let inverse = activation::apply(cx, &shifted, Activation::Pow, Some(-0.5), None)?;
    let y = cx.push(NnOp::Mul {}, &[x, &inverse])?;
    cx.push(NnOp::Mul {}, &[&y, node.input(1)?]).map(|y| vec![y])
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
