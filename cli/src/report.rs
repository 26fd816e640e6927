//! The command `fhec report` writes a page that shows a plan.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::Error;
use fhec::report::{Prediction, Report as Content, Run, html};
use fhec::runtime::Plan;

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::{inspect, output};

/// Write a page that shows a plan: levels over time, layers, keys, memory, predicted against measured times
#[derive(Args)]
pub struct Report {
    /// The plan
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// Where the page goes
    #[arg(short, long, value_name = "HTML", value_parser = files::destination())]
    output: PathBuf,
    /// What `fhec run --json` or `fhec eval --json` printed for this plan
    #[arg(long, value_name = "JSON", value_parser = files::input())]
    run: Option<PathBuf>,
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

/// Refuses what another plan measured.
fn of_this_plan(run: &Run, path: &Path, plan: &Plan) -> Result<(), Error> {
    let digest = output::digest(plan)?;
    let reason = match &run.plan_digest {
        Some(of) if *of == digest => return Ok(()),
        Some(of) => format!("{} is of the plan {of}, this one is {digest}", path.display()),
        None => format!("{} does not say of which plan it is", path.display()),
    };
    Err(Error::Usage {
        reason,
        repair: "give what `fhec run --json` or `fhec eval --json` printed for this plan".into(),
    })
}

pub fn run(c: &Report) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = files.reads("the run's report", &c.run)?.reads("the profile", &c.latency)?;
    let plan = c.max_size.plan(&c.plan)?;
    let file = |path: &PathBuf| {
        let path = path.display().to_string();
        move |source| Error::File { file: path, source }
    };
    let measured = c.run.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).map_err(file(path))?;
        serde_json::from_str::<Run>(&text).map_err(|e| Error::Usage {
            reason: format!("{}: {e}", path.display()),
            repair: "give what `fhec run --json` or `fhec eval --json` printed".into(),
        })
    });
    let measured = measured.transpose()?;
    if let (Some(run), Some(path)) = (&measured, &c.run) {
        of_this_plan(run, path, &plan)?;
    }
    // Beside a run: what was predicted for its threads.
    let threads = measured.as_ref().and_then(|run| run.threads);
    let prediction = match (&c.latency, threads) {
        (None, Some(threads)) => Prediction::of(&plan, Some(threads)),
        (latency, _) => inspect::predicted(&plan, latency.as_deref())?,
    };
    let content = Content::of(&plan, prediction, measured);
    let to = files.writes("--output", &c.output)?;
    to.write(html(&content).as_bytes())?;
    if c.json {
        return output::json(&content);
    }
    say!(
        "{}: {} layers, {} ops",
        c.output.display(),
        content.layers.len(),
        content.layers.iter().map(|l| l.ops).sum::<u64>()
    );
    Ok(())
}
