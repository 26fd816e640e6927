//! Approximations as ops of the `nn` level.

use fhec_ir::F64;
use fhec_ir::nn::{Basis, NnOp};

use crate::approx::{ApproxError, Approximation, Interval, Polynomial};

/// The ops of an approximation, stage after stage, without its product with the operand.
///
/// # Errors
/// Polynomials that cannot be expressed on the common interval of their channels.
pub(super) fn stage_ops(approximation: &Approximation) -> Result<Vec<NnOp>, ApproxError> {
    let stage = |polynomials: &Vec<Polynomial>| match polynomials.as_slice() {
        [single] => Ok(op(single.interval(), std::slice::from_ref(single))),
        several => {
            let common = approximation.interval;
            let moved = several.iter().map(|p| Polynomial::interpolate(common, p.degree(), |x| p.eval(x)));
            Ok(op(common, &moved.collect::<Result<Vec<_>, _>>()?))
        }
    };
    approximation.stages.iter().map(stage).collect()
}

/// The polynomials of an approximation of one stage on `[-1, 1]`, and per channel the map there from its interval, as scale
/// and shift.
pub(super) fn on_unit_interval(polynomials: &[Polynomial]) -> (NnOp, Vec<(f64, f64)>) {
    let maps = polynomials.iter().map(|p| p.interval().unit_map()).map(|m| (m.scale, m.shift));
    (op(Interval::UNIT, polynomials), maps.collect())
}

fn op(interval: Interval, polynomials: &[Polynomial]) -> NnOp {
    let width = polynomials.iter().map(|p| p.coefficients().len()).max().unwrap_or(1);
    let row = |p: &Polynomial| {
        let mut row: Vec<F64> = p.coefficients().iter().map(|&c| F64(c)).collect();
        row.resize(width, F64(0.0));
        row
    };
    NnOp::Polynomial {
        basis: Basis::Chebyshev,
        lo: F64(interval.lo()),
        hi: F64(interval.hi()),
        rows: polynomials.len() as i64,
        coeffs: polynomials.iter().flat_map(row).collect(),
    }
}
