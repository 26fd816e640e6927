//! The planner's network of a packed program: fork and join regions found in the graph of its tensors.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::cost::LatencyTable;
use fhec_ir::{Issue, Module, Slot};
use petgraph::Direction;
use petgraph::algo::dominators::{Dominators, simple_fast};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Reversed;

use super::fragment::{Fragment, PolynomialShape, degree_of};
use super::{Candidates, NAME};
use crate::pack::{Packed, PackedTensor, TensorKind};
use crate::pass::PassError;
use crate::planner::{Activation, Align, Candidate, Chain, Micros, Network, Point, Residual, Stage, Step, Targets};

/// A way of computing an activation, priced for all ciphertexts of the tensor.
#[derive(Clone)]
struct Priced {
    id: String,
    fragment: Fragment,
    error: f64,
    max_error: f64,
}

impl Priced {
    fn new(form: &super::WeighedForm, fragment: Fragment) -> Self {
        let super::WeighedForm { error, max_error, .. } = *form;
        Self { id: form.id(), fragment, error, max_error }
    }
}

/// What a tensor costs.
enum Work {
    Input,
    Fixed(Fragment),
    Activation(Vec<Priced>),
}

/// A packed program as a graph of tensors with their work, from which networks for any parameters are made.
pub(super) struct Tensors<'a> {
    packed: &'a Packed,
    graph: DiGraph<usize, ()>,
    /// What every tensor on the way to the result costs.
    work: BTreeMap<usize, Work>,
    /// Closest tensor that every path to the result passes, by tensor.
    after: Dominators<NodeIndex>,
    input: usize,
}

fn issue(tensor: &PackedTensor, reason: impl Into<String>, repair: &str) -> PassError {
    PassError { pass: NAME, issues: vec![Issue::new(&tensor.loc, "tensor", reason, repair)] }
}

const ONE_IN_ONE_OUT: &str = "bootstraps are planned for networks with one input and one output: split the model";

impl<'a> Tensors<'a> {
    /// Reads a packed program; activations may be computed in the ways of `candidates`, or else only as they are.
    ///
    /// # Errors
    /// Several inputs or outputs.
    pub(super) fn read(packed: &'a Packed, candidates: &Candidates) -> Result<Self, PassError> {
        let tensors = &packed.tensors;
        let mut graph = DiGraph::new();
        for i in 0..tensors.len() {
            graph.add_node(i);
        }
        for (i, tensor) in tensors.iter().enumerate() {
            for &operand in &tensor.operands {
                graph.add_edge(NodeIndex::new(operand), NodeIndex::new(i), ());
            }
        }
        let last = tensors.last().ok_or_else(|| PassError { pass: NAME, issues: Vec::new() })?;
        let result = NodeIndex::new(tensors.len() - 1);
        if last.values != packed.module.func.results() {
            return Err(issue(last, "the program has several outputs", ONE_IN_ONE_OUT));
        }
        let after = simple_fast(Reversed(&graph), result);
        let live: BTreeSet<usize> = (0..tensors.len())
            .filter(|&i| NodeIndex::new(i) == result || after.immediate_dominator(NodeIndex::new(i)).is_some())
            .collect();
        let mut inputs = live.iter().copied().filter(|&i| tensors[i].kind == TensorKind::Input);
        let input = inputs.next().ok_or_else(|| issue(last, "the program reads no input", ONE_IN_ONE_OUT))?;
        if let Some(second) = inputs.next() {
            return Err(issue(&tensors[second], "the program has several inputs", ONE_IN_ONE_OUT));
        }
        let mut polynomials: BTreeMap<PolynomialShape, Fragment> = BTreeMap::new();
        let mut work = BTreeMap::new();
        for &i in &live {
            let tensor = &tensors[i];
            let made = match tensor.kind {
                TensorKind::Input => Work::Input,
                TensorKind::Fixed => Work::Fixed(Fragment::of_tensor(&packed.module, tensor)?),
                TensorKind::Activation => {
                    let width = tensor.values.len() as u32;
                    let slots = packed.module.func.ty(tensor.values[0]).0;
                    let Some(offered) = tensor.origin.and_then(|origin| candidates.get(&origin)) else {
                        let id = format!("degree {}", degree_of(&packed.module, tensor));
                        let fragment = Fragment::of_tensor(&packed.module, tensor)?;
                        let given = Priced { id, fragment, error: 0.0, max_error: 0.0 };
                        work.insert(i, Work::Activation(vec![given]));
                        continue;
                    };
                    let mut choices = Vec::with_capacity(offered.len());
                    for c in offered {
                        let fragment = match polynomials.entry(c.shape()) {
                            Entry::Occupied(known) => known.get().clone(),
                            Entry::Vacant(free) => free.insert(Fragment::of_polynomial(c.shape(), slots)?).clone(),
                        };
                        choices.push(Priced::new(c, fragment.repeated(width)));
                    }
                    Work::Activation(choices)
                }
            };
            work.insert(i, made);
        }
        Ok(Self { packed, graph, work, after, input })
    }

