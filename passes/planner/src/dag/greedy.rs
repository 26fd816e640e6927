//! AutoFHE's walk on a network of any shape, for comparison.

use super::super::error::PlanError;
use super::super::network::Permission;
use super::super::plan::Plan;
use super::{Choice, DagPlanner, NodeWork, replay};

impl DagPlanner<'_> {
    /// The plan that takes the first way of everything and, in order of definition, bootstraps what an activation reads
    /// wherever it needs more levels than are left, to the level that the network's targets allow.
    ///
    /// # Errors
    /// When the walk runs out of levels.
    pub fn greedy(&self) -> Result<Plan, PlanError> {
        let dag = self.dag;
        let starved = |stage: &str, needs, level| PlanError::Starved { stage: stage.into(), needs, level };
        let mut choices = vec![Choice::default(); dag.nodes.len()];
        let mut levels: Vec<u32> = Vec::with_capacity(dag.nodes.len());
        for node in &dag.nodes {
            let mut after = if node.work == NodeWork::Input { dag.input_level } else { dag.max_level };
            let above = node.ways().first().map_or(&[][..], |way| &way.above);
            for (&operand, &above) in node.operands.iter().zip(above) {
                let open = dag.nodes[operand].point.site != Permission::Never && node.is_activation();
                if levels[operand] < above && open && levels[operand] >= dag.bootstrap_from(operand) {
                    choices[operand].refreshed = true;
                    levels[operand] = dag.max_level;
                }
                let left = levels[operand].checked_sub(above);
                after = after.min(left.ok_or_else(|| starved(&node.name, above, levels[operand]))?);
            }
            levels.push(after);
        }
        if let Some(&r) = dag.results.iter().find(|&&r| levels[r] < dag.output_level) {
            return Err(starved(&format!("{}: output", dag.nodes[r].name), dag.output_level, levels[r]));
        }
        replay::plan(dag, &choices).ok_or_else(|| starved(&dag.name, dag.max_level, dag.max_level))
    }
}
