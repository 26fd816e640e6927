//! Progress is shown on standard error: by a bar on a terminal, elsewhere by a line now and then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fhec::BatchProgress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// Where standard error is no terminal, a line at most so often, the first after as long: short work stays quiet.
const INTERVAL: Duration = Duration::from_secs(10);

/// What draws the bars of this process, so that other lines can be written between them.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

fn bars() -> MultiProgress {
    let mut bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
    bars.get_or_insert_with(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())).clone()
}

/// Calls `f`, which writes to standard error, with all bars taken away meanwhile.
pub fn suspended<T>(f: impl FnOnce() -> T) -> T {
    let bars = BARS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bars {
        Some(bars) => bars.suspend(f),
        None => f(),
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one falls back to the default style.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How far work is that a user waits for.
pub struct Progress {
    bar: ProgressBar,
    /// Absent on a terminal, where the bar is seen.
    lines: Option<Mutex<Lines>>,
}

/// A bar over `total` equal pieces of work.
pub fn bar(what: &str, total: u64) -> Progress {
    let style = style("{prefix:>10} [{bar:32}] {pos}/{len} {msg} (left {eta})");
    Progress::new(ProgressBar::new(total).with_style(style), what)
}

/// A spinner for work of unknown length.
#[cfg(feature = "compiler")]
pub fn spinner(what: &str) -> Progress {
    Progress::new(ProgressBar::new_spinner().with_style(style("{prefix:>10} {spinner} {msg} {elapsed}")), what)
}

impl Progress {
    fn new(bar: ProgressBar, what: &str) -> Self {
        let bars = bars();
        let lines = bars.is_hidden().then(|| Mutex::new(Lines::new(what, bar.length(), Instant::now())));
        let bar = bars.add(bar.with_prefix(what.to_string()));
        if lines.is_none() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { bar, lines }
    }

    fn update(&self, bar: impl FnOnce(&ProgressBar), lines: impl FnOnce(&mut Lines)) {
        let Some(state) = &self.lines else { return bar(&self.bar) };
        let mut state: MutexGuard<'_, Lines> = state.lock().unwrap_or_else(PoisonError::into_inner);
        lines(&mut state);
        if let Some(line) = state.due(Instant::now()) {
            eprintln!("{line}");
        }
    }

    /// Sets how many pieces the work has.
    #[cfg(any(feature = "client", feature = "compiler"))]
    pub fn set_length(&self, total: u64) {
        self.update(|bar| bar.set_length(total), |lines| lines.total = Some(total));
    }

    /// Sets how many pieces are done.
    #[cfg(any(feature = "client", feature = "compiler"))]
    pub fn set_position(&self, done: u64) {
        self.update(|bar| bar.set_position(done), |lines| lines.done = done);
    }

    /// Counts further pieces as done.
    pub fn inc(&self, pieces: u64) {
        self.update(|bar| bar.inc(pieces), |lines| lines.done += pieces);
    }

    /// Says what is being done.
    #[cfg(any(feature = "client", feature = "compiler"))]
    pub fn set_message(&self, message: impl Into<String>) {
        let message = message.into();
        self.update(|bar| bar.set_message(message.clone()), |lines| lines.message.clone_from(&message));
    }

    /// Takes the bar away.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Progress as lines of text.
struct Lines {
    what: String,
    message: String,
    done: u64,
    /// Absent where the length is not known.
    total: Option<u64>,
    started: Instant,
    last: Instant,
}

impl Lines {
    fn new(what: &str, total: Option<u64>, now: Instant) -> Self {
        Self { what: what.into(), message: String::new(), done: 0, total, started: now, last: now }
    }

    /// The line to write now, if the last one is long enough ago.
    fn due(&mut self, now: Instant) -> Option<String> {
        if now.duration_since(self.last) < INTERVAL {
            return None;
        }
        self.last = now;
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let message = if self.message.is_empty() { String::new() } else { format!(" {},", self.message) };
        let share = self.total.filter(|&total| total > 0).map(|total| self.done as f64 / total as f64);
        let share = match share.filter(|&share| share > 0.0) {
            Some(share) => {
                let left = output::seconds(elapsed * (1.0 / share - 1.0).max(0.0));
                format!(" {:.0} % done, about {left} left", 100.0 * share)
            }
            None => String::new(),
        };
        let line = format!("{}:{message}{share} after {}", self.what, output::seconds(elapsed));
        Some(line)
    }
}

/// Shows where the evaluation is: operation, level, run.
pub fn show(bar: &Progress, at: &BatchProgress<'_>) {
    let run = if at.runs > 1 { format!(", run {} of {}", at.run + 1, at.runs) } else { String::new() };
    let message = format!("{} at level {}{run}", at.op.op, at.op.level);
    let (total, done) = (at.runs * at.op.total, at.run * at.op.total + at.op.index);
    bar.update(
        |bar| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(message.clone());
        },
        |lines| (lines.total, lines.done, lines.message) = (Some(total as u64), done as u64, message.clone()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_most_every_ten_seconds_and_say_what_is_left() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut lines = Lines::new("eval", Some(1), start);
        assert_eq!(lines.due(after(9)), None, "short work stays quiet");
        (lines.done, lines.total, lines.message) = (25, Some(100), "linear at level 5, run 1 of 4".into());
        let line = lines.due(after(10)).expect("after ten seconds");
        assert_eq!(line, "eval: linear at level 5, run 1 of 4, 25 % done, about 30.00 s left after 10.00 s");
        assert_eq!(lines.due(after(19)), None);
        assert!(lines.due(after(21)).is_some_and(|line| line.contains("about 63.00 s left")));
        let mut spinner = Lines::new("compile", None, start);
        spinner.message = "fold done".into();
        assert_eq!(spinner.due(after(12)).as_deref(), Some("compile: fold done, after 12.00 s"));
        let mut unknown = Lines::new("keygen", Some(0), start);
        assert_eq!(unknown.due(after(12)).as_deref(), Some("keygen: after 12.00 s"));
    }
}
