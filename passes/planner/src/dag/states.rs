//! All plans of a network as paths through states.
//!
//! Values are decided one after the other, from the results to the inputs, each after all that read it. Between two
//! decisions, at a *cut*, all that matters of those made so far is the level at which every value is needed that has
//! been read and not yet decided: the state. A way of computing the next value, refreshed or not, leads to one state of
//! the next cut. So plans are paths through a layered graph, whose width depends on how many values wait at once, not
//! on how long the network is.
//!
//! Where a cut has more states than the effort allows, those whose plans may be the fastest and the most accurate are
//! kept. Of those left out it is noted what their plans take at least.

use std::collections::HashMap;

use super::{Choice, Dag, NodeRun};

/// What plans must do.
#[derive(Clone, Debug, Default)]
pub(super) struct DagRules {
    /// The way of every value.
    pub ways: Option<Vec<usize>>,
    /// The largest error of a way on its interval.
    pub max_candidate_error: Option<f64>,
}

/// A decision at a state, and the state that it leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub choice: Choice,
    pub to: usize,
}

/// The decisions about one value.
pub(super) struct Cut {
    /// The value.
    pub node: usize,
    /// Of every state, the level at which the value is needed.
    pub needs: Vec<u32>,
    /// Of every state, the decisions.
    pub edges: Vec<Vec<Edge>>,
    /// Of every state, decisions for other ways than the rules admit, which are looked at to compare.
    pub others: Vec<Vec<Edge>>,
}

/// The states of a network and the decisions between them. The first cut has one state; the last decisions lead to the
/// one state in which nothing is needed.
pub(super) struct StateGraph<'a> {
    pub dag: &'a Dag,
    pub cuts: Vec<Cut>,
    /// The least time and the least error of a plan through each state that was left out.
    pub left_out: Vec<(f64, f64)>,
    /// Whether some plan is left.
    pub complete: bool,
}

/// States of one cut under construction, with the least time and error of what leads to them.
#[derive(Default)]
struct States {
    /// For every value that waits, the level at which it is needed.
    needs: Vec<Box<[u8]>>,
    known: HashMap<Box<[u8]>, usize>,
    costs: Vec<(f64, f64)>,
    /// Whether the rules' own decisions lead there.
    main: Vec<bool>,
}

impl States {
    fn reach(&mut self, needs: Box<[u8]>, cost: (f64, f64), main: bool) -> usize {
        let at = *self.known.entry(needs).or_insert_with_key(|needs| {
            self.needs.push(needs.clone());
            self.costs.push((f64::INFINITY, f64::INFINITY));
            self.main.push(false);
            self.needs.len() - 1
        });
        let old = &mut self.costs[at];
        *old = (old.0.min(cost.0), old.1.min(cost.1));
        self.main[at] |= main;
        at
    }
}

/// The order in which values are decided: each after all that read it, and so that few wait at once.
fn order(dag: &Dag) -> Vec<usize> {
    let n = dag.nodes.len();
    let mut readers = vec![0usize; n];
    let distinct = |node: usize| {
        let mut operands = dag.nodes[node].operands.clone();
        operands.sort_unstable();
        operands.dedup();
        operands
    };
    (0..n).flat_map(distinct).for_each(|o| readers[o] += 1);
    let mut waiting: Vec<bool> = (0..n).map(|i| dag.results.contains(&i)).collect();
    let mut ready: Vec<usize> = (0..n).filter(|&i| readers[i] == 0).collect();
    let mut order = Vec::with_capacity(n);
    while let Some(at) = (0..ready.len()).min_by_key(|&at| {
        let new = distinct(ready[at]).into_iter().filter(|&o| !waiting[o]).count();
        (new, std::cmp::Reverse(ready[at]))
    }) {
        let node = ready.swap_remove(at);
        order.push(node);
        for operand in distinct(node) {
            waiting[operand] = true;
            readers[operand] -= 1;
            if readers[operand] == 0 {
                ready.push(operand);
            }
        }
    }
    order
}

/// Lower bounds on the time and error of what is still undecided.
struct ToCome {
    /// Of every value, by the level at which it is needed: the least time of the costliest path of values that leads to
    /// it.
    paths: Vec<Vec<f64>>,
    /// Of every cut: the least time and error of the values undecided there, each by itself.
    rest: Vec<(f64, f64)>,
}

