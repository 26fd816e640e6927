//! Exports convolutions and matrix products.

use fhec_ir::nn::NnOp;

use super::builder::{Site, signed};
use crate::proto::Attribute;

pub(super) fn write(site: &mut Site<'_, '_>, op: &NnOp) {
    let x = site.x();
    let weights = site.operand(1, "weight");
    let NnOp::Conv { strides, pads, dilations, groups } = op else {
        return site.last("MatMul", &[&x, &weights], vec![]);
    };
    let mut inputs = vec![x, weights];
    if site.arity() > 2 {
        inputs.push(site.vector(2, "bias"));
    }
    let kernel = &signed(site.shape(1))[2..];
    let attributes = vec![
        Attribute::ints("kernel_shape", kernel),
        Attribute::ints("strides", strides),
        Attribute::ints("pads", pads),
        Attribute::ints("dilations", dilations),
        Attribute::int("group", *groups),
    ];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    site.last("Conv", &inputs, attributes);
}
