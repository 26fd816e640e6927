//! How a polynomial reads its operand: which affine map brings it to `[-1, 1]`, and what is computed there.

use fhec_ir::nn::{Basis, NnOp};
use fhec_ir::{Nn, Node};

use super::affine::AffineMap;
use super::graph::Rows;
use crate::approx::{Affine, ApproxError, CompletedSquare, Interval, Polynomial};

/// A polynomial of the network, by what is done with slots.
#[derive(Clone)]
pub(super) struct Reading {
    /// The map of the operand, for all elements or per row.
    pub(super) maps: Vec<Affine>,
    /// The row of each element.
    pub(super) rows: Rows,
    /// What is computed of the mapped operand.
    pub(super) evaluation: Evaluation,
}

/// What a polynomial computes of its operand once that is mapped to `[-1, 1]`.
#[derive(Clone)]
pub(super) enum Evaluation {
    /// factor·x + constant of the operand as it is.
    Linear { factors: Vec<f64>, constants: Vec<f64> },
    /// factor·u² + constant: one level, since the factors go to whatever reads the square.
    Square { factors: Vec<f64>, constants: Vec<f64> },
    /// Chebyshev polynomials.
    General(Vec<Polynomial>),
}

impl Evaluation {
    /// Whether it is computed in slots.
    pub(super) fn is_nonlinear(&self) -> bool {
        !matches!(self, Self::Linear { .. })
    }
}

/// A quadratic is completed to a square when the shift of its argument, in half lengths of its interval, stays below this: the
/// constant that cancels is the square of the shift, so six bits are lost at most, and a bootstrap before it loses three.
const LARGEST_SQUARE_SHIFT: f64 = 8.0;

/// A map to or from an interval loses nothing to a shift this small.
const NO_SHIFT: f64 = 1e-13;

impl Reading {
    /// The reading of `node`; none if it is no polynomial.
    ///
    /// # Errors
    /// Coefficients or an interval that are none.
    pub(super) fn of(node: &Node<Nn>) -> Result<Option<Self>, ApproxError> {
        let NnOp::Polynomial { basis, lo, hi, rows, coeffs } = &node.op else { return Ok(None) };
        let interval = Interval::new(lo.0, hi.0)?;
        let coeffs: Vec<f64> = coeffs.iter().map(|c| c.0).collect();
        let mut given: Vec<&[f64]> = coeffs.chunks(coeffs.len() / *rows as usize).collect();
        if given.iter().all(|row| *row == given[0]) {
            given.truncate(1);
        }
        let polynomial = |row: &&[f64]| match basis {
            Basis::Chebyshev => Polynomial::new(interval, row.to_vec()),
            Basis::Monomial => Polynomial::from_monomial(interval, row),
        };
        let polynomials = given.iter().map(polynomial).collect::<Result<Vec<_>, _>>()?;
        let dims = &node.ty.0.0;
        let rows = match polynomials.len() {
            1 => Rows { inner: node.ty.0.len().max(1), channels: 1 },
            _ => Rows { inner: dims[2..].iter().product::<usize>().max(1), channels: dims[1] },
        };
        let unit = interval.unit_map();
        let degree = polynomials.iter().map(Polynomial::degree).max().unwrap_or(0);
        if degree <= 1 {
            let c = |p: &Polynomial, k: usize| p.coefficients().get(k).copied().unwrap_or(0.0);
            let factors = polynomials.iter().map(|p| c(p, 1) * unit.scale).collect();
            let constants = polynomials.iter().map(|p| c(p, 0) + c(p, 1) * unit.shift).collect();
            return Ok(Some(Self { maps: Vec::new(), rows, evaluation: Evaluation::Linear { factors, constants } }));
        }
        let powers = |row: &&[f64]| (*basis == Basis::Monomial).then(|| row.to_vec());
        let squares = given.iter().zip(&polynomials).map(|(row, p)| square(p, powers(row)));
        if let Some(squares) = squares.collect::<Option<Vec<_>>>() {
            return Ok(Some(Self::square(&squares, interval, rows)));
        }
        Ok(Some(Self { maps: vec![unit], rows, evaluation: Evaluation::General(polynomials) }))
    }

    /// sign·v² + constant, with v brought to `[-1, 1]`.
    fn square(squares: &[CompletedSquare], interval: Interval, rows: Rows) -> Self {
        let bound = |s: &CompletedSquare| [interval.lo(), interval.hi()].map(|x| s.input.apply(x).abs());
        let bounds: Vec<f64> = squares.iter().map(bound).map(|[a, b]| a.max(b)).collect();
        let map = |(s, b): (&CompletedSquare, &f64)| Affine { scale: s.input.scale / b, shift: s.input.shift / b };
        let factors = squares.iter().zip(&bounds).map(|(s, b)| f64::from(s.sign) * b * b).collect();
        let constants = squares.iter().map(|s| s.constant).collect();
        let maps = squares.iter().zip(&bounds).map(map).collect();
        Self { maps, rows, evaluation: Evaluation::Square { factors, constants } }
    }

    /// A square without factor: its operand is not brought to `[-1, 1]`. For squares that no linear layer reads, which would spend a
    /// level on the factor alone.
    pub(super) fn without_factor(mut self) -> Self {
        if let Evaluation::Square { factors, .. } = &mut self.evaluation {
            for (map, factor) in self.maps.iter_mut().zip(factors) {
                let root = factor.abs().sqrt();
                *map = Affine { scale: map.scale * root, shift: map.shift * root };
                *factor = factor.signum();
            }
        }
        self
    }

    fn of_element(&self, element: usize) -> Affine {
        self.maps[self.rows.of(element) % self.maps.len()]
    }

    /// Whether the map is one factor for all elements.
    pub(super) fn is_scale(&self) -> bool {
        let first = self.maps.first().map_or(1.0, |m| m.scale);
        self.maps.iter().all(|m| m.shift.abs() <= NO_SHIFT && m.scale == first)
    }

    /// The value as the polynomial reads it.
    pub(super) fn map(&self, x: &AffineMap) -> AffineMap {
        x.rescaled(|e| self.of_element(e).scale, |e| self.of_element(e).shift)
    }

    /// The value of which `u` is what the polynomial reads.
    pub(super) fn unmap(&self, u: &AffineMap) -> AffineMap {
        u.rescaled(
            |e| 1.0 / self.of_element(e).scale,
            |e| {
                let Affine { scale, shift } = self.of_element(e);
                -shift / scale
            },
        )
    }
}

/// The square that a quadratic, which may be given in powers too, is completed to; none where that loses too many digits.
fn square(p: &Polynomial, powers: Option<Vec<f64>>) -> Option<CompletedSquare> {
    let [_, c1, c2] = p.coefficients() else { return None };
    if (c1 / (4.0 * c2)).abs() > LARGEST_SQUARE_SHIFT {
        return None;
    }
    let square = CompletedSquare::new(p).ok()?;
    match powers.as_deref() {
        // Without the detour over the interval, x² has no shift at all.
        Some(&[c, b, a, ..]) => Some(CompletedSquare::of_powers([c, b, a])),
        _ => Some(square),
    }
}
