//! The precision of a plan's results is measured on simulated runs; where it is not enough, the plan is made again.
//!
//! Parameters follow from an estimate of the error. Where a precision is asked for, the plan is simulated on calibration
//! inputs, its scale is raised by what is missing, and the plan is made again. A scale that no secure parameters have ends
//! the search; so does the error of bootstraps, which does not depend on the scale, and single precision, in which results
//! are written.

use fhec_ir::{Module, Nn, Tensor, largest_magnitude};
use fhec_passes::bootstraps::Placement;
use fhec_passes::pipeline::{Packing, Placed, PlanOptions, Planned};
use fhec_runtime::{LANES, Plan, Provenance, Simulation, Simulator, runs_of};
use serde::Serialize;

use super::refused::{PrecisionLimit, Refused};
use super::result_errors::ResultErrors;
use super::warning::Warning;
use super::{Compiler, Snapshot};
use crate::error::Error;

/// The noise that plans are simulated with.
const SEED: u64 = 1;
/// Standard deviations of the results' error that must stay below what is allowed.
const DEVIATIONS: f64 = 6.0;

/// How precise the results of simulated runs on calibration inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SimulatedPrecision {
    /// Bits asked for, where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u32>,
    /// Bits that the results have: minus log2 of `error`.
    pub bits: f64,
    /// Six standard deviations of what encryption adds to a result, or the largest error if that is more.
    pub error: f64,
    /// The largest error of a result.
    pub max_error: f64,
    /// The largest result, which bounds what single precision leaves of it.
    pub largest: f64,
}

impl SimulatedPrecision {
    /// The precision of simulated runs.
    fn of(simulated: &Simulation, asked: Option<u32>) -> Self {
        let results = simulated.exact.iter().flatten().flat_map(|t| t.data());
        let largest = largest_magnitude(results.map(|&x| f64::from(x)));
        let errors = simulated.report.results;
        let spread = DEVIATIONS * errors.rms();
        let error = if spread.is_nan() || errors.max <= spread { spread } else { errors.max };
        Self { asked, bits: -error.log2(), error, max_error: errors.max, largest }
    }

    /// Whether the error is more than `allowed`, or not a number.
    fn exceeds(&self, allowed: f64) -> bool {
        self.error.is_nan() || self.error > allowed
    }

    /// The distance of single-precision numbers next to the largest result.
    fn spacing(&self) -> f64 {
        let largest = self.largest as f32;
        f64::from(largest.next_up()) - f64::from(largest)
    }

    /// The whole bits that results have once they are written.
    fn written_bits(&self) -> u32 {
        // What is not a number has no bits: such a float becomes the integer 0.
        (-largest_magnitude([self.error, self.spacing()]).log2()).floor() as u32
    }
}

/// Runs `plan` on the first of these images: as many as are simulated in the time of one.
fn simulated(plan: &Plan, samples: &[Vec<Tensor>]) -> Result<Simulation, Error> {
    let images = samples.len().min(LANES * plan.batch());
    let runs = runs_of(&plan.image_inputs(), plan.batch(), &samples[..images])?;
    Ok(Simulator::new(plan, SEED).run_many(&runs, 1, &|_| ())?)
}

/// A plan, still without its report, how it came about, and how precise it is.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) placement: Option<Placement>,
    pub(super) notes: Vec<String>,
    pub(super) precision: SimulatedPrecision,
    /// The error of every output.
    errors: ResultErrors,
}

impl Made {
    /// The plan with the errors of its outputs, or a warning where these are not known.
    fn with_errors(self, warnings: &mut Vec<String>) -> Result<Self, Error> {
        if let Some(warning) = self.errors.unknown(self.plan.outputs()) {
            warnings.push(warning.to_string());
            return Ok(self);
        }
        let plan = self.plan.with_result_errors(self.errors.0.clone())?;
        Ok(Self { plan, ..self })
    }

    fn scale_bits(&self) -> u32 {
        self.plan.spec().scale_bits
    }
}

/// What plans are made from.
struct Search<'a, 'o> {
    compiler: &'a Compiler,
    module: &'a Module<Nn>,
    samples: &'a [Vec<Tensor>],
    packing: Packing,
    placed: Option<Placed>,
    options: PlanOptions,
    observe: &'o mut dyn FnMut(&str, Snapshot<'_>),
}

