//! `fhec report`

use std::path::PathBuf;

use clap::Args;
use fhec::Error;
use fhec::report::{Report as Content, Run, html};

use super::files::{self, Files, Overwrite};
use super::limits::MaxSize;
use super::output;

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
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print what the page shows as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Report) -> Result<(), Error> {
    let mut files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?.reads("the run's report", &c.run)?;
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
    let content = Content::of(&plan, measured.transpose()?);
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
