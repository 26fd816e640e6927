//! Finds where a program evaluates Chebyshev polynomials, whose argument must stay in [-1, 1].

use std::collections::BTreeSet;

use fhec_ir::ckks::CkksOp;
use fhec_ir::{Ckks, Entity, Module, Value};

/// The values that a program squares as the argument of T_2(x) = 2x² - 1 and that are not themselves such a T_2.
///
/// Lowering turns a polynomial into products, and its interval is folded into the layer before it; what remains visible
/// is the doubling. Everything between the square and the subtraction of one that only changes level, scale or parts is
/// looked through.
pub fn chebyshev_arguments(module: &Module<Ckks>) -> BTreeSet<usize> {
    let func = &module.func;
    let mut arguments = BTreeSet::new();
    let mut doublings = BTreeSet::new();
    for (value, node) in func.iter() {
        if let CkksOp::AddScalar { value: constant } = &node.op
            && constant.0 == -1.0
            && let Some(x) = doubled_square(module, node.operands[0])
        {
            doublings.insert(value.index());
            let x = through(module, x);
            if !doublings.contains(&x.index()) {
                arguments.insert(x.index());
            }
        }
    }
    arguments
}

/// Looks through ops that keep the slots.
fn through(module: &Module<Ckks>, mut value: Value) -> Value {
    loop {
        let node = module.func.node(value);
        match node.op {
            CkksOp::Relinearize {} | CkksOp::Rescale {} | CkksOp::LevelDrop { .. } => value = node.operands[0],
            _ => return value,
        }
    }
}

/// The x of 2x².
fn doubled_square(module: &Module<Ckks>, value: Value) -> Option<Value> {
    let node = module.func.node(through(module, value));
    let product = match &node.op {
        CkksOp::MulInt { by: 2 } => node.operands[0],
        CkksOp::Add {} if node.operands[0] == node.operands[1] => node.operands[0],
        _ => return None,
    };
    let node = module.func.node(through(module, product));
    match &node.op {
        CkksOp::Mul {} if node.operands[0] == node.operands[1] => Some(node.operands[0]),
        _ => None,
    }
}
