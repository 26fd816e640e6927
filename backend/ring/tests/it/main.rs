//! Kernels of every instruction set against naive arithmetic and against each other.

mod conversion;
mod pointwise;
mod support;
mod transform;
