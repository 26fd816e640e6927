//! Evaluates the part of a program that works on single slots.

use fhec_ir::ckks::CkksOp;
use fhec_ir::{Ckks, ConstId, Entity, Module};

/// What a program makes of one of its values, of index `argument`, slot by slot and of nothing else: the values of every op that
/// follows from it, by index, where the argument has the values of `grid`. Of a polynomial's argument these are the steps of
/// its evaluation, and the polynomial the last. Vectors of constants whose elements differ end it.
pub fn slotwise(module: &Module<Ckks>, argument: usize, grid: &[f64]) -> Vec<(usize, Vec<f64>)> {
    let mut known: Vec<Option<Vec<f64>>> = vec![None; module.func.len()];
    let mut order = Vec::new();
    if let Some(known) = known.get_mut(argument) {
        *known = Some(grid.to_vec());
    }
    for (value, node) in module.func.iter().skip(argument + 1) {
        let operands: Option<Vec<&[f64]>> = node.operands.iter().map(|x| known[x.index()].as_deref()).collect();
        let result = match operands.as_deref() {
            Some(&[x]) => unary(module, &node.op, x),
            Some(&[a, b]) => binary(&node.op, a, b),
            _ => None,
        };
        if result.is_some() {
            known[value.index()] = result;
            order.push(value.index());
        }
    }
    order.into_iter().filter_map(|index| Some((index, known[index].take()?))).collect()
}

fn unary(module: &Module<Ckks>, op: &CkksOp, x: &[f64]) -> Option<Vec<f64>> {
    let each = |f: &dyn Fn(f64) -> f64| Some(x.iter().map(|&x| f(x)).collect());
    match op {
        CkksOp::Neg {} => each(&|x| -x),
        CkksOp::AddScalar { value } => each(&|x| x + value.0),
        CkksOp::MulScalar { value, .. } => each(&|x| x * value.0),
        CkksOp::MulInt { by } => each(&|x| x * *by as f64),
        CkksOp::AddPlain { value } => constant(module, *value).and_then(|c| each(&|x| x + c)),
        CkksOp::MulPlain { value, .. } => constant(module, *value).and_then(|c| each(&|x| x * c)),
        // A bootstrap gives back the slots it reads.
        CkksOp::Relinearize {} | CkksOp::Rescale {} | CkksOp::LevelDrop { .. } | CkksOp::Bootstrap { .. } => {
            Some(x.to_vec())
        }
        CkksOp::Input { .. }
        | CkksOp::Add {}
        | CkksOp::Sub {}
        | CkksOp::Mul {}
        | CkksOp::Rotate { .. }
        | CkksOp::Conjugate {}
        | CkksOp::Linear { .. } => None,
    }
}

fn binary(op: &CkksOp, a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let both = |f: &dyn Fn(f64, f64) -> f64| Some(a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect());
    match op {
        CkksOp::Add {} => both(&|a, b| a + b),
        CkksOp::Sub {} => both(&|a, b| a - b),
        CkksOp::Mul {} => both(&|a, b| a * b),
        _ => None,
    }
}

/// The one element that a vector of constants repeats.
fn constant(module: &Module<Ckks>, id: ConstId) -> Option<f64> {
    let data = module.consts.tensor(id).data();
    data.first().filter(|first| data.iter().all(|x| x == *first)).map(|&x| f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhec_ir::ckks::CtTy;
    use fhec_ir::{F64, Loc};

    #[test]
    fn a_polynomial_is_what_follows_slot_by_slot() {
        let mut m = Module::new("main");
        let x = m.func.add_param(CtTy::at(3), Loc::default());
        let other = m.func.add_param(CtTy::at(2), Loc::default());
        let mut push = |op, operands: &[_]| m.push(op, operands.iter().copied(), Loc::default()).unwrap();
        let square = push(CkksOp::Mul {}, &[x, x]);
        let square = push(CkksOp::Relinearize {}, &[square]);
        let square = push(CkksOp::Rescale {}, &[square]);
        let double = push(CkksOp::MulInt { by: 2 }, &[square]);
        let polynomial = push(CkksOp::AddScalar { value: F64(-1.0) }, &[double]);
        let sum = push(CkksOp::Add {}, &[polynomial, other]);
        push(CkksOp::Rotate { by: 1 }, &[polynomial]);
        m.func.set_results([sum]);
        let values = slotwise(&m, x.index(), &[-1.0, 0.0, 0.5]);
        assert_eq!(values.last(), Some(&(polynomial.index(), vec![1.0, -1.0, -0.5])));
        assert_eq!(values.len(), 5, "neither the sum with another value nor the rotation");
    }
}
