//! The e-graph of an `nn` function: every class knows its type and, where it is constant, its value.

use std::collections::{HashMap, HashSet};

use egg::{Analysis, DidMerge, EGraph, Id};
use fhec_ir::egraph::ENode;
use fhec_ir::nn::{NnOp, TensorTy, eval};
use fhec_ir::{ConstId, ConstPool, Dialect, Nn, Shape, Tensor};

use super::explain::RewriteStep;

/// A node of the e-graph.
pub(super) type NnNode = ENode<NnOp>;

/// Constants of more elements are not computed at compile time.
const MAX_FOLDED: usize = 1 << 26;

/// What is known of the whole graph.
#[derive(Debug, Default)]
pub(super) struct ClassFacts {
    pub pool: ConstPool,
    /// Types of the parameters.
    pub params: Vec<TensorTy>,
    /// Which rule made which node.
    pub steps: Vec<RewriteStep>,
    /// The step that first added a node that no function had.
    pub made: HashMap<NnNode, usize>,
    /// Classes that are new, were united or became constant since the saturation last took them.
    pub touched: Vec<Id>,
    /// Bytes of the constants computed here.
    pub bytes: usize,
}

impl ClassFacts {
    /// Adds a constant to the pool; what it occupies counts once.
    fn keep(&mut self, hint: &str, tensor: Tensor) -> ConstId {
        let (before, size) = (self.pool.len(), std::mem::size_of_val(tensor.data()));
        let id = self.pool.insert(hint, tensor);
        if self.pool.len() > before {
            self.bytes += size;
        }
        id
    }
}

/// What is known of one class.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub shape: Shape,
    pub constant: Option<ConstId>,
    /// How many ops lie below the shallowest node of the class, as far as is known. The saturation works by rising
    /// rank, and rules take constants out towards lower ranks.
    pub rank: u32,
    /// Whether an op that absorbs scales has its result here, or moved or averaged.
    pub absorbs: bool,
}

impl Analysis<NnNode> for ClassFacts {
    type Data = Fact;

    fn make(egraph: &mut EGraph<NnNode, Self>, node: &NnNode, _: Id) -> Fact {
        let shape = infer(egraph, node).unwrap_or_default();
        let constant = match node.op {
            NnOp::Const { value } => Some(value),
            _ => fold(egraph, node, &shape),
        };
        // x - y is x + (-y), and a normalisation x·a + b.
        let ops = if matches!(node.op, NnOp::Sub {} | NnOp::BatchNorm { .. }) { 2 } else { 1 };
        let below = node.children.iter().map(|&c| egraph[c].data.rank + ops).max();
        let rank = if constant.is_some() { 0 } else { below.unwrap_or(0) };
        let absorbs = constant.is_none()
            && (takes_scales(&node.op) || (carries_scales(&node.op) && egraph[node.children[0]].data.absorbs));
        Fact { shape, constant, rank, absorbs }
    }

    fn remake(egraph: &mut EGraph<NnNode, Self>, node: &NnNode, id: Id) -> Fact {
        // What is constant already is not computed again.
        if egraph[id].data.constant.is_some() { egraph[id].data.clone() } else { Self::make(egraph, node, id) }
    }

    fn merge(&mut self, to: &mut Fact, from: Fact) -> DidMerge {
        debug_assert_eq!(to.shape, from.shape, "a rule changed a shape");
        // The rank only orders the work: classes above are not told.
        to.rank = to.rank.min(from.rank);
        egg::merge_option(&mut to.constant, from.constant, egg::merge_min)
            | egg::merge_max(&mut to.absorbs, from.absorbs)
    }

    fn modify(egraph: &mut EGraph<NnNode, Self>, id: Id) {
        egraph.analysis.touched.push(id);
        if let Some(value) = egraph[id].data.constant {
            let constant = egraph.add(NnNode::new(NnOp::Const { value }, []));
            egraph.union(id, constant);
        }
    }
}

/// Whether an op takes scales of its result into its weights, or passes them on to what does.
fn takes_scales(op: &NnOp) -> bool {
    matches!(
        op,
        NnOp::Conv { .. }
            | NnOp::MatMul {}
            | NnOp::BatchNorm { .. }
            | NnOp::Activation { .. }
            | NnOp::Composed { .. }
            | NnOp::PRelu {}
            | NnOp::MaxPool { .. }
    )
}

/// Whether scales of the result of an op can be scales of its first operand.
fn carries_scales(op: &NnOp) -> bool {
    matches!(
        op,
        NnOp::Reshape { .. }
            | NnOp::Transpose { .. }
            | NnOp::AvgPool { .. }
            | NnOp::ReduceMean { .. }
            | NnOp::ReduceSum { .. }
    )
}

