//! Why a plan of a network of any shape decides as it does.

use super::super::explain::{Alternative, DecisionRow, PlacementExplanation};
use super::super::network::Permission;
use super::super::plan::Plan;
use super::DagPlanner;
use super::states::{Cut, DagRules, Edge, StateGraph};

/// The plans that keep all but one decision of a plan.
struct Compared<'a> {
    graph: StateGraph<'a>,
    /// The least time from the results to every state, and from there to the inputs, by the plan's own ways.
    before: Vec<Vec<f64>>,
    to_go: Vec<Vec<f64>>,
}

impl Compared<'_> {
    fn new(graph: StateGraph<'_>) -> Compared<'_> {
        let to_go = graph.to_go(0.0, f64::INFINITY, |(us, _), rest: f64| us + rest);
        let mut before: Vec<Vec<f64>> = to_go.iter().map(|states| vec![f64::INFINITY; states.len()]).collect();
        before[0].iter_mut().for_each(|us| *us = 0.0);
        for (number, cut) in graph.cuts.iter().enumerate() {
            for (state, edges) in cut.edges.iter().enumerate() {
                for edge in edges {
                    let Some((us, _)) = graph.cost(cut, state, edge.choice) else { continue };
                    let sum = before[number][state] + us;
                    let reached = &mut before[number + 1][edge.to];
                    *reached = reached.min(sum);
                }
            }
        }
        Compared { graph, before, to_go }
    }

    /// The time of the best plan that takes one of these decisions about a value and keeps its own ways otherwise.
    fn least(&self, node: usize, among: impl Fn(&Cut, usize) -> Vec<Edge>) -> Option<f64> {
        let number = self.graph.cuts.iter().position(|cut| cut.node == node)?;
        let cut = &self.graph.cuts[number];
        let mut least = f64::INFINITY;
        for (state, before) in self.before[number].iter().enumerate() {
            for edge in among(cut, state) {
                if let Some((us, _)) = self.graph.cost(cut, state, edge.choice) {
                    least = least.min(before + us + self.to_go[number + 1][edge.to]);
                }
            }
        }
        Some(least).filter(|us| us.is_finite())
    }
}

impl DagPlanner<'_> {
    /// Every decision of `plan`, which is one of this planner's: where the states are few enough, beside its
    /// alternatives.
    pub fn explain(&self, plan: &Plan) -> PlacementExplanation {
        let mut ways = vec![0; self.dag.nodes.len()];
        for step in &plan.steps {
            let of = self.dag.nodes[step.number].ways();
            ways[step.number] = of.iter().position(|way| way.id == step.variant).unwrap_or(0);
        }
        let rules = DagRules { ways: Some(ways), ..DagRules::default() };
        let graph = StateGraph::new(self.dag, &rules, self.effort.states, true);
        // Where states are left out, what the best alternative takes is not known.
        let compared = (graph.complete && graph.left_out.is_empty()).then(|| Compared::new(graph));
        let mut decisions: Vec<DecisionRow> = plan.doubt().into_iter().collect();
        for step in &plan.steps {
            let node = &self.dag.nodes[step.number];
            let of = node.ways();
            if !node.is_activation() && of.len() < 2 {
                continue;
            }
            let chosen = format!("`{}` from level {} to {}", step.variant, step.level, step.after);
            let kind = if node.is_activation() { "activation" } else { "step" };
            let error = of.iter().find(|way| way.id == step.variant).map_or(0.0, |way| way.error);
            let alternative = |compared: &Compared<'_>, number: usize| {
                let others = |cut: &Cut, state: usize| {
                    cut.others[state].iter().copied().filter(|edge| edge.choice.way == number).collect()
                };
                let us = compared.least(step.number, others).map(|us| us - plan.latency_us);
                Alternative { what: format!("`{}`", of[number].id), us, error: of[number].error - error }
            };
            let others = (0..of.len()).filter(|&number| of[number].id != step.variant);
            let alternatives =
                compared.iter().flat_map(|c| others.clone().map(|number| alternative(c, number))).collect();
            decisions.push(DecisionRow { what: format!("{kind} `{}`", node.name), chosen, alternatives });
        }
        for b in &plan.bootstraps {
            let chosen = format!("from level {} to {}, {:.0} µs", b.from, b.to, b.us);
            let fixed = matches!(self.dag.nodes[b.point].point.site, Permission::Must(_));
            let without = |compared: &Compared<'_>| {
                let plain = |cut: &Cut, state: usize| {
                    cut.edges[state].iter().copied().filter(|edge| !edge.choice.refreshed).collect()
                };
                let us = compared.least(b.point, plain).map(|us| us - plan.latency_us);
                Alternative { what: "no bootstrap here".into(), us, error: 0.0 }
            };
            let alternatives = compared.iter().filter(|_| !fixed).map(without).collect();
            decisions.push(DecisionRow { what: format!("bootstrap {}", b.place), chosen, alternatives });
        }
        PlacementExplanation { decisions }
    }
}
