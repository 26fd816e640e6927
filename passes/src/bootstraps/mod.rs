//! `place-bootstraps`: where a packed program is refreshed, and which polynomial every activation gets.
//!
//! The tensors of the program form a network (`network`), each priced by lowering it alone (`fragment`): one of forks
//! and joins (`forks`) where they lie one inside the other, else one of any shape (`dag`). The exact planner of
//! [`crate::planner`] then chooses, for every number of levels that the target offers, candidates, bootstraps and
//! levels together (or follows another [`Strategy`], for comparison); the cheapest outcome is taken. Bootstraps stand
//! before polynomials: there the slots lie in [-1, 1], since the map to the polynomial's interval is part of the
//! linear layer before. Where levels run out between these, bootstraps stand at any value (`sites`) whose range is
//! known from calibration data (`ranges`). Levels are not written into the program: the lowering gives every op the
//! least level that suffices, which is what the planner assumes.

mod dag;
mod forks;
mod fragment;
mod network;
pub mod offer;
mod ranges;
mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use fhec_ir::{Issue, Module, ParamSpec, Slot, Value};
use rayon::prelude::*;

use crate::approx::Choice;
use crate::pack::Packed;
use crate::pass::PassError;
use crate::planner::{ActivationPlan, Frontier, Limits, PlacementExplanation, Plan, PlanError};
use crate::target::Target;
use fragment::PolynomialShape;
use network::{AnyNetwork, Tensors};
use sites::{Refreshed, Site, Sites};

pub use ranges::RangeSamples;

pub(crate) const NAME: &str = "place-bootstraps";

/// A form of an activation, and what it costs in accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct WeighedForm {
    /// What it is.
    pub choice: Choice,
    /// One polynomial per channel rather than one for all.
    pub per_channel: bool,
    /// Sensitivity times mean square error: its share of the surrogate for lost accuracy (OLA).
    pub error: f64,
    /// Largest error on the interval.
    pub max_error: f64,
}

impl WeighedForm {
    /// For reports: the degree, and the family.
    fn id(&self) -> String {
        format!("degree {}, {}", self.choice.degree, self.choice.family)
    }

    fn shape(&self) -> PolynomialShape {
        PolynomialShape { degree: self.choice.degree, per_channel: self.per_channel }
    }
}

/// Where bootstraps stand and how far they raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Before activations, or at any value where that is not enough, where and to the level that the exact planner finds best.
    #[default]
    Joint,
    /// Before every activation but the first, to the level needed: OLA.
    Layerwise,
    /// Before every activation but the first, to the highest level: one modulus chain, as in residual networks by
    /// multiplexed convolutions.
    Uniform,
    /// Wherever the next layer or activation needs more levels than are left, to the highest level: AutoFHE.
    Greedy,
}

impl Strategy {
    /// Whether every bootstrap restores the highest level.
    pub fn single_chain(self) -> bool {
        matches!(self, Self::Uniform | Self::Greedy)
    }
}

/// The forms of each activation, by the polynomial of the packed network that stands in its place.
pub type Candidates = BTreeMap<Value, Vec<WeighedForm>>;

/// The numbers of levels that are tried.
const LEVELS: std::ops::RangeInclusive<u32> = 3..=24;

/// A chosen placement.
#[derive(Clone, Debug)]
pub struct Placement {
    /// What was chosen, with levels and times.
    pub plan: Plan,
    /// The parameters it was planned for.
    pub spec: ParamSpec,
    /// Why, decision by decision.
    pub explanation: PlacementExplanation,
    /// How many of its bootstraps are of values that no polynomial reads.
    pub elsewhere: usize,
}

/// What a bootstrap of a plan refreshes: the key of its point.
#[derive(Clone, Copy)]
enum Key {
    /// The operand of this tensor, a polynomial.
    Before(usize),
    /// This tensor, which no polynomial reads.
    Value(usize),
}

impl Key {
    /// The number by which the planner hands it on.
    fn number(self, packed: &Packed) -> usize {
        match self {
            Self::Before(tensor) => tensor,
            Self::Value(tensor) => packed.tensors.len() + tensor,
        }
    }

    fn of(number: usize, packed: &Packed) -> Self {
        number.checked_sub(packed.tensors.len()).map_or(Self::Before(number), Self::Value)
    }
}

