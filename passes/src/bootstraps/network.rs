//! The tensors of a packed program, what each costs, and the planner's network of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use fhec_ir::cost::LatencyTable;
use fhec_ir::{Issue, Module, ParamSpec, Slot, Value};

use super::dag::dag;
use super::forks::{Forks, Unfit};
use super::fragment::{Fragment, PolynomialShape, degree_of};
use super::sites::{Site, Sites};
use super::{Candidates, NAME, Strategy, WeighedForm};
use crate::pack::{Packed, PackedTensor, TensorKind};
use crate::pass::PassError;
use crate::planner::{
    Dag, DagPlanner, Effort, Frontier, Limits, Micros, Network, PlacementExplanation, Plan, PlanError, Planner,
    baseline,
};

/// A way of computing an activation, priced for all ciphertexts of the tensor.
#[derive(Clone)]
pub(super) struct Priced {
    pub(super) id: String,
    pub(super) fragment: Fragment,
    pub(super) error: f64,
    pub(super) max_error: f64,
}

impl Priced {
    fn new(form: &WeighedForm, fragment: Fragment) -> Self {
        let WeighedForm { error, max_error, .. } = *form;
        Self { id: form.id(), fragment, error, max_error }
    }
}

/// What a tensor costs.
pub(super) enum Work {
    Input,
    Fixed(Fragment),
    Activation(Vec<Priced>),
}

/// A packed program as a graph of tensors with their work, from which networks for any parameters are made.
pub(super) struct Tensors<'a> {
    packed: &'a Packed,
    /// The tensors that hold the results.
    results: Vec<usize>,
    /// What every tensor on the way to a result costs.
    work: BTreeMap<usize, Work>,
    /// The forks and joins, where there is one input and one result.
    forks: Option<Forks>,
}

pub(super) fn issue(tensor: &PackedTensor, reason: impl Into<String>, repair: &str) -> PassError {
    PassError { pass: NAME, issues: vec![Issue::new(&tensor.loc, "tensor", reason, repair)] }
}

impl<'a> Tensors<'a> {
    /// Reads a packed program; activations may be computed in the ways of `candidates`, or else only as they are.
    ///
    /// # Errors
    /// A program that reads no input, or whose results are not its tensors.
    pub(super) fn read(packed: &'a Packed, candidates: &Candidates) -> Result<Self, PassError> {
        let tensors = &packed.tensors;
        let results = results(packed)?;
        let mut live: BTreeSet<usize> = BTreeSet::new();
        let mut open = results.clone();
        while let Some(tensor) = open.pop() {
            if live.insert(tensor) {
                open.extend(&tensors[tensor].operands);
            }
        }
        let inputs: Vec<usize> = live.iter().copied().filter(|&i| tensors[i].kind == TensorKind::Input).collect();
        if inputs.is_empty() {
            let repair = "fold constants before packing: there is nothing to encrypt";
            return Err(issue(&tensors[results[0]], "the program reads no input", repair));
        }
        let mut prices = Prices { packed, polynomials: BTreeMap::new() };
        let work = live.iter().map(|&i| Ok((i, prices.of(i, candidates)?))).collect::<Result<_, PassError>>()?;
        let forks = match (&inputs[..], &results[..]) {
            (&[input], &[result]) if result + 1 == tensors.len() => Some(Forks::of(tensors, input, result)),
            _ => None,
        };
        Ok(Self { packed, results, work, forks })
    }

