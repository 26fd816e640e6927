//! Progress bars: on a terminal only, on standard error.

use std::time::Duration;

use fhec::BatchProgress;
use indicatif::{ProgressBar, ProgressStyle};

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one falls back to the default style.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar over `total` equal pieces of work.
pub fn bar(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total)
        .with_style(style("{prefix:>10} [{bar:32}] {pos}/{len} {msg} (left {eta})"))
        .with_prefix(what.to_string());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// A spinner for work of unknown length.
#[cfg(feature = "compiler")]
pub fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{prefix:>10} {spinner} {msg} {elapsed}"));
    let bar = bar.with_prefix(what.to_string());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Shows where the evaluation is: operation, level, run.
pub fn show(bar: &ProgressBar, at: &BatchProgress<'_>) {
    bar.set_length((at.runs * at.op.total) as u64);
    bar.set_position((at.run * at.op.total + at.op.index) as u64);
    let run = if at.runs > 1 { format!(", run {} of {}", at.run + 1, at.runs) } else { String::new() };
    bar.set_message(format!("{} at level {}{run}", at.op.op, at.op.level));
}
