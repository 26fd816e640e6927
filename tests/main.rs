//! Integration tests.

mod cases;
mod cli;
mod dumps;
mod filetests;
mod material;
#[cfg(feature = "compiler")]
mod openfhe;
