//! Families of approximations: ways to compute an activation by polynomials.
//!
//! A [`Family`] says which degrees it offers to a planner and makes the [`Approximation`] of any degree from the inputs that the
//! activation has on calibration data. New families implement the trait and join [`Families`]; the passes know them by name
//! only.

mod composite;
mod least_squares;
mod minimax;
mod power_of_two;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use composite::Composite;
pub use least_squares::LeastSquares;
pub use minimax::Minimax;
pub use power_of_two::PowerOfTwo;

use super::distribution::{Distribution, Seen};
use super::domain::{check_domain, within_domain};
use super::error::ApproxError;
use super::interval::Interval;
use super::least_squares::FitOptions;
use super::polynomial::Polynomial;
use super::quadratic::CompletedSquare;
use super::scheme::min_depth;
use super::tail::Margin;
use fhec_functions::Function;

/// Points of the grid on which the largest error is measured.
const GRID: usize = 4096;
/// Points of the grid on which magnitudes are measured.
const COARSE: usize = 256;

/// An activation to be approximated, and the inputs it has.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it computes.
    pub function: Function,
    /// Inputs seen on calibration data, all channels together.
    pub inputs: Distribution,
    /// Inputs of every channel; a single entry where there are no channels.
    pub channels: Vec<Distribution>,
    /// How far the interval goes beyond the inputs seen.
    pub margin: Margin,
    /// Weighting of least-squares fits.
    pub fit: FitOptions,
    /// Whether every channel may have an interval of its own, since the layer before absorbs a map per channel. Otherwise
    /// narrow channels are widened to keep coefficients small.
    pub own_intervals: bool,
    /// How many activations a value goes through on the longest way through this one: what polynomials may grow by beyond their
    /// intervals follows from it.
    pub in_sequence: usize,
}

impl Site {
    /// `function` on the inputs seen per channel, among any number of other activations.
    ///
    /// # Errors
    /// A channel without values.
    pub fn new(
        function: Function,
        seen: &Seen,
        margin: impl Into<Margin>,
        fit: FitOptions,
    ) -> Result<Self, ApproxError> {
        let (inputs, channels) = (seen.together()?, seen.channels()?);
        Ok(Self {
            function,
            inputs,
            channels,
            margin: margin.into(),
            fit,
            own_intervals: false,
            in_sequence: usize::MAX,
        })
    }

    /// The interval of all channels together.
    ///
    /// # Errors
    /// As [`interval_of`](Self::interval_of).
    pub fn interval(&self) -> Result<Interval, ApproxError> {
        self.interval_of(&self.inputs)
    }

    /// The hull of the values stretched about its centre, within the domain of the function; of a single value, `[-b, b]` with
    /// the margin.
    ///
    /// # Errors
    /// A distribution without values, or a function that is not finite on the interval.
    pub fn interval_of(&self, distribution: &Distribution) -> Result<Interval, ApproxError> {
        let hull = distribution.hull_interval(self.margin).or_else(|_| distribution.symmetric_interval(self.margin))?;
        let hull = within_domain(&self.function, hull, distribution.extremes(), self.margin.factor())?;
        check_domain(&self.function, hull).map(|()| hull)
    }

    /// Mean square error of `approximation` on `interval` under `distribution`.
    pub fn mean_square(
        &self,
        distribution: &Distribution,
        interval: Interval,
        approximation: impl Fn(f64) -> f64,
    ) -> f64 {
        let nodes = distribution.nodes(interval, &self.function.breaks());
        let square = |(x, w): (&f64, &f64)| w * (approximation(*x) - self.function.eval(*x)).powi(2);
        nodes.x.iter().zip(&nodes.w).map(square).sum::<f64>() / nodes.w.iter().sum::<f64>()
    }

    /// The largest magnitude of the function on `interval`.
    fn largest(&self, interval: Interval) -> f64 {
        grid(interval).map(|x| self.function.eval(x).abs()).fold(0.0, f64::max)
    }

