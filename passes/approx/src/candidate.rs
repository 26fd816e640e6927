//! All approximations of one activation with their costs and errors: the table the planner chooses from.

use rayon::prelude::*;
use serde::Serialize;

use super::distribution::Distribution;
use super::domain::check_domain;
use super::error::ApproxError;
use super::interval::Interval;
use super::least_squares::{FitOptions, hold_lead, least_squares_family};
use super::measure::{Errors, Ruler};
use super::polynomial::Polynomial;
use super::quadratic::{CompletedSquare, power_of_two_quadratic};
use super::remez::minimax_function;
use super::scheme::{Weights, min_depth};
use super::sign::{CompositeRelu, CompositeSign, PUBLISHED};
use super::tree::{Counts, EvalTree, TreeOptions};
use fhec_functions::Function;
use fhec_functions::Parity;

/// Where an activation (or one channel of it) is to be approximated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Channel {
    /// The calibrated distribution of its inputs.
    pub distribution: Distribution,
    /// The interval to be covered.
    pub interval: Interval,
}

/// How coefficients were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Least squares under the distribution.
    LeastSquares,
    /// Least largest error on the interval.
    Minimax,
    /// A quadratic with power-of-two coefficients.
    PowerOfTwo,
    /// Composite minimax sign of about this many bits.
    Composite {
        /// -log2 of ReLU's error on `[-1, 1]`.
        alpha: u32,
    },
}

/// How it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// [`EvalTree::chebyshev`].
    Chebyshev,
    /// [`EvalTree::unit_leading`].
    UnitLeading,
    /// [`CompletedSquare::tree`].
    CompletedSquare,
    /// [`CompositeRelu::tree`].
    Gated,
}

/// The approximation itself; vectors hold one entry, or one per channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximant {
    /// Polynomials in the Chebyshev basis.
    Polynomials(Vec<Polynomial>),
    /// Completed squares.
    Squares(Vec<CompletedSquare>),
    /// x·(a + b·sign).
    Gated(CompositeRelu),
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// How coefficients were found.
    pub method: Method,
    /// How it is evaluated.
    pub form: Form,
    /// Degree (of a composite: the sum of its stages' degrees).
    pub degree: usize,
    /// Levels and operations.
    pub counts: Counts,
    /// Errors; of all channels taken together.
    pub errors: Errors,
    /// The approximation.
    pub approximant: Approximant,
}

/// What the table holds.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateOptions {
    /// Levels at most.
    pub max_depth: u32,
    /// Settings of the least-squares fits; their parity is chosen here.
    pub fit: FitOptions,
    /// Costs that evaluation trees minimise.
    pub weights: Weights,
    /// Least leading coefficient of the unit-leading form, relative to the largest one.
    pub lead_floor: f64,
}

impl Default for CandidateOptions {
    fn default() -> Self {
        CandidateOptions {
            max_depth: 6,
            fit: FitOptions::default(),
            weights: Weights::default(),
            lead_floor: 1.0 / 4096.0,
        }
    }
}

/// Degrees tried: the ends of each depth, the even one below, and some between that cost fewer products.
const DEGREES: [usize; 21] = [2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 20, 24, 30, 31, 32, 46, 62, 63, 64];

impl Approximant {
    /// The value at `x` of `channel` (taken modulo the number of channels).
    pub fn eval(&self, x: f64, channel: usize) -> f64 {
        match self {
            Approximant::Polynomials(p) => p[channel % p.len()].eval(x),
            Approximant::Squares(s) => s[channel % s.len()].eval(x),
            Approximant::Gated(g) => g.eval(x),
        }
    }
}

impl Candidate {
    /// Its evaluation tree.
    pub fn tree(&self, options: &CandidateOptions) -> Result<EvalTree, ApproxError> {
        tree(&self.approximant, self.form, options)
    }

    /// Whether it is at least as good in levels, key switches, products, rms and largest error, and better in one.
    pub fn dominates(&self, other: &Candidate) -> bool {
        let cost = |c: &Candidate| (c.counts.depth, c.counts.relinearisations, c.counts.products);
        let (a, b) = (cost(self), cost(other));
        let no_worse = a.0 <= b.0
            && a.1 <= b.1
            && a.2 <= b.2
            && self.errors.rms <= other.errors.rms
            && self.errors.max <= other.errors.max;
        no_worse && (a != b || self.errors.rms < other.errors.rms || self.errors.max < other.errors.max)
    }
}

