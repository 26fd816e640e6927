//! Packing and lowering against the reference interpreters.

mod lower;
mod nets;
mod pack;
