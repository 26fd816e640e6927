//! `fhec keygen`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::runtime::Plan;
use fhec::{Client, Error};

use super::{output, progress};

/// Make a secret key and the evaluation keys a plan needs
#[derive(Args)]
pub struct Keygen {
    /// The plan
    plan: PathBuf,
    /// Where the secret key goes; it never leaves the client
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Where the evaluation keys go; they are for the server
    #[arg(long, value_name = "FILE")]
    evaluation: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Keygen) -> Result<(), Error> {
    let plan = Plan::load(&c.plan)?;
    output::security_warning(&plan);
    let started = Instant::now();
    let mut client = Client::generate(&plan)?;
    // Evaluation keys first: a secret key without them is of no use.
    let bar = progress::bar("keygen", plan.keys().len() as u64);
    client.write_evaluation_keys(&c.evaluation, |p| {
        bar.set_position(p.done as u64);
        bar.set_message(format!("{}, {}", p.key, output::bytes(p.bytes as u64)));
    })?;
    client.save(&c.secret)?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let (evaluation, secret) = (output::file_bytes(&c.evaluation)?, output::file_bytes(&c.secret)?);
    if c.json {
        return output::json(&serde_json::json!({
            "keys": plan.keys().len(), "evaluation_key_bytes": evaluation, "secret_key_bytes": secret,
            "seconds": seconds, "peak_memory_bytes": output::peak_memory(),
        }));
    }
    say!("{}: secret key, {}; keep it", c.secret.display(), output::bytes(secret));
    say!(
        "{}: {} evaluation keys, {}, made in {}; give it to the server",
        c.evaluation.display(),
        plan.keys().len(),
        output::bytes(evaluation),
        output::seconds(seconds)
    );
    Ok(())
}
