//! Polynomials as sums of products of least depth.

use fhec_ir::attr::F64;
use fhec_ir::nn::Basis;
use fhec_ir::{ConstId, ConstPool, Loc, Tensor};

use super::expr::{Addend, Expr, ExprProgram, Id, Plain, Sum};
use crate::approx::{EvalTree, Interval, Polynomial, TreeOperand, TreeOptions};

/// A `slot.polynomial`.
pub(super) struct What<'a> {
    pub(super) basis: Basis,
    pub(super) lo: f64,
    pub(super) hi: f64,
    pub(super) coeffs: &'a [F64],
    pub(super) vectors: Option<ConstId>,
}

/// The distinct polynomials and, per slot, which one applies (none: the same everywhere).
fn rows(what: &What<'_>, consts: &ConstPool, n: usize) -> (Vec<Vec<f64>>, Option<Vec<usize>>) {
    let Some(id) = what.vectors else {
        return (vec![what.coeffs.iter().map(|c| c.0).collect()], None);
    };
    let (rows, of_slot) = columns(consts.tensor(id).data(), n);
    (rows, Some(of_slot))
}

/// The distinct columns of a `[degree + 1, n]` matrix of coefficients, and which of them each slot has.
pub(crate) fn columns(data: &[f32], n: usize) -> (Vec<Vec<f64>>, Vec<usize>) {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    let of_slot = (0..n)
        .map(|slot| {
            let column: Vec<f32> = data.iter().skip(slot).step_by(n).copied().collect();
            let bits: Vec<u32> = column.iter().map(|c| c.to_bits()).collect();
            *known.entry(bits).or_insert_with(|| {
                rows.push(column.iter().map(|&c| f64::from(c)).collect());
                rows.len() - 1
            })
        })
        .collect();
    (rows, of_slot)
}

/// Appends the evaluation of the polynomial at `x`; returns its value.
pub(super) fn expand(
    program: &mut ExprProgram,
    consts: &mut ConstPool,
    x: Id,
    n: usize,
    what: &What<'_>,
    loc: &Loc,
) -> Result<Id, String> {
    let interval = Interval::new(what.lo, what.hi).map_err(|e| e.to_string())?;
    let (rows, of_slot) = rows(what, consts, n);
    let polynomials: Vec<Polynomial> = rows
        .iter()
        .map(|row| match what.basis {
            Basis::Chebyshev => Polynomial::new(interval, row.clone()),
            Basis::Monomial => Polynomial::from_monomial(interval, row),
        })
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let tree = EvalTree::chebyshev(&polynomials, TreeOptions::default()).map_err(|e| e.to_string())?;

    // A value per channel becomes one number, or a vector over the slots.
    let mut spread = |values: &[f64]| -> Result<F64, ConstId> {
        match &of_slot {
            Some(of_slot) if values.iter().any(|v| *v != values[0]) => {
                let data: Vec<f32> = of_slot.iter().map(|&row| values[row] as f32).collect();
                let name = loc.onnx.as_ref().map_or("poly".to_string(), |l| format!("{l}.poly"));
                Err(consts.insert(&name, Tensor::new([n], data)))
            }
            _ => Ok(F64(values[0])),
        }
    };
    let plain = |value: Result<F64, ConstId>| value.map_or_else(Plain::Vector, Plain::Scalar);
    let addend = |value: Result<F64, ConstId>| value.map_or_else(Addend::Vector, Addend::Scalar);

    let map = tree.input()[0];
    let input = if tree.input().iter().all(|m| m.scale == 1.0 && m.shift == 0.0) {
        x
    } else {
        let addends = if map.shift == 0.0 { Vec::new() } else { vec![Addend::Scalar(F64(map.shift))] };
        let plains = vec![(Plain::Scalar(F64(map.scale)), x)];
        program.push(Expr::Sum(Sum { plains, addends, ..Sum::default() }), loc)
    };
    let mut values: Vec<Id> = Vec::with_capacity(tree.steps().len());
    for step in tree.steps() {
        let get = |o: TreeOperand| if let TreeOperand::TreeStep(s) = o { values[s] } else { input };
        let products = step.products.iter().map(|p| (get(p.left), get(p.right), i64::from(p.factor))).collect();
        let plains = step.terms.iter().map(|t| (plain(spread(&tree.constants()[t.constant])), get(t.value))).collect();
        let addends = step.constant.iter().map(|&k| addend(spread(&tree.constants()[k]))).collect();
        values.push(program.push(Expr::Sum(Sum { products, plains, addends }), loc));
    }
    values.last().copied().ok_or_else(|| "the polynomial is constant".to_string())
}
