//! Elementwise kernels over limbs.
//!
//! The functions of the instruction sets have equal names and arguments. Slices of one call have equal lengths.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;
