//! Pareto sets of (time, error) along the paths through the states of a network.

use super::super::error::PlanError;
use super::super::front::{Front, Pair, PartialPlan, Raw, sweep, thin};
use super::super::plan::Plan;
use super::super::questions::{Bounds, Search};
use super::super::solve::{GATHERED, SLACK};
use super::states::{Cut, StateGraph};
use super::{Choice, replay};

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

    fn note(&mut self, before: u32, choice: Choice) -> u32 {
        self.trace.push(Step { before, choice });
        (self.trace.len() - 1) as u32
    }

    /// The labels at the states to which the decisions of a cut lead.
    fn advance(&mut self, number: usize, fronts: &[Front], bounds: &Bounds<'_>, gates: &[Gate]) -> (Vec<Front>, bool) {
        let incoming = incoming(&self.graph, number, fronts);
        // Sets grow where errors are added; elsewhere they only meet, and are thinned when they grow the next time.
        let grows = self.graph.grows(&self.graph.cuts[number]);
        let mut any = false;
        let mut next = Vec::with_capacity(incoming.len());
        for (state, edges) in incoming.iter().enumerate() {
            let pairs: Vec<Pair<'_>> =
                edges.iter().map(|e| (&fronts[e.from][..], std::slice::from_ref(&e.label), 0.0)).collect();
            let count: usize = pairs.iter().map(|(a, _, _)| a.len()).sum();
            let gathered = grows && count > bounds.exact_up_to.saturating_mul(GATHERED);
            let admit = |us: f64, error: f64| gates.iter().all(|gate| gate.admits(number + 1, state, us, error));
            let (mut raw, thinned) = sweep(&pairs, if gathered { bounds.cell } else { 0.0 }, admit);
            any |= thinned;
            if grows && bounds.cell > 0.0 && !thinned && raw.len() > bounds.exact_up_to {
                raw = thin(&raw, bounds.cell);
                any = true;
            }
            let front = raw.into_iter().map(|Raw { us, error, list, a, .. }| {
                let trace = self.note(a, edges[list as usize].choice);
                PartialPlan { us, error, trace }
            });
            next.push(front.collect());
        }
        (next, any)
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
    fn thinnings(&self) -> usize {
        self.graph.cuts.iter().filter(|cut| self.graph.grows(cut)).count()
    }
    fn labels(&mut self, bounds: &Bounds<'_>) -> (Front, bool) {
        let gates = self.gates(bounds.corner, bounds.rates);
        self.trace.clear();
        let trace = self.note(0, Choice::default());
        let mut fronts = vec![vec![PartialPlan { us: 0.0, error: 0.0, trace }]];
        let mut thinned = false;
        for number in 0..self.graph.cuts.len() {
            let (next, any) = self.advance(number, &fronts, bounds, &gates);
            (fronts, thinned) = (next, thinned | any);
        }
        (fronts.into_iter().next().unwrap_or_default(), thinned)
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
