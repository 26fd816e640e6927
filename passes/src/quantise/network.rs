//! The network as linear maps and the element-wise functions between them.

use std::sync::Arc;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{ConstPool, Entity, Issue, Loc, Module, Nn, Node, OpInfo, Port, Shape, Tensor, Value};

use crate::pack::affine::AffineMap;
use crate::pack::heads::{Headless, headless};
use crate::pack::sparse::Sparse;
use crate::pack::{linear, reject};
use crate::pass::PassError;

const NAME: &str = "quantise";

/// An affine map of tensors, which are numbered: inputs first, then functions.
pub(super) struct Affine {
    /// The node whose value it is.
    pub(super) node: String,
    pub(super) shape: Shape,
    /// Tensors by increasing number.
    pub(super) terms: Vec<(usize, Arc<Sparse>)>,
    pub(super) bias: Vec<f64>,
}

impl Affine {
    fn of(a: AffineMap, loc: &Loc) -> Self {
        Self { node: loc.name().into(), shape: a.shape, terms: a.terms, bias: a.bias }
    }
    /// Its value where tensor `t` holds `values[t]`.
    pub(super) fn apply(&self, values: &[Vec<f64>]) -> Vec<f64> {
        let mut out = self.bias.clone();
        for (t, map) in &self.terms {
            out.iter_mut().zip(map.apply(&values[*t])).for_each(|(sum, x)| *sum += x);
        }
        out
    }
    pub(super) fn rows(&self) -> usize {
        self.bias.len()
    }
}

/// An operand of an element-wise op.
enum Operand {
    /// The value that it is a function of.
    Argument,
    Constant(Tensor),
}

/// An element-wise function of an affine map.
pub(super) struct Function {
    pub(super) argument: Affine,
    op: NnOp,
    operands: Vec<Operand>,
}

impl Function {
    /// Its values at one argument per element.
    ///
    /// # Errors
    /// When the op does not take the operands, which a verified module rules out.
    pub(super) fn values(&self, arguments: &[f64], consts: &ConstPool) -> Result<Vec<f64>, PassError> {
        let data: Vec<f32> = arguments.iter().map(|&x| x as f32).collect();
        let argument = Tensor::new(self.argument.shape.clone(), data);
        let operand = |o| match o {
            &Operand::Argument => argument.clone(),
            Operand::Constant(tensor) => tensor.clone(),
        };
        let operands: Vec<Tensor> = self.operands.iter().map(operand).collect();
        let value = eval::apply(&self.op, &operands.iter().collect::<Vec<_>>(), consts).map_err(|e| {
            error(vec![Issue::new(&Loc::onnx(&self.argument.node), self.op.mnemonic(), e.to_string(), DEFECT)])
        })?;
        Ok(value.data().iter().map(|&x| f64::from(x)).collect())
    }
}

const DEFECT: &str = "report this with the model";

/// A network between its inputs and outputs.
pub(super) struct Network {
    pub(super) inputs: Vec<Port>,
    pub(super) functions: Vec<Function>,
    pub(super) results: Vec<Affine>,
    /// The outputs, with what is left to the client.
    pub(super) ports: Vec<Port>,
    pub(super) consts: ConstPool,
}

fn error(issues: Vec<Issue>) -> PassError {
    PassError { pass: NAME, issues }
}

#[derive(Clone)]
enum Known {
    Constant(Tensor),
    Affine(AffineMap),
}

impl Network {
    /// Takes `module` apart; and remarks on what is left to the client.
    ///
    /// # Errors
    /// Every node that is neither linear nor a function of one value, element by element.
    pub(super) fn of(module: &Module<Nn>) -> Result<(Self, Vec<String>), PassError> {
        let Headless { module, heads, notes, .. } = headless(module);
        let secret = reject::encrypted(&module);
        let issues = issues(&module, &secret);
        if !issues.is_empty() {
            return Err(error(issues));
        }
        let ports = module.outputs.iter().zip(heads).map(|(port, heads)| Port { heads, ..port.clone() }).collect();
        let mut network = Self {
            inputs: module.inputs.clone(),
            functions: Vec::new(),
            results: Vec::new(),
            ports,
            consts: module.consts.clone(),
        };
        let mut known: Vec<Option<Known>> = vec![None; module.func.len()];
        let live = module.func.live();
        for (v, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
            let operands: Vec<Known> = node.operands.iter().filter_map(|o| known[o.index()].clone()).collect();
            let value = match node.op.as_input() {
                Some(index) => Known::Affine(AffineMap::source(index as usize, node.ty.0.clone())),
                None if !secret[v.index()] => Known::Constant(constant(&module, node, &operands)?),
                None => {
                    // A function is named together with the linear node before it, whose sums its argument is.
                    let argument = node.operands.iter().find(|o| secret[o.index()]).map(|&o| &module.func.node(o).loc);
                    let loc = argument.map_or(node.loc.clone(), |loc| loc.merge(&node.loc));
                    Known::Affine(network.node(node, &loc, operands).map_err(|issue| error(vec![issue]))?)
                }
            };
            known[v.index()] = Some(value);
        }
        for &result in module.func.results() {
            let a =
                known[result.index()].clone().map(affine).unwrap_or_else(|| AffineMap::constant(Shape(vec![]), vec![]));
            network.results.push(Affine::of(a, &module.func.node(result).loc));
        }
        Ok((network, notes))
    }

