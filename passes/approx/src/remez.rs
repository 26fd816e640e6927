//! MinimaxFit polynomials on one or more intervals, by Remez's exchange.

use serde::Serialize;

use super::domain::check_domain;
use super::error::ApproxError;
use super::interval::Interval;
use super::polynomial::Polynomial;
use fhec_functions::Function;
use fhec_functions::Parity;

/// A minimax polynomial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MinimaxFit {
    /// The polynomial, on the hull of the intervals (made symmetric for odd and even ones).
    pub polynomial: Polynomial,
    /// The largest error on the intervals.
    pub error: f64,
}

/// The highest degree the exchange is run for.
pub const MAX_MINIMAX_DEGREE: usize = 127;
/// Exchange steps before giving up.
const MAX_STEPS: usize = 100;
/// Relative difference between levelled and largest error at which the exchange stops.
const TOLERANCE: f64 = 1e-9;

/// The polynomial of at most `degree` whose largest distance from `f` on the union of `intervals` (disjoint, ascending) is least.
///
/// For `Parity::Odd` and `Parity::Even`, f must have that parity: the intervals then describe x ≥ 0 only, and parts below zero are cut off.
/// `breaks` are points where f or its derivative jumps.
///
/// # Errors
/// Intervals that overlap, an f that is not finite on them, a degree above 127, a parity with a lone coefficient (no
/// alternation theorem holds for it), or no convergence.
pub fn minimax(
    f: impl Fn(f64) -> f64,
    breaks: &[f64],
    intervals: &[Interval],
    degree: usize,
    parity: Parity,
) -> Result<MinimaxFit, ApproxError> {
    if degree > MAX_MINIMAX_DEGREE {
        return Err(ApproxError::Degree { degree, reason: "minimax fits stop at 127; use a composite" });
    }
    if matches!(parity, Parity::EvenPlusLinear | Parity::OddPlusConstant) {
        return Err(ApproxError::Degree {
            degree,
            reason: "minimax fits take all, odd or even coefficients; subtract the linear or constant part first",
        });
    }
    let problem = Exchange::new(f, breaks, intervals, degree, parity)?;
    problem.solve()
}

/// As [`minimax`] for a named function on one interval, with the zeros that its symmetry gives.
///
/// # Errors
/// As [`minimax`], and a function that is not finite on the interval.
pub fn minimax_function(f: &Function, interval: Interval, degree: usize) -> Result<MinimaxFit, ApproxError> {
    check_domain(f, interval)?;
    let parity = if interval.lo() == -interval.hi() { f.parity() } else { Parity::Mixed };
    let bound = interval.hi();
    // The lone coefficient of the other symmetry is known beforehand.
    let (lone, core, core_degree) = match parity {
        Parity::EvenPlusLinear => ([0.0, 0.5 * (f.eval(bound) - f.eval(-bound))], Parity::Even, degree - degree % 2),
        Parity::OddPlusConstant => ([f.eval(0.0), 0.0], Parity::Odd, degree),
        p => ([0.0, 0.0], p, degree),
    };
    let rest = |x: f64| f.eval(x) - lone[0] - lone[1] * x / bound;
    let mut m = minimax(rest, &f.breaks(), &[interval], core_degree, core)?;
    if lone != [0.0, 0.0] && degree > 0 {
        let mut c = m.polynomial.coefficients().to_vec();
        c.resize(c.len().max(2), 0.0);
        c[0] += lone[0];
        c[1] += lone[1];
        m.polynomial = Polynomial::new(interval, c)?;
    }
    Ok(m)
}

struct Exchange<F> {
    f: F,
    hull: Interval,
    /// Grid points per interval, ascending.
    grids: Vec<Vec<f64>>,
    /// Chebyshev indices of the unknowns.
    indices: Vec<usize>,
    degree: usize,
    size: f64,
}

