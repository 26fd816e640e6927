//! The command `fhec encrypt` encrypts inputs.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::{Error, data};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::secret::Secrecy;
use super::{Consent, output, trust};

/// Encrypt inputs
#[derive(Args)]
pub struct Encrypt {
    /// The plan, or what a client needs of it
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    /// The secret key
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) secret: PathBuf,
    /// Inputs, .npy or .npz, one image or many in the leading dimension
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) input: PathBuf,
    /// Where the ciphertexts go
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    pub(super) output: PathBuf,
    /// Encrypt only the first N images
    #[arg(long, value_name = "N", value_parser = super::values::count)]
    pub(super) limit: Option<usize>,
    #[command(flatten)]
    pub(super) secrecy: Secrecy,
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
    let mut files = files.reads("the secret key", [&c.secret])?.reads("the input", [&c.input])?;
    files = files.reads("the passphrase", c.secrecy.file())?;
    let to = files.writes("--output", &c.output)?.private();
    let plan = c.max_size.client_plan(&c.plan)?;
    let mut client = c.secrecy.load(c.consent.options(), &plan, &c.secret)?;
    let mut images = data::read_samples(&c.input, &plan.image_inputs())?;
    images.truncate(c.limit.unwrap_or(usize::MAX));
    let inputs = trust::inputs(&c.input, &plan.image_inputs(), &images);
    trust::near(&c.input, &inputs, c.overwrite.force)?;
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
