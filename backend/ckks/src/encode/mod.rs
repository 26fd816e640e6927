//! Between slots and plaintext polynomials.

mod fft;
mod plaintext;

pub use plaintext::{Decoded, Plaintext, Role};

pub(crate) use fft::{Fft, reverse};
