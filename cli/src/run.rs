//! The command `fhec run` does keygen, encrypt, eval and decrypt in one process, and reports on the results.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use fhec::runtime::{KeySet, NoiseReport, Plan, runs_of};
use fhec::{Client, ClientOptions, Error, KeyProgress, RangeCheck, RunReport, Server, Simulator, Tensor, data, ir};

use super::comparison::Comparison;
use super::files::{self, Files, Overwrite};
use super::images::Images;
use super::limits::MaxSize;
use super::results::{Results, Written};
use super::{Consent, Resources, escapes, eval, inspect, output, progress, trust};

/// Keygen, encrypt, eval and decrypt in one process
#[derive(Args)]
pub struct Run {
    /// The plan
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    #[command(flatten)]
    pub(super) images: Images,
    #[command(flatten)]
    pub(super) results: Results,
    /// Class numbers of the images (.npy): reports how many are right
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(super) resources: Resources,
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

/// Everything a run reports.
struct Outcome {
    images: usize,
    reports: Vec<RunReport>,
    threads: usize,
    /// Seconds of keygen, encrypt, eval, decrypt.
    seconds: [f64; 4],
    /// Bytes of evaluation keys, one encrypted input, one encrypted result.
    bytes: [u64; 3],
    peak: Option<u64>,
    predicted: u64,
}

/// What the plain inputs tell of a run.
struct Checked {
    inputs: Vec<RangeCheck>,
    results: Vec<RangeCheck>,
    /// The results against those of the program in the clear.
    comparison: Comparison,
    /// Values of the program in the clear that leave their range.
    ranges: NoiseReport,
    /// Images whose class is the label's.
    right: Option<usize>,
}

pub fn run(c: &Run) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::run(c);
    }
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.results.among(c.images.among(files)?)?.reads("the labels", &c.labels)?;
    let plan = Arc::new(c.max_size.plan(&c.plan)?);
    let ports = plan.image_outputs();
    let place = c.results.place(&mut files, ports.clone())?;
    let (images, count) = c.images.read(&plan.image_inputs())?;
    let labels = c.labels.as_deref().map(|path| data::read_labels(path, count, &ports)).transpose()?;
    let inputs = match trust::inputs(c.images.path(), &plan.image_inputs(), &images, c.overwrite.force) {
        Ok(inputs) => inputs,
        Err(refused) => {
            // Which layers they would break says more than the inputs alone.
            in_the_clear(&plan, &images)?;
            return Err(refused);
        }
    };
    let (results, outcome) = encrypted(&plan, &images, c.consent.options(), c.resources)?;
    let (exact, ranges) = in_the_clear(&plan, &images)?;
    let checked = Checked {
        inputs,
        results: trust::results(&ports, &results, c.overwrite.force)?,
        comparison: Comparison::of(&results, &exact),
        ranges,
        right: labels.map(|labels| data::count_right(&results, &labels)),
    };
    if let Some(broken) = trust::broken(&ports, &results, &exact) {
        trust::untrusted(broken, c.overwrite.force)?;
    }
    let written = c.results.write(place, results)?;
    if c.json {
        return json(&plan, &outcome, &checked, &written);
    }
    print(&plan, &outcome, &checked);
    written.print_top();
    say!("results: {}", c.results.path().display());
    written.print_heads();
    Ok(())
}

/// The evaluation keys of a run: in memory, or, when memory is bounded, in a file that is mapped.
fn evaluation_keys(client: &mut Client, plan: &Plan, resources: Resources) -> Result<Arc<KeySet>, Error> {
    let bar = progress::bar("keygen", plan.keys().len() as u64);
    let show = |p: KeyProgress| {
        bar.set_position(p.done as u64);
        bar.set_message(p.key.to_string());
    };
    let keys = match resources.mem {
        Some(_) => client.evaluation_keys_on_disk(show),
        None => client.evaluation_keys(show),
    };
    bar.finish_and_clear();
    keys
}

/// What the plan computes without encryption, after warnings of the layers whose values leave their range.
fn in_the_clear(plan: &Plan, images: &[Vec<Tensor>]) -> Result<(Vec<Vec<Tensor>>, NoiseReport), Error> {
    let runs = runs_of(&plan.image_inputs(), plan.batch(), images)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let done = Simulator::exact(plan).run_many(&runs, threads, &|_| ())?;
    escapes::warn(&done.report.layers, runs.len(), plan.batch());
    Ok((ir::images(&done.exact, plan.batch(), images.len()), done.report))
}

