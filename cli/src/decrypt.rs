//! The command `fhec decrypt` decrypts results.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::ir::Port;
use fhec::{Client, Content, EncryptedFile, Error, Publication, Published, RangeCheck, Remains, Tensor};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::results::Results;
use super::secret::SecretKey;
use super::{output, trust};

/// Decrypt results
#[derive(Args)]
pub struct Decrypt {
    /// The plan, or what a client needs of it
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    #[command(flatten)]
    pub(super) key: SecretKey,
    /// The encrypted results
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) input: PathBuf,
    #[command(flatten)]
    pub(super) results: Results,
    /// The request that the results must answer: what `encrypt` wrote. Without it, any request of the key will do
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) request: Option<PathBuf>,
    /// Make results that others may see: noise hides what they tell of the secret key, with this many bits of statistical
    /// security (30 is common), and only the bits above it are kept
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) publish: Option<u32>,
    /// Decryptions under this key that are published in all, these and others; as many as there are in the file unless given
    #[arg(long, value_name = "Q", requires = "publish", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) queries: Option<u64>,
    /// Decrypt even what was encrypted under another key, which gives noise
    #[arg(long, conflicts_with = "publish")]
    pub(super) any_key: bool,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub fn run(c: &Decrypt) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::decrypt(c);
    }
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = c.key.among(files)?.reads("the input", [&c.input])?;
    let mut files = c.results.among(files)?.reads("the request", &c.request)?;
    let plan = c.max_size.client_plan(&c.plan)?;
    let ports = plan.image_outputs();
    let place = c.results.place(&mut files, ports.clone())?;
    // What insecure parameters cost was paid when the input was encrypted.
    let mut client = c.key.load(Client::options().allow_insecure(), &plan)?;
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
            reason: format!("made under another secret key than {}", c.key.path().display()),
            repair: "give the secret key the input was encrypted with; `--any-key` decrypts anyway, to noise".into(),
        });
    }
    let own = if c.any_key { client.decrypt_any_key(&results)? } else { client.decrypt(&results)? };
    let publication =
        c.publish.map(|bits| Publication { bits, queries: c.queries.unwrap_or(results.ciphertexts().len() as u64) });
    let (images, checks, remains) = match publication {
        Some(publication) => {
            publishable(&c.input, &ports, &own)?;
            let Published { images, outputs } = client.decrypt_for_publication(&results, publication)?;
            let checks = RangeCheck::of(&ports, &images);
            (images, checks, outputs)
        }
        None => {
            // Who asks for what another key gives, asks for noise.
            let checks = trust::results(&ports, &own, c.overwrite.force || c.any_key)?;
            (own, checks, Vec::new())
        }
    };
    // Of what is published, a head sees what others see.
    let written = c.results.write(place, images)?;
    remains.iter().filter_map(drowned).for_each(output::warning);
    if c.json {
        let mut report = serde_json::json!({
            "images": written.images, "output": c.results.path(), "results": checks, "top": written.top,
            "heads": written.heads, "security_bits": plan.security().bits,
        });
        if let Some(Publication { bits, queries }) = publication {
            report["publication"] = serde_json::json!({ "bits": bits, "queries": queries, "outputs": remains });
        }
        return output::json(&report);
    }
    written.print_top();
    say!("{}: results of {} images", c.results.path().display(), written.images);
    written.print_heads();
    if let Some(Publication { bits, queries }) = publication {
        say!(
            "for others: {bits} bits of statistical security as long as no more than {queries} decryptions are published"
        );
        for r in &remains {
            let Remains { output, deviation, step, bits, .. } = r;
            say!(
                "  {output}: noise of {deviation:.1e}, multiples of {step:.1e}: {bits} bits after the binary point remain"
            );
        }
    }
    Ok(())
}

/// Refuses to publish results that lie far outside: their errors are not those that the noise is sized by.
fn publishable(file: &Path, ports: &[Port], results: &[Vec<Tensor>]) -> Result<(), Error> {
    trust::results(ports, results, false).map(drop).map_err(|e| match e {
        Error::Results { reason, .. } => Error::Results {
            reason: format!("{}: {reason}", file.display()),
            repair: "the noise of `--publish` may not hide the error of such results, so they are not published, with \
                     `--force` neither; decrypt them without `--publish` to see them"
                .into(),
        },
        e => e,
    })
}

/// A warning where nothing is left of an output.
fn drowned(r: &Remains) -> Option<String> {
    let Remains { output, deviation, .. } = r;
    r.noise_alone.then(|| {
        format!(
            "nothing remains of `{output}`: its values are no larger than the noise of {deviation:.1e} that hides their \
             errors; ask for fewer bits, or compile with a higher --precision"
        )
    })
}
