//! The command `fhec eval` runs a plan on ciphertexts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use fhec::{Ciphertext, Content, Destination, Encrypted, EncryptedFile, Error, Partial, RunReport, Server};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::{Resources, output, progress};

/// Run a plan on encrypted inputs; needs no secret key
///
/// Results of many images are kept in `OUTPUT.partial` until all are there: when interrupted, the same command goes on from
/// these.
#[derive(Args)]
pub struct Eval {
    /// The plan
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    /// The client's evaluation keys
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) evaluation: PathBuf,
    /// The client's ciphertexts
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) input: PathBuf,
    /// Where the encrypted results go
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) resources: Resources,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub fn run(c: &Eval) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::eval(c);
    }
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = files.reads("the evaluation keys", [&c.evaluation])?.reads("the input", [&c.input])?;
    Partial::discard_finished(&c.output);
    let to = files.writes("--output", &c.output)?;
    let plan = Arc::new(c.max_size.plan(&c.plan)?);
    // What the request says of itself comes first: it costs nothing.
    let inputs = EncryptedFile::open(&plan.client()?, &c.input)?.expect(Content::Inputs)?;
    let server = Server::open(plan.clone(), &c.evaluation, c.resources.options())?;
    let inputs = inputs.with_limit(c.max_size.bytes()).read(server.context())?;
    let bar = progress::bar("eval", (plan.counts().ops.values().sum::<u64>()).max(1));
    let started = Instant::now();
    let context = server.context().clone();
    let (mut partial, done) = partial_results(c, &to, &server, &inputs)?;
    // Images whose results were there already.
    let resumed = (done.len() * plan.batch()).min(inputs.images());
    let mut keep = |results: &[_]| partial.as_mut().map_or(Ok(()), |partial| partial.keep(&context, results));
    let (results, reports) = server.eval_from(&inputs, done, &mut keep, &mut |at| progress::show(&bar, &at))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    results.save(server.context(), &to)?;
    partial.map_or(Ok(()), Partial::finish)?;
    let images = results.images() - resumed;
    let peak = output::peak_memory();
    if c.json {
        return output::json(&serde_json::json!({
            "images": results.images(), "images_resumed": resumed, "batch": plan.batch(), "threads": server.threads(), "seconds": seconds,
            "seconds_per_run": mean_seconds(&reports),
            "seconds_per_image": seconds_per_image(&reports, images), "trace": "equal to the plan",
            "ops": reports.first().map(|r| r.ops), "rotations": reports.first().map(|r| r.rotations),
            "key_switches": reports.first().map(|r| r.key_switches),
            "products": reports.first().map(|r| r.products),
            "plain_products": reports.first().map(|r| r.plain_products),
            "seconds_by_op": reports.last().map(|r| &r.seconds_by_op),
            "op_seconds": reports.last().map(|r| &r.seconds_of),
            "peak_memory_bytes": peak, "predicted_memory_bytes": server.predicted_memory(),
            "ciphertext_bytes": output::written_bytes(&to), "plan_digest": output::digest(&plan)?,
            "security_bits": plan.security().bits,
        }));
    }
    say!("{}: {}; executed ops equal the plan", c.output.display(), times_line(&reports, images, server.threads()));
    say!("memory: {}", memory_line(server.predicted_memory(), peak));
    Ok(())
}

/// The partial results that an evaluation of several runs goes on from and adds to. What comes or goes through a pipe cannot
/// be asked for again, and has none.
fn partial_results(
    c: &Eval,
    to: &Destination,
    server: &Server,
    inputs: &Encrypted,
) -> Result<(Option<Partial>, Vec<Vec<Ciphertext>>), Error> {
    let files = [c.plan.as_path(), &c.evaluation, &c.input];
    // Beside the file itself where the output is a link.
    let output = std::fs::canonicalize(&c.output).unwrap_or_else(|_| c.output.clone());
    let lasting = !to.is_standard_output() && (output.is_file() || !output.exists());
    let stays = lasting && files.iter().all(|path| path.is_file());
    if inputs.ciphertexts().len() < 2 || !stays {
        return Ok((None, Vec::new()));
    }
    let (partial, done) = Partial::open(&output, server.context(), files)?;
    let path = partial.path().display();
    if partial.started_over() {
        output::warning(format!(
            "{path} is of another input, plan or key, or of another fhec: starting from the first image"
        ));
    }
    if !done.is_empty() {
        let images = inputs.images() * done.len() / inputs.ciphertexts().len();
        eprintln!("{path}: going on after {images} of {} images", inputs.images());
    }
    Ok((Some(partial), done))
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
