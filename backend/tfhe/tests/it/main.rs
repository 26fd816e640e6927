//! Plans for TFHE, their files, and, with the feature `client`, encrypted runs.

#[cfg(feature = "client")]
mod encrypted;
mod files;
mod plans;
mod programs;
