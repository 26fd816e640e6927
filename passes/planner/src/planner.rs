//! Questions to the planner: the best plan within limits, and the whole front.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::PlanError;
use super::front::{Front as Labels, PartialPlan};
use super::network::Network;
use super::plan::{Plan, Replay};
use super::solve::{Gate, Rules, SearchMode, Solver};
use super::tree::{StageKind, StageTree};

/// What plans may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Microseconds at most (`--max-latency`).
    pub max_latency_us: Option<f64>,
    /// Sum of errors at most (`--max-error`).
    pub max_error: Option<f64>,
    /// The largest error of any chosen candidate on its interval.
    pub max_candidate_error: Option<f64>,
}

/// How hard the planner searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// For every plan there is, the front holds one of no more error and at most `1 + epsilon` of its time. 0: exact.
    pub epsilon: f64,
    /// Sets of partial plans up to this size are kept whole, products of sets up to 16 times it; where none is larger, the
    /// front is exact whatever `epsilon`.
    pub exact_up_to: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { epsilon: 0.01, exact_up_to: 1024 }
    }
}

/// Room for the rounding of sums.
const ROUNDING: f64 = 1e-12;

/// Plans none of which is better in both time and error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frontier {
    /// By rising time, falling error.
    pub plans: Vec<Plan>,
    /// For every plan within the limits there is one here of no more error and at most this much of its time, if that is
    /// within the limit of time too; 1 when exact.
    pub bound: f64,
}

/// The exact planner of one network.
pub struct Planner<'a> {
    pub(super) tree: StageTree<'a>,
    effort: Effort,
}

/// Best plans found so far, and how far from the optimum they may be.
struct Answer<'a> {
    solver: Solver<'a>,
    labels: Labels,
    bound: f64,
    /// The fastest plan there is.
    fastest: Plan,
}

impl<'a> Planner<'a> {
    /// A planner for `network`.
    ///
    /// # Errors
    /// When the description contradicts itself, or levels run out in every plan; the message names the stage.
    pub fn new(network: &'a Network, effort: Effort) -> Result<Self, PlanError> {
        let tree = StageTree::new(network)?;
        if !(effort.epsilon.is_finite() && effort.epsilon >= 0.0) {
            return Err(super::tree::invalid(&network.name, format!("epsilon is {}", effort.epsilon)));
        }
        tree.check_levels()?;
        Ok(Planner { tree, effort })
    }

    /// Number of activations.
    pub fn activations(&self) -> usize {
        self.tree.activations().len()
    }

    /// The least time within the limits; with a limit of time and none of error, the least error.
    /// Without limits, the least error, and of the plans that have it the fastest.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them; it names the nearest figure.
    pub fn plan(&self, limits: &Limits) -> Result<Plan, PlanError> {
        let rules = rules(limits);
        let fastest = limits.max_error.is_some();
        // With both limits the least time within the error decides.
        let one = if fastest { Limits { max_latency_us: None, ..*limits } } else { *limits };
        let Answer { mut solver, mut labels, bound, fastest: first } = self.answer(limits, &one, &rules)?;
        let pick = |labels: &Labels| if fastest { labels.first().copied() } else { labels.last().copied() };
        if bound > 1.0 {
            // What is known bounds what is worth looking at; rates of exchange near the answer cut most of the rest.
            let known = pick(&labels).map_or((first.latency_us, first.error), |l| (l.us, l.error));
            let corner = if fastest {
                (known.0, limits.max_error.unwrap_or(known.1))
            } else {
                (limits.max_latency_us.unwrap_or(known.0), known.1)
            };
            let rates = rates(&labels, corner.1);
            if solver.thinned_inside {
                solver = Solver::new(&self.tree, &rules, SearchMode::Pareto);
            }
            solver.cell = 0.0;
            let gates = gates(&mut solver, corner, &rates);
            labels = solver.solve(&gates);
        }
        let plan = pick(&labels).map_or(first, |l| Replay::plan(&self.tree, &solver.trace, l.trace));
        match (limits.max_latency_us, limits.max_error) {
            (Some(t), Some(e)) if plan.latency_us > t * (1.0 + ROUNDING) => {
                let asked = format!("latency {t:.0} µs and error {e:.3e}");
                Err(PlanError::Limits { asked, nearest: format!("that error takes {:.0} µs", plan.latency_us) })
            }
            _ => Ok(plan),
        }
    }

    /// The Pareto front within the limits.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them.
    pub fn front(&self, limits: &Limits) -> Result<Frontier, PlanError> {
        let rules = rules(limits);
        let Answer { solver, labels, bound, fastest } = self.answer(limits, limits, &rules)?;
        let mut plans: Vec<Plan> = labels.iter().map(|l| Replay::plan(&self.tree, &solver.trace, l.trace)).collect();
        if plans.is_empty() {
            if limits.max_error.is_some_and(|e| fastest.error > e) {
                plans.push(self.plan(limits)?);
            } else {
                plans.push(fastest);
            }
        }
        Ok(Frontier { plans, bound })
    }

    /// The fastest plan with the given candidates, which are named by their place per activation in order of execution.
    ///
    /// # Errors
    /// When a place does not exist or levels run out.
    pub fn with_candidates(&self, picks: &[usize]) -> Result<Plan, PlanError> {
        let rules = Rules { candidate: self.picks(picks)?, ..Rules::default() };
        self.fastest(&rules).ok_or_else(|| self.unreachable())
    }

