//! The command `fhec simulate` runs a plan in the clear with modelled noise.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fhec::runtime::{ArgumentHistogram, LayerEscape, OpNoise, RangeEscape, Simulation, runs_of};
use fhec::{Error, Simulator, data, ir};
use serde::Serialize;

use super::comparison::Comparison;
use super::files::{self, Files, Overwrite};
use super::images::Images;
use super::limits::MaxSize;
use super::{escapes, output, progress};

/// Run a plan in the clear with modelled noise
#[derive(Args)]
pub struct Simulate {
    /// The plan
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    #[command(flatten)]
    pub(super) images: Images,
    /// Where the results go: .npy, or .npz for several outputs
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    pub(super) output: Option<PathBuf>,
    /// Class numbers of the images (.npy): reports how many are right, with noise and without
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) labels: Option<PathBuf>,
    /// Without noise: only what the program computes, and its out-of-range values
    #[arg(long, conflicts_with_all = ["per_op", "seed"])]
    pub(super) exact: bool,
    /// Print the error of every operation; with --json also where the arguments of polynomials are
    #[arg(long)]
    pub(super) per_op: bool,
    /// Selects the noise; the same seed gives the same results
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Threads; one per core by default
    #[arg(long, value_name = "N", value_parser = super::values::threads)]
    pub(super) threads: Option<usize>,
    #[command(flatten)]
    pub(super) overwrite: Overwrite,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct SimulateReport<'a> {
    images: usize,
    seconds: f64,
    images_per_second: f64,
    /// Absent in a run without noise.
    #[serde(flatten)]
    noise: Option<Noise>,
    /// Absent without labels.
    #[serde(flatten)]
    labels: Option<Right>,
    /// Out-of-range values by the model's node.
    layers: &'a [LayerEscape],
    /// Out-of-range values by value of the program.
    escapes: &'a [RangeEscape],
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<&'a [OpNoise]>,
    /// Where the arguments of polynomials are.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a [ArgumentHistogram]>,
    plan_digest: String,
    security_bits: u32,
}

/// How the results with noise compare with those without.
#[derive(Serialize)]
struct Noise {
    /// Largest difference of a result from the program without noise; null in JSON where one is not finite.
    max_error: f64,
    /// Images whose largest result is the same with and without noise.
    same_argmax: usize,
}

/// Images whose class is the label's.
#[derive(Serialize)]
struct Right {
    /// Images that have a label.
    labelled: usize,
    /// With noise; the same as without in a run without noise.
    right: usize,
    /// Without noise.
    right_exact: usize,
}

pub fn run(c: &Simulate) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::simulate(c);
    }
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.images.among(files)?.reads("the labels", &c.labels)?;
    let plan = c.max_size.plan(&c.plan)?;
    let results = |path: &PathBuf| files.writes_results("--output", path, &plan.image_outputs());
    let to = c.output.as_ref().map(results).transpose()?;
    let (images, count) = c.images.read(&plan.image_inputs())?;
    let labels = |path| data::read_labels(path, count, &plan.image_outputs());
    let labels = c.labels.as_deref().map(labels).transpose()?;
    let threads = c.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let simulator = if c.exact { Simulator::exact(&plan) } else { Simulator::new(&plan, c.seed) };
    let runs = runs_of(&plan.image_inputs(), plan.batch(), &images)?;
    let bar = progress::bar("simulate", runs.len() as u64);
    let started = Instant::now();
    let mut done = simulator.run_many(&runs, threads, &|runs| bar.inc(runs as u64))?;
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    for results in [&mut done.outputs, &mut done.exact] {
        *results = ir::images(results, plan.batch(), images.len());
    }
    if let Some(to) = to {
        data::write_samples(to, &plan.image_outputs(), &done.outputs)?;
    }
    let noise = (!c.exact).then(|| {
        let Comparison { max_error, same_argmax } = Comparison::of(&done.outputs, &done.exact);
        Noise { max_error, same_argmax }
    });
    let right = labels.map(|labels| Right {
        labelled: images.len(),
        right: data::count_right(&done.outputs, &labels),
        right_exact: data::count_right(&done.exact, &labels),
    });
    let report = SimulateReport {
        images: images.len(),
        seconds,
        images_per_second: images.len() as f64 / seconds.max(f64::MIN_POSITIVE),
        noise,
        labels: right,
        layers: &done.report.layers,
        escapes: &done.report.escapes,
        ops: c.per_op.then_some(&done.report.ops),
        arguments: c.per_op.then_some(&done.report.arguments),
        plan_digest: output::digest(&plan)?,
        security_bits: plan.security().bits,
    };
    escapes::warn(&done.report.layers, runs.len(), plan.batch());
    if c.json { output::json(&report) } else { print(&report, &done) }
}

fn print(report: &SimulateReport<'_>, done: &Simulation) -> Result<(), Error> {
    if report.ops.is_some() {
        let rows: Vec<Vec<String>> = done
            .report
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
    let images = report.images;
    say!("{images} images in {}, {:.1} per second", output::seconds(report.seconds), report.images_per_second);
    if let Some(Noise { max_error, same_argmax }) = report.noise {
        say!("against the program without noise: {}", Comparison { max_error, same_argmax }.line(images));
    }
    say!("layers with out-of-range values: {}", report.layers.len());
    if let Some(Right { labelled, right, right_exact }) = report.labels {
        let of =
            |right: usize| format!("{right} of {labelled} ({:.2} %)", 100.0 * right as f64 / labelled.max(1) as f64);
        say!("right: {}", of(right));
        if report.noise.is_some() {
            say!("right without noise: {}", of(right_exact));
        }
    }
    Ok(())
}
