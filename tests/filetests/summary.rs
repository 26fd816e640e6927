//! What is shown of a program. Numbers have nine digits and digests eight, so that the last bits of a mathematics library do
//! not matter.

use std::collections::BTreeMap;

use fhec::passes::program::{Facts, Program};
use fhec::passes::registry::PassContext;
use fhec_ir::ckks::CkksOp;
use fhec_ir::text::AnyModule;
use fhec_ir::{Dialect, Module, OpInfo};

/// Most significant digits of a number that are shown.
const DIGITS: usize = 9;
/// Hexadecimal digits of a digest that are shown.
const DIGEST: usize = 8;

/// The parts of a program that `shows` names, one after the other.
pub fn shown(program: &Program, context: &PassContext<'_>, shows: &[&str]) -> String {
    let mut parts = Vec::new();
    for show in shows {
        parts.push(match *show {
            "program" => program.module.text(),
            "explain" => context.explanation.clone(),
            "outline" => outline(&program.module),
            "facts" => facts(&program.facts),
            other => panic!("there is no `show={other}`; there are program, explain, outline, facts"),
        });
    }
    for warning in &context.warnings {
        parts.push(format!("warning: {warning}\n"));
    }
    short(&parts.join("\n"))
}

/// What is known beside the text, one fact per line; of lists, one element per line.
fn facts(facts: &Facts) -> String {
    let serde_json::Value::Object(fields) = serde_json::to_value(facts).unwrap() else { return String::new() };
    let mut out = String::new();
    for (key, value) in fields {
        match value {
            serde_json::Value::Array(items) if items.iter().any(|item| !item.is_string()) => {
                out += &format!("{key}:\n");
                items.iter().for_each(|item| out += &format!("  {item}\n"));
            }
            other => out += &format!("{key}: {other}\n"),
        }
    }
    out
}

/// How often each op stands in the program, its parameters, where it bootstraps.
fn outline(module: &AnyModule) -> String {
    let mut out = match module {
        AnyModule::Nn(m) => counts(m),
        AnyModule::Slot(m) => counts(m),
        AnyModule::Ckks(m) => counts(m),
    };
    if let AnyModule::Ckks(m) = module {
        for (_, node) in m.func.iter() {
            if let CkksOp::Bootstrap { to } = node.op {
                out += &format!("bootstrap to level {to} at {}\n", node.loc.name());
            }
        }
        let levels = |values: &[fhec_ir::Value]| {
            let levels = values.iter().map(|&v| m.func.ty(v).level.to_string());
            levels.collect::<Vec<_>>().join(", ")
        };
        out += &format!("inputs at level {}, results at {}\n", levels(m.func.params()), levels(m.func.results()));
        if let Some(params) = &m.params {
            out += &format!("{params:?}\n");
        }
    }
    out
}

fn counts<D: Dialect>(module: &Module<D>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    module.func.iter().for_each(|(_, node)| *counts.entry(node.op.mnemonic()).or_default() += 1);
    let counts = counts.into_iter().map(|(op, n)| format!("{n} {op}"));
    format!("{}: {}\n", D::NAME, counts.collect::<Vec<_>>().join(", "))
}

/// The text with long numbers and digests cut short.
pub fn short(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(digest) = rest.strip_prefix("blob \"") {
            let end = digest.find('"').unwrap_or(digest.len());
            out += &format!("blob \"{}…", &digest[..end.min(DIGEST)]);
            rest = &digest[end..];
            continue;
        }
        let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._-+".contains(c))).unwrap_or(rest.len());
        if word > 0 {
            out += &rounded(&rest[..word]);
            rest = &rest[word..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A number of too many digits with fewer; any other word as it is.
fn rounded(word: &str) -> String {
    let digits = word.split(['e', 'E']).next().unwrap_or("").chars().filter(char::is_ascii_digit).count();
    match word.parse::<f64>() {
        Ok(x) if digits > DIGITS && word.contains('.') && x.is_finite() => {
            let x: f64 = format!("{x:.*e}", DIGITS - 1).parse().expect("a number");
            format!("{x:?}")
        }
        _ => word.to_string(),
    }
}
