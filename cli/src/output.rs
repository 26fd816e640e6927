//! The output that commands share: lines, warnings, JSON, sizes, times, tables.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fhec::ir::text::to_hex;
pub use fhec::report::units::{bytes, seconds};
use fhec::runtime::{Plan, Security};
use fhec::{Destination, Error};
use serde::Serialize;

/// Version of the JSON that commands print, which `docs/json.md` describes. A field that is added leaves it as it is; one
/// that is renamed, removed or of another meaning raises it.
pub const SCHEMA: u32 = 1;

/// The command of this process and what it has warned of: every JSON object that it prints says both.
struct Session {
    command: Option<String>,
    warnings: Vec<String>,
}

static SESSION: Mutex<Session> = Mutex::new(Session { command: None, warnings: Vec::new() });

fn session() -> MutexGuard<'static, Session> {
    SESSION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the command that this process runs.
pub fn begin(command: &str) {
    session().command = Some(command.into());
}

/// Whether standard output is for an output of the command.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on lines go to standard error: standard output is for an output of the command.
pub fn report_on_standard_error() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// Writes a line to standard output. A reader that has seen enough (`fhec inspect | head`) ends the program quietly; what
/// cannot be written is an error.
pub fn line(text: std::fmt::Arguments<'_>) {
    let written = match TAKEN.load(Ordering::Relaxed) {
        true => writeln!(std::io::stderr().lock(), "{text}"),
        false => writeln!(std::io::stdout().lock(), "{text}"),
    };
    let Err(source) = written else { return };
    fhec::discard_unfinished();
    if source.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let error = Error::File { file: "standard output".into(), source };
    let exit_code = i32::from(error.exit_code());
    eprintln!("{:?}", miette::Report::new(error));
    std::process::exit(exit_code);
}

/// Warns: `warning: …` on standard error, and among the `warnings` of the JSON.
pub fn warning(text: impl std::fmt::Display) {
    let text = text.to_string();
    // Over a progress bar the line would be overwritten.
    super::progress::suspended(|| eprintln!("warning: {text}"));
    session().warnings.push(text);
}

/// What every JSON object begins with.
#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: u32,
    fhec: &'static str,
    command: Option<&'a str>,
    warnings: &'a [String],
    #[serde(flatten)]
    content: &'a T,
}

/// Prints the one JSON object of this process: the fields of `content`, an object, behind those that all objects have.
/// [`docs/json.md`](../../docs/json.md) lists them.
pub fn json(content: &impl Serialize) -> Result<(), Error> {
    let Session { command, warnings } = &*session();
    let (fhec, command) = (env!("CARGO_PKG_VERSION"), command.as_deref());
    let envelope = Envelope { schema: SCHEMA, fhec, command, warnings, content };
    let text = serde_json::to_string_pretty(&envelope)
        .map_err(|e| Error::Usage { reason: format!("the report is no JSON: {e}"), repair: "report this".into() })?;
    say!("{text}");
    Ok(())
}

/// Reads `16G`, `800M`, `64K` or a number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        unit => return Err(format!("`{unit}` is no unit of memory; write 16G or 800M")),
    };
    let value: f64 = digits.trim().parse().map_err(|_| format!("`{text}` is no size; write 16G or 800M"))?;
    let bytes = value * (1u64 << shift) as f64;
    if bytes.is_finite() && bytes >= 0.0 { Ok(bytes as u64) } else { Err(format!("`{text}` is no size")) }
}

/// The most memory this process has held, in bytes; where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes of a finished output; of one that went through a pipe nothing is known.
pub fn written_bytes(to: &Destination) -> Option<u64> {
    let meta = std::fs::metadata(to.path()).ok().filter(|m| m.is_file() && !to.is_standard_output());
    meta.map(|m| m.len())
}

/// The size of an output as part of a list.
pub fn size_of(written: Option<u64>) -> String {
    written.map_or("size unknown".into(), bytes)
}

/// The digest of a plan's content, in hexadecimal.
pub fn digest(plan: &Plan) -> Result<String, Error> {
    Ok(to_hex(&plan.digest()?))
}

/// Warns when a plan's parameters are below 128-bit security, on every command that uses it.
pub fn security_warning(security: &Security) {
    if security.bits == 0 {
        warning("the parameters of this plan are marked INSECURE; do not use it on data that matters");
    }
}

/// A table; columns of numbers are aligned to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let cells = |i: usize| rows.iter().filter_map(move |r| r.get(i));
    let columns: Vec<(usize, bool)> = header
        .iter()
        .enumerate()
        .map(|(i, head)| {
            let width = cells(i).map(|c| c.chars().count()).chain([head.chars().count()]).max().unwrap_or(0);
            (width, cells(i).all(|c| c.starts_with(|first: char| first.is_ascii_digit())))
        })
        .collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let cell = |(cell, &(width, right)): (&str, &(usize, bool))| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        };
        let text: Vec<String> = cells.zip(&columns).map(cell).collect();
        say!("{}", text.join("  ").trim_end());
    };
    print(&mut header.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}

/// Warns where `what` was written takes more memory to read than a file of its length may by default.
#[cfg(feature = "compiler")]
pub fn large_file(what: &str, limit: Option<u64>) {
    if let Some(limit) = limit {
        let mebibytes = limit.div_ceil(1 << 20);
        warning(format!(
            "reading {what} takes {}, more than a file of its length may by default: give `--max-size {mebibytes}M` to the \
             commands that read it",
            bytes(limit)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(parse_bytes("16G"), Ok(16 << 30));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("800m"), Ok(800 << 20));
        assert_eq!(parse_bytes("12"), Ok(12));
        assert!(parse_bytes("12 parsecs").is_err() && parse_bytes("").is_err() && parse_bytes("-1G").is_err());
        assert_eq!([0, 1023, 1536, 3 << 29].map(bytes), ["0 B", "1023 B", "1.5 KiB", "1.50 GiB"]);
    }
}
