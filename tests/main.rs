//! Integration tests.

mod cases;
mod cli;
#[cfg(feature = "compiler")]
mod composed;
mod docs;
mod dumps;
mod filetests;
#[cfg(feature = "compiler")]
mod headline;
mod material;
#[cfg(feature = "compiler")]
mod mixed;
mod networks;
#[cfg(feature = "compiler")]
mod openfhe;
#[cfg(feature = "compiler")]
mod powers_of_two;
mod products;
#[cfg(feature = "compiler")]
mod results;
