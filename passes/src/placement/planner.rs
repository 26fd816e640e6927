//! Questions to the planner: the best plan within limits, and the whole front.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::PlanError;
use super::front::Front as Labels;
use super::network::Network;
use super::plan::{Plan, Replay};
use super::solve::{Gate, Mode, Rules, Solver};
use super::tree::{Kind, Tree};

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
    /// Sets of partial plans up to this size are kept whole; where none is larger, the front is exact whatever `epsilon`.
    pub exact_up_to: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { epsilon: 0.01, exact_up_to: 1024 }
    }
}

/// Plans none of which is better in both time and error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frontier {
    /// By rising time, falling error.
    pub plans: Vec<Plan>,
    /// For every plan within the limits there is one here of no more error and at most this much of its time; 1 when exact.
    pub bound: f64,
}

/// The exact planner of one network.
pub struct Planner<'a> {
    pub(super) tree: Tree<'a>,
    effort: Effort,
}

/// Best plans found so far, and how far from the optimum they may be.
struct Answer<'a> {
    solver: Solver<'a>,
    labels: Labels,
    bound: f64,
}

impl<'a> Planner<'a> {
    /// A planner for `network`.
    ///
    /// # Errors
    /// When the description contradicts itself, or levels run out in every plan; the message names the stage.
    pub fn new(network: &'a Network, effort: Effort) -> Result<Self, PlanError> {
        let tree = Tree::new(network)?;
        if !(effort.epsilon.is_finite() && effort.epsilon >= 0.0) {
            return Err(super::tree::invalid(&network.name, format!("epsilon is {}", effort.epsilon)));
        }
        tree.check_levels()?;
        Ok(Planner { tree, effort })
    }

    /// The least time within the limits; with a limit of time and none of error, the least error.
    /// Without limits, the least error, and of the plans that have it the fastest.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them; it names the nearest figure.
    pub fn plan(&self, limits: &Limits) -> Result<Plan, PlanError> {
        let rules = self.rules(limits);
        self.check(limits, &rules)?;
        let fastest = limits.max_error.is_some();
        let mut answer = self.answer(limits, &rules);
        let pick = |labels: &Labels| if fastest { labels.first().copied() } else { labels.last().copied() };
        if answer.bound > 1.0
            && let Some(known) = pick(&answer.labels)
        {
            // What is found bounds what is worth looking at; multipliers of the time-error exchange near it cut the rest.
            let time = if fastest { known.us } else { limits.max_latency_us.unwrap_or(known.us) };
            let error = if fastest { limits.max_error.unwrap_or(known.error) } else { known.error };
            let rates = self.rates(&rules, (time, error));
            answer = self.boxed(&rules, (time, error), &rates);
        }
        let label = pick(&answer.labels).ok_or_else(|| self.unreachable())?;
        Ok(Replay::plan(&self.tree, &answer.solver.trace, label.trace))
    }

