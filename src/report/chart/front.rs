//! The front: error over predicted time.

use super::super::findings::ParetoPoint;
use super::super::markup::{Text, put, small};
use super::super::tables::accuracy;
use super::super::units::seconds;
use super::{HEIGHT, Mark, Plot, WIDTH, axis_time, decade, decades, round, ticks};

/// Where errors are on the axis.
struct Errors {
    low: f64,
    high: f64,
    /// Errors over several orders of magnitude are compared by their ratio.
    logarithmic: bool,
}

impl Errors {
    fn of(points: &[ParetoPoint]) -> Self {
        let positive = || points.iter().map(|p| p.error).filter(|&e| e > 0.0);
        let (low, high) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
        Self { low, high, logarithmic: high > 0.0 && high / low > 20.0 }
    }

    fn share(&self, error: f64) -> f64 {
        let share = if self.logarithmic {
            let (low, high) = (self.low.log10() - 0.15, self.high.log10() + 0.15);
            (error.max(f64::MIN_POSITIVE).log10() - low) / (high - low)
        } else {
            error / (self.high * 1.08).max(f64::MIN_POSITIVE)
        };
        share.clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |error: f64, label: String| Mark { at: self.share(error), label };
        if self.logarithmic {
            let powers = decades(10f64.powf(self.low.log10().floor()), self.high * 1.4, 6);
            // Few powers of ten leave room for what is between them.
            let between = if powers.len() < 4 { &[1.0, 2.0, 5.0][..] } else { &[1.0] };
            let all = powers.into_iter().flat_map(|e| between.iter().map(move |m| (m * e, *m == 1.0)));
            let inside = all.filter(|(e, _)| *e >= self.low / 1.4 && *e <= self.high * 1.4);
            inside.map(|(e, power)| mark(e, if power { decade(e) } else { round(e) })).collect()
        } else {
            ticks(self.high, 5.0).into_iter().map(|e| mark(e, round(e))).collect()
        }
    }
}

/// Dots of a front, at most, beside its plan and those whose accuracy was measured: more hide each other.
const DOTS: usize = 40;

/// Round times from `start` to `end`.
fn marks(start: f64, end: f64) -> Vec<f64> {
    let step = ticks(end - start, 6.0).get(1).copied().unwrap_or(end);
    let first = (start / step).ceil() as u64;
    (first..=(end / step) as u64).map(|i| i as f64 * step).collect()
}

/// The front; the point of index `plan` is the plan of the page.
pub fn front(points: &[ParetoPoint], plan: Option<usize>) -> String {
    let times = || points.iter().map(|p| p.seconds);
    let (first, last) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    // What matters is how far apart they are: the axis begins at zero only where that is near.
    let room = (0.06 * (last - first)).max(0.02 * last).max(f64::MIN_POSITIVE);
    let start = if first < (last - first) / 2.0 { 0.0 } else { first - room };
    let end = last + room;
    let errors = Errors::of(points);
    let x = |t: f64| (t - start) / (end - start);
    let plot = Plot {
        class: "front",
        label: "Error over predicted time of the plans of the front; the table beside it has the numbers".into(),
        y: errors.marks(),
        x: marks(start, end).into_iter().map(|t| Mark { at: x(t), label: axis_time(t, end) }).collect(),
        titles: ["error (surrogate)", "predicted time →"],
    };
    let path: Vec<String> = points
        .iter()
        .map(|p| format!("{:.1} {:.1}", x(p.seconds) * WIDTH, HEIGHT * (1.0 - errors.share(p.error))))
        .collect();
    let drawing = format!("<path class=\"line\" d=\"M{}\"/>", path.join("L"));
    let mut dots = String::new();
    let step = points.len().div_ceil(DOTS).max(1);
    let shown = |i: usize| i.is_multiple_of(step) || points[i].accuracy.is_some();
    // The plan of the page comes last, on top of its neighbours.
    let others = (0..points.len()).filter(|&i| shown(i) && plan != Some(i));
    for i in others.chain(plan.filter(|&i| i < points.len())) {
        let p = &points[i];
        let mut tip = format!("{} · error {}", seconds(p.seconds), small(p.error));
        p.bootstraps.iter().for_each(|n| put!(tip, "\n{n} bootstraps"));
        p.accuracy.iter().for_each(|a| put!(tip, "\naccuracy {}", accuracy(*a)));
        let own = if plan == Some(i) { " own" } else { "" };
        let (left, bottom) = (x(p.seconds) * 100.0, errors.share(p.error) * 100.0);
        let tip = Text(&tip);
        put!(dots, "<i class=\"dot{own}\" style=\"left:{left:.2}%;bottom:{bottom:.2}%\" data-tip=\"{tip}\"></i>");
    }
    plot.with(&drawing, &dots)
}
