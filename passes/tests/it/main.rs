//! Packing and lowering against the reference interpreters.

mod nets;
mod pack;