    /// The tensors.
    pub(super) fn tensors(&self) -> &'a [PackedTensor] {
        &self.packed.tensors
    }

    /// For reports: the node that a tensor comes from.
    fn name(&self, tensor: usize) -> String {
        self.packed.tensors[tensor].loc.name().to_string()
    }

    /// The packed program.
    pub(super) fn packed(&self) -> &'a Packed {
        self.packed
    }

    /// The module.
    pub(super) fn module(&self) -> &'a Module<Slot> {
        &self.packed.module
    }

    /// The network for programs of `top` levels with the times of `table`.
    ///
    /// # Errors
    /// A graph that does not consist of forks and joins, or an op without a time.
    pub(super) fn network(&self, table: &LatencyTable, top: u32, output_level: u32) -> Result<Network, PassError> {
        let tensors = &self.packed.tensors;
        let slots = self.packed.module.func.ty(tensors[self.input].values[0]).0;
        let builder = Builder { tensors: self, table, top, free: vec![0.0; top as usize + 1].into() };
        let bootstraps = (0..=top).map(|to| table.bootstrap_time(slots, to)).collect::<Result<Vec<f64>, _>>();
        let bootstraps =
            bootstraps.map_err(|e| issue(&tensors[self.input], e.to_string(), "measure the table again"))?;
        let mut visited = BTreeSet::from([self.input]);
        let start = Chain::new(Point::closed(self.width(self.input)));
        let chain = builder.chain(start, self.input, None, &mut visited)?;
        if let Some(&missed) = self.work.keys().find(|i| !visited.contains(i)) {
            return Err(irregular(&tensors[missed]));
        }
        Ok(Network {
            name: self.packed.module.func.name.clone(),
            max_level: top,
            input_level: top,
            output_level,
            bootstrap_from: 0,
            targets: Targets::Any,
            bootstraps: vec![bootstraps.into()],
            drop: builder.free.clone(),
            chain,
        })
    }

    /// An activation that is its operand's product (or sum) with a composition of polynomials of it: the polynomials' tensors
    /// and the one that joins them with the operand `fork`, whose consumers are `branches`.
    fn gate(&self, fork: usize, branches: &[usize]) -> Option<(Vec<usize>, usize)> {
        // In order of definition: what joins comes last.
        let &[first, join] = branches else { return None };
        let is_polynomial = |t: usize| matches!(self.work[&t], Work::Activation(_));
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
        let operands: BTreeSet<usize> = self.packed.tensors[join].operands.iter().copied().collect();
        let joins = operands == BTreeSet::from([fork, *members.last()?]);
        joins.then_some((members, join))
    }

    fn width(&self, tensor: usize) -> u32 {
        self.packed.tensors[tensor].values.len() as u32
    }

    fn consumers(&self, tensor: usize) -> Vec<usize> {
        let consumers = self.graph.neighbors_directed(NodeIndex::new(tensor), Direction::Outgoing);
        let live: BTreeSet<usize> = consumers.map(|n| self.graph[n]).filter(|i| self.work.contains_key(i)).collect();
        live.into_iter().collect()
    }
}

fn irregular(tensor: &PackedTensor) -> PassError {
    let reason = "its branches do not form forks and joins one inside the other";
    issue(tensor, reason, "bootstraps are planned for residual networks: restructure the branches around this node")
}

/// A network under construction.
struct Builder<'a> {
    tensors: &'a Tensors<'a>,
    table: &'a LatencyTable,
    top: u32,
    free: Micros,
}