impl ToCome {
    fn of(dag: &Dag, rules: &DagRules, order: &[usize]) -> Self {
        let levels = 0..=dag.max_level;
        let mut paths: Vec<Vec<f64>> = Vec::with_capacity(dag.nodes.len());
        let mut least = vec![(f64::INFINITY, f64::INFINITY); dag.nodes.len()];
        for (i, node) in dag.nodes.iter().enumerate() {
            let at = |need: u32| {
                let mut best = f64::INFINITY;
                for (choice, run) in choices(dag, rules, i).filter_map(|c| Some((c, dag.run(i, c, need)?))) {
                    let own = run.us + run.bootstrap_us;
                    let way = node.ways().get(choice.way);
                    let above = way.map_or(&[][..], |way| &way.above);
                    let operands = node.operands.iter().zip(above);
                    let below = operands.map(|(&o, above)| paths[o][(run.after + above) as usize]).fold(0.0, f64::max);
                    best = best.min(own + below);
                    let error = way.map_or(0.0, |way| way.error);
                    least[i] = (least[i].0.min(own), least[i].1.min(error));
                }
                best
            };
            let mut all: Vec<f64> = levels.clone().map(at).collect();
            // Other readers may need it at a higher level, at which a table of measured times may happen to say less.
            for need in (0..all.len().saturating_sub(1)).rev() {
                all[need] = all[need].min(all[need + 1]);
            }
            paths.push(all);
        }
        let mut rest = vec![(0.0, 0.0); order.len() + 1];
        for (cut, &node) in order.iter().enumerate().rev() {
            rest[cut] = (rest[cut + 1].0 + least[node].0, rest[cut + 1].1 + least[node].1);
        }
        Self { paths, rest }
    }

    /// The time from a state of this cut on.
    fn time(&self, cut: usize, live: &[usize], needs: &[u8]) -> f64 {
        let paths = live.iter().zip(needs).map(|(&node, &need)| self.paths[node][need as usize]);
        paths.fold(self.rest[cut].0, f64::max)
    }
}

/// The decisions that the rules admit about a value.
fn choices<'a>(dag: &'a Dag, rules: &'a DagRules, node: usize) -> impl Iterator<Item = Choice> + 'a {
    let of = &dag.nodes[node];
    let admitted = move |way: &usize| {
        let fixed = rules.ways.as_ref().is_none_or(|ways| ways[node] == *way);
        let close =
            rules.max_candidate_error.is_none_or(|most| of.ways().get(*way).is_none_or(|w| w.max_error <= most));
        fixed && close
    };
    all_choices(dag, node).filter(move |choice| admitted(&choice.way))
}

/// All decisions about a value.
fn all_choices(dag: &Dag, node: usize) -> impl Iterator<Item = Choice> + '_ {
    let of = &dag.nodes[node];
    let ways = 0..of.ways().len().max(1);
    ways.flat_map(|way| of.refreshing().iter().map(move |&refreshed| Choice { way, refreshed }))
}

/// Where the needs of one cut come from in the next one.
struct Passage {
    /// The values that wait at the next cut.
    live: Vec<usize>,
    /// Of each, its place among those that wait before, unless it is read for the first time.
    from: Vec<Option<usize>>,
    /// Of every operand, its place among those that wait at the next cut.
    operands: Vec<usize>,
}

impl Passage {
    fn new(dag: &Dag, live: &[usize], node: usize) -> Self {
        let operands = &dag.nodes[node].operands;
        let mut next: Vec<usize> =
            live.iter().copied().filter(|&v| v != node).chain(operands.iter().copied()).collect();
        next.sort_unstable();
        next.dedup();
        let place = |list: &[usize], v: usize| list.binary_search(&v).ok();
        let from = next.iter().map(|&v| place(live, v)).collect();
        let operands = operands.iter().filter_map(|&o| place(&next, o)).collect();
        Self { live: next, from, operands }
    }

    /// The needs after a decision.
    fn needs(&self, before: &[u8], run: &NodeRun, above: &[u32]) -> Box<[u8]> {
        let mut needs: Box<[u8]> = self.from.iter().map(|from| from.map_or(0, |at| before[at])).collect();
        for (&operand, above) in self.operands.iter().zip(above) {
            needs[operand] = needs[operand].max((run.after + above) as u8);
        }
        needs
    }
}

impl<'a> StateGraph<'a> {
    /// The states under these rules, at most `most` of them at every cut. With `compare`, decisions for other ways are
    /// followed too, wherever all others are by the rules.
    pub fn new(dag: &'a Dag, rules: &DagRules, most: usize, compare: bool) -> Self {
        let order = order(dag);
        let free = DagRules::default();
        let to_come = ToCome::of(dag, if compare { &free } else { rules }, &order);
        let mut graph =
            StateGraph { dag, cuts: Vec::with_capacity(order.len()), left_out: Vec::new(), complete: false };
        let mut live: Vec<usize> = dag.results.clone();
        live.sort_unstable();
        live.dedup();
        let mut states = States::default();
        let first = dag.needed();
        let needs = live.iter().map(|&v| first[v].unwrap_or(0) as u8).collect();
        states.reach(needs, (0.0, 0.0), true);
        for (number, &node) in order.iter().enumerate() {
            let passage = Passage::new(dag, &live, node);
            let at = live.binary_search(&node).unwrap_or(0);
            let mut next = States::default();
            let mut cut = Cut { node, needs: Vec::new(), edges: Vec::new(), others: Vec::new() };
            for ((needs, cost), main) in states.needs.iter().zip(&states.costs).zip(&states.main) {
                let need = u32::from(needs[at]);
                let mut follow = |choice: Choice, main: bool| {
                    let run = dag.run(node, choice, need)?;
                    let way = dag.nodes[node].ways().get(choice.way);
                    let after = passage.needs(needs, &run, way.map_or(&[], |way| &way.above));
                    if !to_come.time(number + 1, &passage.live, &after).is_finite() {
                        return None;
                    }
                    let error = way.map_or(0.0, |way| way.error);
                    let cost = (cost.0 + run.us + run.bootstrap_us, cost.1 + error);
                    Some(Edge { choice, to: next.reach(after, cost, main) })
                };
                cut.edges.push(choices(dag, rules, node).filter_map(|choice| follow(choice, *main)).collect());
                let is_other = |c: &Choice| compare && *main && !choices(dag, rules, node).any(|by_rule| by_rule == *c);
                let others = all_choices(dag, node).filter(is_other);
                cut.others.push(others.filter_map(|choice| follow(choice, false)).collect());
                cut.needs.push(need);
            }
            graph.cuts.push(cut);
            live = passage.live;
            states =
                graph.thin(next, most, |needs| (to_come.time(number + 1, &live, needs), to_come.rest[number + 1].1));
        }
        graph.complete = !states.needs.is_empty();
        graph
    }

