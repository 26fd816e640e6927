//! Activations as functions to be approximated, and approximations as ops of the `nn` level.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, Basis, NnOp};

use super::ApproximateOptions;
use crate::approx::{ApproxError, Approximation, Histogram, Interval, Polynomial, Site};

/// An activation by its attributes.
#[derive(Clone, Copy)]
pub(super) struct Replaced {
    activation: Activation,
    alpha: Option<F64>,
    beta: Option<F64>,
}

impl Replaced {
    /// The activation that `op` is.
    pub(super) fn of(op: &NnOp) -> Option<Self> {
        match *op {
            NnOp::Activation { function, alpha, beta } => Some(Self { activation: function, alpha, beta }),
            _ => None,
        }
    }

    /// Its function on the inputs seen per channel.
    ///
    /// # Errors
    /// Inputs without values.
    pub(super) fn site(self, seen: &[Histogram], options: &ApproximateOptions) -> Result<Site, ApproxError> {
        let function = self.activation.function(self.alpha.map(|a| a.0), self.beta.map(|b| b.0));
        Site::new(function, seen, options.margin, options.fit)
    }
}

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