impl<F: Fn(f64) -> f64> Exchange<F> {
    fn new(f: F, breaks: &[f64], intervals: &[Interval], degree: usize, parity: Parity) -> Result<Self, ApproxError> {
        let half = parity != Parity::Mixed;
        let mut parts: Vec<Interval> = Vec::new();
        for i in intervals {
            if half && i.hi() <= 0.0 {
                continue;
            }
            let part = if half { Interval::new(i.lo().max(0.0), i.hi())? } else { *i };
            if parts.last().is_some_and(|p| p.hi() >= part.lo()) {
                return Err(ApproxError::EmptyInterval { lo: part.hi(), hi: part.lo() });
            }
            parts.push(part);
        }
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(ApproxError::EmptyInterval { lo: 0.0, hi: 0.0 });
        };
        let hull = if half { Interval::symmetric(last.hi())? } else { Interval::new(first.lo(), last.hi())? };
        let indices: Vec<usize> = (0..=degree).filter(|k| parity.allows(*k)).collect();
        if indices.is_empty() {
            return Err(ApproxError::Degree { degree, reason: "an odd polynomial has degree 1 or more" });
        }
        let count = 24 * (indices.len() + 2);
        let grids = parts.iter().map(|p| grid(*p, breaks, count, parity == Parity::Odd)).collect::<Vec<_>>();
        let mut size = 0.0f64;
        for x in grids.iter().flatten() {
            let y = f(*x);
            if !y.is_finite() {
                return Err(ApproxError::NotFinite { what: "the function on the interval" });
            }
            size = size.max(y.abs());
        }
        Ok(Exchange { f, hull, grids, indices, degree, size })
    }

    fn solve(&self) -> Result<MinimaxFit, ApproxError> {
        // A symmetric reference can level an even function at zero and then has no alternation: start again from skewed ones.
        for skew in [0.0, 0.1, -0.07, 0.25] {
            if let Some(found) = self.exchange(skew)? {
                return Ok(found);
            }
        }
        Err(ApproxError::NoConvergence { degree: self.degree, intervals: self.grids.len() })
    }

    /// Exchanges from one first reference; `None` when they do not level.
    fn exchange(&self, skew: f64) -> Result<Option<MinimaxFit>, ApproxError> {
        let count = self.indices.len() + 1;
        let mut reference = self.first_reference(count, skew);
        let mut best: Option<MinimaxFit> = None;
        for _ in 0..MAX_STEPS {
            let Some((polynomial, level)) = self.level(&reference)? else { break };
            let error = |x: f64| (self.f)(x) - polynomial.eval(x);
            let extrema = self.extrema(&error);
            let largest = extrema.iter().fold(0.0f64, |m, (_, e)| m.max(e.abs()));
            if best.as_ref().is_none_or(|b| largest < b.error) {
                best = Some(MinimaxFit { polynomial: polynomial.clone(), error: largest });
            }
            // Below rounding the alternation is noise: f is a polynomial of this degree.
            if largest - level.abs() <= TOLERANCE * largest || largest <= 1e-14 * self.size {
                return Ok(Some(MinimaxFit { polynomial, error: largest }));
            }
            let Some(next) = alternation(&extrema, count) else { break };
            reference = next;
        }
        // A reference that rounding keeps from improving is good enough if the levelled error, a lower bound, is within 1 %.
        let (Some(found), Some((_, level))) = (best, self.level(&reference)?) else { return Ok(None) };
        let good = found.error <= 1.01 * level.abs() || found.error <= 1e-11 * self.size;
        Ok(good.then_some(found))
    }

    /// Chebyshev extrema of the concatenated intervals, moved to one side by `skew`.
    fn first_reference(&self, count: usize, skew: f64) -> Vec<f64> {
        let ends = |g: &Vec<f64>| (g[0], g[g.len() - 1]);
        let total: f64 = self.grids.iter().map(|g| ends(g).1 - ends(g).0).sum();
        (0..count)
            .map(|k| {
                let angle = std::f64::consts::PI * k as f64 / (count - 1) as f64;
                let mut along = total * (0.5 * (1.0 - angle.cos())).powf(skew.exp());
                for g in &self.grids {
                    let (lo, hi) = ends(g);
                    if along <= hi - lo {
                        return lo + along;
                    }
                    along -= hi - lo;
                }
                self.hull.hi()
            })
            .collect()
    }

    /// The polynomial whose error on the reference is ±level alternately; `None` when the system is singular.
    fn level(&self, reference: &[f64]) -> Result<Option<(Polynomial, f64)>, ApproxError> {
        let n = reference.len();
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n);
        for (i, x) in reference.iter().enumerate() {
            let u = self.hull.to_unit(*x);
            let (mut t0, mut t1) = (1.0, u);
            let mut values = Vec::with_capacity(self.degree + 1);
            for _ in 0..=self.degree {
                values.push(t0);
                (t0, t1) = (t1, 2.0 * u * t1 - t0);
            }
            let mut row: Vec<f64> = self.indices.iter().map(|k| values[*k]).collect();
            row.push(if i % 2 == 0 { 1.0 } else { -1.0 });
            row.push((self.f)(*x));
            rows.push(row);
        }
        let Some(solution) = eliminate(rows) else { return Ok(None) };
        let mut coefficients = vec![0.0; self.degree + 1];
        for (k, c) in self.indices.iter().zip(&solution) {
            coefficients[*k] = *c;
        }
        Ok(Some((Polynomial::new(self.hull, coefficients)?, solution[n - 1])))
    }

    /// Ends and local extrema of `error`, ascending, as (point, error).
    fn extrema(&self, error: &impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut found = Vec::new();
        for grid in &self.grids {
            let values: Vec<f64> = grid.iter().map(|x| error(*x)).collect();
            let last = grid.len() - 1;
            for k in 0..=last {
                let v = values[k];
                let rises = |j: usize| v.abs() >= values[j].abs() || v.signum() != values[j].signum();
                if (k > 0 && !rises(k - 1)) || (k < last && !rises(k + 1)) {
                    continue;
                }
                let (lo, hi) = (grid[k.saturating_sub(1)], grid[(k + 1).min(last)]);
                found.push(sharpen(error, lo, grid[k], hi, v));
            }
        }
        found
    }
}

