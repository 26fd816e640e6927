//! Questions to the planner of networks of any shape.

use super::super::error::PlanError;
use super::super::plan::Plan;
use super::super::planner::{Effort, Frontier, Limits};
use super::super::questions::{self, Search};
use super::super::tree::invalid;
use super::Dag;
use super::labels::StateSearch;
use super::states::{DagRules, StateGraph};

/// The planner of one network of any shape, exact where few values wait at once ([`Effort::states`]).
pub struct DagPlanner<'a> {
    pub(super) dag: &'a Dag,
    pub(super) effort: Effort,
}

impl<'a> DagPlanner<'a> {
    /// A planner for `dag`.
    ///
    /// # Errors
    /// When the description contradicts itself, or levels run out in every plan; the message names the value.
    pub fn new(dag: &'a Dag, effort: Effort) -> Result<Self, PlanError> {
        dag.check()?;
        if !(effort.epsilon.is_finite() && effort.epsilon >= 0.0) {
            return Err(invalid(&dag.name, format!("epsilon is {}", effort.epsilon)));
        }
        dag.check_levels()?;
        Ok(Self { dag, effort })
    }

    fn search(&self, limits: &Limits) -> StateSearch<'a> {
        let rules = DagRules { max_candidate_error: limits.max_candidate_error, ..DagRules::default() };
        StateSearch::new(StateGraph::new(self.dag, &rules, self.effort.states, false))
    }

    /// The least time within the limits; with a limit of time and none of error, the least error. Without limits, the
    /// least error, and of the plans that have it the fastest. [`Plan::bound`] says how far from it the plan may be
    /// where states were left out.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them; it names the nearest figure.
    pub fn plan(&self, limits: &Limits) -> Result<Plan, PlanError> {
        self.search(limits).best(self.effort, limits)
    }

    /// The Pareto front within the limits.
    ///
    /// # Errors
    /// [`PlanError::Limits`] when no plan is within them.
    pub fn front(&self, limits: &Limits) -> Result<Frontier, PlanError> {
        questions::front(&mut self.search(limits), self.effort, limits)
    }
}
