//! `fhec simulate`

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use fhec::runtime::{Plan, Range};
use fhec::{Error, NoiseReport, Simulator, Tensor, data};
use serde::Serialize;

use super::{output, progress};

/// Run a plan in the clear with modelled noise
#[derive(Args)]
pub struct Simulate {
    /// The plan
    plan: PathBuf,
    /// Inputs, .npy or .npz, one image or many in the leading dimension
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the results go: .npy, or .npz for several outputs
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Class numbers of the images (.npy): reports how many are right
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Simulate only the first so many images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the error of every operation
    #[arg(long)]
    per_op: bool,
    /// Selects the noise; the same seed gives the same results
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; one per core by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    images: usize,
    seconds: f64,
    /// Largest difference of a result from the program without noise.
    max_error: f64,
    /// Images whose largest result is the same with and without noise.
    same_argmax: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<usize>,
    escapes: &'a [fhec::runtime::RangeEscape],
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<&'a [fhec::runtime::OpError]>,
    security_bits: u32,
}

/// Results of all images.
struct Batch {
    outputs: Vec<Vec<Tensor>>,
    exact: Vec<Vec<Tensor>>,
    report: NoiseReport,
}

pub fn run(c: &Simulate) -> Result<(), Error> {
    let plan = Plan::load(&c.plan)?;
    output::security_warning(&plan);
    let mut images = data::read_samples(&c.input, plan.inputs())?;
    images.truncate(c.limit.unwrap_or(usize::MAX));
    let labels = c.labels.as_ref().map(|path| data::read_labels(path)).transpose()?;
    let threads = c.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let started = Instant::now();
    let batch = simulate(&plan, &images, c.seed, threads)?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(path) = &c.output {
        data::write_samples(path, plan.outputs(), &batch.outputs)?;
    }
    let comparison = super::comparison::Comparison::of(&batch.outputs, &batch.exact);
    let report = Report {
        images: images.len(),
        seconds,
        max_error: comparison.max_error,
        same_argmax: comparison.same_argmax,
        right: labels.map(|labels| data::count_right(&batch.outputs, &labels)),
        escapes: &batch.report.escapes,
        ops: c.per_op.then_some(&batch.report.ops),
        security_bits: plan.security().bits,
    };
    if c.json { output::json(&report) } else { print(&report, &batch.report) }
}

/// Images are dealt to threads one by one; each has noise of its own number, so the result does not depend on threads.
fn simulate(plan: &Plan, images: &[Vec<Tensor>], seed: u64, threads: usize) -> Result<Batch, Error> {
    let simulator = Simulator::new(plan, seed);
    let bar = progress::bar("simulate", images.len() as u64);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(image) = images.get(i) else { return Ok(done) };
            done.push((i, simulator.run(i as u64, image)?));
            bar.inc(1);
        }
    };
    let parts: Vec<Result<Vec<_>, Error>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all = Vec::with_capacity(images.len());
    for part in parts {
        all.extend(part?);
    }
    bar.finish_and_clear();
    all.sort_by_key(|(i, _)| *i);
    let mut batch = Batch { outputs: Vec::new(), exact: Vec::new(), report: NoiseReport::default() };
    for (_, one) in all {
        batch.outputs.push(one.outputs);
        batch.exact.push(one.exact);
        batch.report.merge(one.report);
    }
    Ok(batch)
}

fn print(report: &Report<'_>, noise: &NoiseReport) -> Result<(), Error> {
    if report.ops.is_some() {
        let rows: Vec<Vec<String>> = noise
            .ops
            .iter()
            .map(|op| {
                vec![
                    format!("{} {}", op.value, op.op),
                    op.node.clone(),
                    op.level.to_string(),
                    format!("{:.3}", op.magnitude),
                    format!("{:.1e}", op.rms_error),
                    format!("{:.1e}", op.max_error),
                ]
            })
            .collect();
        output::table(&["op", "node", "level", "magnitude", "rms error", "max error"], &rows);
        say!();
    }
    for e in report.escapes {
        let what = match e.range {
            Range::Modulus => "the ciphertext's modulus",
            Range::Interval => "the polynomial's interval",
            Range::Bootstrap => "the interval of bootstrapping",
        };
        eprintln!(
            "warning: {} (`{}`) leaves {what}: {:.3} where {:.3} is allowed, in {} slots of {} images",
            e.value, e.node, e.magnitude, e.limit, e.slots, e.images
        );
    }
    say!("{} images in {}", report.images, output::seconds(report.seconds));
    say!(
        "against the program without noise: largest error {:.1e}, same class for {} of {}",
        report.max_error,
        report.same_argmax,
        report.images
    );
    say!("range escapes: {}", report.escapes.len());
    if let Some(right) = report.right {
        say!("right: {right} of {} ({:.2} %)", report.images, 100.0 * right as f64 / report.images.max(1) as f64);
    }
    Ok(())
}
