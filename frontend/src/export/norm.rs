//! Exports normalisations, heads and reductions.

use fhec_ir::nn::NnOp;

use super::builder::{Site, signed};
use super::movement::dims;
use crate::proto::{Attribute, data_type};

pub(super) fn write(site: &mut Site<'_, '_>, op: &NnOp) {
    match op {
        NnOp::BatchNorm { epsilon } => batch_norm(site, epsilon.0),
        NnOp::LayerNorm { axis, epsilon } => layer_norm(site, *axis, epsilon.0),
        NnOp::Softmax { axis } => along(site, "Softmax", *axis),
        NnOp::LogSoftmax { axis } => along(site, "LogSoftmax", *axis),
        NnOp::ArgMax { axis, keepdims } => arg_max(site, *axis, *keepdims),
        NnOp::ReduceMean { axes, keepdims } => reduce(site, "ReduceMean", axes, *keepdims),
        NnOp::ReduceSum { axes, keepdims } => reduce(site, "ReduceSum", axes, *keepdims),
        _ => {}
    }
}

fn batch_norm(site: &mut Site<'_, '_>, epsilon: f64) {
    let x = site.x();
    let roles = ["scale", "bias", "mean", "variance"];
    let [scale, bias, mean, variance] = std::array::from_fn(|k| site.vector(k + 1, roles[k]));
    let attributes = vec![Attribute::float("epsilon", epsilon as f32)];
    site.last("BatchNormalization", &[&x, &scale, &bias, &mean, &variance], attributes);
}

/// The operator takes a scale and a bias of the shape that is normalised; others become a product and a sum.
fn layer_norm(site: &mut Site<'_, '_>, axis: i64, epsilon: f64) {
    let x = site.x();
    let from = dims(&[axis], site.shape(0).rank())[0];
    let own = signed(site.shape(0))[from..].to_vec();
    let attributes = vec![Attribute::int("axis", axis), Attribute::float("epsilon", epsilon as f32)];
    if site.arity() > 1 && (1..site.arity()).all(|k| signed(site.shape(k)) == own) {
        let roles = ["scale", "bias"];
        let parameters: Vec<String> = (1..site.arity()).map(|k| site.operand(k, roles[k - 1])).collect();
        let inputs: Vec<&str> = std::iter::once(&x).chain(&parameters).map(String::as_str).collect();
        return site.last("LayerNormalization", &inputs, attributes);
    }
    let ones = vec![1.0; own.iter().product::<i64>() as usize];
    let ones = site.constant("ones", &own, &ones);
    if site.arity() == 1 {
        return site.last("LayerNormalization", &[&x, &ones], attributes);
    }
    let mut y = site.step("LayerNormalization", &[&x, &ones], attributes);
    let scale = site.operand(1, "scale");
    if site.arity() == 2 {
        return site.last("Mul", &[&y, &scale], vec![]);
    }
    y = site.step("Mul", &[&y, &scale], vec![]);
    let bias = site.operand(2, "bias");
    site.last("Add", &[&y, &bias], vec![]);
}

fn along(site: &mut Site<'_, '_>, operator: &str, axis: i64) {
    let x = site.x();
    site.last(operator, &[&x], vec![Attribute::int("axis", axis)]);
}

/// The operator gives integers; all values here are numbers of one type.
fn arg_max(site: &mut Site<'_, '_>, axis: i64, keepdims: bool) {
    let x = site.x();
    let attributes = vec![Attribute::int("axis", axis), Attribute::int("keepdims", i64::from(keepdims))];
    let at = site.step("ArgMax", &[&x], attributes);
    site.last("Cast", &[&at], vec![Attribute::int("to", i64::from(data_type::FLOAT))]);
}

fn reduce(site: &mut Site<'_, '_>, operator: &str, axes: &[i64], keepdims: bool) {
    let x = site.x();
    let mut axes = dims(axes, site.shape(0).rank());
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() {
        return site.last("Identity", &[&x], vec![]);
    }
    let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
    let axes = site.ints("axes", &axes);
    site.last(operator, &[&x, &axes], vec![Attribute::int("keepdims", i64::from(keepdims))]);
}