impl Placement {
    /// What a user should know where values are bootstrapped whose size was `measured` on so many inputs.
    pub fn ranges(&self, measured: usize) -> Option<String> {
        let (count, of) = (self.elsewhere, self.plan.bootstraps.len());
        (count > 0).then(|| {
            format!(
                "{count} of {of} bootstraps stand where no polynomial is; how large values get there was measured on \
                 {measured} calibration inputs, and results are wrong where an input makes them larger"
            )
        })
    }

    /// What a user should know where the plan may not be the best one.
    pub fn doubt(&self) -> Option<String> {
        let from = match self.plan.bound {
            bound if bound <= 1.0 => return None,
            bound if bound.is_finite() => format!("it has at most {bound:.3} times what the best one has"),
            _ => "how far it is from the best one is not known".to_string(),
        };
        Some(format!(
            "so many branches lie side by side that bootstraps were searched among a part of the plans: {from}"
        ))
    }
}

/// Plans within limits for one packed program on one target.
pub struct Placer<'a> {
    tensors: Tensors<'a>,
    target: &'a dyn Target,
    /// The parameters that are tried.
    offered: Vec<ParamSpec>,
    output_level: u32,
    strategy: Strategy,
    /// What is known of values that no polynomial reads, and how many images the program takes at once.
    ranges: Option<(&'a RangeSamples, usize)>,
    /// Where bootstraps may stand beside polynomials, once that was asked.
    sites: OnceLock<Option<Sites>>,
}

/// Plans of several networks, of which none was found.
struct Unplanned {
    reason: String,
    /// Whether there are plans, but none within the limits.
    limited: bool,
}

impl Unplanned {
    fn issue(self) -> Issue {
        Issue::of_network(self.reason, "relax --max-latency or --max-error, or lower the degrees")
    }
}

fn failed(issues: impl IntoIterator<Item = Issue>) -> PassError {
    PassError { pass: NAME, issues: issues.into_iter().collect() }
}

impl<'a> Placer<'a> {
    /// A placer of `packed`, whose activations may be computed as `candidates` say. The results keep `output_level`.
    ///
    /// # Errors
    /// A program that reads no input, or whose results are not tensors of it.
    pub fn new(
        packed: &'a Packed,
        candidates: &Candidates,
        target: &'a dyn Target,
        output_level: u32,
    ) -> Result<Self, PassError> {
        let offered = LEVELS.filter_map(|levels| target.bootstrapping(levels)).collect();
        Self::offering(packed, candidates, target, output_level, offered)
    }

