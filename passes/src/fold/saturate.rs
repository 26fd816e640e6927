//! Saturation: rules are applied, from the operands upward, until they find nothing new or a bound is met.
//!
//! A round matches the patterns in what has changed since the last one, then takes classes by rising rank and applies
//! every rule; what a rule has changed, and what reads it, is taken again before anything above. A class is thus
//! complete when classes above read it, so that constants gather along a chain in one sweep, and work is done where
//! something changed. A round ends with the e-graph's congruence restored, which may start another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use egg::{EGraph, Id, Subst};
use serde::Serialize;

use super::graph::{ClassFacts, NnNode};
use super::rule::{CODE_DEPTH, Prepared};

type Graph = EGraph<NnNode, ClassFacts>;

/// What bounds a saturation. None is a time: the result must not depend on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub rounds: usize,
    pub nodes: usize,
    pub bytes: usize,
}

/// The bound that ended a saturation before the rules did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// As many rounds as are allowed.
    Rounds(usize),
    /// As many nodes as are allowed.
    Nodes(usize),
    /// As many bytes of computed constants as are allowed.
    Bytes(usize),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounds(rounds) => write!(f, "{rounds} rounds"),
            Self::Nodes(nodes) => write!(f, "{nodes} nodes"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes of constants"),
        }
    }
}

/// What the rules of one name cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCost {
    /// Nodes that a rule found something equal to.
    pub matches: usize,
    /// Equalities among them that were not known.
    pub applications: usize,
    /// Nodes added to the e-graph, constants among them.
    pub nodes: usize,
    /// Bytes of constants computed.
    pub bytes: usize,
}

/// What a saturation cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FoldCost {
    /// By the name of the rule; rules that matched nothing are left out.
    pub rules: BTreeMap<&'static str, RuleCost>,
    /// Rounds of matching.
    pub rounds: usize,
    /// Nodes of the e-graph.
    pub nodes: usize,
    /// Bytes of constants computed.
    pub bytes: usize,
    /// Nodes that the search for a cheaper term looked at.
    pub search: usize,
    /// The bound that was met, if any.
    pub bound: Option<Bound>,
}

impl fmt::Display for FoldCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:24} {:>9} {:>12} {:>9} {:>12}", "rule", "matches", "applications", "nodes", "bytes")?;
        for (name, RuleCost { matches, applications, nodes, bytes }) in &self.rules {
            writeln!(f, "{name:24} {matches:>9} {applications:>12} {nodes:>9} {bytes:>12}")?;
        }
        let Self { rounds, nodes, bytes, search, .. } = self;
        writeln!(f, "{rounds} rounds, {nodes} nodes, {bytes} bytes of constants computed, {search} nodes searched")
    }
}

/// Applies `rules` to a clean e-graph until they find nothing new or a limit is met; the e-graph is clean afterwards.
pub(super) fn saturate(egraph: &mut Graph, rules: &[Prepared], limits: Limits) -> FoldCost {
    let mut cost = FoldCost::default();
    let reach = rules.iter().map(Prepared::depth).max().unwrap_or(0);
    loop {
        let touched = std::mem::take(&mut egraph.analysis.touched);
        if touched.is_empty() || cost.bound.is_some() {
            break;
        }
        if cost.rounds == limits.rounds {
            cost.bound = Some(Bound::Rounds(limits.rounds));
            break;
        }
        cost.rounds += 1;
        let changed = with_readers(egraph, &touched, reach);
        cost.bound = Round::new(egraph, rules, &changed).run(egraph, limits, &mut cost);
        egraph.rebuild();
    }
    (cost.nodes, cost.bytes) = (egraph.total_number_of_nodes(), egraph.analysis.bytes);
    cost
}

/// One round of rewriting.
struct Round<'r> {
    rules: &'r [Prepared],
    /// Classes to be looked at, by rank.
    queue: BTreeSet<(u32, Id)>,
    /// Where patterns matched, by class and rule.
    found: BTreeMap<(Id, usize), Vec<Subst>>,
}

impl<'r> Round<'r> {
    /// Matches the patterns in `classes`, and queues these.
    fn new(egraph: &Graph, rules: &'r [Prepared], classes: &BTreeSet<Id>) -> Self {
        let mut round = Self { rules, queue: BTreeSet::new(), found: BTreeMap::new() };
        for &class in classes.iter().filter(|&&class| egraph[class].data.constant.is_none()) {
            round.queue.insert((egraph[class].data.rank, class));
            for (i, rule) in rules.iter().enumerate() {
                let found = rule.search(egraph, class);
                if !found.is_empty() {
                    round.found.insert((class, i), found);
                }
            }
        }
        round
    }

    /// Takes class after class; the bound that was met before the last one was.
    fn run(mut self, egraph: &mut Graph, limits: Limits, cost: &mut FoldCost) -> Option<Bound> {
        let mut seen = 0;
        while let Some((_, id)) = self.queue.pop_first() {
            for (i, rule) in self.rules.iter().enumerate() {
                let class = egraph.find(id);
                if egraph[class].data.constant.is_some() {
                    break;
                }
                let found = self.found.remove(&(id, i)).unwrap_or_default();
                let before = (egraph.total_size(), egraph.analysis.bytes);
                let applied = rule.apply(egraph, class, &found);
                if applied.matches > 0 {
                    let cost = cost.rules.entry(rule.name).or_default();
                    cost.matches += applied.matches;
                    cost.applications += applied.unions;
                    cost.nodes += egraph.total_size() - before.0;
                    cost.bytes += egraph.analysis.bytes - before.1;
                }
                if egraph.total_size() > limits.nodes {
                    return Some(Bound::Nodes(limits.nodes));
                }
                if egraph.analysis.bytes > limits.bytes {
                    return Some(Bound::Bytes(limits.bytes));
                }
            }
            for class in with_readers(egraph, &egraph.analysis.touched[seen..], CODE_DEPTH) {
                self.queue.insert((egraph[class].data.rank, class));
            }
            seen = egraph.analysis.touched.len();
        }
        None
    }
}

/// The classes `ids` are in, and those that have them within so many levels of nodes, theirs among them.
fn with_readers(egraph: &Graph, ids: &[Id], levels: usize) -> BTreeSet<Id> {
    let mut all: BTreeSet<Id> = ids.iter().map(|&id| egraph.find(id)).collect();
    let mut last: Vec<Id> = all.iter().copied().collect();
    for _ in 1..levels {
        let readers: BTreeSet<Id> =
            last.iter().flat_map(|&id| egraph[id].parents()).map(|id| egraph.find(id)).collect();
        last = readers.into_iter().filter(|&id| all.insert(id)).collect();
    }
    all
}
