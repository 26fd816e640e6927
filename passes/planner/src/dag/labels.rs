//! Pareto sets of (time, error) along the paths through the states of a network.

use super::super::error::PlanError;
use super::super::front::{Front, Pair, PartialPlan, Raw, sweep, thin};
use super::super::plan::Plan;
use super::super::planner::{Effort, Limits};
use super::super::questions::{self, Bounds, ROUNDING, Search};
use super::super::solve::{GATHERED, SLACK};
use super::states::{Cut, StateGraph};
use super::{Choice, replay};

/// Labels that one cut may have before the cells of time that thin them are widened in proportion.
const LABELS: f64 = (1u32 << 18) as f64;
/// Plans within this share of the line between two others lie on it, but for rounding.
const HULL: f64 = 1e-9;

/// A bound on the rest of the plan: labels with `us + rate·error + to_go > limit` lead nowhere. `us` counts only if
/// `timed`.
struct Gate {
    timed: bool,
    rate: f64,
    limit: f64,
    /// The least of `us + rate·error` from a state to the inputs, by cut and state.
    to_go: Vec<Vec<f64>>,
}

impl Gate {
    fn admits(&self, cut: usize, state: usize, us: f64, error: f64) -> bool {
        let sum = if self.timed { us + self.rate * error } else { self.rate * error };
        sum + self.to_go[cut][state] <= self.limit * (1.0 + SLACK)
    }
}

/// The last decision of a label.
struct Step {
    before: u32,
    choice: Choice,
}

/// The labels at the states of a network.
pub(super) struct StateSearch<'a> {
    graph: StateGraph<'a>,
    trace: Vec<Step>,
}

impl<'a> StateSearch<'a> {
    pub fn new(graph: StateGraph<'a>) -> Self {
        Self { graph, trace: Vec::new() }
    }

    fn gate(&self, timed: bool, rate: f64, limit: f64) -> Gate {
        let add = |(us, error): (f64, f64), rest: f64| rest + if timed { us + rate * error } else { rate * error };
        Gate { timed, rate, limit, to_go: self.graph.to_go(0.0, f64::INFINITY, add) }
    }

    fn gates(&self, (time, error): (f64, f64), rates: &[f64]) -> Vec<Gate> {
        let mut gates = Vec::new();
        if time.is_finite() {
            gates.push(self.gate(true, 0.0, time));
        }
        if error.is_finite() {
            gates.push(self.gate(false, 1.0, error));
        }
        gates.extend(rates.iter().map(|&rate| self.gate(true, rate, time + rate * error)));
        gates
    }

    /// The best plan within a limit that is least by time and some rate times error, and that rate. `outside` is not
    /// within the limit, `inside` is; both are least by some rate.
    fn nearest(&self, mut outside: Plan, mut inside: Plan, within: impl Fn(&Plan) -> bool) -> (Plan, f64) {
        loop {
            let rate = (inside.latency_us - outside.latency_us) / (outside.error - inside.error);
            if !(rate.is_finite() && rate > 0.0) {
                return (inside, 0.0);
            }
            let value = |plan: &Plan| plan.latency_us + rate * plan.error;
            let least = self.graph.least(|(us, error)| (us + rate * error, error));
            let Some(found) = least.and_then(|choices| replay::plan(self.graph.dag, &choices)) else {
                return (inside, rate);
            };
            // No plan lies below the line between the two.
            if value(&found) >= value(&inside).min(value(&outside)) * (1.0 - HULL) {
                return (inside, rate);
            }
            if within(&found) {
                inside = found;
            } else {
                outside = found;
            }
        }
    }

    fn note(&mut self, before: u32, choice: Choice) -> u32 {
        self.trace.push(Step { before, choice });
        (self.trace.len() - 1) as u32
    }

    /// The labels at the states to which the decisions of a cut lead, in cells of time of this width where a set is
    /// larger than `exact_up_to`; and the width of the cells used, which is larger where there are very many labels.
    fn advance(
        &mut self,
        number: usize,
        fronts: &[Front],
        (cell, exact_up_to): (f64, usize),
        gates: &[Gate],
    ) -> (Vec<Front>, f64) {
        let incoming = incoming(&self.graph, number, fronts);
        let all: usize = incoming.iter().flatten().map(|edge| fronts[edge.from].len()).sum();
        let cell = cell * (all as f64 / LABELS).max(1.0);
        // Sets grow where errors are added; elsewhere they only meet, and are thinned when they grow the next time.
        let grows = self.graph.grows(&self.graph.cuts[number]);
        let mut any = false;
        let mut next = Vec::with_capacity(incoming.len());
        for (state, edges) in incoming.iter().enumerate() {
            let pairs: Vec<Pair<'_>> =
                edges.iter().map(|e| (&fronts[e.from][..], std::slice::from_ref(&e.label), 0.0)).collect();
            let count: usize = pairs.iter().map(|(a, _, _)| a.len()).sum();
            let gathered = grows && count > exact_up_to.saturating_mul(GATHERED);
            let admit = |us: f64, error: f64| gates.iter().all(|gate| gate.admits(number + 1, state, us, error));
            let (mut raw, thinned) = sweep(&pairs, if gathered { cell } else { 0.0 }, admit);
            any |= thinned;
            if grows && cell > 0.0 && !thinned && raw.len() > exact_up_to {
                raw = thin(&raw, cell);
                any = true;
            }
            let front = raw.into_iter().map(|Raw { us, error, list, a, .. }| {
                let trace = self.note(a, edges[list as usize].choice);
                PartialPlan { us, error, trace }
            });
            next.push(front.collect());
        }
        (next, if any { cell } else { 0.0 })
    }
}