impl Builder<'_> {
    fn times(&self, fragment: &Fragment, tensor: usize) -> Result<Micros, PassError> {
        let times = fragment.times(self.table, self.top);
        let missing = |e: fhec_ir::cost::CostError| {
            issue(&self.tensors.packed.tensors[tensor], e.to_string(), "measure the table again")
        };
        Ok(times.map_err(missing)?.into())
    }

    /// The stages after tensor `from` up to tensor `to`, which stays outside, or to the result.
    fn chain(
        &self,
        mut chain: Chain,
        mut from: usize,
        to: Option<usize>,
        visited: &mut BTreeSet<usize>,
    ) -> Result<Chain, PassError> {
        let t = self.tensors;
        loop {
            let consumers = t.consumers(from);
            if let Some((members, join)) = t.gate(from, &consumers) {
                if !members.iter().chain([&join]).all(|&tensor| visited.insert(tensor)) {
                    return Err(irregular(&t.packed.tensors[join]));
                }
                chain = self.gated(chain, &members, join)?;
                from = join;
                continue;
            }
            let next = match consumers.as_slice() {
                [] => return Ok(chain),
                [one] => *one,
                branches => {
                    let join = t.after.immediate_dominator(NodeIndex::new(from)).map(|n| t.graph[n]);
                    let join = join.ok_or_else(|| irregular(&t.packed.tensors[from]))?;
                    let residual = self.residual(from, join, branches, visited)?;
                    chain = chain.then(residual, Point::closed(t.width(from)));
                    join
                }
            };
            if Some(next) == to {
                return Ok(chain);
            }
            if !visited.insert(next) {
                return Err(irregular(&t.packed.tensors[next]));
            }
            chain = self.stage(chain, next)?;
            from = next;
        }
    }

    /// The stage that computes `tensor`, after the stages of `chain`.
    fn stage(&self, mut chain: Chain, tensor: usize) -> Result<Chain, PassError> {
        let t = self.tensors;
        let (name, width) = (t.name(tensor), t.width(tensor));
        let stage = match &t.work[&tensor] {
            Work::Input => return Err(irregular(&t.packed.tensors[tensor])),
            Work::Fixed(fragment) => Stage::Step(Step::linear(name, fragment.levels, self.times(fragment, tensor)?)),
            Work::Activation(choices) => {
                self.open(&mut chain, tensor);
                let mut candidates = Vec::with_capacity(choices.len());
                for c in choices {
                    let us = self.times(&c.fragment, tensor)?;
                    candidates.push(Candidate::polynomial(&c.id, c.fragment.levels, us, c.error, c.max_error));
                }
                Stage::Activation(Activation { name, key: tensor, candidates })
            }
        };
        Ok(chain.then(stage, Point::closed(width)))
    }

    /// Opens the end of `chain` for bootstraps, which polynomial `tensor` follows: its operand lies in [-1, 1]. The point goes by
    /// the number of the polynomial.
    fn open(&self, chain: &mut Chain, tensor: usize) {
        let operand = self.tensors.packed.tensors[tensor].operands[0];
        if let Some(before) = chain.points.last_mut() {
            *before = Point::open(self.tensors.width(operand), 0).with_key(tensor);
        }
    }

    /// The activation whose polynomials `members` meet their operand at `join`, after the stages of `chain`. It can be
    /// bootstrapped before each of its polynomials; the operand waits at the level it has, as it need not be high.
    fn gated(&self, mut chain: Chain, members: &[usize], join: usize) -> Result<Chain, PassError> {
        let t = self.tensors;
        let mut ways: Vec<Vec<&Priced>> = vec![Vec::new()];
        for member in members {
            let Work::Activation(choices) = &t.work[member] else { continue };
            let all = ways.iter().flat_map(|way| choices.iter().map(|c| [&way[..], &[c]].concat()));
            ways = all.collect();
        }
        let Work::Fixed(product) = &t.work[&join] else { return Err(irregular(&t.packed.tensors[join])) };
        let product = Step::linear(t.name(join), product.levels, self.times(product, join)?);
        let product = Stage::Step(Step { plain: false, ..product });
        let closed = Point::closed(t.width(join));
        let mut candidates = Vec::with_capacity(ways.len());
        for way in ways {
            let mut main = Chain::new(closed);
            for (i, (&member, priced)) in members.iter().zip(&way).enumerate() {
                if i > 0 {
                    self.open(&mut main, member);
                }
                let us = self.times(&priced.fragment, member)?;
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
    ) -> Result<Stage, PassError> {
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
                return Err(irregular(&t.packed.tensors[first]));
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
