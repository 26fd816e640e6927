//! `fhec decrypt`

use std::path::PathBuf;

use clap::Args;
use fhec::runtime::Plan;
use fhec::{Client, Encrypted, Error, data};

use super::files::{self, Files, Overwrite};
use super::top::Top;
use super::{output, secret, trust};

/// Decrypt results
#[derive(Args)]
pub struct Decrypt {
    /// The plan
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// The secret key
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    secret: PathBuf,
    /// The encrypted results
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    input: PathBuf,
    /// Where the results go: .npy, or .npz for several outputs
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: PathBuf,
    /// Decrypt even what was encrypted under another key, which gives noise
    #[arg(long)]
    any_key: bool,
    #[command(flatten)]
    top: Top,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Decrypt) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = files.reads("the secret key", [&c.secret])?.reads("the input", [&c.input])?;
    let mut files = files.reads("the names", &c.top.names)?;
    let plan = Plan::load(&c.plan)?;
    let to = files.writes_results("--output", &c.output, &plan.image_outputs())?;
    output::security_warning(&plan);
    secret::warn_if_open(&c.secret);
    // What insecure parameters cost was paid when the input was encrypted.
    let client = Client::options().allow_insecure().load(&plan, &c.secret)?;
    let results = Encrypted::load(&plan, client.context(), &c.input)?;
    if !client.owns(&results) && !c.any_key {
        return Err(Error::Ciphertexts {
            file: c.input.display().to_string(),
            reason: format!("made under another secret key than {}", c.secret.display()),
            repair: "give the secret key the input was encrypted with; `--any-key` decrypts anyway, to noise".into(),
        });
    }
    let images = client.decrypt(&results)?;
    // Who asks for what another key gives, asks for noise.
    let forced = c.overwrite.force || c.any_key;
    let checks = trust::results(&plan.image_outputs(), &images, forced)?;
    let best = c.top.of(&plan.image_outputs(), &images)?;
    data::write_samples(to, &plan.image_outputs(), &images)?;
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "output": c.output, "results": checks, "top": best,
            "security_bits": plan.security().bits,
        }));
    }
    best.iter().for_each(|image| say!("{image}"));
    say!("{}: results of {} images", c.output.display(), images.len());
    Ok(())
}
