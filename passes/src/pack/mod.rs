//! `pack`: from tensors to slots.
//!
//! Every linear op is a sparse matrix on tensor elements; chains of them between two nonlinear ops are multiplied out and
//! become one sum of diagonals over packed slots, hence one level. The steps:
//!
//! 1. `build` walks the module and keeps values as affine maps (`affine`) of what is in slots. A value is put into slots
//!    when a polynomial, a product of ciphertexts or a result asks for it. The map of a polynomial's interval to `[-1, 1]` is
//!    part of the affine map and costs nothing. The outcome is a `graph` without layouts.
//! 2. `place` chooses the layouts together. Candidates come from how ops carry layouts from operand to result (`hints`):
//!    a strided convolution keeps its operand's pixel grid. Costs come from `transform`, the diagonals between two layouts,
//!    and `cost`, their baby and giant steps.
//! 3. `emit` writes the slot ops.
//!
//! Slots without an element hold zero after a linear transform; whatever a polynomial makes of that zero is known, and is
//! subtracted again where it would reach a sum.

pub(crate) mod affine;
mod build;
mod cost;
mod emit;
mod graph;
pub(crate) mod heads;
mod hints;
mod layout;
pub(crate) mod linear;
mod maps;
mod place;
mod reading;
pub(crate) mod reject;
pub(crate) mod sparse;
mod transform;
mod weights;

use fhec_ir::{Issue, Loc, Module, Nn, Slot, Value};
use serde::{Deserialize, Serialize};

pub use cost::LinearCost;
pub use heads::without_heads;
pub use weights::{DiagonalWeights, TransformWeights};

use heads::{Headless, headless};

use crate::pass::{Lower, PassError};

/// The pass `pack`.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Most slots of one ciphertext, a power of two (half the ring degree). Fewer are used when every tensor fits.
    pub max_slots: usize,
    /// What rotations and diagonals cost.
    pub cost: LinearCost,
    /// Results are divided by this power of two, where the linear maps in front of all of them take that for nothing; clients undo
    /// it.
    pub result_exponent: i32,
}

/// How the ops of a [`PackedTensor`] came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorKind {
    /// An input of the program.
    Input,
    /// Linear maps, or a product of tensors.
    Fixed,
    /// A polynomial in place of an activation, of an operand in [-1, 1].
    Activation,
}

/// A tensor in slots: one or more ciphertexts, and the ops that compute them.
#[derive(Clone, Debug)]
pub struct PackedTensor {
    /// How it came about.
    pub kind: TensorKind,
    /// The tensors it is made of, by their place in the list.
    pub operands: Vec<usize>,
    /// One value per ciphertext. A tensor that only renames its operand has the operand's.
    pub values: Vec<Value>,
    /// The ops that compute it, as a range of places in the function.
    pub nodes: std::ops::Range<usize>,
    /// The polynomial of the network that it holds.
    pub origin: Option<Value>,
    /// The ONNX node.
    pub loc: Loc,
}

/// A packed module and what was decided on the way that a user should know.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The module.
    pub module: Module<Slot>,
    /// Its tensors in order of definition.
    pub tensors: Vec<PackedTensor>,
    /// Remarks, one sentence each.
    pub notes: Vec<String>,
}

impl Pack {
    /// Packing into ciphertexts of at most `max_slots` slots.
    pub fn new(max_slots: usize) -> Self {
        Self { max_slots, cost: LinearCost::default(), result_exponent: 0 }
    }

    /// Packs `module`.
    ///
    /// # Errors
    /// Every node that has no form on packed slots, with the repair a user could make.
    pub fn pack(&self, module: &Module<Nn>) -> Result<Packed, PassError> {
        let _span = tracing::debug_span!("pack").entered();
        let PlacedGraph { headless, graph, placements, slots } = self.place(module, false)?;
        let Headless { module, origins, heads, notes } = headless;
        let (mut module_out, tensors) =
            emit::emit(&module, &graph, &placements, slots, &self.cost).map_err(|i| error(vec![i]))?;
        for (port, heads) in module_out.outputs.iter_mut().zip(heads) {
            port.heads = heads;
            port.layout.iter_mut().for_each(|layout| layout.exponent = graph.result_exponent);
        }
        let origin = |v: Value| origins.get(&v).copied();
        let tensors = tensors.into_iter().map(|t| PackedTensor { origin: t.origin.and_then(origin), ..t }).collect();
        Ok(Packed { module: module_out, tensors, notes })
    }

    /// The transforms that `module` is packed into, and which weights reach which of their diagonals. Where all weights in a
    /// diagonal are zero it is not made, and a step that no diagonal takes is no rotation.
    ///
    /// # Errors
    /// As [`Pack::pack`].
    pub fn weights(&self, module: &Module<Nn>) -> Result<Vec<TransformWeights>, PassError> {
        let _span = tracing::debug_span!("weights").entered();
        let PlacedGraph { headless, graph, placements, .. } = self.place(module, true)?;
        let mut transforms = weights::transforms(&graph, &placements, &self.cost);
        // Values of the network as it was given, where it lost its heads.
        for diagonal in transforms.iter_mut().flat_map(|t| &mut t.diagonals) {
            diagonal.weights = diagonal
                .weights
                .take()
                .and_then(|(constant, elements)| Some((headless.origins.get(&constant).copied()?, elements)));
        }
        Ok(transforms)
    }

    /// Builds the packed program of `module` and chooses the layouts of its tensors.
    fn place(&self, module: &Module<Nn>, traced: bool) -> Result<PlacedGraph, PassError> {
        if !self.max_slots.is_power_of_two() {
            let reason = format!("{} slots: the number of slots is a power of two", self.max_slots);
            return Err(error(vec![Issue::of_network(reason, "choose a power of two")]));
        }
        let headless = headless(module);
        let encrypted = reject::encrypted(&headless.module);
        let issues = reject::issues(&headless.module, &encrypted);
        if !issues.is_empty() {
            return Err(error(issues));
        }
        let graph = build::build(&headless.module, &encrypted, self, traced).map_err(|i| error(vec![i]))?;
        let slots = place::slots_needed(&graph).min(self.max_slots);
        let placements = place::choose(&graph, slots, &self.cost).ok_or_else(|| {
            let reason = "a tensor has no layout in slots";
            error(vec![Issue::of_network(reason, "report this as a bug")])
        })?;
        Ok(PlacedGraph { headless, graph, placements, slots })
    }
}

/// A packed program whose tensors have layouts, before it is written.
struct PlacedGraph {
    headless: Headless,
    graph: graph::SourceGraph,
    placements: Vec<layout::Placing>,
    slots: usize,
}

fn error(issues: Vec<Issue>) -> PassError {
    PassError { pass: NAME, issues }
}

const NAME: &str = "pack";

impl Lower<Nn, Slot> for Pack {
    fn name(&self) -> &'static str {
        NAME
    }
    fn run(&self, module: &Module<Nn>) -> Result<Module<Slot>, PassError> {
        self.pack(module).map(|p| p.module)
    }
}
