//! Integration tests.

mod cli;
mod dumps;
mod filetests;
mod material;
#[cfg(feature = "compiler")]
mod openfhe;
