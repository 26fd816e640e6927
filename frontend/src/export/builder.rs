//! The graph under construction, and the node that is being written.

use std::collections::{HashMap, HashSet};

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Node as IrNode, OpInfo, Shape, Value};

use crate::import::BatchPlace;
use crate::proto::{Attribute, Graph, Node, Tensor, ValueInfo, data_type};

/// Names that are in use.
#[derive(Default)]
struct Names {
    used: HashSet<String>,
    /// By name: the last number that told another of that name apart.
    last: HashMap<String, usize>,
}

impl Names {
    /// `name`, with a number where another has it already.
    fn unique(&mut self, name: &str) -> String {
        if self.used.insert(name.to_string()) {
            return name.to_string();
        }
        let last = self.last.entry(name.to_string()).or_insert(1);
        loop {
            *last += 1;
            let numbered = format!("{name}_{last}");
            if self.used.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

/// An ONNX graph under construction.
pub(super) struct Builder<'a> {
    module: &'a Module<Nn>,
    graph: Graph,
    /// Names of inputs, constants and results of nodes.
    names: Names,
    node_names: Names,
    /// The names of the values that are in the graph.
    values: Vec<Option<String>>,
    /// Where the batch lies, if its extent is left open.
    batch: Option<Vec<BatchPlace>>,
}

impl<'a> Builder<'a> {
    /// A graph with the inputs of `module`.
    pub(super) fn new(module: &'a Module<Nn>, batch: Option<Vec<BatchPlace>>) -> Self {
        let graph = Graph { name: module.func.name.clone(), ..Graph::default() };
        let values = vec![None; module.func.len()];
        let (names, node_names) = (Names::default(), Names::default());
        let mut builder = Self { module, graph, names, node_names, values, batch };
        for (i, &param) in module.func.params().iter().enumerate() {
            let port = module.inputs.get(i).map_or("", |port| &port.name);
            let name = builder.names.unique(&stated(port, || format!("input{i}")));
            let info = builder.info(&name, param);
            builder.graph.input.push(info);
            builder.values[param.index()] = Some(name);
        }
        let outputs = module.func.results().iter().enumerate().map(|(i, &result)| {
            let port = module.outputs.get(i).map_or("", |port| &port.name);
            (result, stated(port, || format!("output{i}")))
        });
        for (result, name) in outputs {
            // An input may be an output under its own name.
            let name = match &builder.values[result.index()] {
                Some(own) if *own == name => name,
                _ => builder.names.unique(&name),
            };
            let info = builder.info(&name, result);
            builder.graph.output.push(info);
            let computed = !matches!(module.func.node(result).op, NnOp::Input { .. } | NnOp::Const { .. });
            if computed {
                builder.values[result.index()].get_or_insert(name);
            }
        }
        builder
    }

    pub(super) fn module(&self) -> &'a Module<Nn> {
        self.module
    }

    /// The graph, when all nodes are written, and the names of values.
    pub(super) fn finish(mut self) -> (Graph, Vec<Option<String>>) {
        for (i, &result) in self.module.func.results().iter().enumerate() {
            let output = self.graph.output[i].name.clone();
            let value = self.operand(result, &output, "value");
            if value != output {
                let name = self.node_names.unique(&format!("{output}.output"));
                self.graph.node.push(Node::new("Identity", &name, &[&value], &[&output], vec![]));
            }
        }
        (self.graph, self.values)
    }

    fn info(&self, name: &str, value: Value) -> ValueInfo {
        let mut dims = signed(&self.module.func.ty(value).0);
        if let Some(d) = self.batch_of(value) {
            // Which stands for the symbol.
            dims[d] = -1;
        }
        ValueInfo::floats(name, &dims)
    }

    /// The dimension in which the batch lies, where its extent is left open.
    fn batch_of(&self, value: Value) -> Option<usize> {
        self.batch.as_ref().and_then(|places| places[value.index()])
    }

    /// The name of a value that the node called `user` reads as its `role`: a constant is written when it is first
    /// read.
    fn operand(&mut self, value: Value, user: &str, role: &str) -> String {
        if let Some(name) = &self.values[value.index()] {
            return name.clone();
        }
        let name = self.names.unique(&format!("{user}.{role}"));
        if let NnOp::Const { value } = &self.module.func.node(value).op {
            let tensor = self.module.consts.tensor(*value);
            self.graph.initializer.push(floats(&name, &signed(tensor.shape()), tensor.data()));
        }
        self.values[value.index()] = Some(name.clone());
        name
    }
}

/// `name`, or `other` where it is empty: an empty name stands for no value.
fn stated(name: &str, other: impl FnOnce() -> String) -> String {
    if name.is_empty() { other() } else { name.to_string() }
}

/// Extents as ONNX counts them.
pub(super) fn signed(shape: &Shape) -> Vec<i64> {
    shape.0.iter().map(|&d| d as i64).collect()
}

fn floats(name: &str, dims: &[i64], data: &[f32]) -> Tensor {
    let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    raw(name, dims, data_type::FLOAT, bytes)
}

fn raw(name: &str, dims: &[i64], data_type: i32, bytes: Vec<u8>) -> Tensor {
    Tensor { name: name.into(), dims: dims.to_vec(), data_type, raw_data: Some(bytes), ..Tensor::default() }
}

/// The node of the module that is being written: it becomes one node of the graph, or several of which the last one has
/// its name.
pub(super) struct Site<'b, 'a> {
    builder: &'b mut Builder<'a>,
    value: Value,
    node: &'a IrNode<Nn>,
    /// Its name in the graph.
    name: String,
}

impl<'b, 'a> Site<'b, 'a> {
    pub(super) fn new(builder: &'b mut Builder<'a>, value: Value) -> Self {
        let node = builder.module.func.node(value);
        let name = stated(node.loc.onnx.as_deref().unwrap_or_default(), || node.op.mnemonic().to_string());
        let name = builder.node_names.unique(&name);
        Self { builder, value, node, name }
    }

