//! Draws the charts as SVG.

use super::findings::ParetoPoint;
use super::markup::{Text, put, small};
use super::model::{Phase, Report, Span};
use super::units::seconds;

/// A box in which data are drawn, in pixels of the drawing.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Round numbers from 0 to `end`, at most about `count` of them.
fn ticks(end: f64, count: f64) -> Vec<f64> {
    if end.is_nan() || end <= 0.0 {
        return vec![0.0];
    }
    let rough = end / count;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= rough).unwrap_or(10.0 * power);
    (0..=(end / step + 1e-9) as u64).map(|i| i as f64 * step).collect()
}

/// The name of a phase in style sheets and for people.
pub fn phase_names(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Linear => ("linear", "Linear"),
        Phase::Polynomial => ("polynomial", "Polynomial"),
        Phase::Bootstrap => ("bootstrap", "Bootstrap"),
    }
}

/// What a span says when pointed at.
fn tip(report: &Report, span: &Span) -> String {
    let ops: Vec<String> = span.ops.iter().map(|(op, n)| format!("{n} × {op}")).collect();
    let node = report.layers.get(span.layer).map_or("", |l| l.node.as_str());
    let time = if report.predicted_seconds.is_some() { format!(" · {}", seconds(span.length)) } else { String::new() };
    format!("{node}\n{} at level {}{time}\n{}", phase_names(span.phase).1, span.level, ops.join(", "))
}

