//! Writes the tables of the page.

use super::chart::accuracy;
use super::markup::{Text, percent_more, put, small};
use super::model::{Layer, Report, Run};
use super::units::{bytes, seconds};

/// A column's head and whether it holds numbers.
type Column = (&'static str, bool);

const NONE: &str = "<span class=\"none\">–</span>";

/// A table; cells are HTML.
fn table(columns: &[Column], rows: &[(String, Vec<String>)]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for (head, number) in columns {
        put!(out, "<th{}>{}</th>", if *number { " class=\"n\"" } else { "" }, Text(head));
    }
    out.push_str("</tr></thead><tbody>");
    for (attributes, cells) in rows {
        put!(out, "<tr{attributes}>");
        for ((_, number), cell) in columns.iter().zip(cells) {
            put!(out, "<td{}>{cell}</td>", if *number { " class=\"n\"" } else { "" });
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn plain(cells: Vec<String>) -> (String, Vec<String>) {
    (String::new(), cells)
}

fn text(s: &str) -> String {
    Text(s).to_string()
}

fn or_none<T>(value: Option<T>, f: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.into(), f)
}

fn count(n: u64) -> String {
    if n == 0 { NONE.into() } else { n.to_string() }
}

/// A quantity with a bar of its share of `most`.
fn bar(label: &str, value: f64, most: f64, class: &str) -> String {
    let share = if most > 0.0 { (value / most * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!("<span class=\"bar {class}\"><i style=\"width:{share:.1}%\"></i></span>{label}")
}

/// Layers with what is known of each.
pub fn layers(report: &Report) -> String {
    let findings = &report.findings;
    let has = |f: fn(&Layer) -> bool| report.layers.iter().any(f);
    let (activations, rebuilt) = (has(|l| l.activation.is_some()), has(|l| l.reconstruction.is_some()));
    let timed = report.predicted_seconds.is_some();
    let mut columns: Vec<Column> = vec![("Layer", false)];
    if timed {
        columns.push(("Predicted time", true));
    }
    columns.extend([("Level", true), ("Ops", true), ("Rotations", true), ("ct · ct", true), ("Keys", true)]);
    if activations {
        columns.extend([("Polynomial", false), ("Interval", true), ("RMS error", true), ("Largest error", true)]);
    }
    if rebuilt {
        columns.push(("MSE, rebuilt", true));
    }
    let most = report.layers.iter().filter_map(|l| l.seconds).fold(0.0, f64::max);
    let row = |(i, layer): (usize, &Layer)| {
        let boot = match layer.bootstraps {
            0 => String::new(),
            1 => " <span class=\"tag\">bootstrap</span>".into(),
            n => format!(" <span class=\"tag\">{n} bootstraps</span>"),
        };
        let from = layer.level_in.map_or(String::new(), |l| format!("{l} → "));
        let mut cells = vec![format!("<span class=\"name\">{}</span>{boot}", Text(&layer.node))];
        if timed {
            cells.push(or_none(layer.seconds, |s| bar(&seconds(s), s, most, "")));
        }
        cells.extend([
            format!("{from}{}", layer.level_out),
            layer.ops.to_string(),
            count(layer.rotations),
            count(layer.products),
            count(layer.keys as u64),
        ]);
        if activations {
            let a = layer.activation.and_then(|i| findings.activations.get(i));
            let name = |a: &super::findings::Activation| {
                let each = if a.channels.is_some_and(|c| c > 1) { ", per channel" } else { "" };
                let degrees = if a.stages.is_empty() { &[a.degree][..] } else { &a.stages };
                let degrees = degrees.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
                format!("{} <span class=\"soft\">degree {degrees}{each}</span>", Text(&a.function))
            };
            let interval = |(lo, hi): (f64, f64)| format!("[{}, {}]", small(lo), small(hi));
            cells.push(or_none(a, name));
            cells.push(or_none(a.and_then(|a| a.interval), interval));
            cells.push(or_none(a.and_then(|a| a.rms_error), small));
            cells.push(or_none(a.and_then(|a| a.max_error), small));
        }
        if rebuilt {
            let r = layer.reconstruction.and_then(|i| findings.layers.get(i));
            cells.push(or_none(r, |r| format!("{} → {}", small(r.mse_before), small(r.mse_after))));
        }
        (format!(" data-layer=\"{i}\""), cells)
    };
    table(&columns, &report.layers.iter().enumerate().map(row).collect::<Vec<_>>())
}

/// Where branches meet.
pub fn joins(report: &Report) -> String {
    let columns = [("Join", false), ("Main branch", true), ("Skip", true), ("Meet at", true), ("Who paid", false)];
    let row = |j: &super::findings::Join| {
        let paid = j.paid.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string));
        let level = |l: u64| l.to_string();
        plain(vec![text(&j.node), level(j.main), level(j.skip), level(j.level), or_none(paid, |p| text(&p))])
    };
    table(&columns, &report.findings.joins.iter().map(row).collect::<Vec<_>>())
}

/// The bootstraps that the planner placed.
pub fn bootstraps(report: &Report) -> String {
    let columns = [("Before", false), ("From level", true), ("To level", true), ("Predicted time", true)];
    let row = |b: &super::findings::Bootstrap| {
        let level = |l: Option<u64>| or_none(l, |l| l.to_string());
        plain(vec![text(&b.node), level(b.from), level(b.to), or_none(b.seconds, seconds)])
    };
    table(&columns, &report.findings.bootstraps.iter().map(row).collect::<Vec<_>>())
}

/// The points of the Pareto front.
pub fn pareto(report: &Report) -> String {
    let columns = [("Predicted time", true), ("Error", true), ("Bootstraps", true), ("Accuracy", true)];
    let row = |p: &super::findings::ParetoPoint| {
        plain(vec![
            seconds(p.seconds),
            small(p.error),
            or_none(p.bootstraps, |n| n.to_string()),
            or_none(p.accuracy, accuracy),
        ])
    };
    table(&columns, &report.findings.pareto.iter().map(row).collect::<Vec<_>>())
}

/// Predicted against measured times of each kind of op.
pub fn measured(report: &Report, run: &Run) -> String {
    let columns = [("Operation", false), ("Predicted", true), ("Measured", true), ("Difference", true)];
    let predicted = |op: &str| report.predicted_seconds_by_op.get(op).copied();
    let mut ops: Vec<&str> = run.seconds_by_op.keys().map(String::as_str).collect();
    ops.extend(report.predicted_seconds_by_op.keys().filter(|op| !run.seconds_by_op.contains_key(**op)));
    let weight = |op: &str| run.seconds_by_op.get(op).copied().unwrap_or(0.0).max(predicted(op).unwrap_or(0.0));
    ops.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    let most = ops.iter().map(|op| weight(op)).fold(0.0, f64::max);
    let row = |op: &&str| {
        let (predicted, measured) = (predicted(op), run.seconds_by_op.get(*op).copied());
        let difference = predicted.zip(measured).map(|(p, m)| percent_more(m, p));
        plain(vec![
            format!("<code>{}</code>", Text(op)),
            or_none(predicted, |s| bar(&seconds(s), s, most, "soft")),
            or_none(measured, |s| bar(&seconds(s), s, most, "")),
            or_none(difference, |d| d),
        ])
    };
    let mut rows: Vec<_> = ops.iter().map(row).collect();
    let total = report.predicted_seconds;
    rows.push((
        " class=\"total\"".into(),
        vec![
            "Image".into(),
            or_none(total, seconds),
            seconds(run.seconds_per_run),
            or_none(total, |p| percent_more(run.seconds_per_run, p)),
        ],
    ));
    table(&columns, &rows)
}

/// Evaluation keys, the largest first.
pub fn keys(report: &Report) -> String {
    let columns = [("Key", false), ("Level", true), ("Bytes in the file", true)];
    let most = report.keys.iter().map(|k| k.bytes).max().unwrap_or(0) as f64;
    let row = |k: &super::prediction::Key| {
        plain(vec![text(&k.name), k.level.to_string(), bar(&bytes(k.bytes), k.bytes as f64, most, "")])
    };
    table(&columns, &report.keys.iter().map(row).collect::<Vec<_>>())
}

/// A list of names and values; values are HTML.
fn definitions(rows: &[(&str, String)]) -> String {
    let mut out = String::from("<dl>");
    rows.iter().for_each(|(name, value)| put!(out, "<div><dt>{}</dt><dd>{value}</dd></div>", Text(name)));
    out.push_str("</dl>");
    out
}

/// Parameters and what they promise.
pub fn parameters(report: &Report) -> String {
    let p = &report.parameters;
    let security = match p.security.bits {
        0 => "<strong class=\"bad\">insecure</strong>".into(),
        bits => format!("{bits} bits, classical"),
    };
    let bound = p.security.max_log_qp.map_or(String::new(), |b| format!(" <span class=\"soft\">of at most {b}</span>"));
    let above = p.bootstrap_levels.map_or(String::new(), |l| format!(" + {l} of bootstrapping"));
    let mut rows = vec![
        ("Security", security),
        ("log₂ QP", format!("{:.1}{bound}", p.security.log_qp)),
        ("Ring degree N", format!("2<sup>{}</sup> = {}", p.n.trailing_zeros(), p.n)),
        ("Slots used", format!("{} of {}", p.slots, p.n / 2)),
        ("Levels", format!("{}{above}", p.levels)),
        ("Scale", format!("2<sup>{}</sup>, first prime {} bits", p.scale_bits, p.first_bits)),
        ("Primes", format!("{} + {} special", p.primes, p.special_primes)),
    ];
    rows.extend(report.options.iter().map(|(name, value)| (name.as_str(), text(value))));
    definitions(&rows)
}

/// Predicted memory by what holds it.
pub fn memory(report: &Report) -> String {
    let m = &report.predicted_memory;
    let parts = [
        ("Keys, both halves", m.keys),
        ("Matrices of bootstraps", m.matrices),
        ("Encoded constants", m.encodings),
        ("Constants", m.constants),
        ("Ciphertexts", m.ciphertexts),
        ("Temporaries", m.scratch),
        ("Kept for later temporaries", m.recycled),
        ("Tables and program", m.tables),
    ];
    let most = parts.iter().map(|(_, b)| *b).max().unwrap_or(0) as f64;
    let mut rows: Vec<(&str, String)> = parts.map(|(n, b)| (n, bar(&bytes(b), b as f64, most, ""))).into();
    rows.push(("Together", format!("<strong>{}</strong>", bytes(m.total()))));
    if let Some(peak) = report.run.as_ref().and_then(|r| r.peak_memory_bytes) {
        let difference = percent_more(peak as f64, m.total() as f64);
        rows.push(("Measured", format!("<strong>{}</strong> <span class=\"soft\">{difference}</span>", bytes(peak))));
    }
    definitions(&rows)
}
