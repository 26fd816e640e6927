//! The command `fhec man` writes the manual pages.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man as Page;
use fhec::Error;

use super::files::{self, Files, Overwrite};
use super::output;

/// Write the manual pages: fhec.1, and fhec-COMMAND.1 of every command
#[derive(Args)]
pub struct Man {
    /// The folder for the pages; `man -l DIR/fhec.1` shows one
    #[arg(short, long, value_name = "DIR", value_parser = files::destination())]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Man) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json);
    let file = |source| Error::File { file: c.output.display().to_string(), source };
    std::fs::create_dir_all(&c.output).map_err(file)?;
    let mut names = Vec::new();
    for command in commands() {
        let page = Page::new(command);
        let mut text = Vec::new();
        page.render(&mut text).map_err(file)?;
        let name = page.get_filename();
        files.writes_within("--output", &c.output.join(&name))?.write(&text)?;
        names.push(name);
    }
    if c.json {
        return output::json(&serde_json::json!({ "output": c.output, "pages": names }));
    }
    say!("{}: {} manual pages", c.output.display(), names.len());
    Ok(())
}

/// `fhec` and its commands.
fn commands() -> Vec<clap::Command> {
    let mut all = super::command().disable_help_subcommand(true);
    all.build();
    let parts: Vec<clap::Command> = all.get_subcommands().cloned().collect();
    std::iter::once(all).chain(parts).collect()
}
