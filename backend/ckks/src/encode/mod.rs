//! Between slots and plaintext polynomials.

mod fft;
mod plaintext;

pub use plaintext::{Plaintext, Role};

pub(crate) use fft::{Fft, reverse};
