//! `compose-functions`: what a network makes of one value, element by element, becomes one function of that value.
//!
//! Exporters write functions that their format has no name for op by op: x/(1 + |x|), x·sigmoid(1.702·x). Each function and each
//! product among these ops would become a polynomial of its own, and their levels add up; the fit of 1/(1 + exp(-x)) by parts is
//! bad besides, for exp grows where the whole is flat. The whole is a function of one variable like any other, and is
//! approximated at once.
//!
//! A cluster is a property of a function, not of a class of equal terms, so this is a pass behind `fold` and no rule in it:
//! whether something outside reads a value inside is known only when the terms are chosen.

mod cluster;
mod known;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Loc, Module, Nn, TypeError, Value};

use crate::pass::{Pass, PassError};
use cluster::{Cluster, clusters};

pub(crate) const NAME: &str = "compose-functions";

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct ComposeFunctions;

/// A network whose clusters are functions.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The network.
    pub module: Module<Nn>,
    /// What became of which nodes, in order of definition.
    pub functions: Vec<ComposedFunction>,
}

/// A cluster of nodes that became one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposedFunction {
    /// The nodes, the last one that whose value it is.
    pub nodes: Vec<String>,
    /// The node whose value is the argument.
    pub argument: String,
    /// The function: its name, or its expression.
    pub function: String,
}

impl fmt::Display for ComposedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, argument, function } = self;
        let last = nodes.last().map_or("", String::as_str);
        writeln!(
            f,
            "{last}: {function} for x = {argument}\n  {NAME}: {} ops of one value are one function",
            nodes.len()
        )
    }
}

impl ComposeFunctions {
    /// The network with its clusters as functions, and which they are.
    ///
    /// # Errors
    /// A module that does not verify.
    pub fn compose(self, module: &Module<Nn>) -> Result<Composed, PassError> {
        let _span = tracing::debug_span!("compose-functions").entered();
        let clusters = clusters(module);
        let functions = clusters.iter().map(|(&top, cluster)| described(module, top, cluster)).collect();
        let module = rewritten(module, &clusters).map_err(|e| {
            let repair = "this is a defect of the program that made it";
            PassError { pass: NAME, issues: vec![crate::Issue::of_network(e.to_string(), repair)] }
        })?;
        Ok(Composed { module, functions })
    }
}

impl Pass<Nn> for ComposeFunctions {
    fn name(&self) -> &'static str {
        NAME
    }
    fn run(&self, module: &Module<Nn>) -> Result<Module<Nn>, PassError> {
        self.compose(module).map(|composed| composed.module)
    }
}

fn described(module: &Module<Nn>, top: Value, cluster: &Cluster) -> ComposedFunction {
    let name = |v: Value| {
        let loc = &module.func.node(v).loc;
        loc.onnx.as_ref().map_or_else(|| v.to_string(), |name| name.to_string())
    };
    let function = match &cluster.op {
        NnOp::Activation { function, .. } => function.to_string(),
        op => op.function().map_or_else(|| name(top), |f| f.to_string()),
    };
    let nodes = cluster.nodes.iter().map(|&v| name(v)).collect();
    ComposedFunction { nodes, argument: name(cluster.argument), function }
}

/// The module with a function in place of each cluster, without what nothing reads any more.
fn rewritten(
    module: &Module<Nn>,
    clusters: &std::collections::BTreeMap<Value, Cluster>,
) -> Result<Module<Nn>, TypeError> {
    let func = &module.func;
    let operands = |v: Value| match clusters.get(&v) {
        Some(cluster) => vec![cluster.argument],
        None => func.node(v).operands.to_vec(),
    };
    let mut needed = vec![false; func.len()];
    func.results().iter().chain(func.params()).for_each(|v| needed[v.index()] = true);
    for (value, _) in func.iter().rev().filter(|(v, _)| !matches!(func.node(*v).op, NnOp::Input { .. })) {
        if needed[value.index()] {
            operands(value).iter().for_each(|o| needed[o.index()] = true);
        }
    }
    let mut out = Module::new(func.name.clone());
    (out.inputs, out.outputs, out.params) = (module.inputs.clone(), module.outputs.clone(), module.params.clone());
    let mut new: HashMap<Value, Value> = HashMap::new();
    for (value, node) in func.iter().filter(|(v, _)| needed[v.index()]) {
        let operands = operands(value).into_iter().filter_map(|o| new.get(&o).copied());
        let made = match (&node.op, clusters.get(&value)) {
            (NnOp::Input { .. }, _) => out.func.add_param(node.ty.clone(), node.loc.clone()),
            (_, Some(cluster)) => {
                let locs = cluster.nodes.iter().map(|&v| &func.node(v).loc);
                let loc = locs.fold(Loc::default(), |all, loc| all.merge(loc));
                out.push(cluster.op.clone(), operands, loc)?
            }
            (NnOp::Const { value: id }, None) => {
                let constant = module.consts.get(*id);
                let id = out.consts.insert(&constant.name, constant);
                out.push(NnOp::Const { value: id }, [], node.loc.clone())?
            }
            (op, None) => out.push(op.clone(), operands, node.loc.clone())?,
        };
        new.insert(value, made);
    }
    out.func.set_results(func.results().iter().filter_map(|r| new.get(r).copied()));
    Ok(out)
}
