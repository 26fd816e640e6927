//! A function is a DAG of nodes in definition order; a module holds one function with its constants.

use fhec_parameters::ParamSpec;
use smallvec::SmallVec;

use crate::consts::ConstPool;
use crate::dialect::{Dialect, OpInfo, TypeError};
use crate::entity::{Entity, Value};
use crate::io::Port;
use crate::loc::Loc;

/// The operands of a node.
pub type Operands = SmallVec<[Value; 3]>;

/// One operation and its single result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<D: Dialect> {
    /// What is computed.
    pub op: D::Op,
    /// From what: values defined earlier.
    pub operands: Operands,
    /// Type of the result.
    pub ty: D::Ty,
    /// Origin.
    pub loc: Loc,
}

/// A function: inputs, then nodes, each after its operands, then results.
#[derive(Clone, Debug, PartialEq)]
pub struct Func<D: Dialect> {
    /// Name in text.
    pub name: String,
    nodes: Vec<Node<D>>,
    params: Vec<Value>,
    results: Vec<Value>,
}

/// A function with its constants, the description of its inputs and outputs, and, at the `ckks` level, its parameters.
#[derive(Clone, Debug)]
pub struct Module<D: Dialect> {
    /// The function.
    pub func: Func<D>,
    /// Its constants.
    pub consts: ConstPool,
    /// What each parameter stands for, in order (below the `nn` level one tensor may span several parameters).
    pub inputs: Vec<Port>,
    /// What each result stands for.
    pub outputs: Vec<Port>,
    /// Encryption parameters, once chosen.
    pub params: Option<ParamSpec>,
}

impl<D: Dialect> Func<D> {
    /// An empty function.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), nodes: Vec::new(), params: Vec::new(), results: Vec::new() }
    }
    /// Appends a parameter of type `ty`.
    pub fn add_param(&mut self, ty: D::Ty, loc: Loc) -> Value {
        let op = D::Op::input(self.params.len() as u32);
        let value = self.push_unchecked(op, Operands::new(), ty, loc);
        self.params.push(value);
        value
    }
    /// Appends a node; its type is inferred.
    ///
    /// # Errors
    /// When the operand count or the operand types do not fit the op.
    ///
    /// # Panics
    /// When an operand is not yet defined.
    pub fn push(
        &mut self,
        op: D::Op,
        operands: impl IntoIterator<Item = Value>,
        loc: Loc,
        consts: &ConstPool,
    ) -> Result<Value, TypeError> {
        let operands: Operands = operands.into_iter().collect();
        let ty = self.infer(&op, &operands, consts)?;
        Ok(self.push_unchecked(op, operands, ty, loc))
    }
    /// The type `op` would have over `operands`.
    ///
    /// # Errors
    /// As [`Func::push`].
    pub fn infer(&self, op: &D::Op, operands: &[Value], consts: &ConstPool) -> Result<D::Ty, TypeError> {
        let arity = op.arity();
        if !arity.contains(&operands.len()) {
            let (lo, hi) = (arity.start(), arity.end());
            let takes = if lo == hi {
                format!("{lo}")
            } else if *hi == usize::MAX {
                format!("at least {lo}")
            } else {
                format!("{lo} to {hi}")
            };
            return Err(TypeError(format!("`{}` takes {takes} operands, not {}", op.mnemonic(), operands.len())));
        }
        if let Some(id) = op.consts().into_iter().find(|&id| !consts.contains(id)) {
            return Err(TypeError(format!("constant {id} is not in the module")));
        }
        let types: SmallVec<[&D::Ty; 3]> = operands.iter().map(|&v| self.ty(v)).collect();
        D::infer(op, &types, consts)
    }
    /// Appends a node with a stated type, which only the verifier checks. For parsers.
    ///
    /// # Panics
    /// When an operand is not yet defined.
    pub fn push_unchecked(&mut self, op: D::Op, operands: Operands, ty: D::Ty, loc: Loc) -> Value {
        let value = Value::new(self.nodes.len());
        assert!(operands.iter().all(|o| o.index() < value.index()), "operand used before its definition");
        self.nodes.push(Node { op, operands, ty, loc });
        value
    }
    /// Sets the results.
    pub fn set_results(&mut self, results: impl IntoIterator<Item = Value>) {
        self.results = results.into_iter().collect();
    }
    /// The parameters in order.
    pub fn params(&self) -> &[Value] {
        &self.params
    }
    /// The results in order.
    pub fn results(&self) -> &[Value] {
        &self.results
    }
    /// The node that defines `value`.
    pub fn node(&self, value: Value) -> &Node<D> {
        &self.nodes[value.index()]
    }
    /// The type of `value`.
    pub fn ty(&self, value: Value) -> &D::Ty {
        &self.node(value).ty
    }
    /// All nodes, inputs included, in definition order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Value, &Node<D>)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (Value::new(i), n))
    }
    /// Number of nodes, inputs included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    /// For every value, how many operands and results name it.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        for v in self.nodes.iter().flat_map(|n| n.operands.iter()).chain(&self.results) {
            counts[v.index()] += 1;
        }
        counts
    }
    /// Which values the results depend on (parameters count as live).
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for v in self.results.iter().chain(&self.params) {
            live[v.index()] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for o in &self.nodes[i].operands {
                    live[o.index()] = true;
                }
            }
        }
        live
    }
}

impl<D: Dialect> Module<D> {
    /// A module with an empty function.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            func: Func::new(name),
            consts: ConstPool::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: None,
        }
    }
    /// Appends a node to the function; its type is inferred.
    ///
    /// # Errors
    /// As [`Func::push`].
    pub fn push(&mut self, op: D::Op, operands: impl IntoIterator<Item = Value>, loc: Loc) -> Result<Value, TypeError> {
        self.func.push(op, operands, loc, &self.consts)
    }
    /// Rebuilds the function node by node: `f` gets the module under construction, each live node of the old function
    /// with its operands already mapped to new values, and returns the new value that replaces it. Parameters, ports and
    /// constants are carried over, dead nodes fall away.
    ///
    /// # Errors
    /// Whatever `f` returns.
    pub fn rebuild<E>(
        &self,
        mut f: impl FnMut(&mut Self, Value, &Node<D>, Operands) -> Result<Value, E>,
    ) -> Result<Self, E> {
        let mut out = Self {
            func: Func::new(self.func.name.clone()),
            consts: self.consts.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            params: self.params.clone(),
        };
        let live = self.func.live();
        let mut map: Vec<Option<Value>> = vec![None; self.func.len()];
        let at = |map: &[Option<Value>], v: Value| map[v.index()].expect("operands of live nodes are live and earlier");
        for (value, node) in self.func.iter() {
            if !live[value.index()] {
                continue;
            }
            let new = if node.op.as_input().is_some() {
                out.func.add_param(node.ty.clone(), node.loc.clone())
            } else {
                let operands = node.operands.iter().map(|&o| at(&map, o)).collect();
                f(&mut out, value, node, operands)?
            };
            map[value.index()] = Some(new);
        }
        let results: Vec<_> = self.func.results().iter().map(|&r| at(&map, r)).collect();
        out.func.set_results(results);
        Ok(out)
    }
}
