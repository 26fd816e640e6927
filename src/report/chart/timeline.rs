//! Levels and memory over time.

use super::super::markup::{Text, put};
use super::super::model::{Phase, Report, Span};
use super::super::units::{bytes, seconds};
use super::{HEIGHT, Mark, Plot, WIDTH, axis_time, byte_marks, phase_names, ticks};

/// What a span says when pointed at.
fn tip(report: &Report, span: &Span) -> String {
    let ops: Vec<String> = span.ops.iter().map(|(op, n)| format!("{n} × {op}")).collect();
    let node = report.layers.get(span.layer).map_or("", |l| l.node.as_str());
    let time = if report.predicted_seconds.is_some() { format!(" · {}", seconds(span.length)) } else { String::new() };
    let memory =
        format!("{} of ciphertexts, {} of temporaries", bytes(span.ciphertext_bytes), bytes(span.scratch_bytes));
    format!("{node}\n{} at level {}{time}\n{}\n{memory}", phase_names(span.phase).1, span.level, ops.join(", "))
}

/// Level and memory over predicted time, or over ops where times are not known. Both share one axis.
pub fn timeline(report: &Report) -> String {
    let end = report.spans.last().map_or(1.0, |s| s.start + s.length).max(f64::MIN_POSITIVE);
    let timed = report.predicted_seconds.is_some();
    let unit = if timed { "s" } else { "ops" };
    let hint = "Arrow keys step through the operations, plus and minus stretch time, 0 shows all of it.";
    let mut out = format!("<div class=\"stage\" id=\"timeline\" tabindex=\"0\" role=\"group\" data-end=\"{end}\" ");
    put!(out, "data-unit=\"{unit}\" aria-label=\"The run over time. {hint}\">");
    put!(out, "{}{}", levels(report, end), memory(report, end, timed));
    out.push_str("</div>");
    out
}

/// The marks of the time axis.
fn times(end: f64, timed: bool) -> Vec<Mark> {
    let label = |t: f64| if timed { axis_time(t, end) } else { format!("{t}") };
    ticks(end, 8.0).into_iter().map(|t| Mark { at: t / end, label: label(t) }).collect()
}

fn levels(report: &Report, end: f64) -> String {
    let highest = f64::from(report.spans.iter().map(|s| s.level).max().unwrap_or(0).max(report.parameters.levels));
    let row = HEIGHT / (highest + 1.0);
    let every = (highest / 7.0).ceil().max(1.0) as usize;
    let share = |level: f64| (level + 0.5) / (highest + 1.0);
    let mark = |level: usize| Mark { at: share(level as f64), label: level.to_string() };
    let plot = Plot {
        class: "levels zooms",
        label: "Level of the ciphertexts over time; the table of layers has the levels and times".into(),
        y: (0..=highest as usize).step_by(every).map(mark).collect(),
        x: Vec::new(),
        titles: ["level", ""],
    };
    let y = |level: u32| HEIGHT * (1.0 - share(f64::from(level)));
    let x = |t: f64| t / end * WIDTH;
    let thick = (row * 0.62).min(42.0);
    let mut path = String::new();
    for (i, span) in report.spans.iter().enumerate() {
        let (start, stop) = (x(span.start), x(span.start + span.length));
        put!(path, "{}{start:.2} {:.1}H{stop:.2}", if i == 0 { "M" } else { "L" }, y(span.level));
    }
    let mut drawing = format!("<path class=\"thread\" d=\"{path}\"/>");
    let mut before = HEIGHT * (1.0 - share(0.0));
    for (i, span) in report.spans.iter().enumerate() {
        let (name, _) = phase_names(span.phase);
        let (left, width) = (x(span.start), x(span.length).max(4.0));
        let at = y(span.level);
        let layer = span.layer;
        let mut rect = |class: &str, top: f64, height: f64, about: &str| {
            put!(
                drawing,
                r#"<rect class="{class}" x="{left:.2}" y="{top:.1}" width="{width:.2}" height="{height:.1}" data-layer="{layer}"{about}/>"#
            );
        };
        if span.phase == Phase::Bootstrap {
            rect("jump", at.min(before), (at - before).abs(), "");
        }
        let about = format!(" data-span=\"{i}\" data-tip=\"{}\"", Text(&tip(report, span)));
        rect(&format!("span {name}"), at - thick / 2.0, thick, &about);
        before = at;
    }
    plot.with(&drawing, "")
}

fn memory(report: &Report, end: f64, timed: bool) -> String {
    let both = |s: &Span| (s.ciphertext_bytes + s.scratch_bytes) as f64;
    let most = report.spans.iter().map(both).fold(1.0, f64::max) * 1.06;
    let largest = |of: fn(&Span) -> u64| bytes(report.spans.iter().map(of).max().unwrap_or(0));
    let (ciphertexts, scratch) = (largest(|s| s.ciphertext_bytes), largest(|s| s.scratch_bytes));
    let title = format!(
        "memory <i class=\"ciphertexts\"></i>ciphertexts, up to {ciphertexts}\
         <i class=\"scratch\"></i>temporaries of the operation, up to {scratch}"
    );
    let plot = Plot {
        class: "bytes zooms",
        label: format!("Memory over time: ciphertexts, up to {ciphertexts}, and temporaries, up to {scratch}"),
        y: byte_marks(most, 3.0),
        x: times(end, timed),
        titles: [&title, if timed { "predicted time →" } else { "operation →" }],
    };
    let area = |class: &str, bytes: &dyn Fn(&Span) -> f64| {
        let mut path = format!("M0 {HEIGHT}");
        for span in &report.spans {
            let right = (span.start + span.length) / end * WIDTH;
            put!(path, "V{:.1}H{right:.2}", HEIGHT * (1.0 - bytes(span) / most));
        }
        format!("<path class=\"{class}\" d=\"{path}V{HEIGHT}Z\"/>")
    };
    let temporaries = area("scratch", &both);
    let ciphertexts = area("ciphertexts", &|s: &Span| s.ciphertext_bytes as f64);
    plot.with(&(temporaries + &ciphertexts), "")
}
