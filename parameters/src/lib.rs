//! Encryption parameters and the bounds of 128-bit security, stated once for the compiler, which chooses by them, and for
//! the engines, which build primes from them and refuse what exceeds the bounds. It knows no program and no ciphertext.

mod circuit;
mod security;
mod spec;

pub use circuit::Circuit;
pub use security::{SPARSE_WEIGHT, least_log_n, max_log_qp, max_log_qp_sparse, rings};
pub use spec::{BootstrapSpec, MAX_LEVELS, MAX_PRIME_BITS, ParamSpec};
