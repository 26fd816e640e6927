//! Fork and join regions, one inside the other, found in the graph of a packed program's tensors.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::algo::dominators::{Dominators, simple_fast};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Reversed;

use super::Key;
use super::network::{Priced, Tensors, Times, Work};
use crate::pack::PackedTensor;
use crate::pass::PassError;
use crate::planner::{Activation, Align, Candidate, Chain, Micros, Network, Point, Residual, Stage, Step, Targets};

/// Why the tensors are not a network of forks and joins.
pub(super) enum Unfit {
    /// Branches do not lie one inside the other.
    NotNested,
    /// There is no network of any shape.
    Pass(PassError),
}

impl From<PassError> for Unfit {
    fn from(e: PassError) -> Self {
        Self::Pass(e)
    }
}

/// The graph of the tensors of a program with one input and one result.
pub(super) struct Forks {
    graph: DiGraph<usize, ()>,
    /// Closest tensor that every path to the result passes, by tensor.
    after: Dominators<NodeIndex>,
    input: usize,
}

impl Forks {
    /// The graph between these tensors.
    pub(super) fn of(tensors: &[PackedTensor], input: usize, result: usize) -> Self {
        let mut graph = DiGraph::new();
        for i in 0..tensors.len() {
            graph.add_node(i);
        }
        for (i, tensor) in tensors.iter().enumerate() {
            for &operand in &tensor.operands {
                graph.add_edge(NodeIndex::new(operand), NodeIndex::new(i), ());
            }
        }
        let after = simple_fast(Reversed(&graph), NodeIndex::new(result));
        Self { graph, after, input }
    }

    /// The network, with these times.
    ///
    /// # Errors
    /// [`Unfit::NotNested`] for a graph that does not consist of forks and joins.
    pub(super) fn network(&self, times: &Times<'_>, output_level: u32) -> Result<Network, Unfit> {
        let (tensors, top) = (times.tensors, times.top);
        let builder = Builder { forks: self, tensors, times, free: vec![0.0; top as usize + 1].into() };
        let bootstraps = times.bootstraps(self.input)?;
        let mut visited = BTreeSet::from([self.input]);
        let start = Chain::new(Point::closed(tensors.width(self.input)));
        let chain = builder.chain(start, self.input, None, &mut visited)?;
        if tensors.work().keys().any(|i| !visited.contains(i)) {
            return Err(Unfit::NotNested);
        }
        Ok(Network {
            name: tensors.module().func.name.clone(),
            max_level: top,
            input_level: top,
            output_level,
            bootstrap_from: 0,
            targets: Targets::Any,
            bootstraps: vec![bootstraps],
            drop: builder.free.clone(),
            chain,
        })
    }
}

/// A network under construction.
struct Builder<'a> {
    forks: &'a Forks,
    tensors: &'a Tensors<'a>,
    times: &'a Times<'a>,
    free: Micros,
}

