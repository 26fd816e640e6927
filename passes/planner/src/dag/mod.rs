//! Networks of any shape: values, what computes them from which others, and where they may be bootstrapped.
//!
//! A [`Dag`] is planned as the lowering will run it. Every value has the least level at which all that read it still
//! reach the results; a bootstrap refreshes a value for all that read it; levels are dropped at no cost. So a plan is
//! the way in which every value is computed and the set of those that are refreshed, and levels follow from these
//! backwards from the results.

mod explain;
mod greedy;
mod labels;
mod planner;
mod replay;
mod states;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::network::{Micros, Permission, Point, Targets};
use super::tree::{MAX_LEVEL, MAX_STAGES, invalid};

pub use planner::DagPlanner;

/// What is to be planned, of any shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dag {
    /// For messages.
    pub name: String,
    /// The highest level of the program, L.
    pub max_level: u32,
    /// The highest level at which inputs may be encrypted.
    pub input_level: u32,
    /// The level that the results must keep.
    pub output_level: u32,
    /// The level of a value that is to be bootstrapped, besides the levels of its own [`DagNode::map_levels`].
    pub bootstrap_from: u32,
    /// The levels to which bootstraps restore.
    pub targets: Targets,
    /// Kinds of bootstrap (numbers of slots, for instance): microseconds per ciphertext, by the level restored.
    pub bootstraps: Vec<Micros>,
    /// The values, each after those that it is computed from.
    pub nodes: Vec<DagNode>,
    /// The values that are the results, by their place.
    pub results: Vec<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DagNode {
    /// For reports.
    pub name: String,
    /// What the caller knows it by; the planner only hands it on.
    #[serde(default)]
    pub key: usize,
    /// Its ciphertexts, and whether they may be bootstrapped, for all that read them.
    pub point: Point,
    /// Levels that the map into the range of bootstraps takes, where it is bootstrapped.
    #[serde(default)]
    pub map_levels: u32,
    /// The values that it is computed from, by their place.
    pub operands: Vec<usize>,
    /// How it is computed.
    pub work: NodeWork,
}

/// How a value is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeWork {
    /// Not at all: it is an input.
    Input,
    /// Linear layers, and products of values, in one of these ways.
    Step(Vec<Way>),
    /// A function to be approximated, in one of these ways.
    Activation(Vec<Way>),
}

/// One way of computing a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// For reports.
    pub id: String,
    /// Levels by which each operand must lie above the value, in the order of [`DagNode::operands`].
    pub above: Vec<u32>,
    /// Time, by the level at which it starts: that of the highest operand.
    pub us: Micros,
    /// What it adds to the surrogate of the lost accuracy.
    pub error: f64,
    /// Largest error on the calibrated interval.
    pub max_error: f64,
}

impl Way {
    /// A way without errors that takes `levels` levels below every one of `operands` operands.
    pub fn exact(id: impl Into<String>, levels: u32, operands: usize, us: Micros) -> Self {
        Way { id: id.into(), above: vec![levels; operands], us, error: 0.0, max_error: 0.0 }
    }

    /// Levels that it consumes.
    pub fn levels(&self) -> u32 {
        self.above.iter().copied().max().unwrap_or(0)
    }

    /// The way with errors.
    #[must_use]
    pub fn with_errors(self, error: f64, max_error: f64) -> Self {
        Way { error, max_error, ..self }
    }
}

/// Which way a value is computed, and whether it is refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Choice {
    way: usize,
    refreshed: bool,
}

/// What a [`Choice`] comes to where a value is needed at some level.
struct NodeRun {
    /// The level at which it starts.
    start: u32,
    /// The level that the way leaves.
    after: u32,
    /// The level that a bootstrap restores.
    restored: Option<u32>,
    /// Microseconds of the way.
    us: f64,
    /// Microseconds of the bootstrap.
    bootstrap_us: f64,
}

impl DagNode {
    /// The ways of computing it; none of an input.
    fn ways(&self) -> &[Way] {
        match &self.work {
            NodeWork::Input => &[],
            NodeWork::Step(ways) | NodeWork::Activation(ways) => ways,
        }
    }

    fn is_activation(&self) -> bool {
        matches!(self.work, NodeWork::Activation(_))
    }

