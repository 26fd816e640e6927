//! Elementwise kernels over limbs.
//!
//! The functions of the instruction sets have equal names and arguments. Slices of one call have equal lengths.

pub(crate) mod portable;
