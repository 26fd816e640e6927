//! Where functions are finite, and what they map intervals to.

use std::f64::consts::PI;

use crate::function::Function;

/// Where a function is finite, as far as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Domain {
    /// Its lower end.
    pub lo: f64,
    /// Its upper end.
    pub hi: f64,
    /// Whether the ends belong to it.
    pub closed: bool,
}

impl Domain {
    /// All numbers.
    pub const EVERYWHERE: Domain = Domain { lo: f64::NEG_INFINITY, hi: f64::INFINITY, closed: true };

    /// Whether the interval lies inside.
    pub fn holds(self, (lo, hi): (f64, f64)) -> bool {
        if self.closed { self.lo <= lo && hi <= self.hi } else { self.lo < lo && hi < self.hi }
    }
}

impl Function {
    /// Where the function is finite about the values `seen`. The poles of a composed function are looked for between these and
    /// the ends of `reach`.
    pub fn domain(&self, seen: (f64, f64), reach: (f64, f64)) -> Domain {
        let right = Domain { lo: 0.0, hi: f64::INFINITY, closed: false };
        let left = Domain { lo: f64::NEG_INFINITY, hi: 0.0, closed: false };
        let side = if seen.0 + seen.1 < 0.0 { left } else { right };
        match *self {
            Function::Reciprocal => side,
            Function::InvSqrt | Function::Log => right,
            Function::Sqrt => Domain { closed: true, ..right },
            Function::Pow { exponent } => match (exponent.fract() == 0.0, exponent >= 0.0) {
                (true, true) => Domain::EVERYWHERE,
                (true, false) => side,
                (false, positive) => Domain { closed: positive, ..right },
            },
            Function::Composed(ref expression) => expression.domain(seen, reach),
            _ => Domain::EVERYWHERE,
        }
    }

    /// An interval that holds the values on `[lo, hi]`; none where the function is not finite there, or is not known to be.
    pub(crate) fn image(&self, (lo, hi): (f64, f64)) -> Option<(f64, f64)> {
        if let Function::Composed(expression) = self {
            return expression.image((lo, hi));
        }
        if !self.domain((lo, hi), (lo, hi)).holds((lo, hi)) {
            return None;
        }
        let within = |x: &f64| lo < *x && *x < hi;
        let turns = self.turns(lo).into_iter().filter(within);
        let values = turns.chain([lo, hi]).map(|x| self.eval(x));
        values.map(|y| y.is_finite().then_some((y, y))).reduce(|a, b| {
            let ((a, b), (c, d)) = (a?, b?);
            Some((a.min(c), b.max(d)))
        })?
    }

    /// Where the function turns from falling to rising or back; of a wave, the two turns that follow `lo`, between which it takes
    /// all of its values.
    fn turns(&self, lo: f64) -> Vec<f64> {
        let wave = |first: f64| {
            let next = first + PI * ((lo - first) / PI).ceil();
            if next.is_finite() { vec![next, next + PI] } else { Vec::new() }
        };
        match *self {
            Function::Abs | Function::LeakyRelu { .. } | Function::Elu { .. } | Function::Selu { .. } => vec![0.0],
            Function::Pow { .. } => vec![0.0],
            Function::ThresholdedRelu { threshold } => vec![threshold, threshold.next_up()],
            Function::Sin => wave(0.5 * PI),
            Function::Cos => wave(0.0),
            Function::Gelu => vec![-0.751_791_524_693_564_6],
            Function::GeluTanh => vec![-0.752_461_462_112_154_1],
            Function::Silu => vec![-1.278_464_542_761_074],
            Function::Mish => vec![-1.192_431_214_183_1],
            Function::HardSwish => vec![-1.5],
            _ => Vec::new(),
        }
    }
}
