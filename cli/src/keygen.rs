//! The command `fhec keygen` makes the secret key and the evaluation keys of a plan.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::runtime::ClientPlan;
use fhec::{DEFAULT_KEY_BYTES, Destination, Error};

use super::files::{self, Files, Overwrite};
use super::secret::{self, Secrecy};
use super::{Consent, output, progress};

/// Make a secret key and the evaluation keys a plan needs
#[derive(Args)]
pub struct Keygen {
    /// The plan, or what a client needs of it
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    /// Where the secret key goes; it never leaves the client
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    pub(super) secret: PathBuf,
    /// Where the evaluation keys go; they are for the server
    #[arg(long, value_name = "FILE", value_parser = files::destination())]
    pub(super) evaluation: PathBuf,
    /// Make evaluation keys for the secret key that is there, instead of a new one
    #[arg(long)]
    pub(super) existing: bool,
    #[command(flatten)]
    pub(super) secrecy: Secrecy,
    #[command(flatten)]
    pub(super) consent: Consent,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    /// Bytes that the plan may ask for: of evaluation keys, 8G by default, and of memory when it is read
    #[arg(long, value_name = "SIZE", value_parser = output::parse_bytes)]
    pub(super) max_size: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Keygen {
    /// Where the secret key goes, unless it is there, and where the evaluation keys go.
    pub(super) fn destinations(&self) -> Result<(Option<Destination>, Destination), Error> {
        let files = Files::new(self.overwrite, self.json).reads("the plan", [&self.plan])?;
        let mut files = files.reads("the passphrase", self.secrecy.file())?;
        let to_secret = match self.existing {
            true => {
                files = files.reads("the secret key", [&self.secret])?;
                None
            }
            false => Some(files.writes_secret("--secret", &self.secret)?),
        };
        Ok((to_secret, files.writes("--evaluation", &self.evaluation)?))
    }

    /// Bytes of the secret key and of the evaluation keys, once they are written.
    pub(super) fn written_bytes(&self, to_evaluation: &Destination) -> [Option<u64>; 2] {
        [output::written_bytes(&Destination::new(&self.secret)), output::written_bytes(to_evaluation)]
    }
}

pub fn run(c: &Keygen) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::keygen(c);
    }
    let (to_secret, to_evaluation) = c.destinations()?;
    let plan = ClientPlan::load_within(&c.plan, c.max_size)?;
    output::security_warning(&plan.security());
    let started = Instant::now();
    let options = c.consent.options().key_bytes(c.max_size.unwrap_or(DEFAULT_KEY_BYTES));
    let mut client = match &to_secret {
        // The secret key first, and on the disk: without it evaluation keys, and all that is computed with them, are lost.
        Some(to) => {
            let passphrase = c.secrecy.choose(&c.secret)?;
            let client = options.generate(&plan)?;
            secret::save(&client, to, passphrase.as_ref())?;
            client
        }
        None => c.secrecy.load(options, &plan, &c.secret)?,
    };
    let bar = progress::bar("keygen", plan.keys().len() as u64);
    let written = client.write_evaluation_keys(&to_evaluation, |p| {
        bar.set_position(p.done as u64);
        bar.set_message(format!("{}, {}", p.key, output::bytes(p.bytes as u64)));
    });
    bar.finish_and_clear();
    if written.is_err() {
        let secret = c.secret.display();
        output::warning(format!("{secret} is written; `fhec keygen` with `--existing` makes evaluation keys for it"));
    }
    written?;
    let seconds = started.elapsed().as_secs_f64();
    let [secret, evaluation] = c.written_bytes(&to_evaluation);
    if c.json {
        return output::json(&serde_json::json!({
            "keys": plan.keys().len(), "evaluation_key_bytes": evaluation, "secret_key_bytes": secret,
            "seconds": seconds, "peak_memory_bytes": output::peak_memory(), "security_bits": plan.security().bits,
        }));
    }
    let keep = if c.secrecy.is_given() { "keep it and its passphrase" } else { "keep it" };
    say!("{}: secret key, {}; {keep}", c.secret.display(), output::size_of(secret));
    say!(
        "{}: {} evaluation keys, {}, made in {}; give it to the server",
        c.evaluation.display(),
        plan.keys().len(),
        output::size_of(evaluation),
        output::seconds(seconds)
    );
    Ok(())
}
