//! Tests of the importer, from small graphs built here to real models and the vectors of the ONNX project.

mod conformance;
#[path = "../../../tests/material.rs"]
mod material;
mod models;
