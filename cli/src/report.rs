//! The command `fhec report` writes a page that shows a plan.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::Error;
use fhec::report::{Prediction, Report as Content, Run, Simulation, html, trace};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::{inspect, output};

/// Write a page that shows a plan: levels and memory over time, layers, polynomials, keys, measured times
#[derive(Args)]
pub struct Report {
    /// The plan
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// Where the page goes
    #[arg(short, long, value_name = "HTML", required_unless_present = "trace", value_parser = files::destination())]
    output: Option<PathBuf>,
    /// Where trace events go, which Perfetto shows: the run as it is predicted, and with `--run` as it was measured
    #[arg(long, value_name = "JSON", value_parser = files::destination())]
    trace: Option<PathBuf>,
    /// What `fhec run --json` or `fhec eval --json` printed for this plan: measured times and memory
    #[arg(long, value_name = "JSON", value_parser = files::input())]
    run: Option<PathBuf>,
    /// What `fhec simulate --per-op --json` printed for this plan: errors, the data of polynomials, accuracy
    #[arg(long, value_name = "JSON", value_parser = files::input())]
    simulation: Option<PathBuf>,
    /// The file of `fhec compile --pareto` for this model, instead of the front that the plan carries
    #[arg(long, value_name = "JSON", value_parser = files::input())]
    front: Option<PathBuf>,
    /// Costs of this machine, as `fhec calibrate` writes them, or a table of measured times; instead of the built-in profile
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    latency: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print what the page shows as JSON
    #[arg(long)]
    json: bool,
}

/// A file that a command printed or wrote.
fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { file: path.display().to_string(), source })
}

pub fn run(c: &Report) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = files.reads("the run's report", &c.run)?.reads("the simulation's report", &c.simulation)?;
    let mut files = files.reads("the front", &c.front)?.reads("the profile", &c.latency)?;
    let plan = c.max_size.plan(&c.plan)?;
    let digest = output::digest(&plan)?;
    let name = |path: &Path| path.display().to_string();
    let run = c.run.as_deref().map(|path| Run::read(&name(path), &read(path)?, &digest)).transpose()?;
    let simulation = c.simulation.as_deref().map(|path| {
        let simulation = Simulation::read(&name(path), &read(path)?, &digest)?;
        simulation.warning(&name(path)).into_iter().for_each(output::warning);
        Ok::<_, Error>(simulation)
    });
    let (simulation, front) = (simulation.transpose()?, c.front.as_deref().map(read).transpose()?);
    // Beside a run: what was predicted for its threads.
    let threads = run.as_ref().and_then(|run| run.threads);
    let prediction = match (&c.latency, threads) {
        (None, Some(threads)) => Prediction::of(&plan, Some(threads)),
        (latency, _) => inspect::predicted(&plan, latency.as_deref())?,
    };
    let page = c.output.as_ref().map(|path| files.writes("--output", path)).transpose()?;
    if let Some(path) = &c.trace {
        let to = files.writes("--trace", path)?;
        to.write(trace(&plan, &prediction, run.as_ref())?.as_bytes())?;
    }
    let mut content = Content::of(&plan, prediction, run);
    if let Some(simulation) = simulation {
        content = content.with_simulation(simulation);
    }
    if let (Some(front), Some(path)) = (&front, &c.front) {
        content = content.with_front(&name(path), front)?;
    }
    if let Some(page) = page {
        page.write(html(&content).as_bytes())?;
    }
    if c.json {
        return output::json(&content);
    }
    let (layers, ops) = (content.layers.len(), content.layers.iter().map(|l| l.ops).sum::<u64>());
    c.output.iter().chain(&c.trace).for_each(|path| say!("{}: {layers} layers, {ops} ops", path.display()));
    Ok(())
}
