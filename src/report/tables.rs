//! Writes the tables of the page.

use super::findings::Activation;
use super::markup::{Text, percent_more, put, small};
use super::model::{Layer, Report, Run};
use super::units::{bytes, seconds};

/// A column's head and whether it holds numbers.
type Column = (&'static str, bool);

const NONE: &str = "<span class=\"none\">–</span>";

/// A table; cells are HTML. Where it is wider than the page it scrolls by itself, also from the keyboard.
fn table(name: &str, columns: &[Column], rows: &[(String, Vec<String>)]) -> String {
    let mut out = format!("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">", Text(name));
    out.push_str("<table><thead><tr>");
    for (head, number) in columns {
        if head.is_empty() {
            out.push_str("<td></td>");
            continue;
        }
        put!(out, "<th scope=\"col\"{}>{}</th>", if *number { " class=\"n\"" } else { "" }, Text(head));
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

/// A share, which plans state either as such or in percent.
pub fn accuracy(share: f64) -> String {
    format!("{:.2} %", if share <= 1.0 { share * 100.0 } else { share })
}

/// A quantity with a bar of its share of `most`.
fn bar(label: &str, value: f64, most: f64, class: &str) -> String {
    let share = if most > 0.0 { (value / most * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!("<span class=\"bar {class}\"><i style=\"width:{share:.1}%\"></i></span><span class=\"of\">{label}</span>")
}

/// Layers with what each takes, predicted and measured, and the error after it.
pub fn layers(report: &Report) -> String {
    let has = |f: fn(&Layer) -> bool| report.layers.iter().any(f);
    let (measured, noisy) = (has(|l| l.measured_seconds.is_some()), has(|l| l.noise.is_some()));
    let timed = report.predicted_seconds.is_some();
    let mut columns: Vec<Column> = vec![("", true), ("Layer", false)];
    if timed {
        columns.push(("Predicted", true));
    }
    if measured {
        columns.push(("Measured", true));
    }
    columns.extend([("Level", true), ("Ops", true), ("Rotations", true), ("ct · ct", true), ("Keys", true)]);
    if noisy {
        columns.extend([("Error after it, rms", true), ("Largest", true)]);
    }
    let times = report.layers.iter().flat_map(|l| [l.seconds, l.measured_seconds]);
    let most = times.flatten().fold(0.0, f64::max);
    let row = |(i, layer): (usize, &Layer)| {
        let boot = match layer.bootstraps {
            0 => String::new(),
            1 => " <span class=\"tag\">bootstrap</span>".into(),
            n => format!(" <span class=\"tag\">{n} bootstraps</span>"),
        };
        let from = layer.level_in.map_or(String::new(), |l| format!("{l} → "));
        let mut cells = vec![
            format!("<span class=\"soft\">{}</span>", i + 1),
            format!("<span class=\"name\">{}</span>{boot}", Text(&layer.node)),
        ];
        if timed {
            cells.push(or_none(layer.seconds, |s| bar(&seconds(s), s, most, if measured { "soft" } else { "" })));
        }
        if measured {
            cells.push(or_none(layer.measured_seconds, |s| bar(&seconds(s), s, most, "")));
        }
        cells.extend([
            format!("{from}{}", layer.level_out),
            layer.ops.to_string(),
            count(layer.rotations),
            count(layer.products),
            count(layer.keys as u64),
        ]);
        if noisy {
            cells.push(or_none(layer.noise, |n| format!("{:.1e}", n.rms_error)));
            cells.push(or_none(layer.noise, |n| format!("{:.1e}", n.max_error)));
        }
        (format!(" data-layer=\"{i}\""), cells)
    };
    table("Layers", &columns, &report.layers.iter().enumerate().map(row).collect::<Vec<_>>())
}

/// The degrees of an activation's polynomial, or of the stages of its composite.
pub fn degrees(a: &Activation) -> String {
    let degrees = if a.stages.is_empty() { &[a.degree][..] } else { &a.stages };
    degrees.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Activations with the polynomial of each.
pub fn activations(report: &Report) -> String {
    let findings = &report.findings;
    let mut columns: Vec<Column> = vec![
        ("Activation", false),
        ("Function", false),
        ("Degree", true),
        ("Interval", true),
        ("Calibration data", true),
        ("RMS error", true),
        ("Largest error", true),
    ];
    // What rebuilding gained belongs to the layer that has the activation.
    let rebuilt_at = |index: usize| {
        let layer = report.layers.iter().find(|l| l.activation == Some(index))?;
        layer.reconstruction.and_then(|i| findings.layers.get(i))
    };
    let rebuilt = (0..findings.activations.len()).any(|i| rebuilt_at(i).is_some());
    if rebuilt {
        columns.push(("MSE, rebuilt", true));
    }
    let range = |(lo, hi): (f64, f64)| format!("[{}, {}]", small(lo), small(hi));
    let row = |(i, a): (usize, &Activation)| {
        let each = if a.channels.is_some_and(|c| c > 1) { " <span class=\"soft\">per channel</span>" } else { "" };
        let mut cells = vec![
            format!("<span class=\"name\">{}</span>", Text(&a.node)),
            format!("{}{each}", Text(&a.function)),
            degrees(a),
            or_none(a.interval, range),
            or_none(a.seen, range),
            or_none(a.rms_error, small),
            or_none(a.max_error, small),
        ];
        if rebuilt {
            cells.push(or_none(rebuilt_at(i), |r| format!("{} → {}", small(r.mse_before), small(r.mse_after))));
        }
        plain(cells)
    };
    table("Activations", &columns, &findings.activations.iter().enumerate().map(row).collect::<Vec<_>>())
}

/// Layers whose weights were rebuilt and that have no activation.
pub fn rebuilt(report: &Report) -> Option<String> {
    let findings = &report.findings;
    if !findings.activations.is_empty() || findings.layers.is_empty() {
        return None;
    }
    let columns = [("Layer", false), ("Mean square error before", true), ("After", true)];
    let row = |l: &super::findings::Reconstruction| plain(vec![text(&l.node), small(l.mse_before), small(l.mse_after)]);
    Some(table("Rebuilt layers", &columns, &findings.layers.iter().map(row).collect::<Vec<_>>()))
}

/// How often each form of the network is right: as it was given, with polynomials, as the plan computes it.
pub fn accuracies(report: &Report) -> Option<String> {
    let columns = [("Network", false), ("Measured by", false), ("Inputs", true), ("Right", true), ("Agrees", true)];
    let share = |n: Option<u64>, of: Option<u64>| {
        let share = n.zip(of).filter(|(_, of)| *of > 0).map(|(n, of)| n as f64 / of as f64);
        or_none(share, accuracy)
    };
    let by = |command: &str| format!("<code>{command}</code>");
    let mut rows = Vec::new();
    if let Some(a) = &report.findings.accuracy {
        let by = by("compile --validation");
        rows.push(vec!["as given".into(), by.clone(), NONE.into(), accuracy(a.original), NONE.into()]);
        let agrees = or_none(a.agreement, accuracy);
        rows.push(vec!["with polynomials".into(), by, NONE.into(), accuracy(a.polynomial), agrees]);
    }
    if let Some(a) = &report.findings.agreement {
        let with = if a.held_back { "calibration inputs held back" } else { "the calibration inputs" };
        let agrees = format!("{} <span class=\"soft\">asked {}</span>", accuracy(a.measured), accuracy(a.asked));
        let by = format!("{}, {with}", by("compile"));
        rows.push(vec!["with polynomials".into(), by, a.inputs.to_string(), NONE.into(), agrees]);
    }
    if let Some(s) = &report.simulation {
        let (by, images) = (by("simulate"), s.images.to_string());
        if s.right_exact.is_some() {
            let right = share(s.right_exact, s.labelled);
            rows.push(vec!["the plan in the clear".into(), by.clone(), images.clone(), right, NONE.into()]);
        }
        if s.same_argmax.is_some() {
            let (right, agrees) = (share(s.right, s.labelled), share(s.same_argmax, Some(s.images)));
            rows.push(vec!["the plan with modelled noise".into(), by, images, right, agrees]);
        }
    }
    if let Some(r) = report.run.as_ref().filter(|r| r.same_argmax.is_some()) {
        let (right, agrees) = (share(r.right, Some(r.images)), share(r.same_argmax, Some(r.images)));
        rows.push(vec!["the plan on ciphertexts".into(), by("run"), r.images.to_string(), right, agrees]);
    }
    let rows: Vec<_> = rows.into_iter().map(plain).collect();
    (!rows.is_empty()).then(|| table("Accuracy", &columns, &rows))
}

/// What the parts of a bootstrap are called.
pub fn stage_name(stage: &str) -> &'static str {
    match stage {
        "mod_raise" => "Raising the modulus",
        "coeffs_to_slots" => "Coefficients to slots",
        "eval_mod" => "Reduction by the modulus",
        "slots_to_coeffs" => "Slots to coefficients",
        _ => "Another part",
    }
}

/// The parts of one bootstrap.
pub fn stages(report: &Report) -> String {
    let columns = [("Part of one bootstrap", false), ("Level", true), ("Predicted time", true), ("Share", true)];
    let total: f64 = report.bootstrap_stages.iter().map(|s| s.seconds).sum();
    let most = report.bootstrap_stages.iter().map(|s| s.seconds).fold(0.0, f64::max);
    let row = |s: &super::model::Stage| {
        plain(vec![
            stage_name(s.stage).into(),
            format!("{} → {}", s.from, s.to),
            bar(&seconds(s.seconds), s.seconds, most, "boot"),
            format!("{:.0} %", s.seconds / total.max(f64::MIN_POSITIVE) * 100.0),
        ])
    };
    let mut rows: Vec<_> = report.bootstrap_stages.iter().map(row).collect();
    let sum = vec!["Together".into(), String::new(), seconds(total), String::new()];
    rows.push((" class=\"total\"".into(), sum));
    table("Parts of a bootstrap", &columns, &rows)
}

/// Where branches meet.
pub fn joins(report: &Report) -> String {
    let columns = [("Join", false), ("Main branch", true), ("Skip", true), ("Meet at", true), ("Who paid", false)];
    let row = |j: &super::findings::Join| {
        let paid = j.paid.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string));
        let level = |l: u64| l.to_string();
        plain(vec![text(&j.node), level(j.main), level(j.skip), level(j.level), or_none(paid, |p| text(&p))])
    };
    table("Joins", &columns, &report.findings.joins.iter().map(row).collect::<Vec<_>>())
}

/// The bootstraps that the planner placed.
pub fn bootstraps(report: &Report) -> String {
    let columns = [("Where", false), ("From level", true), ("To level", true), ("Predicted time", true)];
    let row = |b: &super::findings::Bootstrap| {
        let level = |l: Option<u64>| or_none(l, |l| l.to_string());
        plain(vec![text(&b.node), level(b.from), level(b.to), or_none(b.seconds, seconds)])
    };
    table("Bootstraps", &columns, &report.findings.bootstraps.iter().map(row).collect::<Vec<_>>())
}

/// Rows of the table of the front, at most, beside this plan and those whose accuracy was measured.
const FRONT_ROWS: usize = 24;

/// Points of the front.
pub fn pareto(report: &Report) -> String {
    let columns = [("Predicted time", true), ("Error", true), ("Bootstraps", true), ("Accuracy", true), ("", false)];
    let points = &report.findings.pareto;
    let step = points.len().div_ceil(FRONT_ROWS).max(1);
    let own = |i: usize| report.front_plan == Some(i);
    let last = points.len().saturating_sub(1);
    let shown = |i: usize| i.is_multiple_of(step) || i == last || own(i) || points[i].accuracy.is_some();
    let row = |i: usize| {
        let p = &points[i];
        plain(vec![
            seconds(p.seconds),
            small(p.error),
            or_none(p.bootstraps, |n| n.to_string()),
            or_none(p.accuracy, accuracy),
            if own(i) { "<span class=\"tag\">this plan</span>".into() } else { String::new() },
        ])
    };
    table("Front", &columns, &(0..points.len()).filter(|&i| shown(i)).map(row).collect::<Vec<_>>())
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
    table("Predicted and measured", &columns, &rows)
}

/// Evaluation keys, the largest first.
pub fn keys(report: &Report) -> String {
    let columns = [("Key", false), ("Level", true), ("Bytes in the file", true)];
    let most = report.keys.iter().map(|k| k.bytes).max().unwrap_or(0) as f64;
    let row = |k: &super::prediction::Key| {
        plain(vec![text(&k.name), k.level.to_string(), bar(&bytes(k.bytes), k.bytes as f64, most, "")])
    };
    table("Evaluation keys", &columns, &report.keys.iter().map(row).collect::<Vec<_>>())
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
