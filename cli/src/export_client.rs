//! The command `fhec export-client` writes the client plan of a plan.

use std::path::PathBuf;

use clap::Args;
use fhec::Error;

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::output;

/// Write what a client needs of a plan: keygen, encrypt and decrypt take it, and it holds nothing of the model's weights
#[derive(Args)]
pub struct ExportClient {
    /// The plan
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    /// Where the client plan goes
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub fn run(c: &ExportClient) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::export_client(c);
    }
    let mut files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let to = files.writes("--output", &c.output)?;
    let plan = c.max_size.plan(&c.plan)?;
    plan.client()?.save(&to)?;
    let bytes = output::written_bytes(&to);
    if c.json {
        return output::json(&serde_json::json!({
            "client_plan": c.output, "client_plan_bytes": bytes, "security_bits": plan.security().bits,
        }));
    }
    say!("{}: what a client needs of {}, {}", c.output.display(), c.plan.display(), output::size_of(bytes));
    Ok(())
}