    /// The largest magnitude of `approximation` 1.1 and 1.25 half widths from the centre of `interval`, over the largest of the
    /// function on the interval, or there if that is more: what a value outside becomes.
    pub fn growth(&self, interval: Interval, approximation: impl Fn(f64) -> f64) -> f64 {
        let size = |x: f64| Some(self.function.eval(x).abs()).filter(|y| y.is_finite()).unwrap_or(0.0);
        let largest = self.largest(interval);
        let at = |u: f64| {
            let x = interval.from_unit(u);
            let (got, wanted) = (approximation(x).abs(), size(x).max(largest));
            // What is zero on the interval and outside has no size of its own.
            got / if wanted > 0.0 { wanted } else { 0.5 * interval.length() }
        };
        [-1.25, -1.1, 1.1, 1.25].into_iter().map(at).fold(0.0, f64::max)
    }

    /// The approximation by `polynomial`, one for all channels, with its errors.
    pub fn shared(&self, family: &dyn Family, polynomial: Polynomial) -> Approximation {
        let interval = polynomial.interval();
        self.polynomials(family, interval, &[(self.inputs.clone(), interval)], vec![polynomial])
    }

    /// The approximation by a polynomial per part: one part for all channels, or one for each.
    fn polynomials(
        &self,
        family: &dyn Family,
        widest: Interval,
        parts: &[(Distribution, Interval)],
        polynomials: Vec<Polynomial>,
    ) -> Approximation {
        let (mut square, mut max_error, mut growth) = (0.0, 0.0f64, 0.0f64);
        for ((distribution, own), polynomial) in parts.iter().zip(&polynomials) {
            let error = |x: f64| (polynomial.eval(x) - self.function.eval(x)).abs();
            growth = growth.max(self.growth(*own, |x| polynomial.eval(x)));
            square += self.mean_square(distribution, *own, |x| polynomial.eval(x));
            max_error =
                (0..=GRID).map(|i| error(own.from_unit(2.0 * i as f64 / GRID as f64 - 1.0))).fold(max_error, f64::max);
        }
        let degree = polynomials.iter().map(Polynomial::degree).max().unwrap_or(0);
        Approximation {
            family: family.name().into(),
            degree,
            levels: levels(&polynomials, degree),
            stages: vec![polynomials],
            gated: false,
            interval: widest,
            seen: self.inputs.extremes(),
            rms_error: (square / parts.len().max(1) as f64).sqrt(),
            max_error,
            growth,
        }
    }
}

/// Evenly spaced points of an interval, its ends among them.
fn grid(interval: Interval) -> impl Iterator<Item = f64> {
    (0..=COARSE).map(move |i| interval.from_unit(2.0 * i as f64 / COARSE as f64 - 1.0))
}

/// Levels of polynomials evaluated together: ⌈log2(degree + 1)⌉, one for quadratics that have a completed square of one sign.
fn levels(polynomials: &[Polynomial], degree: usize) -> u32 {
    let squares: Result<Vec<_>, _> = polynomials.iter().map(CompletedSquare::new).collect();
    let square = squares.and_then(|s| CompletedSquare::tree(&s)).map(|tree| tree.counts().depth);
    square.unwrap_or_else(|_| min_depth(degree))
}

/// One way to compute an activation, with what it costs and where it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    /// The family it is of.
    pub family: Arc<str>,
    /// Degree of the polynomial; of several stages and a gate, that of all together.
    pub degree: usize,
    /// Polynomials one after the other, each shared by all channels or one per channel.
    pub stages: Vec<Vec<Polynomial>>,
    /// Whether the result is the product of what the stages give and the operand.
    pub gated: bool,
    /// Levels it takes.
    pub levels: u32,
    /// Where it holds; of several channels, the widest.
    pub interval: Interval,
    /// Smallest and largest input on the calibration data.
    pub seen: (f64, f64),
    /// Root mean square error under the calibrated distribution.
    pub rms_error: f64,
    /// Largest error on the interval.
    pub max_error: f64,
    /// Largest magnitude 1.1 and 1.25 half widths from the centre of the interval, over that of the function on the interval
    /// and there.
    pub growth: f64,
}

