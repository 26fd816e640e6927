//! `fhec keygen`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::runtime::ClientPlan;
use fhec::{Client, DEFAULT_KEY_BYTES, Error};

use super::files::{self, Files, Overwrite};
use super::{output, progress};

/// Make a secret key and the evaluation keys a plan needs
#[derive(Args)]
pub struct Keygen {
    /// The plan, or what a client needs of it
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// Where the secret key goes; it never leaves the client
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    secret: PathBuf,
    /// Where the evaluation keys go; they are for the server
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    evaluation: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Bytes that the plan may ask for: of evaluation keys, 8G by default, and of memory when it is read
    #[arg(long, value_name = "SIZE", value_parser = output::parse_bytes)]
    max_size: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Keygen) -> Result<(), Error> {
    let mut files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let secret = files.writes_secret("--secret", &c.secret)?;
    let evaluation = files.writes("--evaluation", &c.evaluation)?;
    let plan = ClientPlan::load_within(&c.plan, c.max_size)?;
    output::security_warning(&plan.security());
    let started = Instant::now();
    let mut client = Client::generate_within(&plan, c.max_size.unwrap_or(DEFAULT_KEY_BYTES))?;
    // The secret key first, and on the disk: evaluation keys whose secret is lost are of no use, and neither is anything
    // that the server computes with them.
    client.save(&secret)?;
    let bar = progress::bar("keygen", plan.keys().len() as u64);
    client.write_evaluation_keys(&evaluation, |p| {
        bar.set_position(p.done as u64);
        bar.set_message(format!("{}, {}", p.key, output::bytes(p.bytes as u64)));
    })?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let (evaluation, secret) = (output::written_bytes(&evaluation), output::written_bytes(&secret));
    if c.json {
        return output::json(&serde_json::json!({
            "keys": plan.keys().len(), "evaluation_key_bytes": evaluation, "secret_key_bytes": secret,
            "seconds": seconds, "peak_memory_bytes": output::peak_memory(),
        }));
    }
    say!("{}: secret key, {}; keep it", c.secret.display(), output::size_of(secret));
    say!(
        "{}: {} evaluation keys, {}, made in {}; give it to the server",
        c.evaluation.display(),
        plan.keys().len(),
        output::size_of(evaluation),
        output::seconds(seconds)
    );
    Ok(())
}