    /// The `most` most promising of the states to which the last cut leads; the others are left out.
    fn thin(&mut self, states: States, most: usize, to_come: impl Fn(&[u8]) -> (f64, f64)) -> States {
        let count = states.needs.len();
        if count <= most {
            return states;
        }
        let cost = |i: usize| {
            let (us, error) = to_come(&states.needs[i]);
            (states.costs[i].0 + us, states.costs[i].1 + error)
        };
        let costs: Vec<(f64, f64)> = (0..count).map(cost).collect();
        let ranked = |key: &dyn Fn(usize) -> (f64, f64)| {
            let mut by: Vec<usize> = (0..count).collect();
            by.sort_by(|&a, &b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b)));
            by
        };
        let fast = ranked(&|i| costs[i]);
        let accurate = ranked(&|i| (costs[i].1, costs[i].0));
        let mut kept = vec![false; count];
        let mut left = most;
        for i in fast.into_iter().zip(accurate).flat_map(|(a, b)| [a, b]) {
            if left > 0 && !kept[i] {
                kept[i] = true;
                left -= 1;
            }
        }
        let mut moved = vec![None; count];
        let mut out = States::default();
        for (i, needs) in states.needs.into_iter().enumerate() {
            if kept[i] {
                moved[i] = Some(out.reach(needs, states.costs[i], states.main[i]));
            } else {
                self.left_out.push(costs[i]);
            }
        }
        if let Some(cut) = self.cuts.last_mut() {
            for edges in cut.edges.iter_mut().chain(&mut cut.others) {
                let kept = edges.iter().filter_map(|edge| Some(Edge { to: moved[edge.to]?, ..*edge }));
                *edges = kept.collect();
            }
        }
        out
    }

    /// Time and error of a decision.
    pub fn cost(&self, cut: &Cut, state: usize, choice: Choice) -> Option<(f64, f64)> {
        let run = self.dag.run(cut.node, choice, cut.needs[state])?;
        let way = self.dag.nodes[cut.node].ways().get(choice.way);
        Some((run.us + run.bootstrap_us, way.map_or(0.0, |way| way.error)))
    }

    /// From every state of every cut, the least of what `weigh` makes of times and errors, up to the inputs.
    pub fn to_go<T: Copy + PartialOrd>(&self, end: T, none: T, add: impl Fn((f64, f64), T) -> T) -> Vec<Vec<T>> {
        let mut all = vec![vec![end]];
        for cut in self.cuts.iter().rev() {
            let next = &all[all.len() - 1];
            let least = |(state, edges): (usize, &Vec<Edge>)| {
                let of_edge = |edge: &Edge| Some(add(self.cost(cut, state, edge.choice)?, *next.get(edge.to)?));
                edges.iter().filter_map(of_edge).fold(none, |least, sum| if sum < least { sum } else { least })
            };
            let here = cut.edges.iter().enumerate().map(least).collect();
            all.push(here);
        }
        all.reverse();
        all
    }

    /// The decisions of the plan that is least by `rank` of its time and error, by value.
    pub fn least(&self, rank: impl Fn((f64, f64)) -> (f64, f64)) -> Option<Vec<Choice>> {
        let add = |cost: (f64, f64), rest: (f64, f64)| {
            let cost = rank(cost);
            (cost.0 + rest.0, cost.1 + rest.1)
        };
        let none = (f64::INFINITY, f64::INFINITY);
        let to_go = self.to_go((0.0, 0.0), none, add);
        if !self.complete || to_go[0][0] == none {
            return None;
        }
        let mut choices = vec![Choice::default(); self.dag.nodes.len()];
        let mut state = 0;
        for (cut, next) in self.cuts.iter().zip(&to_go[1..]) {
            let sum = |edge: &&Edge| self.cost(cut, state, edge.choice).map_or(none, |cost| add(cost, next[edge.to]));
            let by_sum = |a: &&Edge, b: &&Edge| sum(a).partial_cmp(&sum(b)).unwrap_or(std::cmp::Ordering::Equal);
            let edge = cut.edges[state].iter().min_by(by_sum)?;
            choices[cut.node] = edge.choice;
            state = edge.to;
        }
        Some(choices)
    }
}