/// A decision that leads to a state.
struct Incoming {
    from: usize,
    choice: Choice,
    /// Its time and error.
    label: PartialPlan,
}

/// By state to which a cut leads, the decisions that lead there from states with labels.
fn incoming(graph: &StateGraph<'_>, number: usize, fronts: &[Front]) -> Vec<Vec<Incoming>> {
    let cut = &graph.cuts[number];
    let states = graph.cuts.get(number + 1).map_or(1, |next| next.needs.len());
    let mut incoming: Vec<Vec<Incoming>> = (0..states).map(|_| Vec::new()).collect();
    for (from, edges) in cut.edges.iter().enumerate().filter(|(from, _)| !fronts[*from].is_empty()) {
        for edge in edges {
            let Some((us, error)) = graph.cost(cut, from, edge.choice) else { continue };
            let label = PartialPlan { us, error, trace: 0 };
            incoming[edge.to].push(Incoming { from, choice: edge.choice, label });
        }
    }
    incoming
}

impl StateGraph<'_> {
    /// Whether decisions at a cut differ in their errors.
    fn grows(&self, cut: &Cut) -> bool {
        self.dag.nodes[cut.node].ways().len() > 1
    }
}

impl Search for StateSearch<'_> {
    fn fastest(&self) -> Option<Plan> {
        replay::plan(self.graph.dag, &self.graph.least(|cost| cost)?)
    }
    fn most_accurate(&self) -> Option<Plan> {
        replay::plan(self.graph.dag, &self.graph.least(|(us, error)| (error, us))?)
    }
    fn unreachable(&self) -> PlanError {
        let name = &self.graph.dag.name;
        let (asked, nearest) = if self.graph.left_out.is_empty() {
            ("the admitted candidates", format!("with them levels run out in `{name}`"))
        } else {
            ("the states that the effort allows", format!("in all that were kept levels run out in `{name}`"))
        };
        PlanError::Limits { asked: asked.into(), nearest }
    }
    fn labels(&mut self, bounds: &Bounds<'_>) -> (Front, f64) {
        let gates = self.gates(bounds.corner, bounds.rates);
        let thinnings = self.graph.cuts.iter().filter(|cut| self.graph.grows(cut)).count().max(1) as f64;
        let cells = bounds.thinning.map_or((0.0, usize::MAX), |thinning| {
            (thinning.epsilon * thinning.fastest / thinnings, thinning.exact_up_to)
        });
        self.trace.clear();
        let trace = self.note(0, Choice::default());
        let mut fronts = vec![vec![PartialPlan { us: 0.0, error: 0.0, trace }]];
        let mut lost = 0.0;
        for number in 0..self.graph.cuts.len() {
            let (next, cell) = self.advance(number, &fronts, cells, &gates);
            (fronts, lost) = (next, lost + cell);
        }
        let share = bounds.thinning.map_or(0.0, |thinning| if lost > 0.0 { lost / thinning.fastest } else { 0.0 });
        (fronts.into_iter().next().unwrap_or_default(), 1.0 + share)
    }
    fn best(&mut self, _: Effort, limits: &Limits) -> Result<Plan, PlanError> {
        let (fastest, best) = questions::ends(self, limits)?;
        let within = |plan: &Plan| match (limits.max_error, limits.max_latency_us) {
            (Some(error), _) => plan.error <= error * (1.0 + ROUNDING),
            (None, Some(time)) => plan.latency_us <= time * (1.0 + ROUNDING),
            (None, None) => true,
        };
        // What is asked to be least is least in one of the ends, which is the answer if it is within the limit of the
        // other.
        let (asked, other) = if limits.max_error.is_some() { (fastest, best) } else { (best, fastest) };
        if within(&asked) {
            return questions::judged(self, asked, limits);
        }
        let (known, rate) = self.nearest(asked, other, within);
        let corner = match (limits.max_error, limits.max_latency_us) {
            (Some(error), _) => (known.latency_us, error),
            (None, time) => (time.unwrap_or(known.latency_us), known.error),
        };
        let labels = self.labels(&Bounds { corner, rates: &[rate], thinning: None }).0;
        let pick = if limits.max_error.is_some() { labels.first() } else { labels.last() };
        let plan = pick.map_or(known, |&label| self.replay(label));
        questions::judged(self, plan, limits)
    }
    fn replay(&self, label: PartialPlan) -> Plan {
        let mut choices = vec![Choice::default(); self.graph.dag.nodes.len()];
        let mut at = label.trace;
        for cut in self.graph.cuts.iter().rev() {
            let step = &self.trace[at as usize];
            choices[cut.node] = step.choice;
            at = step.before;
        }
        // A path through the states has levels for every value.
        replay::plan(self.graph.dag, &choices).unwrap_or_else(Plan::empty)
    }
    fn left_out(&self) -> &[(f64, f64)] {
        &self.graph.left_out
    }
}