/// Points dense at the ends of each piece between breaks, ends and breaks included.
fn grid(interval: Interval, breaks: &[f64], count: usize, open_at_zero: bool) -> Vec<f64> {
    let mut ends = vec![interval.lo()];
    ends.extend(breaks.iter().copied().filter(|b| interval.lo() < *b && *b < interval.hi()));
    ends.push(interval.hi());
    let mut points = vec![interval.lo()];
    for pair in ends.windows(2) {
        let (centre, half) = (0.5 * (pair[0] + pair[1]), 0.5 * (pair[1] - pair[0]));
        points.extend((1..count).map(|k| centre - half * (std::f64::consts::PI * k as f64 / count as f64).cos()));
        points.push(pair[1]);
    }
    // An odd polynomial is zero at zero, whatever its coefficients.
    if open_at_zero && points[0] == 0.0 {
        points[0] = 0.25 * points[1];
    }
    points
}

/// The extremum of |error| near `middle` by golden section, keeping `middle` if nothing is larger (a kink).
fn sharpen(error: &impl Fn(f64) -> f64, lo: f64, middle: f64, hi: f64, value: f64) -> (f64, f64) {
    let sign = value.signum();
    let mut best = (middle, value);
    for (mut a, mut b) in [(lo, middle), (middle, hi)] {
        if a == b {
            continue;
        }
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let (mut c, mut d) = (b - GOLDEN * (b - a), a + GOLDEN * (b - a));
        let (mut ec, mut ed) = (sign * error(c), sign * error(d));
        for _ in 0..30 {
            if ec > ed {
                (b, d, ed) = (d, c, ec);
                c = b - GOLDEN * (b - a);
                ec = sign * error(c);
            } else {
                (a, c, ec) = (c, d, ed);
                d = a + GOLDEN * (b - a);
                ed = sign * error(d);
            }
        }
        let (x, e) = if ec > ed { (c, ec) } else { (d, ed) };
        if e > sign * best.1 {
            best = (x, sign * e);
        }
    }
    best
}

