//! Imports the linear models of domain `ai.onnx.ml`, as skl2onnx writes them.

use fhec_ir::nn::{Activation, NnOp};

use super::activation;
use super::context::{Context, Operand};
use super::node::NodeView;
use super::registry::{ML_DOMAIN, Operator};
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::of(ML_DOMAIN, "Scaler", scaler, "`ai.onnx.ml`: one offset and scale, or one of every feature"),
    Operator::of(ML_DOMAIN, "LinearRegressor", regressor, "`ai.onnx.ml`: post_transform NONE, SOFTMAX or LOGISTIC"),
    Operator::of(
        ML_DOMAIN,
        "LinearClassifier",
        classifier,
        "`ai.onnx.ml`: its scores, with post_transform NONE, SOFTMAX or LOGISTIC; the label is left to the client",
    ),
];

/// (x - offset)·scale.
fn scaler(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let offset = per_feature(cx, node, "offset", features(cx, x)?, 0.0)?;
    let scale = per_feature(cx, node, "scale", features(cx, x)?, 1.0)?;
    let centred = cx.push(NnOp::Sub {}, &[x, &offset])?;
    cx.push(NnOp::Mul {}, &[&centred, &scale]).map(|y| vec![y])
}

fn regressor(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let targets = node.int("targets")?.unwrap_or(1);
    let targets = usize::try_from(targets).ok().filter(|&targets| targets > 0);
    let targets = targets.ok_or_else(|| Refusal::invalid("its attribute `targets` is not positive"))?;
    let y = scores(cx, node, targets)?;
    transformed(cx, node, y).map(|y| vec![y])
}

fn classifier(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    if node.wanted.first().is_some_and(|&wanted| wanted) {
        return Err(Refusal::new(
            "its first output is the label, which cannot be told from encrypted scores",
            "remove that output from the model and take the class of the largest score after decryption",
        ));
    }
    // Classes may be named by texts, which are not read: there are as many as there are rows of coefficients.
    let rows = node.floats("coefficients")?.unwrap_or_default().len() / features(cx, node.input(0)?)?.max(1);
    let classes = node.ints("classlabels_ints")?.map_or(rows, <[i64]>::len);
    if rows < 2 || classes != rows {
        return Err(Refusal::new(
            format!("it has {rows} rows of coefficients for {} classes", classes.max(2)),
            "give one row of coefficients for every class, of two classes too",
        ));
    }
    let y = scores(cx, node, classes)?;
    let y = transformed(cx, node, y)?;
    // Nothing reads the label.
    Ok(vec![y.clone(), y])
}

/// x times the coefficients, a row of them for each of `outputs`, plus the intercepts.
fn scores(cx: &mut Context, node: &NodeView<'_>, outputs: usize) -> Result<Operand> {
    let x = node.input(0)?;
    let features = features(cx, x)?;
    let coefficients = node.floats("coefficients")?.unwrap_or_default();
    if features.checked_mul(outputs) != Some(coefficients.len()) {
        let reason = format!("{} coefficients for {features} features and {outputs} outputs", coefficients.len());
        return Err(Refusal::new(reason, "give one row of coefficients for every output"));
    }
    let columns = (0..features * outputs).map(|i| coefficients[i % outputs * features + i / outputs]).collect();
    let weights = cx.constant([features, outputs], columns)?;
    let y = cx.push(NnOp::MatMul {}, &[x, &weights])?;
    match node.floats("intercepts")? {
        None | Some([]) => Ok(y),
        Some(intercepts) if intercepts.len() == outputs => {
            let intercepts = cx.constant([outputs], intercepts.to_vec())?;
            cx.push(NnOp::Add {}, &[&y, &intercepts])
        }
        Some(intercepts) => Err(Refusal::invalid(format!("{} intercepts for {outputs} outputs", intercepts.len()))),
    }
}

/// What the model makes of its scores.
fn transformed(cx: &mut Context, node: &NodeView<'_>, scores: Operand) -> Result<Operand> {
    match node.text("post_transform")?.unwrap_or("NONE") {
        "NONE" => Ok(scores),
        "SOFTMAX" => cx.push(NnOp::Softmax { axis: 1 }, &[&scores]),
        "LOGISTIC" => activation::apply(cx, &scores, Activation::Sigmoid, None, None),
        other => Err(Refusal::new(
            format!("its post_transform `{other}` is not supported"),
            "write the scores themselves (post_transform NONE) and transform them after decryption",
        )),
    }
}

/// Features of a batch of vectors.
fn features(cx: &Context, x: &Operand) -> Result<usize> {
    match cx.shape(x).0[..] {
        [_, features] => Ok(features),
        _ => Err(Refusal::invalid(format!("its operand of shape {} is no batch of vectors", cx.shape(x)))),
    }
}

/// An attribute with one number for all features or one for each.
fn per_feature(cx: &mut Context, node: &NodeView<'_>, name: &str, features: usize, default: f32) -> Result<Operand> {
    match node.floats(name)? {
        None | Some([]) => Ok(cx.scalar(default)),
        Some([one]) => Ok(cx.scalar(*one)),
        Some(each) if each.len() == features => cx.constant([features], each.to_vec()),
        Some(each) => Err(Refusal::invalid(format!("{} numbers in `{name}` for {features} features", each.len()))),
    }
}
