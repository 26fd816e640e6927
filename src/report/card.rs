//! The card is a small page: what a notebook shows of a plan. It runs no script.

use super::chart;
use super::markup::{Text, put};
use super::model::Report;
use super::page::{STYLE, figures, phases};

/// What is smaller than on the page.
const SMALLER: &str =
    "main { padding: 12px 8px; } h1 { font-size: 20px; } .figures { margin: 12px 0; } .figures dd { font-size: 19px; }";

/// The figures of a plan that matter most, and its levels over time.
pub fn card(report: &Report) -> String {
    let mut out = String::new();
    put!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n");
    put!(out, "<title>{} · fhec</title>\n<style>\n{STYLE}\n{SMALLER}</style>\n</head>\n", Text(&report.model));
    put!(out, "<body>\n<main>\n<h1>{}</h1>\n", Text(&report.model));
    if report.parameters.security.bits == 0 {
        put!(out, "<p class=\"bad\">insecure parameters</p>\n");
    }
    figures(&mut out, report);
    put!(out, "{}<div class=\"scroll\">{}</div>", phases(report), chart::timeline(report));
    put!(out, "\n</main>\n</body>\n</html>\n");
    out
}
