//! Kernels of every instruction set are compared with naive arithmetic and with each other.

mod conversion;
mod pointwise;
mod support;
mod transform;