impl Compiler {
    /// The plan of a network of polynomials with these options, as precise as was asked for.
    pub(super) fn plan(
        &self,
        module: &Module<Nn>,
        samples: &[Vec<Tensor>],
        placed: Option<Placed>,
        options: PlanOptions,
        observe: &mut dyn FnMut(&str, Snapshot<'_>),
        warnings: &mut Vec<String>,
    ) -> Result<Made, Error> {
        let packing = Packing::new(module, &options)?;
        let mut search = Search { compiler: self, module, samples, packing, placed, options, observe };
        let made = match self.options.precision {
            Some(asked) => search.precise(asked)?,
            None => search.estimated(warnings)?,
        };
        made.with_errors(warnings)
    }
}

impl Search<'_, '_> {
    /// A plan with this scale, or that of the estimate; `target`: bootstrapped where that is needed or faster.
    fn make(&mut self, scale_bits: Option<u32>, target: bool) -> Result<Made, Error> {
        let mut options = self.options.clone();
        options.params.scale_bits = scale_bits.or(options.params.scale_bits);
        let target = target.then_some(&*self.compiler.engine);
        let observe = |name: &str, snapshot: Snapshot<'_>| (self.observe)(name, snapshot);
        let Planned { module, placement, notes, .. } =
            self.packing.plan(self.module, &options, target, self.placed.as_ref(), observe)?;
        let plan = Plan::new(module, Provenance::default())?;
        let simulated = simulated(&plan, self.samples)?;
        let precision = SimulatedPrecision::of(&simulated, self.compiler.options.precision);
        let errors = ResultErrors::of(&simulated, plan.outputs().len());
        Ok(Made { plan, placement, notes, precision, errors })
    }

    /// The plan whose parameters follow from the estimate of the error, and a warning where that was too low.
    fn estimated(&mut self, warnings: &mut Vec<String>) -> Result<Made, Error> {
        let made = self.make(None, true)?;
        let allowed = self.options.params.precision.allows(made.precision.largest);
        let SimulatedPrecision { bits, max_error, largest, .. } = made.precision;
        if max_error.is_nan() || largest.is_nan() || max_error > allowed {
            let expected = self.options.params.precision.bits();
            warnings.push(Warning::Imprecise { bits, expected, error: max_error }.to_string());
        }
        Ok(made)
    }

    /// The plan whose results have `asked` bits.
    fn precise(&mut self, asked: u32) -> Result<Made, Error> {
        let allowed = (-f64::from(asked)).exp2();
        let first = self.make(None, true);
        let bootstrapped = match first {
            Ok(made) if !made.precision.exceeds(allowed) => return self.written(asked, made),
            // Its error is that of bootstraps: a leveled plan may do better, however slow.
            Ok(made) if made.placement.is_some() => Some(made),
            Ok(made) => return self.raised(asked, allowed, made, None),
            Err(_) => None,
        };
        // The scale of the estimate may be beyond reach, but that of a lower precision is a start.
        let start = match self.make(None, false) {
            Ok(made) => Ok(made),
            Err(_) => {
                let precision = std::mem::take(&mut self.options.params.precision);
                let made = self.make(None, false);
                self.options.params.precision = precision;
                made
            }
        };
        match (start, bootstrapped) {
            (Ok(made), bootstrapped) => self.raised(asked, allowed, made, bootstrapped.as_ref()),
            (Err(_), Some(made)) => Err(refused(asked, &made, PrecisionLimit::Bootstraps)),
            (Err(e), None) => Err(e),
        }
    }

    /// The first plan with a scale of at least that of `made` that is precise enough.
    fn raised(&mut self, asked: u32, allowed: f64, made: Made, other: Option<&Made>) -> Result<Made, Error> {
        let (mut best, mut beyond) = (made, None);
        // Results are written in single precision: what goes below its steps is not seen.
        loop {
            let enough = allowed.max(best.precision.spacing());
            if !best.precision.exceeds(enough) {
                return self.written(asked, best);
            }
            let missing = (best.precision.error / enough).log2().ceil();
            let next = best.scale_bits() + if missing >= 1.0 { missing as u32 } else { 1 };
            // Between a scale that is possible and one that is not, the middle.
            let next = beyond.map_or(next, |beyond| next.min((best.scale_bits() + beyond) / 2));
            if next == best.scale_bits() || self.options.params.scale_bits.is_some() {
                let (best, limit) = match other {
                    Some(other) if other.precision.error < best.precision.error => (other, PrecisionLimit::Bootstraps),
                    _ => (&best, PrecisionLimit::Scale { bits: best.scale_bits() }),
                };
                return Err(refused(asked, best, limit));
            }
            match self.make(Some(next), false) {
                Ok(made) => best = made,
                Err(_) => beyond = Some(next),
            }
        }
    }

    /// The plan, if its results are as precise once they are written in single precision.
    fn written(&self, asked: u32, made: Made) -> Result<Made, Error> {
        let (largest, spacing) = (made.precision.largest, made.precision.spacing());
        if made.precision.written_bits() >= asked {
            return Ok(made);
        }
        Err(refused(asked, &made, PrecisionLimit::SinglePrecision { largest, spacing }))
    }
}

fn refused(asked: u32, best: &Made, limit: PrecisionLimit) -> Error {
    Refused::Precision { asked, most: best.precision.written_bits(), limit }.into()
}
