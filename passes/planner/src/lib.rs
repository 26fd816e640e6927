//! Joint choice of polynomials, levels and bootstraps for a network (the centre of the planner).
//!
//! A [`Network`] is a series-parallel tree of stages with levels and measured times; an activation has candidates that
//! differ in depth, time and error. The [`Planner`] finds, exactly, the plans that no other plan beats in both time and
//! error: which candidate every activation gets, the level at which every stage runs, where to bootstrap and to which
//! level. State of the dynamic programme: the level; labels: (time, Σ A_i·E_i). A residual region becomes a matrix over
//! its fork and join levels, innermost first, as in Orion; activations are matrices too, so that bootstraps may lie
//! inside composite ones. OLA's knapsack and AutoFHE's level walk are special cases, kept as [`baseline`]s.
//!
//! A network of any shape is a [`Dag`]. Its [`DagPlanner`] decides value after value, backwards from the results; the
//! state is the level at which each of the values is needed that are read and not yet decided.

pub mod baseline;
mod dag;
mod error;
mod explain;
mod front;
mod network;
mod plan;
mod planner;
mod questions;
mod solve;
mod tree;

pub use dag::{Dag, DagNode, DagPlanner, NodeWork, Way};
pub use error::PlanError;
pub use explain::{Alternative, DecisionRow, PlacementExplanation};
pub use network::{
    Activation, Align, Candidate, Chain, Micros, Network, Permission, Point, Residual, Stage, Step, Targets, Variant,
};
pub use plan::{ActivationPlan, BootstrapPlan, DropPlan, JoinPlan, Plan, Side, StepPlan};
pub use planner::{Effort, Frontier, Limits, Planner};
pub use tree::Place;

#[cfg(test)]
mod tests;
