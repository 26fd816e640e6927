//! The importer turns an ONNX graph into a module: it walks the live nodes, keeps the value of every name, and collects
//! what cannot be imported.

mod activation;
mod constant;
mod context;
mod elementwise;
mod gemm;
mod movement;
mod node;
mod norm;
mod pool;
mod reduce;
mod registry;
mod window;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fhec_ir::nn::TensorTy;
use fhec_ir::{Issue, Loc, Module, Nn, Port, Shape};

use crate::error::{ImportError, Refusal, Result};
use crate::proto::{self, data_type};
use crate::{ImportOptions, MAX_OPSET, MIN_OPSET, tensor};
use context::{Context, Operand};
use node::NodeView;
pub use registry::{Operator, operators};

pub(crate) fn import_model(
    model: &proto::Model,
    options: &ImportOptions,
) -> std::result::Result<Module<Nn>, ImportError> {
    let graph = model.graph.as_ref();
    let name = options.name.clone().or_else(|| graph.map(|g| g.name.clone())).unwrap_or_default();
    let title = if name.is_empty() { "model".to_string() } else { name.clone() };
    let Some(graph) = graph else {
        return Err(ImportError::NotOnnx { model: title, reason: "it has no graph".into() });
    };
    let opset = model.opset_import.iter().find(|o| is_standard(&o.domain)).map_or(1, |o| o.version);
    if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
        return Err(ImportError::Opset { model: title, found: opset });
    }
    let mut walk = Walk {
        opset,
        local_functions: model.functions.iter().map(|f| (f.domain.as_str(), f.name.as_str())).collect(),
        cx: Context::new(identifier(&name)),
        values: HashMap::new(),
        issues: Vec::new(),
    };
    walk.constants(graph, options.external_data.as_deref());
    walk.inputs(graph);
    walk.nodes(graph);
    walk.outputs(graph);
    if walk.issues.is_empty() {
        Ok(walk.cx.module)
    } else {
        Err(ImportError::Nodes { model: title, issues: walk.issues })
    }
}

fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// `name` as an identifier of the text form.
fn identifier(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match name.chars().next() {
        None => "main".into(),
        Some(c) if c.is_ascii_digit() => format!("m{name}"),
        Some(_) => name,
    }
}

/// What a name of the graph stands for.
#[derive(Clone)]
enum Named {
    Operand(Operand),
    /// Its node could not be imported, which has been reported: what depends on it is passed over in silence.
    Missing,
}