    /// The Pareto front within the limits.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them.
    pub fn front(&self, limits: &Limits) -> Result<Frontier, PlanError> {
        let rules = self.rules(limits);
        self.check(limits, &rules)?;
        let answer = self.answer(limits, &rules);
        let plan = |trace| Replay::plan(&self.tree, &answer.solver.trace, trace);
        Ok(Frontier { plans: answer.labels.iter().map(|l| plan(l.trace)).collect(), bound: answer.bound })
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
            if let Kind::Activation { candidates } = &node.kind
                && pick >= candidates.len()
            {
                return Err(PlanError::Candidate { activation: node.name.into(), what: format!("number {pick}") });
            }
        }
        Ok(numbers.into_iter().zip(picks.iter().copied()).collect())
    }

    /// The fastest plan by the rules.
    pub(super) fn fastest(&self, rules: &Rules) -> Option<Plan> {
        self.least(rules, Mode::Weighted { rate: 0.0 })
    }

    fn least(&self, rules: &Rules, mode: Mode) -> Option<Plan> {
        let mut solver = Solver::new(&self.tree, rules, mode);
        let label = *solver.solve(&[]).first()?;
        Some(Replay::plan(&self.tree, &solver.trace, label.trace))
    }

    fn rules(&self, limits: &Limits) -> Rules {
        Rules { max_candidate_error: limits.max_candidate_error, ..Rules::default() }
    }

    /// Only restrictions of candidates can make a network whose levels suffice unplannable.
    fn unreachable(&self) -> PlanError {
        let asked = "the admitted candidates".into();
        PlanError::Limits { asked, nearest: format!("with them levels run out in `{}`", self.tree.network.name) }
    }

    fn check(&self, limits: &Limits, rules: &Rules) -> Result<(), PlanError> {
        let fastest = self.fastest(rules).ok_or_else(|| self.unreachable())?;
        let best = self.least(rules, Mode::Error).ok_or_else(|| self.unreachable())?;
        let refuse = |asked: String, nearest: String| Err(PlanError::Limits { asked, nearest });
        match (limits.max_latency_us, limits.max_error) {
            (Some(t), _) if fastest.latency_us > t => {
                refuse(format!("latency {t:.0} µs"), format!("the fastest plan takes {:.0} µs", fastest.latency_us))
            }
            (_, Some(e)) if best.error > e * (1.0 + 1e-12) => {
                refuse(format!("error {e:.3e}"), format!("the most accurate plan has error {:.3e}", best.error))
            }
            (Some(t), Some(e)) => {
                let error_only = Limits { max_latency_us: None, ..*limits };
                let within = self.plan(&error_only)?;
                if within.latency_us <= t * (1.0 + 1e-12) {
                    return Ok(());
                }
                let nearest = format!("that error takes {:.0} µs", within.latency_us);
                refuse(format!("latency {t:.0} µs and error {e:.3e}"), nearest)
            }
            _ => Ok(()),
        }
    }

    /// The front within the limits, thinned where sets grow beyond the effort.
    fn answer<'s>(&'s self, limits: &Limits, rules: &'s Rules) -> Answer<'s> {
        let low = self.fastest(rules).map_or(0.0, |p| p.latency_us);
        let high = self.least(rules, Mode::Error).map_or(f64::INFINITY, |p| p.latency_us);
        let time = limits.max_latency_us.unwrap_or(f64::INFINITY).min(high);
        let mut solver = Solver::new(&self.tree, rules, Mode::Pareto);
        let products = self.tree.products(&self.tree.root).max(1) as f64;
        solver.cell = self.effort.epsilon * low / products;
        solver.exact_up_to = self.effort.exact_up_to;
        let gates = gates(&mut solver, (time, limits.max_error.unwrap_or(f64::INFINITY)), &[]);
        let labels = solver.solve(&gates);
        let bound = if solver.thinned { 1.0 + self.effort.epsilon } else { 1.0 };
        Answer { solver, labels, bound }
    }

    /// All plans with at most the given time and error, exactly.
    fn boxed<'s>(&'s self, rules: &'s Rules, corner: (f64, f64), rates: &[f64]) -> Answer<'s> {
        let mut solver = Solver::new(&self.tree, rules, Mode::Pareto);
        let gates = gates(&mut solver, corner, rates);
        let labels = solver.solve(&gates);
        Answer { solver, labels, bound: 1.0 }
    }

    /// Rates of exchange, microseconds per unit of error, around the corner: the Lagrangian dual's maximiser and some
    /// on both sides of it.
    fn rates(&self, rules: &Rules, (_, error): (f64, f64)) -> Vec<f64> {
        let (mut low, mut high) = match (self.fastest(rules), self.least(rules, Mode::Error)) {
            (Some(a), Some(b)) => (a, b),
            _ => return Vec::new(),
        };
        let mut rates = Vec::new();
        for _ in 0..16 {
            let rate = (high.latency_us - low.latency_us) / (low.error - high.error);
            if !(rate.is_finite() && rate > 0.0) {
                break;
            }
            rates.push(rate);
            let Some(middle) = self.least(rules, Mode::Weighted { rate }) else { break };
            let value = |p: &Plan| p.latency_us + rate * p.error;
            if value(&middle) >= value(&low) * (1.0 - 1e-12) {
                break;
            }
            if middle.error > error { low = middle } else { high = middle }
        }
        let near: Vec<f64> = rates.iter().rev().take(3).copied().collect();
        let last = near.first().copied();
        near.into_iter().chain(last.into_iter().flat_map(|r| [r * 0.7, r * 1.4])).collect()
    }
}

fn gates(solver: &mut Solver<'_>, (time, error): (f64, f64), rates: &[f64]) -> Vec<Gate> {
    let mut gates = Vec::new();
    if time.is_finite() {
        gates.push(Gate { timed: true, rate: 0.0, limit: time, to_go: solver.to_go(true, 0.0) });
    }
    if error.is_finite() {
        gates.push(Gate { timed: false, rate: 1.0, limit: error, to_go: solver.to_go(false, 1.0) });
    }
    for &rate in rates {
        gates.push(Gate { timed: true, rate, limit: time + rate * error, to_go: solver.to_go(true, rate) });
    }
    gates
}
