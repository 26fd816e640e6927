//! The command `fhec encrypt` encrypts inputs.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::Error;

use super::files::{self, Files, Overwrite};
use super::images::Images;
use super::limits::MaxSize;
use super::secret::SecretKey;
use super::{Consent, output, trust};

/// Encrypt inputs
#[derive(Args)]
pub struct Encrypt {
    /// The plan, or what a client needs of it
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    #[command(flatten)]
    pub(super) key: SecretKey,
    #[command(flatten)]
    pub(super) images: Images,
    /// Where the ciphertexts go
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) consent: Consent,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub fn run(c: &Encrypt) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::encrypt(c);
    }
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.images.among(c.key.among(files)?)?;
    let to = files.writes("--output", &c.output)?.private();
    let plan = c.max_size.client_plan(&c.plan)?;
    let mut client = c.key.load(c.consent.options(), &plan)?;
    let (images, _) = c.images.read(&plan.image_inputs())?;
    let inputs = trust::inputs(c.images.path(), &plan.image_inputs(), &images, c.overwrite.force)?;
    let started = Instant::now();
    let encrypted = client.encrypt(&images)?;
    let seconds = started.elapsed().as_secs_f64();
    encrypted.save(client.context(), &to)?;
    let bytes = output::written_bytes(&to);
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "ciphertext_bytes": bytes, "seconds": seconds, "inputs": inputs,
            "security_bits": plan.security().bits,
        }));
    }
    say!(
        "{}: {} images, {}, encrypted in {}",
        c.output.display(),
        images.len(),
        output::size_of(bytes),
        output::seconds(seconds)
    );
    Ok(())
}
