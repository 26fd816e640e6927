//! Tests of `fhec-ir` through its public API, linked once.

mod generate;
mod text;
mod verify;
