//! The page is one file of HTML that needs nothing else.

use super::chart::{self, phase_names};
use super::markup::{Text, percent_more, put, small};
use super::model::Report;
use super::tables;
use super::units::{bytes, seconds};

pub(super) const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page of a report.
pub fn html(report: &Report) -> String {
    let mut out = String::new();
    put!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    put!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n");
    put!(out, "<title>{} · fhec</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n", Text(&report.model));
    header(&mut out, report);
    figures(&mut out, report);
    timeline(&mut out, report);
    section(&mut out, "Layers", "", &tables::layers(report));
    if let Some(run) = &report.run {
        let images = if run.images == 1 { "one image".into() } else { format!("{} images", run.images) };
        let on = run.threads.map_or(String::new(), |n| format!(", on {}", threads(n)));
        let mut lead = format!("Mean of {images}{on}; operations as in the last run.");
        run.max_error.iter().for_each(|e| put!(lead, " Largest error of a result: {}.", small(*e)));
        run.same_argmax.iter().for_each(|n| put!(lead, " Same class as in the clear: {n} of {}.", run.images));
        section(&mut out, "Predicted and measured", &lead, &tables::measured(report, run));
    }
    let findings = &report.findings;
    if !findings.bootstraps.is_empty() {
        section(&mut out, "Bootstraps", "", &tables::bootstraps(report));
    }
    if !findings.joins.is_empty() {
        let lead = "Levels at which the branches of skip connections arrive and meet.";
        section(&mut out, "Joins", lead, &tables::joins(report));
    }
    if !findings.pareto.is_empty() {
        let both = format!(
            "<div class=\"pair wide\"><div class=\"scroll\">{}</div>{}</div>",
            chart::pareto(&findings.pareto),
            tables::pareto(report)
        );
        let lead = "Plans of this model of which none is both faster and more exact than another.";
        section(&mut out, "Time against error", lead, &both);
    }
    put!(out, "<div class=\"pair\">");
    section(&mut out, "Parameters", "", &tables::parameters(report));
    section(&mut out, "Memory", "", &tables::memory(report));
    put!(out, "</div>");
    let total: u64 = report.keys.iter().map(|k| k.bytes).sum();
    let summary = format!("{} keys, {} in the file", report.keys.len(), bytes(total));
    section(&mut out, "Evaluation keys", "", &details(&summary, &tables::keys(report)));
    if !findings.notes.is_empty() {
        let summary = format!("{} remarks of the compiler", findings.notes.len());
        section(&mut out, "Remarks", "", &details(&summary, &list(&findings.notes)));
    }
    put!(out, "<footer>Written by fhec {}. ", Text(env!("CARGO_PKG_VERSION")));
    put!(out, "Times are predictions unless they are called measured.</footer>\n");
    put!(out, "</main>\n<div id=\"tip\" role=\"status\"></div>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
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

fn header(out: &mut String, report: &Report) {
    put!(out, "<header><p class=\"eyebrow\">fhec plan</p><h1>{}</h1>", Text(&report.model));
    put!(out, "<p class=\"lead\">Compiled by fhec {}", Text(&report.compiled_by));
    match report.parameters.security.bits {
        0 => put!(out, " · <strong class=\"bad\">insecure parameters</strong></p>"),
        bits => put!(out, " · {bits}-bit security · N = 2<sup>{}</sup></p>", report.parameters.n.trailing_zeros()),
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
pub(super) fn legend(report: &Report) -> String {
    let mut content = String::new();
    let total: f64 = report.predicted_seconds_by_phase.values().sum();
    if total > 0.0 {
        put!(content, "<div class=\"phases\">");
        for (&phase, &time) in &report.predicted_seconds_by_phase {
            put!(content, "<i class=\"{}\" style=\"width:{:.2}%\"></i>", phase_names(phase).0, time / total * 100.0);
        }
        put!(content, "</div>");
    }
    put!(content, "<ul class=\"legend\">");
    let phases: std::collections::BTreeSet<_> = report.spans.iter().map(|s| s.phase).collect();
    for phase in phases {
        let (class, name) = phase_names(phase);
        put!(content, "<li><i class=\"{class}\"></i>{name}");
        if let Some(&time) = report.predicted_seconds_by_phase.get(&phase).filter(|_| total > 0.0) {
            put!(content, " <span class=\"soft\">{}, {:.0} %</span>", seconds(time), time / total * 100.0);
        }
        put!(content, "</li>");
    }
    content.push_str("</ul>");
    content
}

fn timeline(out: &mut String, report: &Report) {
    let mut content = legend(report);
    put!(content, "<div class=\"scroll\">{}</div>", chart::timeline(report));
    put!(
        content,
        "<p class=\"hint\">Scroll over the chart to stretch time, drag to move, double-click for all of it.</p>"
    );
    section(out, "Level over time", "", &content);
}