/// The shape `node` has; none when it is ill-typed.
fn infer(egraph: &EGraph<NnNode, ClassFacts>, node: &NnNode) -> Option<Shape> {
    if let NnOp::Input { index } = node.op {
        return egraph.analysis.params.get(index as usize).map(|ty| ty.0.clone());
    }
    if !fhec_ir::OpInfo::arity(&node.op).contains(&node.children.len()) {
        return None;
    }
    let types: Vec<TensorTy> = node.children.iter().map(|&c| TensorTy(egraph[c].data.shape.clone())).collect();
    let types: Vec<&TensorTy> = types.iter().collect();
    Nn::infer(&node.op, &types, &egraph.analysis.pool).ok().map(|ty| ty.0)
}

/// The value of an op over constants, unless it is large or not finite.
fn fold(egraph: &mut EGraph<NnNode, ClassFacts>, node: &NnNode, shape: &Shape) -> Option<ConstId> {
    if node.children.is_empty() || shape.len() > MAX_FOLDED {
        return None;
    }
    let ids = node.children.iter().map(|&c| egraph[c].data.constant).collect::<Option<Vec<ConstId>>>()?;
    let pool = &egraph.analysis.pool;
    let operands: Vec<&Tensor> = ids.iter().map(|&id| pool.tensor(id)).collect();
    let value = eval::apply(&node.op, &operands, pool).ok()?;
    if !value.data().iter().all(|x| x.is_finite()) {
        return None;
    }
    let hint = pool.get(ids[0]).name.clone();
    Some(egraph.analysis.keep(&hint, value))
}

/// The e-graph while a rule is applied: what the rule may ask and do.
pub(super) struct RuleGraph<'a> {
    pub egraph: &'a mut EGraph<NnNode, ClassFacts>,
    /// The class of the node that the rule looks at.
    root: Id,
    /// What was found so far.
    pub found: Vec<Equal>,
    current: Derivation,
}

/// A class that a rule found equal to the node it looked at.
pub(super) struct Equal {
    pub class: Id,
    pub trace: Derivation,
}

/// How a rule came to an equality.
#[derive(Default)]
pub(super) struct Derivation {
    /// Nodes added that were not there before.
    pub added: Vec<NnNode>,
    /// Nodes below the root that the rule looked at.
    pub used: Vec<(Id, NnNode)>,
}