impl Approximation {
    /// What it is of.
    pub fn choice(&self) -> Choice {
        Choice { family: self.family.clone(), degree: self.degree }
    }

    /// Whether every channel has a polynomial of its own.
    pub fn is_per_channel(&self) -> bool {
        self.stages.iter().any(|stage| stage.len() > 1)
    }

    /// Number of polynomials of a stage: 1, or one per channel.
    pub fn channels(&self) -> usize {
        self.stages.iter().map(Vec::len).max().unwrap_or(1)
    }
}

/// A way to approximate activations.
pub trait Family: fmt::Debug + Send + Sync {
    /// Its name, as options, plans and explanations state it: kebab-case.
    fn name(&self) -> &str;

    /// The equation it stands for; it holds up to the error that an approximation states.
    fn equation(&self) -> &str;

    /// The degrees at `site` among which a planner chooses, ascending; each is a single polynomial (per channel).
    fn offers(&self, site: &Site) -> Vec<usize>;

    /// Degrees beyond those, ascending, for networks that no plan with the others comes close enough to: they take more levels and
    /// products than most networks have a use for.
    fn offers_beyond(&self, _: &Site) -> Vec<usize> {
        Vec::new()
    }

    /// The approximation of this degree.
    ///
    /// # Errors
    /// A function that has no such approximation on the interval, or inputs without values.
    fn approximate(&self, site: &Site, degree: usize) -> Result<Approximation, ApproxError>;

    /// Degrees of the stages of the approximation of this degree.
    fn stages(&self, degree: usize) -> Vec<usize> {
        vec![degree]
    }

    /// Whether errors are so small everywhere that there is nothing to make up for by rebuilding weights.
    fn is_precise(&self) -> bool {
        false
    }
}

/// What one activation is replaced by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Choice {
    /// The family, by its name.
    pub family: Arc<str>,
    /// Degree of the polynomial.
    pub degree: usize,
}

impl Choice {
    /// The least-squares polynomial of this degree, one for all channels.
    pub fn least_squares(degree: usize) -> Self {
        Self { family: LeastSquares::SHARED.into(), degree }
    }

    /// The least-squares polynomials of this degree, one per channel.
    pub fn least_squares_per_channel(degree: usize) -> Self {
        Self { family: LeastSquares::PER_CHANNEL.into(), degree }
    }
}

/// The families that approximations are taken from.
#[derive(Clone, Debug)]
pub struct Families(Vec<Arc<dyn Family>>);

impl Default for Families {
    fn default() -> Self {
        Self::standard()
    }
}

impl Families {
    /// Those of this crate.
    pub fn standard() -> Self {
        Self(vec![
            Arc::new(LeastSquares { per_channel: false }),
            Arc::new(LeastSquares { per_channel: true }),
            Arc::new(Minimax),
            Arc::new(PowerOfTwo),
        ])
    }

    /// These and another one, which takes the place of one of the same name.
    #[must_use]
    pub fn with(mut self, family: Arc<dyn Family>) -> Self {
        self.0.retain(|known| known.name() != family.name());
        self.0.push(family);
        self
    }

    /// The family of a name.
    ///
    /// # Errors
    /// A name that none has.
    pub fn get(&self, name: &str) -> Result<&dyn Family, ApproxError> {
        let unknown = || ApproxError::Family { name: name.into(), known: self.names().join(", ") };
        self.iter().find(|family| family.name() == name).ok_or_else(unknown)
    }

    /// All of them, in the order in which they joined.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Family> {
        self.0.iter().map(|family| &**family)
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(Family::name).collect()
    }

    /// The approximation that `choice` names.
    ///
    /// # Errors
    /// An unknown family, or one that has no such approximation.
    pub fn approximate(&self, site: &Site, choice: &Choice) -> Result<Approximation, ApproxError> {
        self.get(&choice.family)?.approximate(site, choice.degree)
    }
}