    /// Whether the value may be refreshed, and whether it may be left.
    fn refreshing(&self) -> &'static [bool] {
        match self.point.site {
            Permission::Never => &[false],
            Permission::May(_) => &[false, true],
            Permission::Must(_) => &[true],
        }
    }
}

impl Dag {
    /// The same network with its bootstraps fixed, as [`Network::bootstrap_every_activation`](super::Network): of every
    /// value that an activation reads, but not before the first activation and not between the polynomials of a
    /// composite.
    pub fn bootstrap_every_activation(&self) -> Dag {
        let mut out = self.clone();
        let first = self.nodes.iter().find(|node| node.is_activation());
        let first: &[usize] = first.map_or(&[], |node| &node.operands);
        let read: BTreeSet<usize> =
            self.nodes.iter().filter(|node| node.is_activation()).flat_map(|node| node.operands.clone()).collect();
        for (i, node) in out.nodes.iter_mut().enumerate() {
            let before = read.contains(&i) && !first.contains(&i) && !node.is_activation();
            node.point.site = match node.point.site {
                Permission::May(kind) | Permission::Must(kind) if before => Permission::Must(kind),
                _ => Permission::Never,
            };
        }
        out
    }

    /// The same network without bootstraps.
    pub fn leveled(&self) -> Dag {
        let mut out = self.clone();
        out.nodes.iter_mut().for_each(|node| node.point.site = Permission::Never);
        out
    }

    /// The same network with one modulus chain: every bootstrap restores L.
    pub fn single_chain(&self) -> Dag {
        Dag { targets: Targets::Top, ..self.clone() }
    }

    /// The level that the value must have to be bootstrapped.
    fn bootstrap_from(&self, node: usize) -> u32 {
        self.bootstrap_from + self.nodes[node].map_levels
    }

    /// The values that are needed at some level, with that level, before any reader is looked at: the results.
    fn needed(&self) -> Vec<Option<u32>> {
        let mut needs = vec![None; self.nodes.len()];
        self.results.iter().for_each(|&r| needs[r] = Some(self.output_level));
        needs
    }

    /// What the choice comes to for a value that is needed at level `need`; `None` where there are not so many levels.
    fn run(&self, node: usize, choice: Choice, need: u32) -> Option<NodeRun> {
        let DagNode { point, work, .. } = &self.nodes[node];
        let restored = choice.refreshed.then(|| match self.targets {
            Targets::Any => need.max(1),
            Targets::Top => self.max_level,
        });
        let after = if choice.refreshed { self.bootstrap_from(node) } else { need };
        let bootstrap_us = match (restored, point.site) {
            (Some(to), Permission::May(kind) | Permission::Must(kind)) => {
                self.bootstraps[kind][to as usize] * f64::from(point.width)
            }
            _ => 0.0,
        };
        let (start, us) = match work {
            NodeWork::Input => (after, 0.0),
            NodeWork::Step(ways) | NodeWork::Activation(ways) => {
                let way = &ways[choice.way];
                let start = after + way.levels();
                (start, way.us.get(start as usize).copied()?)
            }
        };
        let most = if matches!(work, NodeWork::Input) { self.input_level } else { self.max_level };
        (start <= most && need <= self.max_level).then_some(NodeRun { start, after, restored, us, bootstrap_us })
    }

    /// Checks what the description promises.
    fn check(&self) -> Result<(), PlanError> {
        let name = self.name.as_str();
        if self.max_level > MAX_LEVEL {
            return Err(invalid(name, format!("{} levels; at most {MAX_LEVEL} can be planned", self.max_level)));
        }
        if self.nodes.len() > MAX_STAGES {
            return Err(invalid(name, format!("more than {MAX_STAGES} values")));
        }
        if self.input_level.max(self.output_level).max(self.bootstrap_from) > self.max_level {
            let l = self.max_level;
            return Err(invalid(name, format!("a level of its inputs, results or bootstraps is above L = {l}")));
        }
        self.bootstraps.iter().try_for_each(|us| self.table(name, "a bootstrap", us))?;
        let mut read = vec![false; self.nodes.len()];
        for &r in &self.results {
            *read.get_mut(r).ok_or_else(|| invalid(name, format!("result {r} is no value")))? = true;
        }
        for (i, node) in self.nodes.iter().enumerate() {
            self.check_node(i, node)?;
            node.operands.iter().for_each(|&o| read[o] = true);
        }
        match read.iter().position(|read| !read) {
            Some(i) => Err(invalid(&self.nodes[i].name, "nothing reads it, and it is no result".into())),
            None => Ok(()),
        }
    }

