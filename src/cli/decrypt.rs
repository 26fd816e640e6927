//! `fhec decrypt`

use std::path::PathBuf;

use clap::Args;
use fhec::runtime::Plan;
use fhec::{Client, Encrypted, Error, Publication, Remains, data};

use super::files::{self, Files, Overwrite};
use super::{output, trust};

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
    /// Make results that others may see: noise hides what they tell of the secret key, with this many bits of statistical
    /// security (30 is common), and only the bits above it are kept
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=64))]
    publish: Option<u32>,
    /// Decryptions under this key that are published in all, these and others; as many as there are in the file unless given
    #[arg(long, value_name = "Q", requires = "publish", value_parser = clap::value_parser!(u64).range(1..))]
    queries: Option<u64>,
    /// Decrypt even what was encrypted under another key, which gives noise
    #[arg(long)]
    any_key: bool,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Decrypt) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = files.reads("the secret key", [&c.secret])?.reads("the input", [&c.input])?;
    let plan = Plan::load(&c.plan)?;
    let to = files.writes_results("--output", &c.output, &plan.image_outputs())?;
    output::security_warning(&plan);
    let mut client = Client::load(&plan, &c.secret)?;
    let results = Encrypted::load(&plan, client.context(), &c.input)?;
    if !client.owns(&results) && !c.any_key {
        return Err(Error::Ciphertexts {
            file: c.input.display().to_string(),
            reason: format!("made under another secret key than {}", c.secret.display()),
            repair: "give the secret key the input was encrypted with; `--any-key` decrypts anyway, to noise".into(),
        });
    }
    let request = c.publish.map(|bits| Publication { bits, queries: c.queries.unwrap_or(results.runs.len() as u64) });
    let (images, remains) = match request {
        Some(request) => {
            let published = client.decrypt_for_publication(&results, request)?;
            (published.images, published.outputs)
        }
        None => (client.decrypt(&results)?, Vec::new()),
    };
    // Who asks for what another key gives, asks for noise, and so does who publishes.
    let forced = c.overwrite.force || c.any_key || request.is_some();
    let checks = trust::results(&plan.image_outputs(), &images, forced)?;
    data::write_samples(to, &plan.image_outputs(), &images)?;
    let warnings: Vec<String> = remains.iter().filter_map(drowned).collect();
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    if c.json {
        let mut report = serde_json::json!({ "images": images.len(), "output": c.output, "results": checks });
        if let Some(Publication { bits, queries }) = request {
            report["publication"] = serde_json::json!({ "bits": bits, "queries": queries, "outputs": remains });
            report["warnings"] = serde_json::json!(warnings);
        }
        return output::json(&report);
    }
    say!("{}: results of {} images", c.output.display(), images.len());
    if let Some(Publication { bits, queries }) = request {
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