    /// Candidates by place, checked.
    pub(super) fn picks(&self, picks: &[usize]) -> Result<BTreeMap<usize, usize>, PlanError> {
        let numbers = self.tree.activations();
        if numbers.len() != picks.len() {
            let what = format!("{} candidates chosen for {} activations", picks.len(), numbers.len());
            return Err(super::tree::invalid(&self.tree.network.name, what));
        }
        for (&number, &pick) in numbers.iter().zip(picks) {
            let node = &self.tree.stages[number];
            if let StageKind::Activation { candidates, .. } = &node.kind
                && pick >= candidates.len()
            {
                return Err(PlanError::Candidate { activation: node.name.into(), what: format!("number {pick}") });
            }
        }
        Ok(numbers.into_iter().zip(picks.iter().copied()).collect())
    }

    /// The fastest plan by the rules.
    pub(super) fn fastest(&self, rules: &Rules) -> Option<Plan> {
        self.least(rules, SearchMode::Weighted { rate: 0.0 })
    }

    fn least(&self, rules: &Rules, mode: SearchMode) -> Option<Plan> {
        let mut solver = Solver::new(&self.tree, rules, mode);
        let label = *solver.solve(&[]).first()?;
        Some(Replay::plan(&self.tree, &solver.trace, label.trace))
    }

    /// Only restrictions of candidates can make a network whose levels suffice unplannable.
    fn unreachable(&self) -> PlanError {
        let asked = "the admitted candidates".into();
        PlanError::Limits { asked, nearest: format!("with them levels run out in `{}`", self.tree.network.name) }
    }

    /// The front within the limits of `search`, thinned where sets grow beyond the effort. `limits` are checked one by one.
    fn answer<'s>(&'s self, limits: &Limits, search: &Limits, rules: &'s Rules) -> Result<Answer<'s>, PlanError> {
        let fastest = self.fastest(rules).ok_or_else(|| self.unreachable())?;
        let best = self.least(rules, SearchMode::Error).ok_or_else(|| self.unreachable())?;
        if let Some(t) = limits.max_latency_us.filter(|t| fastest.latency_us > t * (1.0 + ROUNDING)) {
            let nearest = format!("the fastest plan takes {:.0} µs", fastest.latency_us);
            return Err(PlanError::Limits { asked: format!("latency {t:.0} µs"), nearest });
        }
        if let Some(e) = limits.max_error.filter(|e| best.error > e * (1.0 + ROUNDING)) {
            let nearest = format!("the most accurate plan has error {:.3e}", best.error);
            return Err(PlanError::Limits { asked: format!("error {e:.3e}"), nearest });
        }
        // Plans slower than the most accurate one are of no use.
        let time = search.max_latency_us.unwrap_or(f64::INFINITY).min(best.latency_us);
        let mut solver = Solver::new(&self.tree, rules, SearchMode::Pareto);
        let products = self.tree.products(&self.tree.root).max(1) as f64;
        solver.cell = self.effort.epsilon * fastest.latency_us / products;
        solver.exact_up_to = self.effort.exact_up_to;
        let gates = gates(&mut solver, (time, search.max_error.unwrap_or(f64::INFINITY)), &[]);
        let labels = solver.solve(&gates);
        let bound = if solver.thinned { 1.0 + self.effort.epsilon } else { 1.0 };
        Ok(Answer { solver, labels, bound, fastest })
    }
}

fn rules(limits: &Limits) -> Rules {
    Rules { max_candidate_error: limits.max_candidate_error, ..Rules::default() }
}

/// Rates of exchange, microseconds per unit of error, around `error`: slopes of the front's convex hull.
fn rates(labels: &Labels, error: f64) -> Vec<f64> {
    let slope = |a: &PartialPlan, b: &PartialPlan| (b.us - a.us) / (a.error - b.error);
    let mut hull: Vec<PartialPlan> = Vec::new();
    for l in labels {
        while let [.., a, b] = hull[..]
            && slope(&a, &b) >= slope(&b, l)
        {
            hull.pop();
        }
        hull.push(*l);
    }
    let slopes: Vec<f64> = hull.windows(2).map(|w| slope(&w[0], &w[1])).collect();
    let at = hull.iter().position(|l| l.error <= error).unwrap_or(hull.len());
    let near = at.saturating_sub(3)..slopes.len().min(at + 2);
    slopes.get(near).unwrap_or_default().iter().copied().filter(|r| r.is_finite() && *r > 0.0).collect()
}

fn gates(solver: &mut Solver<'_>, (time, error): (f64, f64), rates: &[f64]) -> Vec<Gate> {
    let mut gates = Vec::new();
    if time.is_finite() {
        gates.push(Gate { timed: true, rate: 0.0, limit: time, to_go: solver.rest(true, 0.0) });
    }
    if error.is_finite() {
        gates.push(Gate { timed: false, rate: 1.0, limit: error, to_go: solver.rest(false, 1.0) });
    }
    for &rate in rates {
        gates.push(Gate { timed: true, rate, limit: time + rate * error, to_go: solver.rest(true, rate) });
    }
    gates
}
