//! The polynomials of one activation, shared or per channel, from the inputs it has on calibration data.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, Basis, NnOp};

use super::{ApproximateOptions, Choice, Replacement, function_of};
use crate::approx::{
    ApproxError, CompletedSquare, Distribution, Function, Histogram, Interval, Polynomial, least_squares, min_depth,
};

/// Bits by which coefficients may grow where polynomials of narrow channels are expressed on the interval of the widest:
/// packed constants have 24.
const GROWTH_BITS: f64 = 10.0;

/// Points of the grid on which the largest error is measured.
const GRID: usize = 4096;

/// Fitted polynomials: one, or one per channel on intervals of their own.
pub(crate) struct Fitted {
    polynomials: Vec<Polynomial>,
    /// What is reported; the node's name is set by the pass.
    pub(crate) replacement: Replacement,
}

/// What is fitted: a function by its attributes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) activation: Activation,
    pub(crate) alpha: Option<F64>,
    pub(crate) beta: Option<F64>,
}

impl Target {
    /// The function of an activation node.
    pub(crate) fn of(op: &NnOp) -> Option<Self> {
        match op {
            NnOp::Activation { function, alpha, beta } => {
                Some(Self { activation: *function, alpha: *alpha, beta: *beta })
            }
            _ => None,
        }
    }

    pub(super) fn function(self) -> Function {
        function_of(self.activation, self.alpha.map(|a| a.0), self.beta.map(|b| b.0))
    }
}

/// Fits `target` on inputs seen per channel; `foldable`: the layer before can take in a map of its channels, so that every
/// channel's interval may be its own, else narrow channels are widened to keep coefficients small.
pub(crate) fn fit(
    target: Target,
    channels: &[Histogram],
    choice: Choice,
    options: &ApproximateOptions,
    foldable: bool,
) -> Result<Fitted, ApproxError> {
    let function = target.function();
    let shared = merged(channels).distribution()?;
    let widest = interval(function, &shared, options.margin)?;
    let parts = if choice.per_channel && channels.len() > 1 {
        let growth = (GROWTH_BITS / choice.degree.max(1) as f64).exp2();
        channels
            .iter()
            .map(|channel| {
                // A channel that is always zero has no interval of its own.
                let distribution = channel.distribution()?;
                let own = interval(function, &distribution, options.margin).unwrap_or(widest);
                let narrow = if foldable {
                    own.length() < 1e-3 * widest.length()
                } else {
                    own.length() * growth < widest.length()
                };
                let own = match narrow {
                    true if foldable => widest,
                    true => widest
                        .stretched(1.0 / growth)
                        .ok()
                        .filter(|i| i.lo() <= own.lo() && own.hi() <= i.hi())
                        .unwrap_or(widest),
                    false => own,
                };
                Ok((distribution, own))
            })
            .collect::<Result<Vec<_>, ApproxError>>()?
    } else {
        vec![(shared.clone(), widest)]
    };
    let fit = |(d, i): &(Distribution, Interval)| least_squares(function, d, *i, choice.degree, options.fit);
    let polynomials = parts.iter().map(fit).collect::<Result<Vec<_>, _>>()?;
    let (mut square, mut max_error) = (0.0, 0.0f64);
    for ((distribution, own), polynomial) in parts.iter().zip(&polynomials) {
        let error = |x: f64| (polynomial.eval(x) - function.eval(x)).abs();
        square += mean_square(function, distribution, *own, |x| polynomial.eval(x));
        max_error =
            (0..=GRID).map(|i| error(own.from_unit(2.0 * i as f64 / GRID as f64 - 1.0))).fold(max_error, f64::max);
    }
    let replacement = Replacement {
        node: String::new(),
        function: target.activation.name().to_string(),
        degree: polynomials.iter().map(Polynomial::degree).max().unwrap_or(0),
        stages: Vec::new(),
        channels: polynomials.len(),
        interval: (widest.lo(), widest.hi()),
        seen: shared.extremes(),
        rms_error: (square / parts.len() as f64).sqrt(),
        max_error,
    };
    Ok(Fitted { polynomials, replacement })
}

impl Fitted {
    /// The polynomials on the common interval.
    pub(crate) fn op(&self) -> Result<NnOp, ApproxError> {
        let [single] = self.polynomials.as_slice() else {
            let (lo, hi) = self.replacement.interval;
            let common = Interval::new(lo, hi)?;
            let moved = self.polynomials.iter().map(|p| Polynomial::interpolate(common, p.degree(), |x| p.eval(x)));
            return Ok(op(common, &moved.collect::<Result<Vec<_>, _>>()?));
        };
        Ok(op(single.interval(), std::slice::from_ref(single)))
    }

    /// The polynomials on `[-1, 1]`, and per channel the map there from its interval, as scale and shift.
    pub(crate) fn unit(&self) -> (NnOp, Vec<(f64, f64)>) {
        let maps = self.polynomials.iter().map(|p| p.interval().unit_map()).map(|m| (m.scale, m.shift));
        (op(Interval::UNIT, &self.polynomials), maps.collect())
    }

    /// Levels: ⌈log2(degree + 1)⌉, one for quadratics that have a completed square of one sign.
    pub(super) fn depth(&self) -> u32 {
        let squares: Result<Vec<_>, _> = self.polynomials.iter().map(CompletedSquare::new).collect();
        let square = squares.and_then(|s| CompletedSquare::tree(&s)).map(|tree| tree.counts().depth);
        square.unwrap_or_else(|_| min_depth(self.replacement.degree))
    }

    /// Whether there is one polynomial per channel.
    pub(crate) fn is_per_channel(&self) -> bool {
        self.polynomials.len() > 1
    }
}

/// Mean square error of `approximation` on the interval.
pub(super) fn mean_square(
    function: Function,
    distribution: &Distribution,
    interval: Interval,
    approximation: impl Fn(f64) -> f64,
) -> f64 {
    let nodes = distribution.nodes(interval, &function.breaks());
    let square = |(x, w): (&f64, &f64)| w * (approximation(*x) - function.eval(*x)).powi(2);
    nodes.x.iter().zip(&nodes.w).map(square).sum::<f64>() / nodes.w.iter().sum::<f64>()
}

pub(super) fn op(interval: Interval, polynomials: &[Polynomial]) -> NnOp {
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

/// All channels together.
pub(super) fn merged(channels: &[Histogram]) -> Histogram {
    let mut all = Histogram::default();
    channels.iter().for_each(|h| all.merge(h.clone()));
    all
}

/// The hull of the values stretched about its centre, within the domain of the function; of a single value, `[-b, b]` with the
/// margin.
fn interval(function: Function, distribution: &Distribution, margin: f64) -> Result<Interval, ApproxError> {
    let hull = distribution.hull_interval(margin).or_else(|_| distribution.symmetric_interval(margin))?;
    let hull = function.within_domain(hull, distribution.extremes(), margin)?;
    function.check(hull).map(|()| hull)
}
