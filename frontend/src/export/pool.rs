//! Exports pooling.

use fhec_ir::nn::NnOp;

use super::builder::Site;
use crate::proto::Attribute;

pub(super) fn write(site: &mut Site<'_, '_>, op: &NnOp) {
    let (NnOp::AvgPool { kernel, strides, pads, dilations, ceil, .. }
    | NnOp::MaxPool { kernel, strides, pads, dilations, ceil }) = op
    else {
        return;
    };
    let x = site.x();
    let mut attributes = vec![
        Attribute::ints("kernel_shape", kernel),
        Attribute::ints("strides", strides),
        Attribute::ints("pads", pads),
        Attribute::ints("dilations", dilations),
        Attribute::int("ceil_mode", i64::from(*ceil)),
    ];
    let operator = match op {
        NnOp::AvgPool { count_include_pad, .. } => {
            attributes.push(Attribute::int("count_include_pad", i64::from(*count_include_pad)));
            "AveragePool"
        }
        _ => "MaxPool",
    };
    site.last(operator, &[&x], attributes);
}
