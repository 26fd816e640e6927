//! The options of a compilation.

use fhec_ir::{Module, Nn};
use fhec_passes::activations::ApproximateOptions;
use fhec_passes::activations::result_kind::ResultKind;
use fhec_passes::approx::{Choice, MAX_DEGREE, Margin};
use fhec_passes::batch;
use fhec_passes::fold::Fold;
use fhec_passes::parameters::Precision;
use fhec_passes::pipeline::{MOST_SLOTS, PlanOptions};
use fhec_passes::planner::Limits;

use super::agreement::DEFAULT_AGREEMENT;
use super::forms::Forms;
use super::refused::Refused;
use super::sizes::Sizes;

/// The largest margin: an interval a thousand times as long as what was seen leaves nothing of a polynomial's precision.
pub const MOST_MARGIN: f64 = 1000.0;

/// How a [`Compiler`](super::Compiler) compiles a model.
///
/// An option that cannot be obeyed is refused with the best that can be had ([`Refused`]); none is ignored.
///
/// ```
/// use fhec::CompileOptions;
/// use fhec::passes::planner::Limits;
///
/// // Eight images in one run, and a plan that takes at most 20 seconds for them.
/// let mut options = CompileOptions::default();
/// options.plan.batch = 8;
/// options.limits = Limits { max_latency_us: Some(20e6), ..Limits::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// How the network is folded, and by which rules.
    pub fold: Fold,
    /// How activations become polynomials.
    pub approximate: ApproximateOptions,
    /// How the network is packed, and what its parameters must achieve.
    pub plan: PlanOptions,
    /// Bits of precision that the results must have: six standard deviations of the error that encryption adds to them, as
    /// it is simulated on calibration inputs, stay below `2^-precision`. Without, parameters follow from an estimate of
    /// that error and from `plan`, and what is simulated is reported.
    pub precision: Option<u32>,
    /// How far the polynomials of a network that bootstraps must agree with the network as it was given, as a share:
    /// [`DEFAULT_AGREEMENT`] without. Of the plans that do the fastest is taken; without one, that which agrees most, with a
    /// warning. Where polynomials are not chosen for it, less agreement is a warning too.
    ///
    /// [`DEFAULT_AGREEMENT`]: super::DEFAULT_AGREEMENT
    pub min_agreement: Option<f64>,
    /// What the results are, and so what agreement is: of scores the class, of values the relative error. Without, they are taken for
    /// what they look like: [`ResultKind::of_rows`].
    pub results: Option<ResultKind>,
    /// What the polynomials of a network that bootstraps are chosen for in place of agreement. None are chosen without calibration
    /// data, and where `uniform` or a composite is set. A plan beyond the limits is refused, however it came about.
    pub limits: Limits,
    /// Bytes that the keys and a run may take. A plan beyond them is made again with fewer levels, and refused where that does not
    /// help.
    pub sizes: Sizes,
    /// The forms of all activations, as a search has found them, in place of any choice.
    pub forms: Option<Forms>,
    /// All activations get the degree of `approximate`.
    pub uniform: bool,
    /// Without calibration data, the ranges of activations are guessed from synthetic inputs, with a warning, in place of a refusal.
    pub guess_ranges: bool,
    /// The weights stay as they are trained.
    pub keep_weights: bool,
    /// Report all plans that no other one beats in time and error.
    pub front: bool,
}

impl CompileOptions {
    /// Refuses what no compilation of `module` can obey, before any work is done.
    pub(super) fn check(&self, module: &Module<Nn>) -> Result<(), Refused> {
        let ApproximateOptions { default: Choice { degree, .. }, margin, .. } = &self.approximate;
        let (degree, margin) = (*degree, *margin);
        let value = |option, value: String, reason: String, repair: String| {
            Err(Refused::Value { option, value, reason, repair })
        };
        if !self.approximate.is_precise() && !(1..=MAX_DEGREE).contains(&degree) {
            let reason = format!("a polynomial has a degree from 1 to {MAX_DEGREE}");
            return value("degree", degree.to_string(), reason, "choose a degree in that range".into());
        }
        if let Margin::Factor(margin) = margin
            && !(1.0..=MOST_MARGIN).contains(&margin)
        {
            let reason = format!("intervals hold what was seen in calibration: margins go from 1 to {MOST_MARGIN}");
            return value("margin", margin.to_string(), reason, "leave it out to take the default".into());
        }
        let limits =
            [("max-latency", self.limits.max_latency_us.map(|us| us / 1e6)), ("max-error", self.limits.max_error)];
        for (option, limit) in limits {
            if let Some(limit) = limit.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
                let reason = "a limit is a positive number".into();
                return value(option, limit.to_string(), reason, "leave it out to have no limit".into());
            }
        }
        if self.forms.is_some() && (self.uniform || self.limits != Limits::default() || self.front) {
            return Err(Refused::Idle {
                option: "--forms".into(),
                reason: "a degree, limits and fronts are of polynomials that are chosen".into(),
                repair: "leave these options out, or --forms".into(),
            });
        }
        if let Some(share) = self.min_agreement.filter(|share| !(0.0..=1.0).contains(share)) {
            let reason = "agreement is a share, at most 100 %".into();
            let repair = format!("leave it out to aim at {} %", 100.0 * DEFAULT_AGREEMENT);
            return value("min-agreement", (100.0 * share).to_string(), reason, repair);
        }
        self.check_batch(module)
    }

    /// The options of packing and parameters, with the precision that was asked for.
    pub fn asked_of_plans(&self) -> PlanOptions {
        let mut options = self.plan.clone();
        if let Some(bits) = self.precision {
            options.params.precision = Precision::Absolute(bits);
        }
        options
    }

    fn check_batch(&self, module: &Module<Nn>) -> Result<(), Refused> {
        let batch = self.plan.batch;
        let refuse = |reason: String, repair: String| {
            Err(Refused::Value { option: "batch", value: batch.to_string(), reason, repair })
        };
        if !batch.is_power_of_two() {
            let near = (1usize << batch.max(1).ilog2()).min(MOST_SLOTS);
            let reason = "the number of images is a power of two, as the number of slots is".into();
            return refuse(reason, format!("choose {near} or {}", (2 * near).min(MOST_SLOTS)));
        }
        let most = batch::most_images(module, MOST_SLOTS);
        if batch > most {
            let reason =
                format!("at most {most} images of this network go together: every weight is repeated for each");
            return refuse(reason, format!("choose {most} or fewer, and run the plan more often"));
        }
        Ok(())
    }
}