    fn check_node(&self, number: usize, node: &DagNode) -> Result<(), PlanError> {
        let name = node.name.as_str();
        if node.point.width == 0 {
            return Err(invalid(name, "no ciphertext".into()));
        }
        if let Permission::May(kind) | Permission::Must(kind) = node.point.site
            && kind >= self.bootstraps.len()
        {
            let kinds = self.bootstraps.len();
            return Err(invalid(name, format!("bootstrap of kind {kind}; there are {kinds} kinds")));
        }
        if node.map_levels > MAX_LEVEL {
            return Err(invalid(name, format!("a map of {} levels into the range of bootstraps", node.map_levels)));
        }
        if node.operands.iter().any(|&o| o >= number) {
            return Err(invalid(name, "it is computed from a value that comes after it".into()));
        }
        if matches!(node.work, NodeWork::Input) != node.operands.is_empty() {
            return Err(invalid(name, "inputs, and they alone, are computed from nothing".into()));
        }
        if node.ways().is_empty() && node.work != NodeWork::Input {
            return Err(invalid(name, "no way of computing it".into()));
        }
        for way in node.ways() {
            self.table(name, &way.id, &way.us)?;
            if way.above.len() != node.operands.len() || way.levels() > MAX_LEVEL {
                let (id, above, operands) = (&way.id, &way.above, node.operands.len());
                return Err(invalid(name, format!("`{id}` takes {above:?} levels of {operands} operands")));
            }
            if [way.error, way.max_error].iter().any(|e| !(e.is_finite() && *e >= 0.0)) {
                let what = format!("candidate `{}` has errors {} and {}", way.id, way.error, way.max_error);
                return Err(invalid(name, what));
            }
        }
        let ids: BTreeSet<&str> = node.ways().iter().map(|way| way.id.as_str()).collect();
        if ids.len() < node.ways().len() {
            return Err(invalid(name, "two candidates have the same id".into()));
        }
        Ok(())
    }

    fn table(&self, at: &str, what: &str, us: &[f64]) -> Result<(), PlanError> {
        super::tree::check_times(at, what, us, self.max_level)
    }

    /// Checks that levels suffice in some plan. Higher levels admit whatever lower ones do, so the highest that every
    /// value can have decides.
    fn check_levels(&self) -> Result<(), PlanError> {
        let mut highest: Vec<u32> = Vec::with_capacity(self.nodes.len());
        for (number, node) in self.nodes.iter().enumerate() {
            let (level, needs) = (self.highest(node, &highest)?, self.bootstrap_from(number));
            if matches!(node.point.site, Permission::Must(_)) && level < needs {
                return Err(PlanError::Starved { stage: node.name.clone(), needs, level });
            }
            let opened = node.point.site != Permission::Never && level >= needs;
            highest.push(if opened { self.max_level } else { level });
        }
        match self.results.iter().find(|&&r| highest[r] < self.output_level) {
            Some(&r) => {
                let stage = format!("{}: output", self.nodes[r].name);
                Err(PlanError::Starved { stage, needs: self.output_level, level: highest[r] })
            }
            None => Ok(()),
        }
    }

    /// The highest level that a value can have, given those of earlier ones.
    fn highest(&self, node: &DagNode, highest: &[u32]) -> Result<u32, PlanError> {
        if node.work == NodeWork::Input {
            return Ok(self.input_level);
        }
        let mut best: Option<u32> = None;
        // What lacks the fewest levels is what a message names.
        let mut nearest: Option<(u32, u32)> = None;
        for way in node.ways() {
            let pairs = || node.operands.iter().zip(&way.above).map(|(&o, &above)| (above, highest[o]));
            if let Some(lacking) = pairs().filter(|(needs, level)| needs > level).max_by_key(|(n, l)| n - l) {
                if nearest.is_none_or(|(needs, level)| lacking.0 - lacking.1 < needs - level) {
                    nearest = Some(lacking);
                }
            } else {
                best = best.max(pairs().map(|(above, level)| level - above).min());
            }
        }
        let (needs, level) = nearest.unwrap_or((0, 0));
        best.ok_or_else(|| PlanError::Starved { stage: node.name.clone(), needs, level })
    }
}