fn tree(approximant: &Approximant, form: Form, options: &CandidateOptions) -> Result<EvalTree, ApproxError> {
    let tree_options = TreeOptions { weights: options.weights, depth: None };
    match approximant {
        Approximant::Polynomials(p) if form == Form::UnitLeading => {
            EvalTree::unit_leading(p, options.lead_floor, tree_options)
        }
        Approximant::Polynomials(p) => EvalTree::chebyshev(p, tree_options),
        Approximant::Squares(s) => CompletedSquare::tree(s),
        Approximant::Gated(g) => g.tree(tree_options),
    }
}

/// The table for `f`: shared if one channel is given, else one approximation per channel (composites are shared only).
///
/// Sorted by depth, then key switches, products and rms error. What a form or method cannot do for this activation is left out.
/// Errors: no channel, f not finite on an interval, options out of range.
pub fn candidates(
    f: Function,
    channels: &[Channel],
    options: &CandidateOptions,
) -> Result<Vec<Candidate>, ApproxError> {
    if channels.is_empty() {
        return Err(ApproxError::Channels { what: "an activation", left: 0, right: 1 });
    }
    channels.iter().try_for_each(|c| check_domain(f, c.interval))?;
    let rulers = channels.par_iter().map(|c| Ruler::new(f, &c.distribution, c.interval)).collect();
    let table = Table { f, channels, rulers, options };
    let mut drafts = table.least_squares()?;
    drafts.extend(table.minimax());
    drafts.extend(table.squares(&drafts));
    drafts.extend(table.composites());
    let mut rows: Vec<Candidate> = drafts.into_par_iter().filter_map(|d| table.finish(d)).collect();
    rows.sort_by(|a, b| {
        let key = |c: &Candidate| (c.counts.depth, c.counts.relinearisations, c.counts.products);
        key(a)
            .cmp(&key(b))
            .then(a.errors.rms.total_cmp(&b.errors.rms))
            .then((a.method, a.form, a.degree).cmp(&(b.method, b.form, b.degree)))
    });
    Ok(rows)
}

/// The rows that no other row dominates, in the same order.
pub fn pareto(rows: &[Candidate]) -> Vec<Candidate> {
    rows.iter().filter(|c| !rows.iter().any(|d| d.dominates(c))).cloned().collect()
}

/// A row before costs and errors are known.
#[derive(Clone)]
struct Draft {
    method: Method,
    form: Form,
    degree: usize,
    approximant: Approximant,
}

struct Table<'a> {
    f: Function,
    channels: &'a [Channel],
    rulers: Vec<Ruler>,
    options: &'a CandidateOptions,
}

