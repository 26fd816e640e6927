//! Exports element-wise arithmetic.

use fhec_ir::nn::NnOp;

use super::builder::Site;

pub(super) fn write(site: &mut Site<'_, '_>, op: &NnOp) {
    let (operator, roles) = match op {
        NnOp::Add {} => ("Add", ["augend", "addend"]),
        NnOp::Sub {} => ("Sub", ["minuend", "subtrahend"]),
        NnOp::Mul {} => ("Mul", ["multiplicand", "factor"]),
        NnOp::Div {} => ("Div", ["dividend", "divisor"]),
        NnOp::Pow {} => ("Pow", ["base", "exponent"]),
        NnOp::PRelu {} => ("PRelu", ["x", "slope"]),
        _ => {
            let x = site.x();
            return site.last("Neg", &[&x], vec![]);
        }
    };
    let (a, b) = (site.operand(0, roles[0]), site.operand(1, roles[1]));
    site.last(operator, &[&a, &b], vec![]);
}
