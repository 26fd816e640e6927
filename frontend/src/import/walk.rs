//! The walk over the live nodes of a graph, of the branches of its conditions, and of the functions it calls.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fhec_ir::nn::TensorTy;
use fhec_ir::{Issue, Loc, Port};

use super::context::{Context, Operand};
use super::node::NodeView;
use super::registry::ML_DOMAIN;
use super::{finite, graph, input, is_standard, reference, registry};
use crate::error::{Refusal, Result};
use crate::known::Known;
use crate::proto;
use crate::tensor;

/// Most nodes of a model, its functions counted as often as they are called: it keeps a small file from growing.
const MAX_NODES: usize = 1 << 18;
/// Most calls and branches inside one another.
const MAX_DEPTH: usize = 40;

/// What a name of the graph stands for.
#[derive(Clone)]
enum Named {
    Operand(Operand),
    /// An operand that a call leaves out.
    Absent,
    /// Its node could not be imported, which has been reported: what depends on it is passed over in silence.
    Missing,
}

/// The names of one graph or function body.
struct Scope<'a> {
    values: HashMap<&'a str, Named>,
    /// Whether the names of the scope outside are seen too: so it is in a branch, not in a function.
    open: bool,
    /// The attributes of the call, in a function.
    attributes: HashMap<&'a str, &'a proto::Attribute>,
    /// Version of the standard operators.
    opset: i64,
    /// What stands before the names of nodes.
    prefix: String,
}

pub(super) struct Walk<'a> {
    functions: HashMap<(&'a str, &'a str, &'a str), &'a proto::Function>,
    external: Option<&'a Path>,
    pub(super) cx: Context,
    scopes: Vec<Scope<'a>>,
    nodes_left: usize,
    pub(super) issues: Vec<Issue>,
    pub(super) origins: finite::Origins,
}

/// `Err(None)` when an operand is missing for a reason already reported.
type Outcome<T> = std::result::Result<T, Option<Refusal>>;

impl<'a> Walk<'a> {
    pub(super) fn new(model: &'a proto::Model, opset: i64, name: String, external: Option<&'a Path>) -> Self {
        let key = |f: &'a proto::Function| (f.domain.as_str(), f.name.as_str(), f.overload.as_str());
        let scope =
            Scope { values: HashMap::new(), open: false, attributes: HashMap::new(), opset, prefix: String::new() };
        Self {
            functions: model.functions.iter().map(|f| (key(f), f)).collect(),
            external,
            cx: Context::new(name),
            scopes: vec![scope],
            nodes_left: MAX_NODES,
            issues: Vec::new(),
            origins: finite::Origins::default(),
        }
    }

    fn report(&mut self, name: &str, op: &str, refusal: Refusal) {
        self.issues.push(Issue::new(&Loc::onnx(name), op, refusal.reason, refusal.repair));
    }

