//! The passes against the reference interpreters.

mod batch;
mod fold;
mod lower;
#[path = "../../../tests/material.rs"]
mod material;
mod nets;
mod pack;
mod place;
mod road;
mod run;
mod sensitivity;
