//! The command `fhec report` writes a page that shows a plan.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::Error;
use fhec::report::findings::ParetoPoint;
use fhec::report::{Prediction, Report as Content, Run, Simulation, html, trace};
use fhec::runtime::Plan;
use serde::de::DeserializeOwned;

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

/// A file that a command printed or wrote, which `wanted` names.
fn read<T: DeserializeOwned>(path: &Path, wanted: &str) -> Result<T, Error> {
    let file = |source| Error::File { file: path.display().to_string(), source };
    let text = std::fs::read_to_string(path).map_err(file)?;
    serde_json::from_str(&text)
        .map_err(|e| Error::Usage { reason: format!("{}: {e}", path.display()), repair: format!("give what {wanted}") })
}

const RUN: &str = "`fhec run --json` or `fhec eval --json` printed for this plan";
const SIMULATION: &str = "`fhec simulate --per-op --json` printed for this plan";
const FRONT: &str = "`fhec compile --pareto FILE` wrote for this model";

/// Refuses what was measured of another plan than that of `digest`.
fn of_this_plan(path: &Path, measured: Option<&str>, digest: &str, wanted: &str) -> Result<(), Error> {
    let reason = match measured {
        Some(of) if of == digest => return Ok(()),
        Some(of) => format!("{} is of the plan {of}, this one is {digest}", path.display()),
        None => format!("{} does not say of which plan it is", path.display()),
    };
    Err(Error::Usage { reason, repair: format!("give what {wanted}") })
}

/// The sidecars of a plan.
struct Given {
    run: Option<Run>,
    simulation: Option<Simulation>,
    front: Option<Vec<ParetoPoint>>,
}

impl Given {
    fn read(c: &Report, plan: &Plan) -> Result<Self, Error> {
        let digest = output::digest(plan)?;
        let run = c.run.as_deref().map(|path| {
            let run: Run = read(path, RUN)?;
            of_this_plan(path, run.plan_digest.as_deref(), &digest, RUN)?;
            Ok::<_, Error>(run)
        });
        let simulation = c.simulation.as_deref().map(|path| {
            let simulation: Simulation = read(path, SIMULATION)?;
            of_this_plan(path, simulation.plan_digest.as_deref(), &digest, SIMULATION)?;
            if simulation.ops.is_empty() && simulation.arguments.is_empty() {
                output::warning(format!(
                    "{} has no errors of layers and no data of polynomials: they are of `fhec simulate --per-op`",
                    path.display()
                ));
            }
            Ok::<_, Error>(simulation)
        });
        let front = c.front.as_deref().map(|path| read(path, FRONT));
        Ok(Self { run: run.transpose()?, simulation: simulation.transpose()?, front: front.transpose()? })
    }
}

pub fn run(c: &Report) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = files.reads("the run's report", &c.run)?.reads("the simulation's report", &c.simulation)?;
    let mut files = files.reads("the front", &c.front)?.reads("the profile", &c.latency)?;
    let plan = c.max_size.plan(&c.plan)?;
    let Given { run, simulation, front } = Given::read(c, &plan)?;
    // Beside a run: what was predicted for its threads.
    let threads = run.as_ref().and_then(|run| run.threads);
    let prediction = match (&c.latency, threads) {
        (None, Some(threads)) => Prediction::of(&plan, Some(threads)),
        (latency, _) => inspect::predicted(&plan, latency.as_deref())?,
    };
    let page = c.output.as_ref().map(|path| files.writes("--output", path)).transpose()?;
    if let Some(path) = &c.trace {
        let to = files.writes("--trace", path)?;
        let events = trace(&plan, &prediction, run.as_ref()).ok_or_else(|| Error::Usage {
            reason: "no times are known for a trace: an op has no predicted time".into(),
            repair: "give --latency with what `fhec calibrate` wrote, or --run".into(),
        })?;
        to.write(events.as_bytes())?;
    }
    let mut content = Content::of(&plan, prediction, run);
    if let Some(simulation) = simulation {
        content = content.with_simulation(simulation);
    }
    if let (Some(front), Some(path)) = (front, &c.front) {
        content = content.with_front(front).map_err(|foreign| Error::Usage {
            reason: format!("{}: this plan has no activation `{foreign}`", path.display()),
            repair: format!("give what {FRONT}"),
        })?;
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