    /// The value of a node over secret operands.
    fn node(&mut self, node: &Node<Nn>, loc: &Loc, operands: Vec<Known>) -> Result<AffineMap, Issue> {
        if !is_function(node, &operands.iter().map(|o| matches!(o, Known::Affine(_))).collect::<Vec<_>>()) {
            return linear::apply(node, &operands.into_iter().map(affine).collect::<Vec<_>>());
        }
        let number = self.inputs.len() + self.functions.len();
        let (mut argument, mut of) = (None, Vec::with_capacity(operands.len()));
        for operand in operands {
            of.push(match operand {
                Known::Affine(a) => {
                    argument = Some(linear::broadcast(&a, &node.op, &node.ty.0));
                    Operand::Argument
                }
                Known::Constant(tensor) => Operand::Constant(tensor),
            });
        }
        let argument =
            argument.ok_or_else(|| Issue::new(&node.loc, node.op.mnemonic(), "it has no operand", DEFECT))?;
        self.functions.push(Function { argument: Affine::of(argument, loc), op: node.op.clone(), operands: of });
        Ok(AffineMap::source(number, node.ty.0.clone()))
    }

    /// Elements of every tensor.
    pub(super) fn lens(&self) -> Vec<usize> {
        let inputs = self.inputs.iter().map(|port| port.shape.len());
        inputs.chain(self.functions.iter().map(|f| f.argument.rows())).collect()
    }
}

fn affine(known: Known) -> AffineMap {
    match known {
        Known::Affine(a) => a,
        Known::Constant(t) => AffineMap::constant(t.shape().clone(), t.data().iter().map(|&x| f64::from(x)).collect()),
    }
}

fn constant(module: &Module<Nn>, node: &Node<Nn>, operands: &[Known]) -> Result<Tensor, PassError> {
    let tensor = |known: &Known| match known {
        Known::Constant(t) => Some(t.clone()),
        Known::Affine(_) => None,
    };
    let operands: Vec<Tensor> = operands.iter().filter_map(tensor).collect();
    eval::apply(&node.op, &operands.iter().collect::<Vec<_>>(), &module.consts)
        .map_err(|e| error(vec![Issue::new(&node.loc, node.op.mnemonic(), e.to_string(), DEFECT)]))
}

/// Whether a node over operands of which `secret` depend on an input is a function of one of them, element by element.
fn is_function(node: &Node<Nn>, secret: &[bool]) -> bool {
    match node.op {
        _ if node.op.is_function() => true,
        NnOp::Polynomial { .. } => true,
        NnOp::PRelu {} | NnOp::Pow {} => secret == [true, false],
        NnOp::Div {} => secret == [false, true],
        NnOp::Mul {} => secret == [true, true] && node.operands[0] == node.operands[1],
        _ => false,
    }
}

/// Every live node that is neither linear nor a function.
fn issues(module: &Module<Nn>, secret: &[bool]) -> Vec<Issue> {
    let live = module.func.live();
    let secret_nodes = module.func.iter().filter(|(v, _)| live[v.index()] && secret[v.index()]);
    let issue = |(_, node): (Value, &Node<Nn>)| {
        let operands: Vec<bool> = node.operands.iter().map(|&o| secret[o.index()]).collect();
        if is_function(node, &operands) {
            return None;
        }
        let (reason, repair) = match &node.op {
            NnOp::Mul {} if operands == [true, true] => (
                "the product of two tensors that depend on the input is no sum with constant weights".to_string(),
                "a square is one table; other products are computed under `--scheme ckks`",
            ),
            NnOp::MaxPool { .. } => (
                "a maximum over a window is no function of one value".to_string(),
                "replace max pooling by average pooling (or a strided convolution) and retrain briefly",
            ),
            NnOp::Pow {} => ("the exponent depends on the input".to_string(), "use a constant exponent"),
            op => reject::obstacle(op, &operands)?,
        };
        Some(Issue::new(&node.loc, node.op.mnemonic(), reason, repair))
    };
    secret_nodes.filter_map(issue).collect()
}
