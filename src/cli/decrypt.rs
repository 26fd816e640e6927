//! `fhec decrypt`

use std::path::PathBuf;

use clap::Args;
use fhec::{Client, Content, EncryptedFile, Error, data};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::secret::Secrecy;
use super::top::Top;
use super::{output, trust};

/// Decrypt results
#[derive(Args)]
pub struct Decrypt {
    /// The plan, or what a client needs of it
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
    /// The request that the results must answer: what `encrypt` wrote. Without it, any request of the key will do
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    request: Option<PathBuf>,
    /// Decrypt even what was encrypted under another key, which gives noise
    #[arg(long)]
    any_key: bool,
    #[command(flatten)]
    secrecy: Secrecy,
    #[command(flatten)]
    top: Top,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Decrypt) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = files.reads("the secret key", [&c.secret])?.reads("the input", [&c.input])?;
    let files = files.reads("the passphrase", c.secrecy.file())?;
    let mut files = files.reads("the names", &c.top.names)?.reads("the request", &c.request)?;
    let plan = c.max_size.client_plan(&c.plan)?;
    let to = files.writes_results("--output", &c.output, &plan.image_outputs())?;
    // What insecure parameters cost was paid when the input was encrypted.
    let client = c.secrecy.load(Client::options().allow_insecure(), &plan, &c.secret)?;
    let file = EncryptedFile::open(&plan, &c.input)?.expect(Content::Outputs)?.with_limit(c.max_size.bytes());
    if let Some(path) = &c.request {
        let request = EncryptedFile::open(&plan, path)?.expect(Content::Inputs)?.request();
        if request != file.request() {
            return Err(Error::Ciphertexts {
                file: c.input.display().to_string(),
                reason: format!("it answers request {}, {} is request {request}", file.request(), path.display()),
                repair: "ask the server for the result of this request".into(),
            });
        }
    }
    let results = file.read(client.context())?;
    if !client.owns(&results) && !c.any_key {
        return Err(Error::Ciphertexts {
            file: c.input.display().to_string(),
            reason: format!("made under another secret key than {}", c.secret.display()),
            repair: "give the secret key the input was encrypted with; `--any-key` decrypts anyway, to noise".into(),
        });
    }
    let images = if c.any_key { client.decrypt_any_key(&results)? } else { client.decrypt(&results)? };
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
