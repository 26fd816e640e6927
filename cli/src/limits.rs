//! Limits how much memory a file from outside may ask for.

use std::path::Path;

use clap::Args;
use fhec::Error;
#[cfg(feature = "client")]
use fhec::runtime::ClientPlan;
use fhec::runtime::Plan;

use super::output;

/// The bound on files.
#[derive(Args, Clone, Copy)]
pub struct MaxSize {
    /// Memory that reading a plan, a program or ciphertexts may take, such as 2G; by default 64M, or 256 times the length of the file if
    /// that is more
    #[arg(long, value_name = "SIZE", value_parser = output::parse_bytes)]
    max_size: Option<u64>,
}

impl MaxSize {
    /// The bound in bytes, where one is given.
    pub fn bytes(self) -> Option<u64> {
        self.max_size
    }
    /// Reads a plan within the bound.
    pub fn plan(self, path: &Path) -> Result<Plan, Error> {
        let plan = Plan::load_within(path, self.max_size)?;
        output::security_warning(&plan.security());
        Ok(plan)
    }
    /// Reads a client plan, or that of a plan, within the bound.
    #[cfg(feature = "client")]
    pub fn client_plan(self, path: &Path) -> Result<ClientPlan, Error> {
        let plan = ClientPlan::load_within(path, self.max_size)?;
        output::security_warning(&plan.security());
        Ok(plan)
    }
}
