//! Common subexpressions, at any level.

use std::collections::HashMap;
use std::convert::Infallible;

use fhec_ir::{Dialect, Module, Operands, Value};

/// The module with equal ops over equal operands computed once and dead nodes left out.
pub fn share_common<D: Dialect>(module: &Module<D>) -> Module<D> {
    let mut known: HashMap<(D::Op, Operands), Value> = HashMap::new();
    let built: Result<_, Infallible> = module.rebuild(|out, _, node, operands| {
        let key = (node.op.clone(), operands);
        if let Some(&value) = known.get(&key) {
            return Ok(value);
        }
        let value = out.func.push_unchecked(key.0.clone(), key.1.clone(), node.ty.clone(), node.loc.clone());
        known.insert(key, value);
        Ok(value)
    });
    match built {
        Ok(module) => module,
        Err(never) => match never {},
    }
}
