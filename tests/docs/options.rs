//! `docs/options.md` is what `fhec --help` and `fhec COMMAND --help` say. `FHEC_BLESS=1` writes it anew.

use std::fmt::Write;

use crate::cli::{Place, repository};

const PATH: &str = "docs/options.md";
const HEAD: &str = "# Commands and options

Written by the test `docs::options` from what `fhec COMMAND --help` says (`FHEC_BLESS=1` rewrites it). Every command also has
`--help`. Sizes are bytes, or end in K, M, G or T (powers of 1,024). `-` as a file is standard input or output.

`fhec model.onnx -o plan.fhe` is short for `fhec compile model.onnx -o plan.fhe`. With `--json` standard output holds one JSON
object, of a report or of an error ([fields](json.md)). `RUST_LOG=fhec=debug` logs stages and keys on standard error, `RUST_LOG=trace`
every operation. Which options trade accuracy for time, and what they give: [accuracy against time](accuracy-and-time.md).
";

/// What of a line of help stands in its column of names: an argument, an option, a command.
fn name_of(line: &str) -> Option<(&str, &str)> {
    let trimmed = line.trim_start();
    let indent = line.len() - trimmed.len();
    let named = trimmed.starts_with(['-', '<', '[']) && !trimmed.starts_with("[default") && !trimmed.starts_with("- ");
    (named && indent <= 6 && indent > 0).then(|| trimmed.split_once("  ").unwrap_or((trimmed, "")))
}

/// The rows of one command: names, and what they mean.
fn rows(help: &str) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut on = false;
    for line in help.lines() {
        match line {
            "Arguments:" | "Options:" => on = true,
            line if !line.is_empty() && !line.starts_with(' ') => on = false,
            _ if !on => (),
            line => match name_of(line) {
                Some((name, meaning)) => rows.push((name.trim().into(), meaning.trim().into())),
                None if line.trim().is_empty() => (),
                None => {
                    let Some((_, meaning)) = rows.last_mut() else { continue };
                    if line.trim() == "Possible values:" {
                        meaning.push_str(". One of");
                        continue;
                    }
                    match line.trim().strip_prefix("- ").and_then(|value| value.split_once(':')) {
                        Some((value, says)) => write!(meaning, " `{value}`: {};", says.trim()).unwrap(),
                        None => write!(meaning, " {}", line.trim()).unwrap(),
                    }
                }
            },
        }
    }
    rows.retain(|(name, _)| name != "-h, --help");
    rows
}

/// The page.
fn page() -> String {
    let p = Place::new();
    let mut out = String::from(HEAD);
    let overview = p.ok(&["--help"]);
    let commands = overview.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    for line in commands {
        let (command, summary) = line.trim().split_once(' ').unwrap();
        if command == "help" {
            continue;
        }
        write!(out, "\n## {command}\n\n{}.\n", summary.trim()).unwrap();
        let rows = rows(&p.ok(&[command, "--help"]));
        if !rows.is_empty() {
            out.push_str("\n| | |\n|---|---|\n");
        }
        for (name, meaning) in rows {
            writeln!(out, "| `{}` | {} |", name.replace('|', "\\|"), meaning.trim().replace('|', "\\|")).unwrap();
        }
    }
    out
}

#[test]
fn the_page_of_options_is_the_help_of_the_commands() {
    let page = page();
    let path = repository(PATH);
    if std::env::var_os("FHEC_BLESS").is_some() {
        return std::fs::write(&path, page).unwrap();
    }
    let stated = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(stated.lines()).find(|(a, b)| a != b);
    assert_eq!(
        page, stated,
        "{PATH} is out of date (FHEC_BLESS=1 rewrites it); the first lines that differ: {differs:?}"
    );
}
