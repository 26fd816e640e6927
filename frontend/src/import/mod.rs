//! The importer turns an ONNX graph into a module: it walks the live nodes, keeps the value of every name, and collects
//! what cannot be imported.

mod activation;
mod attention;
mod batch;
mod compare;
mod constant;
mod context;
mod depth;
mod einsum;
mod elementwise;
mod finite;
mod gemm;
mod graph;
mod input;
mod linear_models;
mod movement;
mod node;
mod norm;
mod piecewise;
mod pool;
mod reduce;
mod reference;
mod registry;
mod resize;
mod scatter;
mod transposed;
mod walk;
mod window;

use fhec_ir::{Module, Nn};

use crate::error::ImportError;
use crate::proto;
use crate::{ImportOptions, MAX_OPSET, MIN_OPSET};
pub(crate) use batch::{BatchPlace, batch_places};
pub use batch::{FixedBatch, as_one_image, without_batch};
pub use reference::constant_operators;
pub use registry::{Operator, operators};
use walk::Walk;

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
    let opset = opset(&model.opset_import).unwrap_or(1);
    if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
        return Err(ImportError::Opset { model: title, found: opset });
    }
    let mut walk = Walk::new(model, opset, identifier(&name), options.external_data.as_deref());
    walk.constants(graph);
    walk.inputs(graph);
    walk.graph(graph);
    walk.outputs(graph);
    let mut issues = walk.issues;
    if issues.is_empty() {
        issues.extend(finite::issues(&walk.cx.module, &walk.origins));
    }
    if issues.is_empty() {
        issues.extend(batch::issues(&walk.cx.module, graph));
    }
    if issues.is_empty() { Ok(walk.cx.module) } else { Err(ImportError::Nodes { model: title, issues }) }
}

/// The version of the standard operators among these.
fn opset(sets: &[proto::OperatorSet]) -> Option<i64> {
    sets.iter().find(|set| is_standard(&set.domain)).map(|set| set.version)
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
