//! `place-bootstraps`: where a packed program is refreshed, and which polynomial every activation gets.
//!
//! The tensors of the program form a network (`network`), each priced by lowering it alone (`fragment`): one of forks
//! and joins (`forks`) where they lie one inside the other, else one of any shape (`dag`). The exact planner of
//! [`crate::planner`] then chooses, for every number of levels that the target offers, candidates, bootstraps and
//! levels together (or follows another [`Strategy`], for comparison); the cheapest outcome is taken. Bootstraps stand
//! only before polynomials: there the slots lie in [-1, 1], since the map to the polynomial's interval is part of the
//! linear layer before. Levels are not written into the program: the lowering gives every op the least level that
//! suffices, which is what the planner assumes.

mod dag;
mod forks;
mod fragment;
mod network;
pub mod offer;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use fhec_ir::slot::SlotOp;
use fhec_ir::{Issue, Module, ParamSpec, Slot, Value};
use rayon::prelude::*;

use crate::approx::Choice;
use crate::pack::{Packed, PackedTensor};
use crate::pass::PassError;
use crate::planner::{ActivationPlan, Frontier, Limits, PlacementExplanation, Plan, PlanError};
use crate::target::Target;
use fragment::PolynomialShape;
use network::{AnyNetwork, Tensors};

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
    /// Before activations, where and to the level that the exact planner finds best.
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
}

impl Placement {
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
        Ok(Self { tensors, target, offered, output_level, strategy: Strategy::Joint })
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

    /// The networks for every number of levels on offer, with their parameters.
    fn networks(&self) -> Result<Vec<(ParamSpec, AnyNetwork)>, PassError> {
        let slots = self.tensors.module().func.iter().next().map_or(1, |(_, node)| node.ty.0);
        let of = |spec: &ParamSpec| {
            let table = self.target.costs(spec, slots)?;
            let network = self.tensors.network(&table, spec, self.output_level);
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
        let networks = self.networks()?;
        let plan = |(_, network): &(ParamSpec, AnyNetwork)| network.plan(self.strategy, limits);
        let plans: Vec<Result<Plan, PlanError>> = networks.par_iter().map(plan).collect();
        let better = |a: &Plan, b: &Plan| match limits.max_error {
            Some(_) => a.latency_us < b.latency_us,
            None => (a.error, a.latency_us) < (b.error, b.latency_us),
        };
        let mut best: Option<(Plan, usize)> = None;
        let mut failure = "the engine offers no parameters for this program".to_string();
        let mut limited = false;
        for (number, plan) in plans.into_iter().enumerate() {
            match plan {
                Ok(plan) if best.as_ref().is_none_or(|(b, _)| better(&plan, b)) => best = Some((plan, number)),
                Ok(_) => {}
                Err(e) => {
                    limited |= matches!(e, PlanError::Limits { .. });
                    failure = e.to_string();
                }
            }
        }
        if limited && best.is_none() {
            failure = self.reach(&networks);
        }
        let none = |failure: String| {
            let issue = Issue::of_network(failure, "relax --max-latency or --max-error, or lower the degrees");
            PassError { pass: NAME, issues: vec![issue] }
        };
        let (plan, number) = best.ok_or_else(|| none(failure))?;
        let (spec, network) = &networks[number];
        let explanation = network.explain(&plan).map_err(|e| none(e.to_string()))?;
        Ok(Placement { explanation, plan, spec: spec.clone() })
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
        let plans = |(spec, network): &(ParamSpec, AnyNetwork)| {
            let plans = network.front(limits).map_or(Vec::new(), |Frontier { plans, .. }| plans);
            plans.into_iter().map(|plan| (plan, spec.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<(Plan, ParamSpec)> = self.networks()?.par_iter().flat_map_iter(plans).collect();
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

    /// Numbers of the packed tensors before whose computation `plan` bootstraps.
    fn bootstrapped(plan: &Plan) -> BTreeSet<usize> {
        plan.bootstraps.iter().map(|b| b.key).collect()
    }

    /// The polynomials of the network that was packed before which `plan` bootstraps.
    pub fn origins(&self, plan: &Plan) -> BTreeSet<Value> {
        Self::bootstrapped(plan).into_iter().filter_map(|t| self.tensors.tensors().get(t)?.origin).collect()
    }

    /// The program with a refresh at every bootstrap of `plan`.
    pub fn apply(&self, plan: &Plan) -> Module<Slot> {
        refreshed_before(self.tensors.packed(), &Self::bootstrapped(plan))
    }
}

/// The packed program with a bootstrap before each polynomial whose origin is one of `polynomials`.
pub fn bootstrap_before(packed: &Packed, polynomials: &BTreeSet<Value>) -> Module<Slot> {
    let chosen = |(_, tensor): &(usize, &PackedTensor)| tensor.origin.is_some_and(|o| polynomials.contains(&o));
    refreshed_before(packed, &packed.tensors.iter().enumerate().filter(chosen).map(|(i, _)| i).collect())
}

/// The packed program with the operands of these tensors refreshed.
fn refreshed_before(packed: &Packed, tensors: &BTreeSet<usize>) -> Module<Slot> {
    let operands = tensors.iter().filter_map(|&t| packed.tensors.get(t)).flat_map(|t| &t.operands);
    let refreshed = operands.flat_map(|&o| packed.tensors[o].values.iter().copied()).collect();
    refresh(&packed.module, &refreshed)
}

/// The module with every value of `refreshed` refreshed for all that read it.
fn refresh(module: &Module<Slot>, refreshed: &BTreeSet<Value>) -> Module<Slot> {
    let built: Result<_, Infallible> = module.rebuild(|out, value, node, operands| {
        let made = out.func.push_unchecked(node.op.clone(), operands, node.ty, node.loc.clone());
        if !refreshed.contains(&value) {
            return Ok(made);
        }
        let operands = [made].into_iter().collect();
        Ok(out.func.push_unchecked(SlotOp::Refresh {}, operands, node.ty, node.loc.clone()))
    });
    match built {
        Ok(module) => module,
        Err(never) => match never {},
    }
}