    /// Number of operands.
    pub(super) fn arity(&self) -> usize {
        self.node.operands.len()
    }

    /// The name of operand `k`, which is the `role` of this node if it is a constant.
    pub(super) fn operand(&mut self, k: usize, role: &str) -> String {
        self.builder.operand(self.node.operands[k], &self.name, role)
    }

    /// The name of the operand that is computed on.
    pub(super) fn x(&mut self) -> String {
        self.operand(0, "x")
    }

    /// The name of operand `k` as a tensor of one dimension.
    pub(super) fn vector(&mut self, k: usize, role: &str) -> String {
        let name = self.operand(k, role);
        let shape = self.shape(k);
        if shape.rank() == 1 {
            return name;
        }
        let to = self.ints("shape", &[shape.len() as i64]);
        self.step("Reshape", &[&name, &to], vec![])
    }

    /// The shape of operand `k`.
    pub(super) fn shape(&self, k: usize) -> &'a Shape {
        &self.builder.module.func.ty(self.node.operands[k]).0
    }

    /// The shape of the result.
    pub(super) fn out_shape(&self) -> &'a Shape {
        &self.node.ty.0
    }

    /// The dimension of the result in which a batch of open extent lies.
    pub(super) fn out_batch(&self) -> Option<usize> {
        self.builder.batch_of(self.value)
    }

    /// The dimension of operand `k` in which a batch of open extent lies.
    pub(super) fn batch(&self, k: usize) -> Option<usize> {
        self.builder.batch_of(self.node.operands[k])
    }

    /// A node whose result the node that is being written needs.
    pub(super) fn step(&mut self, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = self.builder.node_names.unique(&format!("{}/{operator}", self.name));
        let output = self.builder.names.unique(&name);
        self.builder.graph.node.push(Node::new(operator, &name, inputs, &[&output], attributes));
        output
    }

    /// The node that computes the result.
    pub(super) fn last(&mut self, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) {
        let (name, index) = (self.name.clone(), self.value.index());
        let output = match &self.builder.values[index] {
            Some(output) => output.clone(),
            None => self.builder.names.unique(&name),
        };
        self.builder.values[index] = Some(output.clone());
        self.builder.graph.node.push(Node::new(operator, &name, inputs, &[&output], attributes));
    }

    /// A constant of this node.
    pub(super) fn constant(&mut self, role: &str, dims: &[i64], data: &[f32]) -> String {
        let name = self.builder.names.unique(&format!("{}.{role}", self.name));
        self.builder.graph.initializer.push(floats(&name, dims, data));
        name
    }

    /// A constant of one number.
    pub(super) fn scalar(&mut self, role: &str, x: f32) -> String {
        self.constant(role, &[], &[x])
    }

    /// A constant list of integers.
    pub(super) fn ints(&mut self, role: &str, list: &[i64]) -> String {
        self.shaped_ints(role, &[list.len() as i64], list)
    }

    /// A constant tensor of integers.
    pub(super) fn shaped_ints(&mut self, role: &str, dims: &[i64], list: &[i64]) -> String {
        let name = self.builder.names.unique(&format!("{}.{role}", self.name));
        let bytes = list.iter().flat_map(|i| i.to_le_bytes()).collect();
        self.builder.graph.initializer.push(raw(&name, dims, data_type::INT64, bytes));
        name
    }
}