impl<'a> RuleGraph<'a> {
    pub fn new(egraph: &'a mut EGraph<NnNode, ClassFacts>, root: Id) -> Self {
        Self { egraph, root, found: Vec::new(), current: Derivation::default() }
    }
    /// Concludes an attempt: `class` is equal to the node the rule looks at, or none is.
    pub fn found(&mut self, class: Option<Id>) {
        let trace = std::mem::take(&mut self.current);
        self.found.extend(class.map(|class| Equal { class, trace }));
    }
    /// The shape of a class.
    pub fn shape(&self, class: Id) -> Shape {
        self.egraph[class].data.shape.clone()
    }
    /// The value of a constant class.
    pub fn constant(&self, class: Id) -> Option<Tensor> {
        self.egraph[class].data.constant.map(|id| self.egraph.analysis.pool.tensor(id).clone())
    }
    pub fn is_constant(&self, class: Id) -> bool {
        self.egraph[class].data.constant.is_some()
    }
    /// The one value of all elements of a constant class.
    pub fn uniform(&self, class: Id) -> Option<f32> {
        let tensor = self.constant(class)?;
        let (&first, rest) = tensor.data().split_first()?;
        rest.iter().all(|&x| x == first).then_some(first)
    }
    /// The nodes of a class.
    pub fn nodes(&self, class: Id) -> Vec<NnNode> {
        let mut nodes = self.egraph[class].nodes.clone();
        nodes.sort();
        nodes
    }
    /// The nodes `op(x, c)` of a class where c is constant and x ranks below, with x and c. Others, such as x + 0 in
    /// the class of x, say nothing of what the class is made of, and would be taken apart without end.
    pub fn with_constant(&self, class: Id, op: &NnOp) -> Vec<(NnNode, Id, Id)> {
        let rank = self.rank(class);
        let nodes = self.nodes(class).into_iter().filter(|n| &n.op == op);
        let parts = nodes.map(|n| (self.egraph.find(n.children[0]), n.children[1], n)).map(|(x, c, n)| (n, x, c));
        let below = parts.filter(|&(_, x, c)| self.is_constant(c) && !self.is_constant(x) && self.rank(x) < rank);
        // Two constants of one shape over one x are one but for rounding, as their nodes are equal: the first stands
        // for both.
        let mut seen = HashSet::new();
        below.filter(|&(_, x, c)| seen.insert((x, self.shape(c)))).collect()
    }
    /// Whether no node `op(x, c)` of a class has a constant c. Rules that join constants, or take them out, do so
    /// over bare classes alone: of a chain of n they then make its n beginnings, where joining any two neighbours
    /// makes all n² parts of it, each with every bracketing of its constants. As ranks fall, there is a bare class
    /// below every other.
    pub fn is_bare(&self, class: Id, op: &NnOp) -> bool {
        self.with_constant(class, op).is_empty()
    }
    /// Whether a class is bare of scales, or has a node that takes them in: rules move scales past such a class alone.
    pub fn is_settled(&self, class: Id) -> bool {
        self.is_bare(class, &NnOp::Mul {}) || self.egraph[class].nodes.iter().any(|n| takes_scales(&n.op))
    }
    /// Whether scales are moved down to `class` under a move or an average: where something below takes them in, and
    /// past the first move in any case. Past every move of a chain, each scale would stand at each of them.
    pub fn lets_scales_down(&self, class: Id) -> bool {
        let first = self.is_first(class, carries_scales);
        self.is_settled(class) && (first || self.egraph[class].data.absorbs)
    }
    /// Whether no node of a class that `kind` admits stands over a class of lower rank.
    pub fn is_first(&self, class: Id, kind: fn(&NnOp) -> bool) -> bool {
        let rank = self.rank(class);
        !self.egraph[class].nodes.iter().any(|n| kind(&n.op) && self.rank(n.children[0]) < rank)
    }
    pub fn rank(&self, class: Id) -> u32 {
        self.egraph[class].data.rank
    }
    /// Whether the class looked at has `op` over `x` and constants already. Computed in another order they would
    /// differ in rounding alone.
    pub fn holds(&self, op: &NnOp, x: Id) -> bool {
        let x = self.egraph.find(x);
        let alike = |n: &NnNode| {
            &n.op == op
                && n.children.split_first().is_some_and(|(&first, rest)| {
                    self.egraph.find(first) == x && rest.iter().all(|&c| self.is_constant(c))
                })
        };
        self.egraph[self.root].nodes.iter().any(alike)
    }
    /// As [`Self::holds`] for an op that broadcasts, with a constant of this shape.
    pub fn holds_with(&self, op: &NnOp, x: Id, shape: &Shape) -> bool {
        let x = self.egraph.find(x);
        let alike = |n: &NnNode| {
            &n.op == op
                && self.egraph.find(n.children[0]) == x
                && self.is_constant(n.children[1])
                && &self.egraph[n.children[1]].data.shape == shape
        };
        self.egraph[self.root].nodes.iter().any(alike)
    }
    /// Notes that `node` of `class` was matched.
    pub fn uses(&mut self, class: Id, node: &NnNode) {
        self.current.used.push((class, node.clone()));
    }
    /// Adds a node; none when it is ill-typed.
    pub fn add(&mut self, op: NnOp, children: impl IntoIterator<Item = Id>) -> Option<Id> {
        let node = NnNode::new(op, children);
        infer(self.egraph, &node)?;
        if self.egraph.lookup(node.clone()).is_none() {
            self.current.added.push(node.clone());
        }
        Some(self.egraph.add(node))
    }
    /// A constant.
    pub fn tensor(&mut self, hint: &str, tensor: Tensor) -> Id {
        let value = self.egraph.analysis.keep(hint, tensor);
        self.egraph.add(NnNode::new(NnOp::Const { value }, []))
    }
    pub fn scalar(&mut self, x: f32) -> Id {
        self.tensor("scalar", Tensor::scalar(x))
    }
    pub fn mul(&mut self, a: Id, b: Id) -> Option<Id> {
        self.add(NnOp::Mul {}, [a, b])
    }
    pub fn sum(&mut self, a: Id, b: Id) -> Option<Id> {
        self.add(NnOp::Add {}, [a, b])
    }
    /// `x` under another shape; itself when it has that shape.
    pub fn reshape(&mut self, x: Id, shape: &[usize]) -> Option<Id> {
        if self.shape(x).0 == shape {
            return Some(x);
        }
        let shape = shape.iter().map(|&d| d as i64).collect();
        self.add(NnOp::Reshape { shape }, [x])
    }
    /// `x` broadcast to `shape`; itself when it has that shape.
    pub fn expand(&mut self, x: Id, shape: &Shape) -> Option<Id> {
        if &self.shape(x) == shape {
            return Some(x);
        }
        let shape = shape.0.iter().map(|&d| d as i64).collect();
        self.add(NnOp::Expand { shape }, [x])
    }
    /// `d` as a vector over dimension `axis` of a tensor of `shape` it broadcasts to; none when it varies along another
    /// dimension.
    pub fn vector_along(&mut self, d: Id, shape: &Shape, axis: usize) -> Option<Id> {
        let own = self.shape(d);
        if !own.broadcasts_to(shape) {
            return None;
        }
        let missing = shape.rank() - own.rank();
        let varies_elsewhere = own.0.iter().enumerate().any(|(i, &n)| i + missing != axis && n != 1);
        if varies_elsewhere {
            return None;
        }
        let extent = shape.0[axis];
        if own.len() == extent {
            return self.reshape(d, &[extent]);
        }
        let one = self.reshape(d, &[1])?;
        self.expand(one, &Shape(vec![extent]))
    }
}
