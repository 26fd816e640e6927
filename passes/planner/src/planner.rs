//! Questions to the planner: the best plan within limits, and the whole front.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::PlanError;
use super::front::{Front as Labels, PartialPlan};
use super::network::Network;
use super::plan::{Plan, Replay};
use super::questions::{self, Bounds, Search, Thinning};
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
    /// Sets of partial plans up to this size are kept whole, products of sets up to 16 times it; where none is larger,
    /// the front is exact whatever `epsilon`.
    pub exact_up_to: usize,
    /// Of a network of any shape, so many states of the values still to be computed are kept at every cut. Plans that
    /// pass through others are left out, and the bound of what is found says what they could have gained.
    pub states: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { epsilon: 0.01, exact_up_to: 1024, states: 4096 }
    }
}

/// Plans none of which is better in both time and error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frontier {
    /// By rising time, falling error.
    pub plans: Vec<Plan>,
    /// For every plan within the limits there is one here of no more error and at most this much of its time, if that
    /// is within the limit of time too; 1 when exact.
    pub bound: f64,
}

/// The exact planner of one network.
pub struct Planner<'a> {
    pub(super) tree: StageTree<'a>,
    effort: Effort,
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
        questions::plan(&mut TreeSearch::new(self, &rules), self.effort, limits)
    }

    /// The Pareto front within the limits.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them.
    pub fn front(&self, limits: &Limits) -> Result<Frontier, PlanError> {
        let rules = rules(limits);
        questions::front(&mut TreeSearch::new(self, &rules), self.effort, limits)
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
}

/// The dynamic programme over the stages of a series-parallel network.
struct TreeSearch<'s> {
    planner: &'s Planner<'s>,
    rules: &'s Rules,
    solver: Solver<'s>,
}

impl<'s> TreeSearch<'s> {
    fn new(planner: &'s Planner<'s>, rules: &'s Rules) -> Self {
        Self { planner, rules, solver: Solver::new(&planner.tree, rules, SearchMode::Pareto) }
    }
}

impl Search for TreeSearch<'_> {
    fn fastest(&self) -> Option<Plan> {
        self.planner.fastest(self.rules)
    }
    fn most_accurate(&self) -> Option<Plan> {
        self.planner.least(self.rules, SearchMode::Error)
    }
    fn unreachable(&self) -> PlanError {
        self.planner.unreachable()
    }
    fn labels(&mut self, bounds: &Bounds<'_>) -> (Labels, f64) {
        // Matrices that were thinned are of no use where nothing is to be.
        if bounds.thinning.is_none() && self.solver.thinned_inside {
            self.solver = Solver::new(&self.planner.tree, self.rules, SearchMode::Pareto);
        }
        let solver = &mut self.solver;
        solver.thinned = false;
        solver.cell = 0.0;
        if let Some(Thinning { epsilon, fastest, exact_up_to }) = bounds.thinning {
            let products = self.planner.tree.products(&self.planner.tree.root).max(1) as f64;
            solver.cell = epsilon * fastest / products;
            solver.exact_up_to = exact_up_to;
        }
        let gates = gates(solver, bounds.corner, bounds.rates);
        let labels = solver.solve(&gates);
        let epsilon = bounds.thinning.map_or(0.0, |thinning| thinning.epsilon);
        (labels, if solver.thinned || solver.thinned_inside { 1.0 + epsilon } else { 1.0 })
    }
    fn best(&mut self, effort: Effort, limits: &Limits) -> Result<Plan, PlanError> {
        questions::plan(self, effort, limits)
    }
    fn replay(&self, label: PartialPlan) -> Plan {
        Replay::plan(&self.planner.tree, &self.solver.trace, label.trace)
    }
    fn left_out(&self) -> &[(f64, f64)] {
        &[]
    }
}

fn rules(limits: &Limits) -> Rules {
    Rules { max_candidate_error: limits.max_candidate_error, ..Rules::default() }
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