impl Table<'_> {
    fn degrees(&self, form: Form) -> impl Iterator<Item = usize> + use<> {
        let depth = self.options.max_depth;
        DEGREES.into_iter().filter(move |d| match form {
            Form::UnitLeading => d.is_power_of_two() && min_depth(*d) <= depth + 1,
            _ => min_depth(*d) <= depth,
        })
    }

    /// The parities worth a fit of their own: all coefficients, and those of the function's symmetry where the intervals share it.
    fn parities(&self) -> Vec<Parity> {
        let symmetric = self.channels.iter().all(|c| c.interval.lo() == -c.interval.hi());
        match self.f.parity() {
            p if symmetric && p != Parity::Mixed => vec![Parity::Mixed, p],
            _ => vec![Parity::Mixed],
        }
    }

    fn least_squares(&self) -> Result<Vec<Draft>, ApproxError> {
        let mut drafts = Vec::new();
        let method = Method::LeastSquares;
        for parity in self.parities() {
            let fit = FitOptions { parity, ..self.options.fit };
            let top = self.degrees(Form::Chebyshev).max().unwrap_or(0);
            let top = top.max(self.degrees(Form::UnitLeading).max().unwrap_or(0));
            let families = self
                .channels
                .par_iter()
                .map(|c| least_squares_family(self.f, &c.distribution, c.interval, top, fit))
                .collect::<Result<Vec<_>, _>>()?;
            let at = |degree: usize| families.iter().map(|s| s.polynomials[degree].clone()).collect::<Vec<_>>();
            for degree in self.degrees(Form::Chebyshev).filter(|d| parity.allows(*d)) {
                let approximant = Approximant::Polynomials(at(degree));
                drafts.push(Draft { method, form: Form::Chebyshev, degree, approximant });
            }
            for degree in self.degrees(Form::UnitLeading).filter(|d| parity.allows(*d)) {
                // One sign for all channels, as it is part of the structure; channels that want the other one get a small coefficient.
                let lead = |p: &Polynomial| p.coefficients().get(degree).copied().unwrap_or(0.0);
                let sign = if at(degree).iter().map(lead).sum::<f64>() < 0.0 { -1.0 } else { 1.0 };
                let constraint = (sign, self.options.lead_floor);
                let hold =
                    |(c, p): (&Channel, Polynomial)| hold_lead(self.f, &c.distribution, p, degree, constraint, fit);
                let fitted = self.channels.par_iter().zip(at(degree)).map(hold).collect::<Result<Vec<_>, _>>()?;
                let approximant = Approximant::Polynomials(fitted);
                drafts.push(Draft { method, form: Form::UnitLeading, degree, approximant });
            }
        }
        Ok(drafts)
    }

    /// Degrees whose exchange does not converge are left out: least squares still serves them.
    fn minimax(&self) -> Vec<Draft> {
        let method = Method::Minimax;
        let every = |degree: usize| {
            let fit = |c: &Channel| minimax_function(self.f, c.interval, degree).map(|m| m.polynomial).ok();
            self.channels.par_iter().map(fit).collect::<Option<Vec<_>>>().map(Approximant::Polynomials)
        };
        let mut drafts = Vec::new();
        for degree in DEGREES {
            let forms = [Form::Chebyshev, Form::UnitLeading];
            let forms: Vec<Form> = forms.into_iter().filter(|f| self.degrees(*f).any(|d| d == degree)).collect();
            if forms.is_empty() {
                continue;
            }
            let Some(approximant) = every(degree) else { continue };
            drafts.extend(forms.into_iter().map(|form| Draft {
                method,
                form,
                degree,
                approximant: approximant.clone(),
            }));
        }
        drafts
    }

    /// Quadratics of the other methods as completed squares, and power-of-two ones.
    fn squares(&self, drafts: &[Draft]) -> Vec<Draft> {
        let form = Form::CompletedSquare;
        let complete = |p: &[Polynomial]| p.iter().map(|p| CompletedSquare::new(p).ok()).collect::<Option<Vec<_>>>();
        let mut found: Vec<Draft> = drafts
            .iter()
            .filter(|d| d.degree == 2)
            .filter_map(|d| match &d.approximant {
                Approximant::Polynomials(p) => {
                    Some(Draft { form, approximant: Approximant::Squares(complete(p)?), ..d.clone() })
                }
                _ => None,
            })
            .collect();
        let quantised: Option<Vec<Polynomial>> = self
            .channels
            .iter()
            .map(|c| {
                let q = power_of_two_quadratic(self.f, c.interval).ok()?;
                Polynomial::from_monomial(c.interval, &q.coefficients).ok()
            })
            .collect();
        if let Some(squares) = quantised.and_then(|p| complete(&p)) {
            let approximant = Approximant::Squares(squares);
            found.push(Draft { method: Method::PowerOfTwo, form, degree: 2, approximant });
        }
        found
    }

    fn composites(&self) -> Vec<Draft> {
        let slope = match self.f {
            Function::Relu => 0.0,
            Function::LeakyRelu { slope } => slope,
            Function::Abs => -1.0,
            _ => return Vec::new(),
        };
        let [channel] = self.channels else { return Vec::new() };
        PUBLISHED
            .iter()
            .filter_map(|(alpha, degrees)| {
                let sign = CompositeSign::published(*alpha).filter(|s| s.depth() < self.options.max_depth)?;
                let relu = CompositeRelu::new(sign.clone(), channel.interval.bound(), slope).ok()?;
                Some(Draft {
                    method: Method::Composite { alpha: *alpha },
                    form: Form::Gated,
                    degree: degrees.iter().sum(),
                    approximant: Approximant::Gated(relu),
                })
            })
            .collect()
    }

    /// Costs and errors; `None` when the form cannot evaluate these coefficients, or only by changing them.
    fn finish(&self, draft: Draft) -> Option<Candidate> {
        let tree = tree(&draft.approximant, draft.form, self.options).ok().filter(|t| t.deviation() == 0.0)?;
        let measure = |(k, r): (usize, &Ruler)| r.measure(|x| draft.approximant.eval(x, k));
        let errors: Vec<Errors> = self.rulers.iter().enumerate().map(measure).collect();
        let counts = tree.counts();
        let errors = Errors::together(&errors)?;
        let Draft { method, form, degree, approximant } = draft;
        (counts.depth <= self.options.max_depth).then_some(Candidate {
            method,
            form,
            degree,
            counts,
            errors,
            approximant,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(mean: f64, deviation: f64, bound: f64) -> Channel {
        Channel {
            distribution: Distribution::normal(mean, deviation).unwrap(),
            interval: Interval::symmetric(bound).unwrap(),
        }
    }

    fn best(rows: &[Candidate], depth: u32, error: fn(&Candidate) -> f64) -> &Candidate {
        rows.iter().filter(|c| c.counts.depth <= depth).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap()
    }

    #[test]
    fn relu_table_holds_every_family_where_it_wins() {
        let options = CandidateOptions { max_depth: 10, ..CandidateOptions::default() };
        let rows = candidates(Function::Relu, &[normal(0.0, 1.0, 5.0)], &options).unwrap();
        let rms = |c: &Candidate| c.errors.rms;
        let max = |c: &Candidate| c.errors.max;
        // Single polynomials below, composites from about α = 9 up.
        assert_eq!(best(&rows, 1, rms).degree, 2);
        assert_eq!((best(&rows, 2, rms).degree, best(&rows, 2, rms).form), (4, Form::UnitLeading));
        assert_eq!((best(&rows, 3, rms).degree, best(&rows, 3, rms).form), (8, Form::UnitLeading));
        assert_eq!(best(&rows, 5, rms).method, Method::LeastSquares);
        assert_eq!(best(&rows, 5, max).method, Method::Minimax);
        assert_eq!(best(&rows, 9, rms).method, Method::Composite { alpha: 9 });
        assert!(rows.iter().any(|c| c.method == Method::PowerOfTwo && c.counts.depth == 1));
        // A degree-30 polynomial at depth 5 beats the composite of depth 7.
        let seven = rows.iter().find(|c| c.method == Method::Composite { alpha: 7 }).unwrap();
        assert!(best(&rows, 5, rms).errors.rms < seven.errors.rms && seven.counts.depth == 7);
        // The form of degree 4 at depth 2 halves the mean square error of degree 3 at the same depth.
        let cubic = rows.iter().find(|c| c.degree == 3 && c.method == Method::LeastSquares).unwrap();
        assert!(cubic.counts.depth == 2 && best(&rows, 2, rms).errors.rms.powi(2) < 0.55 * cubic.errors.rms.powi(2));
    }

    #[test]
    fn rows_are_sorted_measured_and_evaluate_as_they_say() {
        let options = CandidateOptions::default();
        let channel = normal(0.4, 1.5, 7.0);
        let rows = candidates(Function::Silu, std::slice::from_ref(&channel), &options).unwrap();
        assert!(rows.len() > 30);
        assert!(rows.windows(2).all(|w| w[0].counts.depth <= w[1].counts.depth));
        for row in &rows {
            let tree = row.tree(&options).unwrap();
            assert_eq!(tree.counts(), row.counts);
            for k in 0..=40 {
                let x = channel.interval.from_unit(f64::from(k) / 20.0 - 1.0);
                let value = tree.eval(x, 0);
                assert!(
                    (value - row.approximant.eval(x, 0)).abs() < 1e-7,
                    "{:?} {:?} {}",
                    row.method,
                    row.form,
                    row.degree
                );
                assert!((value - Function::Silu.eval(x)).abs() <= row.errors.max * (1.0 + 1e-6) + 1e-7);
            }
        }
        let front = pareto(&rows);
        assert!(front.len() > 5 && front.len() < rows.len());
        assert!(rows.iter().all(|r| front.iter().any(|f| f == r || f.dominates(r))));
        assert!(front.iter().all(|a| !front.iter().any(|b| b.dominates(a))));
    }

    #[test]
    fn channels_of_all_kinds_share_a_structure() {
        // Always on, always off, centred, skewed: their leading coefficients differ in sign and size.
        let channels = [normal(4.0, 0.5, 6.0), normal(-4.0, 0.5, 6.0), normal(0.0, 1.0, 5.0), normal(-1.5, 1.0, 6.0)];
        let options = CandidateOptions { max_depth: 3, ..CandidateOptions::default() };
        let rows = candidates(Function::Relu, &channels, &options).unwrap();
        let seven = rows.iter().find(|c| c.degree == 7 && c.method == Method::LeastSquares).unwrap();
        let eight = rows
            .iter()
            .find(|c| c.degree == 8 && c.form == Form::UnitLeading && c.method == Method::LeastSquares)
            .unwrap();
        assert_eq!((seven.counts.depth, eight.counts.depth), (3, 3));
        assert!(eight.errors.rms < seven.errors.rms, "{} {}", eight.errors.rms, seven.errors.rms);
        let pooled: Vec<(f64, f64)> = channels
            .iter()
            .flat_map(|c| {
                let n = c.distribution.nodes(c.interval, &[]);
                n.x.into_iter().zip(n.w).collect::<Vec<_>>()
            })
            .collect();
        let pooled = Channel {
            distribution: Distribution::weighted(pooled).unwrap(),
            interval: Interval::symmetric(6.0).unwrap(),
        };
        let shared = candidates(Function::Relu, &[pooled], &options).unwrap();
        let shared_seven = shared.iter().find(|c| c.degree == 7 && c.method == Method::LeastSquares).unwrap();
        assert!(seven.errors.rms < 0.8 * shared_seven.errors.rms, "{} {}", seven.errors.rms, shared_seven.errors.rms);
    }

    #[test]
    fn every_function_has_a_table() {
        let options = CandidateOptions { max_depth: 4, ..CandidateOptions::default() };
        let everywhere = [
            Function::LeakyRelu { slope: 0.1 },
            Function::Gelu,
            Function::GeluTanh,
            Function::Sigmoid,
            Function::Tanh,
            Function::Softplus,
            Function::HardSwish,
            Function::HardSigmoid { slope: 0.2, shift: 0.5 },
            Function::Elu { alpha: 1.0 },
            Function::Selu { alpha: 1.67, gamma: 1.05 },
            Function::Mish,
            Function::Clip { lo: 0.0, hi: 6.0 },
            Function::Erf,
            Function::Exp,
        ];
        for f in everywhere {
            let rows = candidates(f, &[normal(0.2, 1.0, 6.0)], &options).unwrap();
            let depth = |d: u32| rows.iter().filter(|c| c.counts.depth == d).count();
            assert!(depth(2) > 0 && depth(3) > 0 && depth(4) > 0, "{f}: {} rows", rows.len());
            assert!(rows.iter().any(|c| c.method == Method::Minimax), "{f}");
        }
        let positive = Channel {
            distribution: Distribution::samples(&[0.3, 0.5, 1.0, 1.5, 1.9]).unwrap(),
            interval: Interval::new(0.25, 2.0).unwrap(),
        };
        for f in
            [Function::Reciprocal, Function::InvSqrt, Function::Sqrt, Function::Log, Function::Pow { exponent: 1.5 }]
        {
            let rows = candidates(f, std::slice::from_ref(&positive), &options).unwrap();
            assert!(best(&rows, 4, |c| c.errors.max).errors.max < 1e-3, "{f}");
        }
        assert!(candidates(Function::Log, &[normal(0.0, 1.0, 5.0)], &options).is_err());
        assert!(candidates(Function::Relu, &[], &options).is_err());
    }
}
