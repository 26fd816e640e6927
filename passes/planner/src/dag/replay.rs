//! From choices to a [`Plan`]: levels and times come from the network alone, not from the search.

use super::super::plan::{ActivationPlan, BootstrapPlan, Plan, StepPlan};
use super::super::tree::Place;
use super::{Choice, Dag, NodeRun, NodeWork, Way};

/// The plan that computes every value as `choices` say, by its place; `None` where levels run out.
pub(super) fn plan(dag: &Dag, choices: &[Choice]) -> Option<Plan> {
    let mut needs = dag.needed();
    let mut runs: Vec<Option<NodeRun>> = (0..dag.nodes.len()).map(|_| None).collect();
    for (i, node) in dag.nodes.iter().enumerate().rev() {
        let run = dag.run(i, choices[i], needs[i]?)?;
        let above = node.ways().get(choices[i].way).map_or(&[][..], |way| &way.above);
        for (&operand, above) in node.operands.iter().zip(above) {
            needs[operand] = needs[operand].max(Some(run.after + above));
        }
        runs[i] = Some(run);
    }
    let mut plan = Plan { output_level: dag.output_level, ..Plan::empty() };
    for (i, run) in runs.into_iter().enumerate() {
        add(&mut plan, dag, i, choices[i], &run?);
    }
    let times = plan.steps.iter().map(|s| s.us).chain(plan.bootstraps.iter().map(|b| b.us));
    plan.latency_us = times.sum();
    plan.error = plan.activations.iter().map(|a| a.error).sum();
    Some(plan)
}

/// Adds how value `number` is computed to `plan`, which holds how earlier ones are.
fn add(plan: &mut Plan, dag: &Dag, number: usize, choice: Choice, run: &NodeRun) {
    let node = &dag.nodes[number];
    let (start, after) = (run.start, run.after);
    match &node.work {
        NodeWork::Input => plan.input_level = plan.input_level.max(start),
        NodeWork::Step(ways) | NodeWork::Activation(ways) => {
            let Way { id, error, max_error, .. } = &ways[choice.way];
            if node.is_activation() {
                plan.max_error = plan.max_error.max(*max_error);
                plan.activations.push(ActivationPlan {
                    activation: node.name.clone(),
                    candidate: id.clone(),
                    index: choice.way,
                    level: start,
                    after,
                    error: *error,
                    key: node.key,
                    number,
                });
            }
            let (stage, variant) = (node.name.clone(), id.clone());
            plan.steps.push(StepPlan { stage, variant, arrives: start, level: start, after, us: run.us, number });
        }
    }
    if let Some(to) = run.restored {
        plan.bootstraps.push(BootstrapPlan {
            place: place(dag, number),
            point: number,
            width: node.point.width,
            from: after,
            to,
            us: run.bootstrap_us,
            key: node.point.key,
        });
    }
}

/// Before the first activation that reads the value, or else whatever reads it first.
fn place(dag: &Dag, number: usize) -> Place {
    let mut readers = dag.nodes.iter().filter(|node| node.operands.contains(&number));
    let first = readers.clone().find(|node| node.is_activation()).or_else(|| readers.next());
    first.map_or(Place::Output, |node| Place::Before(node.name.clone()))
}
