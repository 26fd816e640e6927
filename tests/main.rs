//! Integration tests.

mod cases;
mod cli;
mod material;
