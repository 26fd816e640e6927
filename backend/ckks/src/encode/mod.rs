//! Encoding turns slots into plaintext polynomials, and decoding the reverse.

mod fft;
mod plaintext;

pub use plaintext::{Decoded, Plaintext, Role};

pub(crate) use fft::{Fft, reverse};