    /// The tensors.
    pub(super) fn tensors(&self) -> &'a [PackedTensor] {
        &self.packed.tensors
    }

    /// The tensors that hold the results.
    pub(super) fn results(&self) -> &[usize] {
        &self.results
    }

    /// What every tensor on the way to a result costs.
    pub(super) fn work(&self) -> &BTreeMap<usize, Work> {
        &self.work
    }

    /// For reports: the node that a tensor comes from.
    pub(super) fn name(&self, tensor: usize) -> String {
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

    /// Ciphertexts of a tensor.
    pub(super) fn width(&self, tensor: usize) -> u32 {
        self.packed.tensors[tensor].values.len() as u32
    }

    /// The network for programs under `spec` with the times of `table`: of forks and joins one inside the other where there are
    /// no others and bootstraps stand before polynomials alone, or else of any shape, with bootstraps at `sites` too; without
    /// bootstraps where the parameters are for none.
    ///
    /// # Errors
    /// An op without a time.
    pub(super) fn network(
        &self,
        table: &LatencyTable,
        spec: &ParamSpec,
        output_level: u32,
        sites: Option<&Sites>,
    ) -> Result<AnyNetwork, PassError> {
        let prices = Times { tensors: self, table, top: spec.levels, bootstraps: spec.bootstrap.is_some() };
        let network = match sites {
            Some(sites) => AnyNetwork::Dag(dag(&prices, output_level, sites)?),
            None => self.any_network(&prices, output_level)?,
        };
        Ok(if prices.bootstraps { network } else { network.leveled() })
    }

    fn any_network(&self, prices: &Times<'_>, output_level: u32) -> Result<AnyNetwork, PassError> {
        if let Some(forks) = &self.forks {
            match forks.network(prices, output_level) {
                Ok(network) => return Ok(AnyNetwork::Nested(network)),
                Err(Unfit::Pass(e)) => return Err(e),
                Err(Unfit::NotNested) => {}
            }
        }
        Ok(AnyNetwork::Dag(dag(prices, output_level, &Sites::default())?))
    }
}

/// The tensors whose values, one after the other, are the results.
fn results(packed: &Packed) -> Result<Vec<usize>, PassError> {
    let mut left: &[Value] = packed.module.func.results();
    let mut results = Vec::new();
    while !left.is_empty() {
        let holds = |tensor: &PackedTensor| !tensor.values.is_empty() && left.starts_with(&tensor.values);
        // The last one that holds them, as the result comes after what it may only rename.
        let Some(found) = packed.tensors.iter().rposition(holds) else { break };
        left = &left[packed.tensors[found].values.len()..];
        results.push(found);
    }
    if left.is_empty() && !results.is_empty() {
        return Ok(results);
    }
    let issue = Issue::of_network(
        "its results are not tensors of the packed program",
        "run `pack` in the same command, or keep the file of facts that lies beside its output",
    );
    Err(PassError { pass: NAME, issues: vec![issue] })
}

/// Prices tensors; polynomials of one shape once.
struct Prices<'a> {
    packed: &'a Packed,
    polynomials: BTreeMap<PolynomialShape, Fragment>,
}

impl Prices<'_> {
    fn of(&mut self, number: usize, candidates: &Candidates) -> Result<Work, PassError> {
        let Packed { module, tensors, .. } = self.packed;
        let tensor = &tensors[number];
        match tensor.kind {
            TensorKind::Input => Ok(Work::Input),
            TensorKind::Fixed => Ok(Work::Fixed(Fragment::of_tensor(module, tensors, tensor)?)),
            TensorKind::Activation => {
                let width = tensor.values.len() as u32;
                let slots = module.func.ty(tensor.values[0]).0;
                let Some(offered) = tensor.origin.and_then(|origin| candidates.get(&origin)) else {
                    let id = format!("degree {}", degree_of(module, tensor));
                    let fragment = Fragment::of_tensor(module, tensors, tensor)?;
                    return Ok(Work::Activation(vec![Priced { id, fragment, error: 0.0, max_error: 0.0 }]));
                };
                let mut choices = Vec::with_capacity(offered.len());
                for c in offered {
                    let fragment = match self.polynomials.entry(c.shape()) {
                        Entry::Occupied(known) => known.get().clone(),
                        Entry::Vacant(free) => free.insert(Fragment::of_polynomial(c.shape(), slots)?).clone(),
                    };
                    choices.push(Priced::new(c, fragment.repeated(width)));
                }
                Ok(Work::Activation(choices))
            }
        }
    }
}

/// Times of tensors in programs of `top` levels.
pub(super) struct Times<'a> {
    pub(super) tensors: &'a Tensors<'a>,
    pub(super) table: &'a LatencyTable,
    pub(super) top: u32,
    /// Whether they bootstrap.
    pub(super) bootstraps: bool,
}

