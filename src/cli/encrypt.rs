//! `fhec encrypt`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::runtime::Plan;
use fhec::{Client, Error, data};

use super::output;

/// Encrypt inputs
#[derive(Args)]
pub struct Encrypt {
    /// The plan
    plan: PathBuf,
    /// The secret key
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Inputs, .npy or .npz, one image or many in the leading dimension
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the ciphertexts go
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Encrypt only the first so many images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Encrypt) -> Result<(), Error> {
    let plan = Plan::load(&c.plan)?;
    output::security_warning(&plan);
    let mut client = Client::load(&plan, &c.secret)?;
    let mut images = data::read_samples(&c.input, &plan.image_inputs())?;
    images.truncate(c.limit.unwrap_or(usize::MAX));
    let started = Instant::now();
    let encrypted = client.encrypt(&images)?;
    let seconds = started.elapsed().as_secs_f64();
    encrypted.save(&plan, client.context(), &c.output)?;
    let bytes = output::file_bytes(&c.output)?;
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "ciphertext_bytes": bytes, "seconds": seconds,
        }));
    }
    say!(
        "{}: {} images, {}, encrypted in {}",
        c.output.display(),
        images.len(),
        output::bytes(bytes),
        output::seconds(seconds)
    );
    Ok(())
}
