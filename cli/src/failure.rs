//! Prints what the program says when it fails: rendered on standard error and, with `--json`, as an object on standard
//! output.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use fhec::Error;
use miette::Diagnostic;
use serde::Serialize;

use super::{output, progress};

/// Whether this process prints JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// The exit code of a wrong command line, clap's own.
const COMMAND_LINE: u8 = 2;

/// Says whether `--json` was given.
pub fn as_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// An error as JSON.
#[derive(Serialize)]
struct Failure {
    error: Described,
    exit_code: u8,
}

#[derive(Serialize)]
struct Described {
    message: String,
    /// What led to it, the nearest first.
    causes: Vec<String>,
    help: Option<String>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Nodes, or places in a text, that are at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    message: String,
    help: Option<String>,
}

impl Described {
    fn of(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(e) = cause {
            causes.push(e.to_string());
            cause = e.source();
        }
        let details = error.related().into_iter().flatten();
        Self {
            message: error.to_string(),
            causes,
            help: error.help().map(|help| help.to_string()),
            code: error.kind(),
            file: error.file().map(Into::into),
            details: details
                .map(|d| Detail { message: d.to_string(), help: d.help().map(|help| help.to_string()) })
                .collect(),
        }
    }
}

/// Errors are broken into lines at spaces alone: an option or a path that is broken elsewhere cannot be copied.
pub fn keep_words_whole() {
    let handler = |_: &_| {
        let options = miette::MietteHandlerOpts::new().break_words(false);
        let options = options.word_separator(textwrap::WordSeparator::AsciiSpace);
        Box::new(options.word_splitter(textwrap::WordSplitter::NoHyphenation).build()) as Box<dyn miette::ReportHandler>
    };
    // Whoever set one before keeps it.
    let _ = miette::set_hook(Box::new(handler));
}

/// Writes an error and gives its exit code.
pub fn report(error: Error) -> ExitCode {
    let exit_code = error.exit_code();
    let failure = JSON.load(Ordering::Relaxed).then(|| Failure { error: Described::of(&error), exit_code });
    progress::suspended(|| eprintln!("{:?}", miette::Report::new(error)));
    print(failure.as_ref(), exit_code)
}

/// Writes what clap says and gives the exit code: help and the version are no errors.
pub fn command_line(error: &clap::Error) -> ExitCode {
    // Where nobody reads there is nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let mut parts = text.trim().split("\n\n").map(str::trim);
    let message = parts.next().unwrap_or_default().trim_start_matches("error: ").to_string();
    let help = parts.collect::<Vec<_>>().join("\n\n");
    let help = Some(help).filter(|help| !help.is_empty());
    let (causes, details) = (Vec::new(), Vec::new());
    let error = Described { message, causes, help, code: "command_line", file: None, details };
    let failure = JSON.load(Ordering::Relaxed).then_some(Failure { error, exit_code: COMMAND_LINE });
    print(failure.as_ref(), COMMAND_LINE)
}

fn print(failure: Option<&Failure>, exit_code: u8) -> ExitCode {
    // The object is of texts and numbers: it is JSON.
    let _ = failure.map(output::json);
    ExitCode::from(exit_code)
}
