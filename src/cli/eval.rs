//! `fhec eval`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::{Content, EncryptedFile, Error, RunReport, Server};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::{Resources, output, progress};

/// Run a plan on encrypted inputs; needs no secret key
#[derive(Args)]
pub struct Eval {
    /// The plan
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// The client's evaluation keys
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    evaluation: PathBuf,
    /// The client's ciphertexts
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    input: PathBuf,
    /// Where the encrypted results go
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: PathBuf,
    #[command(flatten)]
    resources: Resources,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Eval) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = files.reads("the evaluation keys", [&c.evaluation])?.reads("the input", [&c.input])?;
    let to = files.writes("--output", &c.output)?;
    let plan = c.max_size.plan(&c.plan)?;
    // What the request says of itself comes first: it costs nothing.
    let inputs = EncryptedFile::open(&plan.client()?, &c.input)?.expect(Content::Inputs)?;
    let mut server = Server::open(&plan, &c.evaluation, c.resources.options())?;
    let inputs = inputs.with_limit(c.max_size.bytes()).read(server.context())?;
    let bar = progress::bar("eval", (plan.counts().ops.values().sum::<u64>()).max(1));
    let started = Instant::now();
    let (results, reports) = server.eval(&inputs, &mut |at| progress::show(&bar, &at))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    results.save(server.context(), &to)?;
    let peak = output::peak_memory();
    if c.json {
        return output::json(&serde_json::json!({
            "images": results.images(), "batch": plan.batch(), "threads": server.threads(), "seconds": seconds,
            "seconds_per_run": mean_seconds(&reports),
            "seconds_per_image": seconds_per_image(&reports, results.images()), "trace": "equal to the plan",
            "ops": reports.first().map(|r| r.ops), "rotations": reports.first().map(|r| r.rotations),
            "key_switches": reports.first().map(|r| r.key_switches),
            "seconds_by_op": reports.last().map(|r| &r.seconds_by_op),
            "peak_memory_bytes": peak, "predicted_memory_bytes": server.predicted_memory(),
            "ciphertext_bytes": output::written_bytes(&to), "security_bits": plan.security().bits,
        }));
    }
    say!(
        "{}: {}; executed ops equal the plan",
        c.output.display(),
        times_line(&reports, results.images(), server.threads())
    );
    say!("memory: {}", memory_line(server.predicted_memory(), peak));
    Ok(())
}

/// Seconds per run.
pub fn mean_seconds(reports: &[RunReport]) -> f64 {
    reports.iter().map(|r| r.seconds).sum::<f64>() / reports.len().max(1) as f64
}

/// Seconds per image, of which a run may take several.
pub fn seconds_per_image(reports: &[RunReport], images: usize) -> f64 {
    reports.iter().map(|r| r.seconds).sum::<f64>() / images.max(1) as f64
}

/// How long the images took.
pub fn times_line(reports: &[RunReport], images: usize, threads: usize) -> String {
    let each = output::seconds(seconds_per_image(reports, images));
    let runs = match reports.len() {
        runs if runs == images => String::new(),
        runs => format!(", in {runs} runs of {}", output::seconds(mean_seconds(reports))),
    };
    format!("{images} images, {each} each on {threads} threads{runs}")
}

/// Predicted and measured memory.
pub fn memory_line(predicted: u64, peak: Option<u64>) -> String {
    match peak {
        Some(peak) => format!(
            "{} at most, {} predicted ({:+.0} %)",
            output::bytes(peak),
            output::bytes(predicted),
            (peak as f64 / predicted.max(1) as f64 - 1.0) * 100.0
        ),
        None => format!("{} predicted", output::bytes(predicted)),
    }
}
