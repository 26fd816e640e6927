//! Tests of `fhec-ir` through its public API, linked once.

mod generate;
mod slot_eval;
mod text;
mod verify;