/// `count` points of alternating error, the largest one among them, reached by dropping the smallest ones; `None` if there are fewer.
fn alternation(extrema: &[(f64, f64)], count: usize) -> Option<Vec<f64>> {
    let mut chain: Vec<(f64, f64)> = Vec::new();
    for e in extrema.iter().filter(|e| e.1 != 0.0) {
        match chain.last_mut() {
            Some(last) if last.1.signum() == e.1.signum() => {
                if e.1.abs() > last.1.abs() {
                    *last = *e;
                }
            }
            _ => chain.push(*e),
        }
    }
    let size = |chain: &[(f64, f64)], k: usize| chain[k].1.abs();
    while chain.len() > count {
        let last = chain.len() - 1;
        let least = (0..=last).min_by(|a, b| size(&chain, *a).total_cmp(&size(&chain, *b)))?;
        if least == 0 || least == last {
            chain.remove(least);
        } else if chain.len() == count + 1 {
            chain.remove(if size(&chain, 0) < size(&chain, last) { 0 } else { last });
        } else {
            // A point inside goes with its smaller neighbour, so that the rest still alternates.
            let first = if size(&chain, least - 1) < size(&chain, least + 1) { least - 1 } else { least };
            chain.drain(first..first + 2);
        }
    }
    (chain.len() == count).then(|| chain.iter().map(|e| e.0).collect())
}