impl Builder<'_> {
    fn consumers(&self, tensor: usize) -> Vec<usize> {
        let consumers = self.forks.graph.neighbors_directed(NodeIndex::new(tensor), Direction::Outgoing);
        let work = self.tensors.work();
        let live: BTreeSet<usize> = consumers.map(|n| self.forks.graph[n]).filter(|i| work.contains_key(i)).collect();
        live.into_iter().collect()
    }

    /// An activation that is its operand's product (or sum) with a composition of polynomials of it: the polynomials'
    /// tensors and the one that joins them with the operand `fork`, whose consumers are `branches`.
    fn gate(&self, fork: usize, branches: &[usize]) -> Option<(Vec<usize>, usize)> {
        // In order of definition: what joins comes last.
        let &[first, join] = branches else { return None };
        let is_polynomial = |t: usize| matches!(self.tensors.work()[&t], Work::Activation(_));
        let mut members = Vec::new();
        let mut next = first;
        while next != join {
            if !is_polynomial(next) {
                return None;
            }
            members.push(next);
            let [only] = self.consumers(next)[..] else { return None };
            next = only;
        }
        let operands: BTreeSet<usize> = self.tensors.tensors()[join].operands.iter().copied().collect();
        let joins = operands == BTreeSet::from([fork, *members.last()?]);
        joins.then_some((members, join))
    }

    /// The stages after tensor `from` up to tensor `to`, which stays outside, or to the result.
    fn chain(
        &self,
        mut chain: Chain,
        mut from: usize,
        to: Option<usize>,
        visited: &mut BTreeSet<usize>,
    ) -> Result<Chain, Unfit> {
        let t = self.tensors;
        loop {
            let consumers = self.consumers(from);
            if let Some((members, join)) = self.gate(from, &consumers) {
                if !members.iter().chain([&join]).all(|&tensor| visited.insert(tensor)) {
                    return Err(Unfit::NotNested);
                }
                chain = self.gated(chain, &members, join)?;
                from = join;
                continue;
            }
            let next = match consumers.as_slice() {
                [] => return Ok(chain),
                [one] => *one,
                branches => {
                    let join = self.forks.after.immediate_dominator(NodeIndex::new(from)).map(|n| self.forks.graph[n]);
                    let join = join.ok_or(Unfit::NotNested)?;
                    let residual = self.residual(from, join, branches, visited)?;
                    chain = chain.then(residual, Point::closed(t.width(from)));
                    join
                }
            };
            if Some(next) == to {
                return Ok(chain);
            }
            if !visited.insert(next) {
                return Err(Unfit::NotNested);
            }
            chain = self.stage(chain, next)?;
            from = next;
        }
    }

    /// The stage that computes `tensor`, after the stages of `chain`.
    fn stage(&self, mut chain: Chain, tensor: usize) -> Result<Chain, Unfit> {
        let t = self.tensors;
        let (name, width) = (t.name(tensor), t.width(tensor));
        let stage = match &t.work()[&tensor] {
            Work::Input => return Err(Unfit::NotNested),
            Work::Fixed(fragment) => Stage::Step(Step::linear(name, fragment.levels, self.times.of(fragment, tensor)?)),
            Work::Activation(choices) => {
                self.open(&mut chain, tensor);
                let mut candidates = Vec::with_capacity(choices.len());
                for c in choices {
                    let us = self.times.of(&c.fragment, tensor)?;
                    candidates.push(Candidate::polynomial(&c.id, c.fragment.levels, us, c.error, c.max_error));
                }
                Stage::Activation(Activation { name, key: tensor, candidates })
            }
        };
        Ok(chain.then(stage, Point::closed(width)))
    }

    /// Opens the end of `chain` for bootstraps, which polynomial `tensor` follows: its operand lies in [-1, 1]. The
    /// point goes by the number of the polynomial.
    fn open(&self, chain: &mut Chain, tensor: usize) {
        let operand = self.tensors.tensors()[tensor].operands[0];
        if let Some(before) = chain.points.last_mut() {
            *before =
                Point::open(self.tensors.width(operand), 0).with_key(Key::Before(tensor).number(self.tensors.packed()));
        }
    }

    /// The activation whose polynomials `members` meet their operand at `join`, after the stages of `chain`. It can be
    /// bootstrapped before each of its polynomials; the operand waits at the level it has, as it need not be high.
    fn gated(&self, mut chain: Chain, members: &[usize], join: usize) -> Result<Chain, Unfit> {
        let t = self.tensors;
        let mut ways: Vec<Vec<&Priced>> = vec![Vec::new()];
        for member in members {
            let Work::Activation(choices) = &t.work()[member] else { continue };
            let all = ways.iter().flat_map(|way| choices.iter().map(|c| [&way[..], &[c]].concat()));
            ways = all.collect();
        }
        let Work::Fixed(product) = &t.work()[&join] else { return Err(Unfit::NotNested) };
        let product = Step::linear(t.name(join), product.levels, self.times.of(product, join)?);
        let product = Stage::Step(Step { plain: false, ..product });
        let closed = Point::closed(t.width(join));
        let mut candidates = Vec::with_capacity(ways.len());
        for way in ways {
            let mut main = Chain::new(closed);
            for (i, (&member, priced)) in members.iter().zip(&way).enumerate() {
                if i > 0 {
                    self.open(&mut main, member);
                }
                let us = self.times.of(&priced.fragment, member)?;
                let step = Step::linear(t.name(member), priced.fragment.levels, us);
                main = main.then(Stage::Step(Step { plain: false, ..step }), closed);
            }
            let gate = self.joined(join, main, Chain::new(closed));
            candidates.push(Candidate {
                id: way.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(", "),
                body: Chain::new(closed).then(gate, closed).then(product.clone(), closed),
                error: way.iter().map(|c| c.error).sum(),
                max_error: way.iter().map(|c| c.max_error).fold(0.0, f64::max),
            });
        }
        self.open(&mut chain, members[0]);
        let (name, key) = (t.name(members[0]), members[0]);
        Ok(chain.then(Stage::Activation(Activation { name, key, candidates }), closed))
    }

    /// Two branches that meet at tensor `join`. They align for free: scales are equal at equal levels.
    fn joined(&self, join: usize, main: Chain, skip: Chain) -> Stage {
        let align = || Align { levels: 0, us: self.free.clone() };
        let (name, us) = (self.tensors.name(join), self.free.clone());
        Stage::Residual(Residual { name, main, skip, main_align: align(), skip_align: align(), us })
    }

    /// The branches between a fork and the join; more than two are joined one after the other.
    fn residual(
        &self,
        fork: usize,
        join: usize,
        branches: &[usize],
        visited: &mut BTreeSet<usize>,
    ) -> Result<Stage, Unfit> {
        let t = self.tensors;
        let start = || Chain::new(Point::closed(t.width(fork)));
        let mut chains = Vec::with_capacity(branches.len());
        for &first in branches {
            if first == join {
                chains.push(start());
            } else if visited.insert(first) {
                let chain = self.stage(start(), first)?;
                chains.push(self.chain(chain, first, Some(join), visited)?);
            } else {
                return Err(Unfit::NotNested);
            }
        }
        // The longest branch first, as reports call it the main one.
        chains.sort_by_key(|c| std::cmp::Reverse(c.stages.len()));
        let mut chains = chains.into_iter();
        let first = chains.next().unwrap_or_else(start);
        let rest = chains
            .reduce(|a, b| start().then(self.joined(join, a, b), Point::closed(t.width(fork))))
            .unwrap_or_else(start);
        Ok(self.joined(join, first, rest))
    }
}