    /// A placer that tries these parameters; under those for no bootstraps it places none, and only chooses how activations are
    /// computed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn offering(
        packed: &'a Packed,
        candidates: &Candidates,
        target: &'a dyn Target,
        output_level: u32,
        offered: Vec<ParamSpec>,
    ) -> Result<Self, PassError> {
        let tensors = Tensors::read(packed, candidates)?;
        let (strategy, sites) = (Strategy::Joint, OnceLock::new());
        Ok(Self { tensors, target, offered, output_level, strategy, ranges: None, sites })
    }

    /// The placer with another strategy.
    #[must_use]
    pub fn with_strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// The placer without the parameters of more levels.
    #[must_use]
    pub fn with_most_levels(mut self, most: Option<u32>) -> Self {
        self.offered.retain(|spec| most.is_none_or(|most| spec.levels <= most));
        self
    }

    /// The placer that, where levels run out between polynomials, also bootstraps other values, which are measured on
    /// `samples`; the program takes `batch` images at once.
    #[must_use]
    pub fn with_ranges(self, samples: Option<&'a RangeSamples>, batch: usize) -> Self {
        Self { ranges: samples.map(|samples| (samples, batch)), ..self }
    }

    /// Whether bootstraps may stand elsewhere than before polynomials, if their ranges are known.
    fn goes_elsewhere(&self) -> bool {
        self.strategy == Strategy::Joint && self.offered.iter().any(|spec| spec.bootstrap.is_some())
    }

    /// Where bootstraps may stand beside polynomials; nothing where that is not known.
    fn sites(&self) -> Option<&Sites> {
        let (samples, batch) = self.ranges.filter(|_| self.goes_elsewhere())?;
        self.sites.get_or_init(|| Sites::measure(self.tensors.packed(), samples, batch)).as_ref()
    }

    /// The networks for every number of levels on offer, with their parameters, and with bootstraps at `sites`, too.
    fn networks(&self, sites: Option<&Sites>) -> Result<Vec<(ParamSpec, AnyNetwork)>, PassError> {
        let slots = self.tensors.module().func.iter().next().map_or(1, |(_, node)| node.ty.0);
        let of = |spec: &ParamSpec| {
            let table = self.target.costs(spec, slots)?;
            let network = self.tensors.network(&table, spec, self.output_level, sites);
            Some(network.map(|network| (spec.clone(), network.restricted(self.strategy))))
        };
        self.offered.par_iter().filter_map(of).collect()
    }

    /// The best plan within `limits` over all numbers of levels: the fastest where the error is limited, else the most
    /// accurate.
    ///
    /// # Errors
    /// When no plan is within them, or levels run out with every number on offer.
    pub fn place(&self, limits: &Limits) -> Result<Placement, PassError> {
        let networks = self.networks(None)?;
        let first = match self.best(&networks, limits) {
            Ok(best) => return self.placement(&networks, best),
            Err(unplanned) => unplanned,
        };
        if first.limited || !self.goes_elsewhere() {
            return Err(failed([first.issue()]));
        }
        let Some(sites) = self.sites() else {
            return Err(failed([first.issue(), unknown_ranges()]));
        };
        let networks = self.networks(Some(sites))?;
        match self.best(&networks, limits) {
            Ok(best) => self.placement(&networks, best),
            Err(unplanned) => Err(failed([unplanned.issue()].into_iter().chain(self.too_large(sites)))),
        }
    }

    /// The best plan of these networks, and the number of the network.
    fn best(&self, networks: &[(ParamSpec, AnyNetwork)], limits: &Limits) -> Result<(Plan, usize), Unplanned> {
        let plan = |(_, network): &(ParamSpec, AnyNetwork)| network.plan(self.strategy, limits);
        let plans: Vec<Result<Plan, PlanError>> = networks.par_iter().map(plan).collect();
        let better = |a: &Plan, b: &Plan| match limits.max_error {
            Some(_) => a.latency_us < b.latency_us,
            None => (a.error, a.latency_us) < (b.error, b.latency_us),
        };
        let mut best: Option<(Plan, usize)> = None;
        let mut reason = "the engine offers no parameters for this program".to_string();
        let mut limited = false;
        for (number, plan) in plans.into_iter().enumerate() {
            match plan {
                Ok(plan) if best.as_ref().is_none_or(|(b, _)| better(&plan, b)) => best = Some((plan, number)),
                Ok(_) => {}
                Err(e) => {
                    limited |= matches!(e, PlanError::Limits { .. });
                    reason = e.to_string();
                }
            }
        }
        best.ok_or_else(|| Unplanned { reason: if limited { self.reach(networks) } else { reason }, limited })
    }

    /// The placement that is one network's plan.
    fn placement(
        &self,
        networks: &[(ParamSpec, AnyNetwork)],
        (plan, number): (Plan, usize),
    ) -> Result<Placement, PassError> {
        let (spec, network) = &networks[number];
        let unexplained = |e: PlanError| failed([Issue::of_network(e.to_string(), "report this as a bug")]);
        let explanation = network.explain(&plan).map_err(unexplained)?;
        let elsewhere = self.keys(&plan).filter(|key| matches!(key, Key::Value(_))).count();
        Ok(Placement { explanation, plan, spec: spec.clone(), elsewhere })
    }

    /// Values that would be bootstrapped if they were smaller.
    fn too_large(&self, sites: &Sites) -> Option<Issue> {
        let (tensor, magnitude) = sites.too_large?;
        let node = self.tensors.name(tensor);
        let reason = format!("values at `{node}` reach {magnitude:.1e}, too much for a bootstrap there");
        Some(Issue::of_network(reason, "normalise the layers of the network, so that its values stay small"))
    }

    /// What can be had at all, for those who asked for more.
    fn reach(&self, networks: &[(ParamSpec, AnyNetwork)]) -> String {
        let plans = |limits: Limits| -> Vec<Plan> {
            let plan = |(_, network): &(ParamSpec, AnyNetwork)| network.plan(self.strategy, &limits).ok();
            networks.par_iter().filter_map(plan).collect()
        };
        let any_error = Limits { max_error: Some(f64::MAX), ..Limits::default() };
        let fastest = plans(any_error).iter().map(|plan| plan.latency_us / 1e6).fold(f64::INFINITY, f64::min);
        let accurate = plans(Limits::default()).iter().map(|plan| plan.error).fold(f64::INFINITY, f64::min);
        format!(
            "no plan is within the limits: the fastest takes {fastest:.3} seconds, the most accurate has an error of \
             {accurate:.3e}"
        )
    }

    /// All plans that no other one beats in time and error, over all numbers of levels. [`Plan::bound`] of each says
    /// within which factor of its time the best one of no more error may be.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub fn front(&self, limits: &Limits) -> Result<Vec<(Plan, ParamSpec)>, PassError> {
        let of_networks = |networks: Vec<(ParamSpec, AnyNetwork)>| -> Vec<(Plan, ParamSpec)> {
            let plans = |(spec, network): &(ParamSpec, AnyNetwork)| {
                let plans = network.front(limits).map_or(Vec::new(), |Frontier { plans, .. }| plans);
                plans.into_iter().map(|plan| (plan, spec.clone())).collect::<Vec<_>>()
            };
            networks.par_iter().flat_map_iter(plans).collect()
        };
        let mut all = of_networks(self.networks(None)?);
        if let Some(sites) = Some(&all).filter(|all| all.is_empty()).and_then(|_| self.sites()) {
            all = of_networks(self.networks(Some(sites))?);
        }
        all.sort_by(|(a, _), (b, _)| {
            (a.latency_us, a.error).partial_cmp(&(b.latency_us, b.error)).expect("finite times")
        });
        let mut front: Vec<(Plan, ParamSpec)> = Vec::new();
        for (plan, spec) in all {
            if front.last().is_none_or(|(last, _)| plan.error < last.error) {
                front.push((plan, spec));
            }
        }
        Ok(front)
    }

    /// The form that `plan` chooses for every activation, by the polynomial that stands in its place.
    pub fn choices(&self, plan: &Plan, candidates: &Candidates) -> BTreeMap<Value, Choice> {
        let chosen = |a: &ActivationPlan| {
            let origin = self.tensors.tensors().get(a.key)?.origin?;
            Some((origin, candidates.get(&origin)?.get(a.index)?.choice.clone()))
        };
        plan.activations.iter().filter_map(chosen).collect()
    }

    /// What `plan` bootstraps.
    fn keys<'p>(&self, plan: &'p Plan) -> impl Iterator<Item = Key> + use<'p, 'a> {
        let packed = self.tensors.packed();
        plan.bootstraps.iter().map(|b| Key::of(b.key, packed))
    }

    /// The polynomials of the network that was packed before which `plan` bootstraps.
    pub fn origins(&self, plan: &Plan) -> BTreeSet<Value> {
        let origin = |key| match key {
            Key::Before(tensor) => self.tensors.tensors().get(tensor)?.origin,
            Key::Value(_) => None,
        };
        self.keys(plan).filter_map(origin).collect()
    }

    /// The program with a refresh at every bootstrap of `plan`, which is one of this placer's.
    pub fn apply(&self, plan: &Plan) -> Module<Slot> {
        let packed = self.tensors.packed();
        let sites = self.sites.get().and_then(Option::as_ref);
        let mut refreshed = Refreshed::default();
        for key in self.keys(plan) {
            match key {
                Key::Before(polynomial) => refresh_operands(&mut refreshed, packed, polynomial),
                Key::Value(tensor) => {
                    let site = sites.and_then(|sites| sites.get(tensor)).expect("its plans bootstrap at its sites");
                    refreshed.add(&packed.tensors[tensor].values, site);
                }
            }
        }
        refreshed.apply(&packed.module)
    }
}

/// The packed program with a bootstrap before each polynomial whose origin is one of `polynomials`.
pub fn bootstrap_before(packed: &Packed, polynomials: &BTreeSet<Value>) -> Module<Slot> {
    let mut refreshed = Refreshed::default();
    for (number, tensor) in packed.tensors.iter().enumerate() {
        if tensor.origin.is_some_and(|origin| polynomials.contains(&origin)) {
            refresh_operands(&mut refreshed, packed, number);
        }
    }
    refreshed.apply(&packed.module)
}

/// Bootstraps the operands of tensor `polynomial`, which lie in [-1, 1].
fn refresh_operands(refreshed: &mut Refreshed, packed: &Packed, polynomial: usize) {
    for &operand in &packed.tensors[polynomial].operands {
        refreshed.add(&packed.tensors[operand].values, &Site::default());
    }
}

/// Why bootstraps cannot stand where they are needed.
fn unknown_ranges() -> Issue {
    Issue::of_network(
        "bootstraps can stand before polynomials, and at other values only if it is known how large these get: no calibration \
         data says so",
        "give --calibration with a few hundred training inputs",
    )
}