/// All four stages.
fn encrypted(
    plan: &Arc<Plan>,
    images: &[Vec<Tensor>],
    options: ClientOptions,
    resources: Resources,
) -> Result<(Vec<Vec<Tensor>>, Outcome), Error> {
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
    let mut client = options.key_bytes(u64::MAX).generate(&plan.client()?)?;
    let keys = evaluation_keys(&mut client, plan, resources)?;
    let keygen = lap();
    let inputs = client.encrypt(images)?;
    let encrypt = lap();
    let per_image = |all: usize| (all / images.len().max(1)) as u64;
    let input_bytes = per_image(inputs.to_bytes(client.context())?.len());
    let key_bytes = keys.infos().iter().map(|k| k.stored_bytes as u64).sum();
    let server = Server::new(plan.clone(), client.context().clone(), keys, resources.options())?;
    let bar = progress::bar("eval", 1);
    lap();
    let (outputs, reports) = server.eval(&inputs, &mut |at| progress::show(&bar, &at))?;
    bar.finish_and_clear();
    let eval = lap();
    let output_bytes = per_image(outputs.to_bytes(client.context())?.len());
    lap();
    let results = client.decrypt(&outputs)?;
    let seconds = [keygen, encrypt, eval, lap()];
    let peak = output::peak_memory();
    let outcome = Outcome {
        images: images.len(),
        reports,
        threads: server.threads(),
        seconds,
        bytes: [key_bytes, input_bytes, output_bytes],
        peak,
        predicted: server.predicted_memory(),
    };
    Ok((results, outcome))
}

fn json(plan: &Plan, o: &Outcome, checked: &Checked, written: &Written) -> Result<(), Error> {
    let [keygen, encrypt, eval, decrypt] = o.seconds;
    output::json(&serde_json::json!({
        "images": o.images,
        "batch": plan.batch(),
        "seconds_per_run": eval::mean_seconds(&o.reports),
        "seconds_per_image": eval::seconds_per_image(&o.reports, o.images),
        "threads": o.threads,
        "seconds": { "keygen": keygen, "encrypt": encrypt, "eval": eval, "decrypt": decrypt },
        "seconds_by_op": o.reports.last().map(|r| &r.seconds_by_op),
        "op_seconds": o.reports.last().map(|r| &r.seconds_of),
        "evaluation_key_bytes": o.bytes[0],
        "input_ciphertext_bytes": o.bytes[1],
        "output_ciphertext_bytes": o.bytes[2],
        "peak_memory_bytes": o.peak,
        "predicted_memory_bytes": o.predicted,
        "n": 1u64 << plan.spec().log_n,
        "log_qp": plan.security().log_qp,
        "levels": plan.spec().levels,
        "ops": o.reports.first().map(|r| r.ops),
        "rotations": o.reports.first().map(|r| r.rotations),
        "key_switches": o.reports.first().map(|r| r.key_switches),
        "products": o.reports.first().map(|r| r.products),
        "plain_products": o.reports.first().map(|r| r.plain_products),
        "trace": "equal to the plan",
        "security_bits": plan.security().bits,
        "plan_digest": output::digest(plan)?,
        "max_error": checked.comparison.max_error,
        "same_argmax": checked.comparison.same_argmax,
        "right": checked.right,
        "inputs": checked.inputs,
        "results": checked.results,
        "top": written.top,
        "heads": written.heads,
        "layers": checked.ranges.layers,
        "escapes": checked.ranges.escapes,
        "plan": inspect::Summary::of(plan),
    }))
}

fn print(plan: &Plan, o: &Outcome, checked: &Checked) {
    let images = o.images;
    say!("{}", eval::times_line(&o.reports, images, o.threads));
    let [keygen, encrypt, eval, decrypt] = o.seconds.map(output::seconds);
    say!("keygen {keygen}, encrypt {encrypt}, eval {eval}, decrypt {decrypt}");
    let [keys, input, result] = o.bytes.map(output::bytes);
    say!("evaluation keys {keys}, ciphertext in {input}, out {result}");
    say!("memory {}", eval::memory_line(o.predicted, o.peak));
    let counts = plan.counts();
    say!(
        "executed ops equal the plan: {} rotations, {} key switches, {} products, {} with constants",
        counts.rotations,
        counts.key_switches,
        counts.products,
        counts.plain_products
    );
    say!("against the same program in the clear: {}", checked.comparison.line(images));
    say!("layers with out-of-range values: {}", checked.ranges.layers.len());
    if let Some(right) = checked.right {
        say!("right: {right} of {images}");
    }
}