    /// The innermost scope; there always is one.
    fn scope(&self) -> &Scope<'a> {
        &self.scopes[self.scopes.len() - 1]
    }

    fn define(&mut self, name: &'a str, named: Named) -> Option<Named> {
        let last = self.scopes.len() - 1;
        self.scopes[last].values.insert(name, named)
    }

    fn find(&self, name: &str) -> Option<&Named> {
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.values.get(name) {
                return Some(found);
            }
            if !scope.open {
                return None;
            }
        }
        None
    }

    pub(super) fn constants(&mut self, graph: &'a proto::Graph) {
        for tensor in &graph.initializer {
            let named = match tensor::decode(tensor, self.external) {
                Ok(known) => {
                    self.origins.constant(&tensor.name, &known);
                    Named::Operand(Operand::Known(known))
                }
                Err(refusal) => {
                    self.report(&tensor.name, "initializer", refusal);
                    Named::Missing
                }
            };
            self.define(&tensor.name, named);
        }
        if !graph.sparse_initializer.is_empty() {
            let refusal = Refusal::new("sparse constants are not supported", "store the constants densely");
            self.report(&graph.name, "sparse_initializer", refusal);
        }
    }

    /// The parameters of the module; `None` in place of a shape stands for a reason that is reported.
    pub(super) fn inputs(&mut self, graph: &'a proto::Graph) {
        let infos: Vec<_> = input::of(graph).collect();
        for info in infos {
            let named = match input::shape(info) {
                Ok(shape) => {
                    let value = self.cx.module.func.add_param(TensorTy(shape.clone()), Loc::onnx(&info.name));
                    self.cx.module.inputs.push(Port { name: info.name.clone(), shape, ..Default::default() });
                    Named::Operand(Operand::Value(value))
                }
                Err(refusal) => {
                    self.report(&info.name, "input", refusal);
                    Named::Missing
                }
            };
            self.define(&info.name, named);
        }
    }

    /// The nodes of the graph of the model.
    pub(super) fn graph(&mut self, graph: &'a proto::Graph) {
        let declared: HashMap<&str, &proto::ValueInfo> =
            graph.value_info.iter().chain(&graph.output).map(|info| (info.name.as_str(), info)).collect();
        let outputs: Vec<&'a str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        self.nodes(&graph.node, &outputs, &declared);
    }

    fn nodes(
        &mut self,
        nodes: &'a [proto::Node],
        outputs: &[&'a str],
        declared: &HashMap<&'a str, &'a proto::ValueInfo>,
    ) {
        let order = graph::order(nodes, outputs.iter().copied());
        let live = order.nodes.iter().chain(&order.cyclic);
        let used: HashSet<&str> = live.flat_map(|&i| graph::reads(&nodes[i])).chain(outputs.iter().copied()).collect();
        for &i in &order.cyclic {
            for output in &nodes[i].output {
                self.define(output, Named::Missing);
            }
        }
        if let Some(&i) = order.cyclic.first() {
            let refusal = Refusal::invalid("it depends on its own result: the nodes of the graph form a circle");
            self.report(&self.name(&nodes[i]), &nodes[i].op_type, refusal);
        }
        for &i in &order.nodes {
            self.node(&nodes[i], &used, declared);
        }
    }

    /// The name of a node for messages: its own, or that of its first result, after that of the call it belongs to.
    fn name(&self, node: &proto::Node) -> String {
        let own = match node.output.iter().find(|name| !name.is_empty()) {
            _ if !node.name.is_empty() => node.name.as_str(),
            Some(output) => output,
            None => "<unnamed>",
        };
        format!("{}{own}", self.scope().prefix)
    }

    fn node(&mut self, node: &'a proto::Node, used: &HashSet<&str>, declared: &HashMap<&'a str, &'a proto::ValueInfo>) {
        let name = self.name(node);
        let result = self.import_node(node, &name, used);
        if let Err(Some(refusal)) = &result {
            self.report(&name, &node.op_type, refusal.clone());
        }
        for (i, output) in node.output.iter().map(String::as_str).enumerate().filter(|(_, o)| !o.is_empty()) {
            let named = match &result {
                Ok(values) => values.get(i).cloned().map(Named::Operand),
                // The shape that the exporter recorded lets the nodes behind be checked too.
                Err(Some(_)) if i == 0 => declared.get(output).and_then(|info| input::shape(info).ok()).map(|shape| {
                    Named::Operand(Operand::Value(self.cx.module.func.add_param(TensorTy(shape), Loc::onnx(&name))))
                }),
                Err(_) => None,
            };
            if self.define(output, named.unwrap_or(Named::Missing)).is_some() {
                let refusal = Refusal::invalid(format!("its output `{output}` is already defined"));
                self.report(&name, &node.op_type, refusal);
            }
        }
    }

    /// The values of the node's outputs, in order; outputs at the end may be left out where nothing uses them.
    fn import_node(&mut self, node: &'a proto::Node, name: &str, used: &HashSet<&str>) -> Outcome<Vec<Operand>> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(too_many)?;
        let key = (node.domain.as_str(), node.op_type.as_str(), node.overload.as_str());
        if let Some(function) = self.functions.get(&key).copied() {
            let view = self.view(node, used)?;
            return self.call(function, view, name);
        }
        check_operator(node)?;
        let view = self.view(node, used)?;
        if node.op_type == "If" { self.branch(&view, name) } else { self.operator(&view, name) }
    }

    /// The node with its operands and attributes resolved.
    fn view(&self, node: &'a proto::Node, used: &HashSet<&str>) -> Outcome<NodeView<'a>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(match self.find(input) {
                _ if input.is_empty() => None,
                Some(Named::Operand(operand)) => Some(operand.clone()),
                Some(Named::Absent) => None,
                Some(Named::Missing) => return Err(None),
                None => return Err(Some(Refusal::invalid(format!("nothing defines its input `{input}`")))),
            });
        }
        let scope = self.scope();
        let resolved = |a: &'a proto::Attribute| {
            let own = (a.name.as_str(), a);
            if a.ref_attr_name.is_empty() {
                Some(own)
            } else {
                scope.attributes.get(a.ref_attr_name.as_str()).map(|&found| (a.name.as_str(), found))
            }
        };
        Ok(NodeView {
            proto: node,
            attributes: node.attribute.iter().filter_map(resolved).collect(),
            opset: scope.opset,
            inputs,
            wanted: node.output.iter().map(|o| used.contains(o.as_str())).collect(),
        })
    }

    /// One of the standard operators: folded where all its operands are constants, else imported.
    fn operator(&mut self, view: &NodeView<'a>, name: &str) -> Outcome<Vec<Operand>> {
        self.cx.loc = Loc::onnx(name);
        let node = view.proto;
        let results = match reference::find(view) {
            Some(rule) => rule(&mut self.cx, view)?.into_iter().map(Operand::Known).collect(),
            None => {
                let operator = registry::find(domain(node), &node.op_type);
                let operator = operator.ok_or_else(|| registry::unsupported(&node.op_type))?;
                (operator.import)(&mut self.cx, view)?
            }
        };
        if let Some(i) = view.wanted.iter().rposition(|&w| w).filter(|&i| i >= results.len()) {
            return Err(Some(Refusal::new(
                format!("its output number {} (`{}`) is not supported", i + 1, node.output[i]),
                "remove the use of this output from the model",
            )));
        }
        let known = results.iter().map(|r| matches!(r, Operand::Known(_)));
        self.origins.node(name, node, known);
        Ok(results)
    }

    /// What a branch of a condition computes that is known.
    fn branch(&mut self, view: &NodeView<'a>, name: &str) -> Outcome<Vec<Operand>> {
        let taken = match view.input(0)? {
            Operand::Known(Known::Ints(t)) if t.data.len() == 1 => t.data[0] != 0,
            Operand::Known(_) => return Err(Some(Refusal::invalid("its condition is not one truth value"))),
            Operand::Value(_) => {
                return Err(Some(Refusal::new(
                    "its condition depends on encrypted values, and a server that cannot see them cannot choose",
                    "compute both branches and select by arithmetic, or export a traced model",
                )));
            }
        };
        let graph = view.graph(if taken { "then_branch" } else { "else_branch" })?;
        let opset = self.scope().opset;
        let attributes = self.scope().attributes.clone();
        self.enter(Scope { values: HashMap::new(), open: true, attributes, opset, prefix: format!("{name}/") })?;
        self.constants(graph);
        let outputs: Vec<&'a str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        self.body(&graph.node, &outputs)
    }

    /// What a function computes.
    fn call(&mut self, function: &'a proto::Function, view: NodeView<'a>, name: &str) -> Outcome<Vec<Operand>> {
        if view.inputs.len() > function.input.len() {
            let reason = format!("{} operands of a function that takes {}", view.inputs.len(), function.input.len());
            return Err(Some(Refusal::invalid(reason)));
        }
        let mut given = view.inputs.into_iter();
        let values = function.input.iter().map(|parameter| {
            let named = given.next().flatten().map_or(Named::Absent, Named::Operand);
            (parameter.as_str(), named)
        });
        let defaults = function.attribute_proto.iter().map(|a| (a.name.as_str(), a));
        let scope = Scope {
            values: values.collect(),
            open: false,
            attributes: defaults.chain(view.attributes).collect(),
            opset: super::opset(&function.opset_import).unwrap_or(self.scope().opset),
            prefix: format!("{name}/"),
        };
        self.enter(scope)?;
        let outputs: Vec<&'a str> = function.output.iter().map(String::as_str).collect();
        self.body(&function.node, &outputs)
    }

    fn enter(&mut self, scope: Scope<'a>) -> Result<()> {
        if self.scopes.len() >= MAX_DEPTH {
            return Err(Refusal::new(
                format!("functions and branches lie more than {MAX_DEPTH} deep"),
                "a function must not call itself: inline it with `onnx.inliner.inline_local_functions(model)`",
            ));
        }
        self.scopes.push(scope);
        Ok(())
    }

    /// Walks the nodes of the scope just entered, leaves it, and gives what `outputs` stand for.
    fn body(&mut self, nodes: &'a [proto::Node], outputs: &[&'a str]) -> Outcome<Vec<Operand>> {
        // Nodes that nothing uses take time too.
        let left = self.nodes_left.checked_sub(nodes.len());
        if left.is_some() {
            self.nodes(nodes, outputs, &HashMap::new());
        }
        let found: Vec<Option<Named>> = outputs.iter().map(|name| self.find(name).cloned()).collect();
        self.scopes.pop();
        self.nodes_left = left.ok_or_else(too_many)?.min(self.nodes_left);
        let mut results = Vec::with_capacity(outputs.len());
        for (name, named) in outputs.iter().zip(found) {
            match named {
                Some(Named::Operand(operand)) => results.push(operand),
                Some(Named::Missing) => return Err(None),
                Some(Named::Absent) | None => {
                    return Err(Some(Refusal::invalid(format!("nothing in its body defines the result `{name}`"))));
                }
            }
        }
        Ok(results)
    }

    pub(super) fn outputs(&mut self, graph: &'a proto::Graph) {
        if graph.output.is_empty() {
            self.report(&graph.name, "graph", Refusal::invalid("the graph has no outputs"));
        }
        let mut results = Vec::new();
        for info in &graph.output {
            let operand = match self.find(&info.name) {
                Some(Named::Operand(operand)) => Ok(operand.clone()),
                Some(Named::Missing | Named::Absent) => continue,
                None => Err(Refusal::invalid("no node computes this output")),
            };
            self.cx.loc = Loc::onnx(&info.name);
            match operand.and_then(|operand| self.cx.number(&operand)) {
                Ok(value) => {
                    let shape = self.cx.module.func.ty(value).0.clone();
                    self.cx.module.outputs.push(Port { name: info.name.clone(), shape, ..Default::default() });
                    results.push(value);
                }
                Err(refusal) => self.report(&info.name, "output", refusal),
            }
        }
        self.cx.module.func.set_results(results);
    }
}

/// Refuses operators that are supported on no operands at all.
fn check_operator(node: &proto::Node) -> Result<()> {
    let op = node.op_type.as_str();
    if registry::find(domain(node), op).is_some() {
        return Ok(());
    }
    if node.domain == ML_DOMAIN {
        return Err(Refusal::new(
            format!("of domain `{ML_DOMAIN}` only Scaler, LinearRegressor and LinearClassifier are supported"),
            "trees, supports and neighbours branch on encrypted values: fit a linear model or a neural network in their place",
        ));
    }
    if !is_standard(&node.domain) {
        return Err(Refusal::new(
            format!("operators of domain `{}` are not supported", node.domain),
            "export the model with the standard ONNX operators only (no contrib or fused operators)",
        ));
    }
    if op == "If" || reference::knows(op) { Ok(()) } else { Err(registry::unsupported(op)) }
}

/// The domain of a node, empty for the standard operators.
fn domain(node: &proto::Node) -> &str {
    if is_standard(&node.domain) { "" } else { &node.domain }
}

fn too_many() -> Refusal {
    Refusal::new(
        format!("the model has more than {MAX_NODES} nodes, its functions written out"),
        "no known network has as many: check which functions call each other",
    )
}
