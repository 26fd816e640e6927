//! Integration tests.

mod cli;
#[cfg(feature = "compiler")]
mod openfhe;