/// Solves rows `[a | b]` by elimination with row pivoting; `None` when singular.
fn eliminate(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = rows.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|a, b| rows[*a][k].abs().total_cmp(&rows[*b][k].abs()))?;
        rows.swap(k, pivot);
        if rows[k][k] == 0.0 || !rows[k][k].is_finite() {
            return None;
        }
        let (head, tail) = rows.split_at_mut(k + 1);
        for row in tail {
            let factor = row[k] / head[k][k];
            row[k..].iter_mut().zip(&head[k][k..]).for_each(|(r, h)| *r -= factor * h);
        }
    }
    let mut x = vec![0.0; n];
    for k in (0..n).rev() {
        let rest: f64 = (k + 1..n).map(|j| rows[k][j] * x[j]).sum();
        x[k] = (rows[k][n] - rest) / rows[k][k];
    }
    x.iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(lo: f64, hi: f64) -> [Interval; 1] {
        [Interval::new(lo, hi).unwrap()]
    }

    #[test]
    fn chebyshev_is_the_best_approximation_of_a_power() {
        // x^{n+1} - 2^{-n} T_{n+1} is the minimax polynomial of x^{n+1}, with error 2^{-n}.
        for n in [3usize, 8, 15] {
            let m = minimax(|x| x.powi(n as i32 + 1), &[], &on(-1.0, 1.0), n, Parity::Mixed).unwrap();
            assert!((m.error / 0.5f64.powi(n as i32) - 1.0).abs() < 1e-8, "degree {n}: {}", m.error);
        }
    }

    #[test]
    fn absolute_value_meets_known_constants() {
        // Varga and Carpenter 1985: E_2n(|x|) on [-1, 1].
        for (degree, error) in [(2, 0.125), (4, 0.0676208928), (8, 0.0346896), (16, 0.0174736)] {
            let even = minimax(f64::abs, &[0.0], &on(-1.0, 1.0), degree, Parity::Even).unwrap();
            let full = minimax(f64::abs, &[0.0], &on(-1.0, 1.0), degree, Parity::Mixed).unwrap();
            assert!((even.error / error - 1.0).abs() < 2e-3, "{degree}: {}", even.error);
            assert!((even.error / full.error - 1.0).abs() < 1e-6, "{degree}: {} {}", even.error, full.error);
            assert_eq!(even.polynomial.parity(), Parity::Even);
        }
    }

    #[test]
    fn smooth_functions_converge() {
        for (f, i, degree, bound) in [
            (Function::Exp, on(-1.0, 1.0), 10, 3e-11),
            (Function::Gelu, on(-6.0, 5.0), 24, 2e-3),
            (Function::Sigmoid, on(-8.0, 8.0), 15, 6e-3),
            (Function::Reciprocal, on(0.1, 2.0), 15, 6e-3),
            (Function::InvSqrt, on(0.05, 3.0), 20, 1e-2),
            (Function::HardSwish, on(-7.0, 7.0), 14, 5e-2),
        ] {
            let m = minimax(|x| f.eval(x), &f.breaks(), &i, degree, Parity::Mixed).unwrap();
            assert!(m.error < bound && m.error > 0.0, "{f} {degree}: {}", m.error);
        }
    }

    #[test]
    fn symmetry_gives_zeros_at_no_loss() {
        let i = Interval::symmetric(5.0).unwrap();
        for (f, degree) in
            [(Function::Relu, 6), (Function::Silu, 9), (Function::Sigmoid, 7), (Function::Tanh, 9), (Function::Gelu, 8)]
        {
            let m = minimax_function(&f, i, degree).unwrap();
            let free = minimax(|x| f.eval(x), &f.breaks(), &[i], degree, Parity::Mixed).unwrap();
            assert!((m.error / free.error - 1.0).abs() < 1e-6, "{f}: {} {}", m.error, free.error);
            assert_eq!(m.polynomial.parity(), f.parity());
            assert!((m.polynomial.eval(2.2) - f.eval(2.2)).abs() <= m.error * 1.0001);
        }
        let skew = minimax_function(&Function::Silu, Interval::new(-3.0, 5.0).unwrap(), 6).unwrap();
        assert_eq!(skew.polynomial.parity(), Parity::Mixed);
        assert!(minimax_function(&Function::Log, i, 6).is_err());
    }

    #[test]
    fn several_intervals_level_on_all() {
        let parts =
            [Interval::new(-2.0, -0.5).unwrap(), Interval::new(0.25, 1.0).unwrap(), Interval::new(3.0, 3.5).unwrap()];
        let f = |x: f64| if x < 0.0 { -1.0 } else { x.sqrt() };
        let m = minimax(f, &[], &parts, 9, Parity::Mixed).unwrap();
        let mut signs = Vec::new();
        let mut worst = 0.0f64;
        for p in parts {
            for k in 0..=20000 {
                let e = f(p.from_unit(f64::from(k) / 10000.0 - 1.0))
                    - m.polynomial.eval(p.from_unit(f64::from(k) / 10000.0 - 1.0));
                worst = worst.max(e.abs());
                if e.abs() > 0.999 * m.error && signs.last() != Some(&e.signum()) {
                    signs.push(e.signum());
                }
            }
        }
        assert!((worst / m.error - 1.0).abs() < 1e-6);
        assert!(signs.len() >= 11, "{} alternations", signs.len());
    }

    #[test]
    fn bad_input_is_an_error() {
        let two = [Interval::new(0.0, 2.0).unwrap(), Interval::new(1.0, 3.0).unwrap()];
        assert!(minimax(f64::abs, &[], &two, 3, Parity::Mixed).is_err());
        assert!(minimax(f64::abs, &[], &[], 3, Parity::Mixed).is_err());
        assert!(minimax(f64::ln, &[], &on(-1.0, 1.0), 3, Parity::Mixed).is_err());
        assert!(minimax(f64::abs, &[], &on(-1.0, 1.0), 1000, Parity::Mixed).is_err());
        assert!(minimax(f64::abs, &[], &on(-2.0, -1.0), 3, Parity::Odd).is_err());
        assert!(minimax(f64::sin, &[], &on(0.0, 1.0), 0, Parity::Odd).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn levelled_error_bounds_every_other_polynomial(
            degree in 1usize..12, lo in -3.0..-0.2f64, hi in 0.2..3.0f64, shift in -0.2..0.2f64,
        ) {
            // De la Vallée-Poussin: no polynomial of the degree does better, so least squares cannot.
            let f = |x: f64| (x - shift).abs() + (3.0 * x).sin();
            let i = on(lo, hi);
            let m = minimax(f, &[shift], &i, degree, Parity::Mixed).unwrap();
            let other = Polynomial::interpolate(i[0], degree, f).unwrap();
            let worst = |p: &Polynomial| (0..=2000).map(|k| i[0].from_unit(f64::from(k) / 1000.0 - 1.0))
                .map(|x| (f(x) - p.eval(x)).abs()).fold(0.0, f64::max);
            prop_assert!(worst(&m.polynomial) <= m.error * (1.0 + 1e-6));
            prop_assert!(m.error <= worst(&other) * (1.0 + 1e-3));
        }
    }
}
