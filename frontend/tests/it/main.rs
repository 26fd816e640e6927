//! Tests of the importer and the exporter, from small graphs built here to real models and the vectors of the ONNX project.

mod batch;
mod conformance;
mod constants;
mod differential;
mod errors;
mod export;
mod folding;
mod graphs;
mod hostile;
mod linear_models;
mod lowered;
#[path = "../../../tests/material.rs"]
mod material;
mod models;

use fhec_frontend::proto::{Graph, Model, Node, Tensor, ValueInfo};
use fhec_frontend::{ImportError, ImportOptions, import_model};
use fhec_ir::nn::eval::eval;
use fhec_ir::{Module, Nn, verify};

/// A model with one float input `x` of extents `input` (-1: symbolic) and one output `y`.
fn model(opset: i64, input: &[i64], constants: Vec<Tensor>, nodes: Vec<Node>) -> Model {
    Model::new(
        opset,
        Graph {
            name: "test".into(),
            node: nodes,
            initializer: constants,
            input: vec![ValueInfo::floats("x", input)],
            output: vec![ValueInfo::floats("y", &[])],
            ..Graph::default()
        },
    )
}

/// A tensor of this shape whose elements count from 0.
fn iota(shape: impl Into<fhec_ir::Shape>) -> fhec_ir::Tensor {
    let shape = shape.into();
    let data: Vec<f32> = (0..shape.len()).map(|i| i as f32).collect();
    fhec_ir::Tensor::new(shape, data)
}

/// The module of a model, which must pass the verifier.
#[track_caller]
fn import(model: &Model) -> Module<Nn> {
    let module = import_model(model, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}: {:#?}", e.issues()));
    verify(&module).unwrap();
    module
}

#[track_caller]
fn refuse(model: &Model) -> ImportError {
    import_model(model, &ImportOptions::default()).expect_err("the model must be refused")
}

/// The output of a model of one input and one output.
#[track_caller]
fn run(model: &Model, x: fhec_ir::Tensor) -> fhec_ir::Tensor {
    eval(&import(model), &[x]).unwrap().remove(0)
}