/// Level over predicted time, or over ops where times are not known.
pub fn timeline(report: &Report) -> String {
    let frame = Frame { left: 40.0, top: 12.0, width: 948.0, height: 268.0 };
    let end = report.spans.last().map_or(1.0, |s| s.start + s.length).max(f64::MIN_POSITIVE);
    let levels = f64::from(report.spans.iter().map(|s| s.level).max().unwrap_or(0).max(report.parameters.levels));
    let row = frame.height / (levels + 1.0);
    let y = |level: f64| frame.height - (level + 0.5) * row;
    let unit = if report.predicted_seconds.is_some() { "s" } else { "ops" };
    let mut out = String::new();
    put!(out, r#"<svg class="chart timeline" id="timeline" viewBox="0 0 1000 330" role="img" "#);
    put!(out, r#"aria-label="Level of the ciphertexts over time" data-end="{end}" data-unit="{unit}">"#);
    let every = (levels / 12.0).ceil().max(1.0) as usize;
    for level in (0..=levels as usize).step_by(every) {
        let at = frame.top + y(level as f64);
        put!(out, r#"<line class="grid" x1="{}" x2="{}" y1="{at:.1}" y2="{at:.1}"/>"#, frame.left, 988.0);
        put!(out, r#"<text class="tick" x="32" y="{:.1}" text-anchor="end">{level}</text>"#, at + 3.5);
    }
    put!(out, r#"<g id="timeline-axis">"#);
    for t in ticks(end, 8.0) {
        let x = frame.left + t / end * frame.width;
        let label = if unit == "s" { axis_time(t, end) } else { format!("{t}") };
        put!(out, r#"<text class="tick" x="{x:.1}" y="300" text-anchor="middle">{label}</text>"#);
    }
    put!(out, "</g>");
    let title = if unit == "s" { "predicted time" } else { "operation" };
    put!(out, r#"<text class="axis" x="988" y="322" text-anchor="end">{title} →</text>"#);
    put!(out, r#"<text class="axis" x="40" y="322">level ↑</text>"#);
    // Time is stretched without distorting anything else: the drawing inside has its own scale.
    put!(out, r#"<svg id="timeline-data" x="{}" y="{}" width="{}" "#, frame.left, frame.top, frame.width);
    put!(out, r#"height="{0}" viewBox="0 0 10000 {0}" preserveAspectRatio="none">"#, frame.height);
    put!(out, r#"<rect class="catch" x="0" y="0" width="10000" height="{}"/>"#, frame.height);
    let x = |t: f64| t / end * 10_000.0;
    let thick = (row * 0.7).clamp(2.0, 11.0);
    let mut path = String::new();
    for (i, span) in report.spans.iter().enumerate() {
        let at = y(f64::from(span.level));
        put!(path, "{}{:.2} {at:.1}H{:.2}", if i == 0 { "M" } else { "L" }, x(span.start), x(span.start + span.length));
    }
    put!(out, r#"<path class="thread" d="{path}"/>"#);
    let mut before = 0.0;
    for span in &report.spans {
        let (name, _) = phase_names(span.phase);
        let (left, width) = (x(span.start), x(span.length).max(4.0));
        let at = y(f64::from(span.level));
        let about = format!("data-layer=\"{}\" data-tip=\"{}\"", span.layer, Text(&tip(report, span)));
        let mut rect = |class: &str, top: f64, height: f64| {
            put!(
                out,
                r#"<rect class="{class}" x="{left:.2}" y="{top:.1}" width="{width:.2}" height="{height:.1}" {about}/>"#
            );
        };
        if span.phase == Phase::Bootstrap {
            rect("jump", at.min(before), (at - before).abs());
        }
        rect(&format!("span {name}"), at - thick / 2.0, thick);
        before = at;
    }
    put!(out, "</svg></svg>");
    out
}

/// A round number on an axis.
fn round(x: f64) -> String {
    let text = small(x);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// A time on an axis that ends at `end`, both in seconds.
fn axis_time(t: f64, end: f64) -> String {
    let (value, unit) = if end >= 1.0 { (t, "s") } else { (t * 1e3, "ms") };
    // A multiple of a decimal step is seldom a decimal in binary.
    format!("{} {unit}", (value * 1e6).round() / 1e6)
}

/// The Pareto front: error over time.
pub fn pareto(points: &[ParetoPoint]) -> String {
    let frame = Frame { left: 64.0, top: 16.0, width: 560.0, height: 240.0 };
    let end = points.iter().map(|p| p.seconds).fold(0.0, f64::max) * 1.08;
    // Errors over several orders of magnitude are compared by their ratio.
    let positive = || points.iter().map(|p| p.error).filter(|&e| e > 0.0);
    let (low, high) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    let logarithmic = high > 0.0 && high / low > 20.0;
    let y = |error: f64| {
        let share = if logarithmic {
            let (low, high) = (low.log10() - 0.1, high.log10() + 0.1);
            (error.max(f64::MIN_POSITIVE).log10() - low) / (high - low)
        } else {
            error / (high * 1.08).max(f64::MIN_POSITIVE)
        };
        frame.top + frame.height * (1.0 - share.clamp(0.0, 1.0))
    };
    let x = |t: f64| frame.left + t / end.max(f64::MIN_POSITIVE) * frame.width;
    let mut out = String::new();
    put!(out, r#"<svg class="chart" viewBox="0 0 640 310" role="img" aria-label="Error over predicted time">"#);
    let marks: Vec<f64> = if logarithmic {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let all = (first..=last).flat_map(|p| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(p)));
        let inside: Vec<f64> = all.filter(|&e| e >= low / 1.25 && e <= high * 1.25).collect();
        if inside.len() > 7 { inside.into_iter().filter(|e| e.log10().fract().abs() < 1e-9).collect() } else { inside }
    } else {
        ticks(high, 5.0)
    };
    for e in marks {
        let at = y(e);
        put!(out, r#"<line class="grid" x1="{}" x2="624" y1="{at:.1}" y2="{at:.1}"/>"#, frame.left);
        put!(out, r#"<text class="tick" x="56" y="{:.1}" text-anchor="end">{}</text>"#, at + 3.5, round(e));
    }
    for t in ticks(end, 6.0) {
        put!(out, r#"<text class="tick" x="{:.1}" y="276" text-anchor="middle">{}</text>"#, x(t), axis_time(t, end));
    }
    put!(out, r#"<text class="axis" x="624" y="300" text-anchor="end">predicted time →</text>"#);
    put!(out, r#"<text class="axis" x="8" y="300">error ↑{}</text>"#, if logarithmic { " (logarithmic)" } else { "" });
    let path: Vec<String> = points.iter().map(|p| format!("{:.1} {:.1}", x(p.seconds), y(p.error))).collect();
    put!(out, r#"<path class="front" d="M{}"/>"#, path.join("L"));
    for p in points {
        let mut tip = format!("{} · error {}", seconds(p.seconds), small(p.error));
        p.bootstraps.iter().for_each(|n| put!(tip, "\n{n} bootstraps"));
        p.accuracy.iter().for_each(|a| put!(tip, "\naccuracy {}", accuracy(*a)));
        let (x, y) = (x(p.seconds), y(p.error));
        put!(out, r#"<circle class="point" cx="{x:.1}" cy="{y:.1}" r="5" data-tip="{}"/>"#, Text(&tip));
    }
    put!(out, "</svg>");
    out
}

/// A share, which plans state either as such or in percent.
pub fn accuracy(share: f64) -> String {
    format!("{:.2} %", if share <= 1.0 { share * 100.0 } else { share })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(2.3e6, 8.0), [0.0, 5e5, 1e6, 1.5e6, 2e6]);
        assert_eq!(ticks(0.0, 5.0), [0.0]);
        assert_eq!(ticks(f64::NAN, 5.0), [0.0]);
        assert_eq!([0.005, 0.2, 20.0, 100.0, 2e-6].map(round), ["0.005", "0.2", "20", "100", "2.0e-6"]);
    }
}
