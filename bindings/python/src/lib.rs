//! The extension module `fhec._fhec`: the library for Python.
//!
//! It holds no policy of its own. Arrays become tensors and back ([`arrays`]), long work runs on a thread while the caller waits
//! without the interpreter's lock ([`work`]), and every error of the library becomes an exception that carries its parts
//! ([`errors`]). What users call is the pure-Python package around it.

mod arrays;
mod client;
mod compile;
mod errors;
mod parts;
mod plan;
mod remote;
mod server;
mod work;

use pyo3::prelude::*;

#[pymodule]
mod _fhec {
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::compile::{Compiled, compile};
    #[pymodule_export]
    use super::parts::{join, split};
    #[pymodule_export]
    use super::plan::{ClientPlan, Facts, Plan, Report};
    #[pymodule_export]
    use super::remote::Service;
    #[pymodule_export]
    use super::server::Server;

    /// Version of fhec.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
