//! The passes against the reference interpreters.

mod batch;
mod elsewhere;
mod export;
mod fold;
mod lower;
#[path = "../../../tests/material.rs"]
mod material;
mod nets;
mod pack;
mod pipeline;
mod place;
mod quantise;
mod run;
mod sensitivity;
mod shapes;
mod weights;
