//! Integer programs are what a quantised network is when every value is a small integer: weighted sums with integer weights,
//! and a look-up table behind each sum, into which the activation and the requantisation are merged.
//!
//! A scheme whose ciphertexts hold one small integer each, such as TFHE, computes such a program exactly: sums are cheap there,
//! and a table is one programmable bootstrap. The crate knows no scheme. It says what a program is ([`Program`]), checks it
//! ([`Program::verify`]), computes how large its sums become ([`Sums::bounds`]) and executes it in the clear
//! ([`Program::evaluate`]): an encrypted run must give the same integers.
//!
//! How a network becomes an integer program, by calibration or by training, is not decided here.

mod error;
mod execute;
mod program;
mod sums;
mod verify;

pub use error::ProgramError;
pub use program::{Input, Layer, Output, Program, Quantiser, Table, Tables};
pub use sums::Sums;
pub use verify::check_port;
