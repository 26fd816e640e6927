//! Tests of `fhec-ir` through its public API, linked once.

mod cost;
mod egraph;
mod generate;
mod slot_eval;
mod text;
mod verify;