struct Walk<'a> {
    opset: i64,
    local_functions: HashSet<(&'a str, &'a str)>,
    cx: Context,
    values: HashMap<&'a str, Named>,
    issues: Vec<Issue>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, name: &str, op: &str, refusal: Refusal) {
        self.issues.push(Issue::new(&Loc::onnx(name), op, refusal.reason, refusal.repair));
    }

    fn constants(&mut self, graph: &'a proto::Graph, external: Option<&Path>) {
        for tensor in &graph.initializer {
            let named = match tensor::decode(tensor, external) {
                Ok(known) => Named::Operand(Operand::Known(known)),
                Err(refusal) => {
                    self.report(&tensor.name, "initializer", refusal);
                    Named::Missing
                }
            };
            self.values.insert(&tensor.name, named);
        }
        if !graph.sparse_initializer.is_empty() {
            let refusal = Refusal::new("sparse constants are not supported", "store the constants densely");
            self.report(&graph.name, "sparse_initializer", refusal);
        }
    }

    fn inputs(&mut self, graph: &'a proto::Graph) {
        for info in &graph.input {
            if self.values.contains_key(info.name.as_str()) {
                // Files of early versions list the initialisers among the inputs.
                continue;
            }
            let named = match input_shape(info) {
                Ok(shape) => {
                    let value = self.cx.module.func.add_param(TensorTy(shape.clone()), Loc::onnx(&info.name));
                    self.cx.module.inputs.push(Port { name: info.name.clone(), shape, layout: None, range: None });
                    Named::Operand(Operand::Value(value))
                }
                Err(refusal) => {
                    self.report(&info.name, "input", refusal);
                    Named::Missing
                }
            };
            self.values.insert(&info.name, named);
        }
    }

    fn nodes(&mut self, graph: &'a proto::Graph) {
        let declared: HashMap<&str, &proto::ValueInfo> =
            graph.value_info.iter().chain(&graph.output).map(|info| (info.name.as_str(), info)).collect();
        let live = live_nodes(graph);
        let used: HashSet<&str> = graph
            .node
            .iter()
            .zip(&live)
            .filter(|(_, live)| **live)
            .flat_map(|(node, _)| node.input.iter())
            .chain(graph.output.iter().map(|o| &o.name))
            .map(String::as_str)
            .collect();
        for node in graph.node.iter().zip(&live).filter(|(_, live)| **live).map(|(node, _)| node) {
            self.node(node, &used, &declared);
        }
    }

    fn node(&mut self, node: &'a proto::Node, used: &HashSet<&str>, declared: &HashMap<&'a str, &'a proto::ValueInfo>) {
        let outputs = node.output.iter().map(String::as_str).filter(|name| !name.is_empty());
        let name = match node.output.iter().find(|name| !name.is_empty()) {
            _ if !node.name.is_empty() => node.name.as_str(),
            Some(output) => output,
            None => "<unnamed>",
        };
        let result = self.import_node(node, name, used);
        if let Err(Some(refusal)) = &result {
            self.report(name, &node.op_type, refusal.clone());
        }
        for (i, output) in outputs.enumerate() {
            let named = match &result {
                Ok(values) => values.get(output).cloned().map(Named::Operand),
                // The shape that the exporter recorded lets the nodes behind be checked too.
                Err(Some(_)) if i == 0 => declared.get(output).and_then(|info| input_shape(info).ok()).map(|shape| {
                    Named::Operand(Operand::Value(self.cx.module.func.add_param(TensorTy(shape), Loc::onnx(name))))
                }),
                Err(_) => None,
            };
            if self.values.insert(output, named.unwrap_or(Named::Missing)).is_some() {
                let refusal = Refusal::invalid(format!("its output `{output}` is already defined"));
                self.report(name, &node.op_type, refusal);
            }
        }
    }

    /// The values of the node's outputs by name; `Err(None)` when an operand is missing for a reason already reported.
    fn import_node(
        &mut self,
        node: &'a proto::Node,
        name: &str,
        used: &HashSet<&str>,
    ) -> std::result::Result<HashMap<&'a str, Operand>, Option<Refusal>> {
        let operator = self.operator(node)?;
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(match self.values.get(input.as_str()) {
                _ if input.is_empty() => None,
                Some(Named::Operand(operand)) => Some(operand.clone()),
                Some(Named::Missing) => return Err(None),
                None => return Err(Some(Refusal::invalid(format!("its input `{input}` is not defined before it")))),
            });
        }
        let wanted: Vec<bool> = node.output.iter().map(|o| used.contains(o.as_str())).collect();
        let view = NodeView { proto: node, opset: self.opset, inputs, wanted };
        self.cx.loc = Loc::onnx(name);
        let results = (operator.import)(&mut self.cx, &view)?;
        if let Some(i) = view.wanted.iter().rposition(|&w| w).filter(|&i| i >= results.len()) {
            return Err(Some(Refusal::new(
                format!("its output number {} (`{}`) is not supported", i + 1, node.output[i]),
                "remove the use of this output from the model",
            )));
        }
        Ok(node.output.iter().map(String::as_str).zip(results).filter(|(o, _)| !o.is_empty()).collect())
    }

    fn operator(&self, node: &proto::Node) -> Result<&'static Operator> {
        if self.local_functions.contains(&(node.domain.as_str(), node.op_type.as_str())) {
            return Err(Refusal::new(
                "calls of model-local functions are not supported",
                "inline the functions with `onnx.inliner.inline_local_functions(model)`",
            ));
        }
        if !is_standard(&node.domain) {
            return Err(Refusal::new(
                format!("operators of domain `{}` are not supported", node.domain),
                "export the model with the standard ONNX operators only (no contrib or fused operators)",
            ));
        }
        registry::find(&node.op_type).ok_or_else(|| registry::unsupported(&node.op_type))
    }

    fn outputs(&mut self, graph: &'a proto::Graph) {
        if graph.output.is_empty() {
            self.report(&graph.name, "graph", Refusal::invalid("the graph has no outputs"));
        }
        let mut results = Vec::new();
        for info in &graph.output {
            let operand = match self.values.get(info.name.as_str()) {
                Some(Named::Operand(operand)) => Ok(operand.clone()),
                Some(Named::Missing) => continue,
                None => Err(Refusal::invalid("no node computes this output")),
            };
            self.cx.loc = Loc::onnx(&info.name);
            match operand.and_then(|operand| self.cx.value(&operand)) {
                Ok(value) => {
                    let shape = self.cx.module.func.ty(value).0.clone();
                    self.cx.module.outputs.push(Port { name: info.name.clone(), shape, layout: None, range: None });
                    results.push(value);
                }
                Err(refusal) => self.report(&info.name, "output", refusal),
            }
        }
        self.cx.module.func.set_results(results);
    }
}

/// Which nodes the outputs of the graph depend on.
fn live_nodes(graph: &proto::Graph) -> Vec<bool> {
    let mut needed: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut live = vec![false; graph.node.len()];
    for (node, live) in graph.node.iter().zip(&mut live).rev() {
        *live = node.output.iter().any(|o| !o.is_empty() && needed.contains(o.as_str()));
        if *live {
            needed.extend(node.input.iter().map(String::as_str));
        }
    }
    live
}

/// The shape of a graph input: a symbolic leading extent is the batch and becomes 1.
fn input_shape(info: &proto::ValueInfo) -> Result<Shape> {
    let tensor = info
        .ty
        .as_ref()
        .and_then(|t| t.tensor.as_ref())
        .ok_or_else(|| Refusal::new("it is not a tensor", "models with sequences or maps cannot be compiled"))?;
    if !matches!(tensor.elem_type, data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16) {
        return Err(Refusal::new(
            format!("it is of type {}; encrypted values are real numbers", data_type::name(tensor.elem_type)),
            "make it a constant of the model, or cast before export so that the model takes float32",
        ));
    }
    let shape = tensor.shape.as_ref().ok_or_else(|| {
        Refusal::new(
            "its shape is not stated",
            "export the model with the shape of its inputs (batch may stay symbolic)",
        )
    })?;
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (d, dim) in shape.dim.iter().enumerate() {
        match dim.value {
            Some(extent) => dims.push(extent),
            None if d == 0 => dims.push(1),
            None => {
                let symbol = dim.symbol.as_ref().map_or(String::new(), |s| format!(" (`{s}`)"));
                return Err(Refusal::new(
                    format!("dimension {d}{symbol} has no fixed extent; only the batch may be symbolic"),
                    "export with a fixed size, or fix it with `onnxruntime.tools.make_dynamic_shape_fixed`",
                ));
            }
        }
    }
    tensor::shape(&dims)
}
