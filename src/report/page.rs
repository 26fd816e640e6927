//! The page is one file of HTML that needs nothing else.

use super::chart::{self, phase_names};
use super::markup::{Text, percent_more, put, small};
use super::model::Report;
use super::tables;
use super::units::{bytes, seconds};

/// The style sheet of the page.
pub const STYLE: &str = include_str!("style.css");
/// The script of the page. `fhecReport(element)` brings the content of [`main`] within an element to life.
pub const SCRIPT: &str = include_str!("script.js");

/// The page of a report.
pub fn html(report: &Report) -> String {
    let mut out = String::new();
    put!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    put!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n");
    // Nothing is loaded, whatever a plan's texts say.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'";
    put!(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n");
    put!(out, "<title>{} · fhec</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n", Text(&report.model));
    put!(out, "<main>\n{}", main(report));
    missing(&mut out, report);
    put!(out, "<footer>Written by fhec {}. ", Text(env!("CARGO_PKG_VERSION")));
    put!(out, "Times are predictions unless they are called measured.</footer>\n</main>\n");
    put!(out, "<script>\n{SCRIPT}fhecReport(document.body);\n</script>\n</body>\n</html>\n");
    out
}

/// What is in the page of a report, for another page that has [`STYLE`] and [`SCRIPT`].
pub fn main(report: &Report) -> String {
    let mut out = String::new();
    header(&mut out, report);
    figures(&mut out, report);
    timeline(&mut out, report);
    layers(&mut out, report);
    activations(&mut out, report);
    if let Some(table) = tables::accuracies(report) {
        let lead = "How often each form of the network names the class of the label, and how often it agrees: a network with \
                    polynomials with the one that was given, a plan with itself in the clear.";
        section(&mut out, "Accuracy", lead, &table);
    }
    measured(&mut out, report);
    bootstraps(&mut out, report);
    front(&mut out, report);
    put!(out, "<div class=\"pair\">");
    section(&mut out, "Parameters", "", &tables::parameters(report));
    section(&mut out, "Memory", "", &tables::memory(report));
    put!(out, "</div>");
    keys(&mut out, report);
    if !report.findings.notes.is_empty() {
        let summary = counted(report.findings.notes.len() as u64, "remark") + " of the compiler";
        section(&mut out, "Remarks", "", &details(&summary, &list(&report.findings.notes)));
    }
    put!(out, "<div id=\"tip\" aria-hidden=\"true\"></div>\n");
    out
}

fn section(out: &mut String, title: &str, lead: &str, content: &str) {
    put!(out, "<section><h2>{}</h2>", Text(title));
    if !lead.is_empty() {
        put!(out, "<p class=\"lead\">{}</p>", Text(lead));
    }
    put!(out, "{content}</section>\n");
}

fn details(summary: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>{content}</details>", Text(summary))
}

fn list(items: &[String]) -> String {
    let mut out = String::from("<ul>");
    items.iter().for_each(|item| put!(out, "<li>{}</li>", Text(item)));
    out.push_str("</ul>");
    out
}

/// A legend: the class of every mark, its name, and what is said of it.
fn legend(items: &[(&str, &str, String)]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (class, name, about) in items {
        put!(out, "<li><i class=\"{class}\"></i>{}", Text(name));
        if !about.is_empty() {
            put!(out, " <span class=\"soft\">{}</span>", Text(about));
        }
        put!(out, "</li>");
    }
    out.push_str("</ul>");
    out
}

fn header(out: &mut String, report: &Report) {
    put!(out, "<header><p class=\"eyebrow\">fhec plan</p><h1>{}</h1>", Text(&report.model));
    put!(out, "<p class=\"lead\">Compiled by fhec {}", Text(&report.compiled_by));
    match report.parameters.security.bits {
        0 => put!(out, " · <strong class=\"bad\">insecure parameters</strong></p>"),
        bits => {
            let log_n = report.parameters.n.trailing_zeros();
            put!(out, " · {bits}-bit security · <span class=\"whole\">N = 2<sup>{log_n}</sup></span></p>");
        }
    }
    let mut warnings = report.findings.warnings.clone();
    if report.parameters.security.bits == 0 {
        warnings
            .insert(0, "The parameters are below 128-bit security: do not use this plan on data that matters.".into());
    }
    warnings.extend(
        report
            .findings
            .unreadable
            .iter()
            .map(|part| format!("The part `{part}` of the plan's own report is of another version and is not shown.")),
    );
    if !warnings.is_empty() {
        put!(out, "<div class=\"warnings\">{}</div>", list(&warnings));
    }
    put!(out, "</header>\n");
}

/// `1 key`, `2 keys`
fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn threads(n: usize) -> String {
    if n == 1 { "one thread".into() } else { format!("{n} threads") }
}

/// The figures that matter most.
pub(super) fn figures(out: &mut String, report: &Report) {
    let on = report.predicted_threads.map_or(String::new(), |n| format!(", {}", threads(n)));
    let mut cards = vec![(
        "Predicted time",
        report.predicted_seconds.map_or("unknown".into(), seconds),
        report.predicted_seconds.map_or("an op has no known time".into(), |_| format!("per run{on}")),
    )];
    if let Some(run) = &report.run {
        let difference = report.predicted_seconds.map_or(String::new(), |s| percent_more(run.seconds_per_run, s));
        cards.push(("Measured time", seconds(run.seconds_per_run), format!("{difference} against prediction")));
    }
    let bootstraps: u64 = report.layers.iter().map(|l| l.bootstraps).sum();
    let rotations: u64 = report.layers.iter().map(|l| l.rotations).sum();
    let products: u64 = report.layers.iter().map(|l| l.products).sum();
    let keys: u64 = report.keys.iter().map(|k| k.bytes).sum();
    cards.push(("Levels", report.parameters.levels.to_string(), counted(products, "product") + " of ciphertexts"));
    cards.push(("Bootstraps", bootstraps.to_string(), counted(rotations, "rotation") + " besides"));
    cards.push(("Evaluation keys", bytes(keys), counted(report.keys.len() as u64, "key")));
    cards.push(("Memory", bytes(report.predicted_memory_bytes), "predicted, all keys expanded".into()));
    put!(out, "<dl class=\"figures\">");
    for (name, value, remark) in cards {
        put!(out, "<div><dt>{}</dt><dd>{}<span>{}</span></dd></div>", Text(name), Text(&value), Text(&remark));
    }
    put!(out, "</dl>\n");
}

/// The phases by colour, with their times.
pub(super) fn phases(report: &Report) -> String {
    let mut content = String::new();
    let total: f64 = report.predicted_seconds_by_phase.values().sum();
    if total > 0.0 {
        put!(content, "<div class=\"phases\" aria-hidden=\"true\">");
        for (&phase, &time) in &report.predicted_seconds_by_phase {
            put!(content, "<i class=\"{}\" style=\"width:{:.2}%\"></i>", phase_names(phase).0, time / total * 100.0);
        }
        put!(content, "</div>");
    }
    let used: std::collections::BTreeSet<_> = report.spans.iter().map(|s| s.phase).collect();
    let mut items = Vec::new();
    for phase in used {
        let (class, name) = phase_names(phase);
        let time = report.predicted_seconds_by_phase.get(&phase).filter(|_| total > 0.0);
        let about = time.map_or(String::new(), |&t| format!("{}, {:.0} %", seconds(t), t / total * 100.0));
        items.push((class, name, about));
    }
    content.push_str(&legend(&items));
    content
}

fn timeline(out: &mut String, report: &Report) {
    let mut content = phases(report);
    content.push_str(&chart::timeline(report));
    let buttons = [
        ("in", "Stretch time"),
        ("out", "Shrink time"),
        ("back", "Move to earlier"),
        ("on", "Move to later"),
        ("all", "Show all of the run"),
    ];
    put!(content, "<div class=\"controls\" role=\"group\" aria-label=\"Time axis\">");
    for ((action, name), sign) in buttons.into_iter().zip(["+", "−", "←", "→", "All"]) {
        put!(content, "<button type=\"button\" data-do=\"{action}\" aria-label=\"{name}\">{sign}</button>");
    }
    put!(
        content,
        "<p class=\"readout\" id=\"readout\" role=\"status\">Point at an operation, or step through them with the arrow keys.</p></div>"
    );
    section(out, "Level and memory over time", "", &content);
}

fn layers(out: &mut String, report: &Report) {
    let mut content = tables::layers(report);
    if let Some(chart) = chart::noise(&report.layers) {
        let marks = legend(&[
            ("dot", "root mean square", String::new()),
            ("dot hollow", "largest", "of the simulated images".into()),
        ]);
        put!(content, "<h3>Error after every layer</h3>{marks}{chart}");
    }
    if let Some(rebuilt) = tables::rebuilt(report) {
        put!(content, "<h3>Rebuilt weights</h3>{rebuilt}");
    }
    section(out, "Layers", "", &content);
}

fn activations(out: &mut String, report: &Report) {
    let findings = &report.findings;
    if findings.activations.is_empty() {
        return;
    }
    let mut cards = String::new();
    for polynomial in &report.polynomials {
        let Some(activation) = findings.activations.get(polynomial.activation) else { continue };
        let Some(chart) = chart::polynomial(polynomial, activation) else { continue };
        let each = if activation.channels.is_some_and(|c| c > 1) { ", one per channel" } else { "" };
        put!(cards, "<figure><figcaption><strong class=\"name\">{}</strong>", Text(&activation.node));
        let (function, degrees) = (Text(&activation.function), tables::degrees(activation));
        put!(cards, "<span class=\"soft\">{function}, degree {degrees}{each}</span></figcaption>{chart}");
        if let Some(data) = &polynomial.data {
            let inside = data.counts.iter().sum::<u64>();
            let outside = outside(data);
            let all = (inside + data.below + data.above).max(1);
            put!(cards, "<p class=\"soft note\">{outside} of {all} values outside</p>");
        }
        put!(cards, "</figure>");
    }
    let mut content = String::new();
    if !cards.is_empty() {
        let has_data = report.polynomials.iter().any(|p| p.data.is_some());
        let has_curve = report.polynomials.iter().any(|p| !p.curve.is_empty());
        let mut items = Vec::new();
        if has_curve {
            items.push(("stroke", "polynomial", String::new()));
            items.push(("stroke dashed", "function", String::new()));
        }
        if has_data {
            items.push(("data", "values of its argument", "in the simulation".into()));
        }
        put!(content, "{}<div class=\"cards\">{cards}</div>", legend(&items));
    }
    content.push_str(&tables::activations(report));
    let lead = "Upright lines end the interval on which a polynomial was fitted. Where every channel has its own, the values of all \
                are drawn, each on its channel's interval.";
    section(out, "Activations", lead, &content);
}

/// Values of a polynomial's argument outside of its interval.
fn outside(data: &super::polynomial::Data) -> u64 {
    let bins = data.counts.len();
    let reach = fhec_runtime::ArgumentHistogram::REACH;
    let centre = |bin: usize| reach * ((2 * bin + 1) as f64 / bins as f64 - 1.0);
    let beyond = data.counts.iter().enumerate().filter(|(bin, _)| centre(*bin).abs() > 1.0);
    beyond.map(|(_, count)| count).sum::<u64>() + data.below + data.above
}

fn measured(out: &mut String, report: &Report) {
    let Some(run) = &report.run else { return };
    let images = if run.images == 1 { "one image".into() } else { format!("{} images", run.images) };
    let on = run.threads.map_or(String::new(), |n| format!(", on {}", threads(n)));
    let mut lead = format!("Mean of {images}{on}; operations as in the last run.");
    run.max_error.iter().for_each(|e| put!(lead, " Largest error of a result: {}.", small(*e)));
    section(out, "Predicted and measured", &lead, &tables::measured(report, run));
}

fn bootstraps(out: &mut String, report: &Report) {
    let findings = &report.findings;
    let mut content = String::new();
    if !findings.bootstraps.is_empty() {
        content.push_str(&tables::bootstraps(report));
    }
    if !report.bootstrap_stages.is_empty() {
        put!(content, "<h3>Inside of one</h3>{}", tables::stages(report));
    }
    if !content.is_empty() {
        let lead = "Before what they stand, and what one to the highest level does. Levels inside are counted above the program's own.";
        section(out, "Bootstraps", lead, &content);
    }
    if !findings.joins.is_empty() {
        let lead = "Levels at which the branches of skip connections arrive and meet.";
        section(out, "Joins", lead, &tables::joins(report));
    }
}

fn front(out: &mut String, report: &Report) {
    let points = &report.findings.pareto;
    if points.is_empty() {
        return;
    }
    let chart = chart::front(points, report.front_plan);
    let both = format!(
        "<div class=\"pair wide\"><div>{chart}</div><div class=\"tall\">{}</div></div>",
        tables::pareto(report)
    );
    let lead = "Plans of this model of which none is both faster and more exact than another.";
    section(out, "Time against error", lead, &both);
}

fn keys(out: &mut String, report: &Report) {
    if report.keys.is_empty() {
        return;
    }
    let total: u64 = report.keys.iter().map(|k| k.bytes).sum();
    let kinds = chart::key_kinds(&report.keys);
    let items: Vec<_> = kinds
        .into_iter()
        .map(|(class, name, count, size)| (class, name, format!("{}, {}", counted(count as u64, "key"), bytes(size))))
        .collect();
    let summary = format!("All {}, {} in the file", counted(report.keys.len() as u64, "key"), bytes(total));
    let all = details(&summary, &tables::keys(report));
    let lead = "By the level each is made for, which is the highest at which it is used.";
    section(out, "Evaluation keys", lead, &format!("{}{}{all}", legend(&items), chart::keys(&report.keys)));
}

/// What the page could show, and what brings it.
fn missing(out: &mut String, report: &Report) {
    let mut items = Vec::new();
    if report.run.is_none() {
        items.push("<code>--run</code> with what <code>fhec run --json</code> printed: measured times and memory");
    }
    let simulated =
        report.polynomials.iter().any(|p| p.data.is_some()) || report.layers.iter().any(|l| l.noise.is_some());
    if report.simulation.is_none() || !simulated {
        items.push(
            "<code>--simulation</code> with what <code>fhec simulate --per-op --json</code> printed: the error after every \
             layer, the data of every polynomial, accuracy",
        );
    }
    if report.findings.pareto.is_empty() {
        items.push("<code>--front</code> with the file of <code>fhec compile --pareto</code>: time against error");
    }
    if items.is_empty() {
        return;
    }
    let mut content = String::from("<ul class=\"plain\">");
    items.iter().for_each(|item| put!(content, "<li>{item}</li>"));
    content.push_str("</ul>");
    section(out, "Not given", "What further options of the command would add to this page.", &content);
}