impl Times<'_> {
    /// Microseconds of a fragment of `tensor`, by level.
    pub(super) fn of(&self, fragment: &Fragment, tensor: usize) -> Result<Micros, PassError> {
        let times = fragment.times(self.table, self.top);
        Ok(times.map_err(|e| self.missing(&e, tensor))?.into())
    }

    /// Microseconds of a bootstrap, by level; none of them counts in programs that do not bootstrap.
    pub(super) fn bootstraps(&self, tensor: usize) -> Result<Micros, PassError> {
        if !self.bootstraps {
            return Ok(vec![0.0; self.top as usize + 1].into());
        }
        let slots = self.tensors.module().func.ty(self.tensors.tensors()[tensor].values[0]).0;
        let times = (0..=self.top).map(|to| self.table.bootstrap_time(slots, to)).collect::<Result<Vec<f64>, _>>();
        Ok(times.map_err(|e| self.missing(&e, tensor))?.into())
    }

    /// As [`bootstraps`](Self::bootstraps), with the factors of a site: by level restored.
    ///
    /// # Errors
    /// A multiplication without a time.
    pub(super) fn bootstraps_at(&self, site: &Site, tensor: usize) -> Result<Micros, PassError> {
        let slots = self.tensors.module().func.ty(self.tensors.tensors()[tensor].values[0]).0;
        let [before, after] = site.factors().map(|factor| match factor {
            Some(factor) => self.of(&Fragment::of_factor(factor, slots)?, tensor),
            None => Ok(vec![0.0; self.top as usize + 1].into()),
        });
        let (before, after) = (before?[site.levels() as usize], after?);
        Ok(self.bootstraps(tensor)?.iter().zip(after.iter()).map(|(us, after)| us + before + after).collect())
    }

    fn missing(&self, error: &fhec_ir::cost::CostError, tensor: usize) -> PassError {
        issue(&self.tensors.tensors()[tensor], error.to_string(), "measure the table again")
    }
}

/// A network for one of the planners.
pub(super) enum AnyNetwork {
    /// Forks and joins one inside the other.
    Nested(Network),
    /// Any other shape.
    Dag(Dag),
}

impl AnyNetwork {
    /// The network without bootstraps.
    fn leveled(self) -> Self {
        match self {
            Self::Nested(network) => Self::Nested(network.leveled()),
            Self::Dag(dag) => Self::Dag(dag.leveled()),
        }
    }

    /// The network with no more freedom than the strategy has.
    pub(super) fn restricted(self, strategy: Strategy) -> Self {
        match self {
            Self::Nested(network) => Self::Nested(match strategy {
                Strategy::Joint => network,
                Strategy::Layerwise => network.bootstrap_every_activation(),
                Strategy::Uniform => network.bootstrap_every_activation().single_chain(),
                Strategy::Greedy => network.single_chain(),
            }),
            Self::Dag(dag) => Self::Dag(match strategy {
                Strategy::Joint => dag,
                Strategy::Layerwise => dag.bootstrap_every_activation(),
                Strategy::Uniform => dag.bootstrap_every_activation().single_chain(),
                Strategy::Greedy => dag.single_chain(),
            }),
        }
    }

    /// The best plan within the limits in a network so restricted; the walk takes polynomials as they are and knows
    /// none.
    pub(super) fn plan(&self, strategy: Strategy, limits: &Limits) -> Result<Plan, PlanError> {
        match self {
            Self::Nested(network) => {
                let planner = Planner::new(network, Effort::default())?;
                match strategy {
                    Strategy::Greedy => baseline::greedy(network, &vec![0; planner.activations()]),
                    Strategy::Joint | Strategy::Layerwise | Strategy::Uniform => planner.plan(limits),
                }
            }
            Self::Dag(dag) => {
                let planner = DagPlanner::new(dag, Effort::default())?;
                match strategy {
                    Strategy::Greedy => planner.greedy(),
                    Strategy::Joint | Strategy::Layerwise | Strategy::Uniform => planner.plan(limits),
                }
            }
        }
    }

    /// The Pareto front within the limits.
    pub(super) fn front(&self, limits: &Limits) -> Result<Frontier, PlanError> {
        match self {
            Self::Nested(network) => Planner::new(network, Effort::default())?.front(limits),
            Self::Dag(dag) => DagPlanner::new(dag, Effort::default())?.front(limits),
        }
    }

    /// Every decision of `plan`, which is one of this network, beside its alternatives.
    pub(super) fn explain(&self, plan: &Plan) -> Result<PlacementExplanation, PlanError> {
        match self {
            Self::Nested(network) => Ok(Planner::new(network, Effort::default())?.explain(plan)),
            Self::Dag(dag) => Ok(DagPlanner::new(dag, Effort::default())?.explain(plan)),
        }
    }
}
