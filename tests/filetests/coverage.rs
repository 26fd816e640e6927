//! Nothing is left out: every rewrite rule fires in some file, every message of the parser and the verifier stands in one, and
//! every pass runs. Messages are found in the source, so that a new one cannot be forgotten.

use std::collections::BTreeSet;
use std::path::Path;

use fhec::passes::fold;
use fhec::passes::registry::Registry;

use super::all;
use super::options::Options;

#[test]
fn every_pass_runs() {
    let ran: BTreeSet<String> = all()
        .iter()
        .flat_map(|ran| ran.case.runs.iter().flat_map(|run| Options::read(&ran.name, run).passes))
        .collect();
    let registry = Registry::standard();
    let missing: Vec<&str> = registry.iter().map(|pass| pass.name()).filter(|&name| !ran.contains(name)).collect();
    assert!(missing.is_empty(), "no file test runs {}", missing.join(", "));
}

#[test]
fn every_rewrite_rule_fires() {
    let explained: Vec<&str> =
        all().iter().flat_map(|ran| &ran.outcomes).map(|outcome| outcome.explanation.as_str()).collect();
    let fires = |name: &str| explained.iter().any(|text| text.lines().any(|l| l.starts_with(&format!("  {name}: "))));
    let rules: BTreeSet<&str> = fold::rule_names().into_iter().collect();
    let missing: Vec<&str> = rules.iter().copied().filter(|name| !fires(name)).collect();
    assert!(missing.is_empty(), "{} of {} rules fire in no file: {}", missing.len(), rules.len(), missing.join(", "));
}

/// Sources of the messages that a program in a file can meet.
const SOURCES: &[&str] = &[
    "ir/src/verify.rs",
    "ir/src/verify/ckks.rs",
    "ir/src/verify/ports.rs",
    "ir/src/nn/infer.rs",
    "ir/src/nn/mod.rs",
    "ir/src/slot/mod.rs",
    "ir/src/ckks/infer.rs",
    "ir/src/ckks/mod.rs",
    "ir/src/dialect.rs",
    "ir/src/func.rs",
    "ir/src/text/parse.rs",
    "ir/src/text/tree.rs",
    "ir/src/text/raw.rs",
    "ir/src/text/error.rs",
];

/// Texts that no file can bring about, and why.
const UNREACHABLE: &[(&str, &str)] = &[
    ("an input has a declared type", "the parser makes no input but a parameter"),
    ("this input stands as parameter {index} where parameter {place} is due", "the parser numbers parameters"),
    ("the result {result} is not defined", "the parser refuses it first"),
    ("and {} more", "65 violations; tested in ir/tests/it"),
    ("function `{func}` does not verify: {} violated", "the headline above the messages"),
    (
        "{count} {kind}s are more than the {MAX_CIPHERTEXTS} that a program may have",
        "takes 4,097 parameters; tested in ir/tests/it",
    ),
    ("constant {id} is not in the module", "the parser refuses it first"),
    ("operand used before its definition", "a defect of a program that makes nodes"),
    ("operands of live nodes are live and earlier", "a defect of this program"),
    ("`{name}` is no id", "of patterns over e-graphs"),
    ("an input index is negative or too large", "of patterns over e-graphs"),
    ("the file has no function", "the level of such a file cannot be told"),
    ("the blob is {}, not {shape}", "takes data beside the text; tested in ir/tests/it"),
    ("nothing more", "the grammar expects something everywhere"),
    ("`{}` after the end", "the generated parser says that a token is unexpected"),
    ("1 rule is", "part of that headline"),
    ("{n} rules are", "part of that headline"),
    ("{first} (the first of {n} errors)", "a headline"),
];

/// The string literals of a source that look like sentences, without those of its tests, comments and format of text.
fn messages(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or(source);
    let mut out = Vec::new();
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => while chars.next().is_some_and(|c| c != '\n') {},
            '\'' => {
                // A character such as '"', or a lifetime.
                let rest: String = chars.clone().take(3).collect();
                if rest.starts_with('\\') {
                    chars.nth(2);
                } else if rest.chars().nth(1) == Some('\'') {
                    chars.nth(1);
                }
            }
            '"' => {
                let mut literal = String::new();
                while let Some(c) = chars.next().filter(|&c| c != '"') {
                    match c {
                        '\\' => match chars.next() {
                            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                            Some(escaped) => literal.push(escaped),
                            None => {}
                        },
                        c => literal.push(c),
                    }
                }
                out.push(literal);
            }
            _ => {}
        }
    }
    out
}

/// The fixed parts of a format text.
fn fixed(message: &str) -> Vec<String> {
    let (mut out, mut part, mut depth) = (Vec::new(), String::new(), 0);
    let mut chars = message.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if depth == 0 && chars.next_if_eq(&'{').is_some() => part.push('{'),
            '}' if depth == 0 && chars.next_if_eq(&'}').is_some() => part.push('}'),
            '{' => {
                depth += 1;
                out.push(std::mem::take(&mut part));
            }
            '}' => depth -= 1,
            c if depth == 0 => part.push(c),
            _ => {}
        }
    }
    out.push(part);
    out.retain(|part| !part.trim().is_empty());
    out
}

/// Whether a literal is a sentence or a part of one: at least two words.
fn is_sentence(literal: &str) -> bool {
    let words = fixed(literal).join(" ");
    words.split_whitespace().filter(|w| w.chars().filter(|c| c.is_ascii_alphabetic()).count() > 1).count() >= 2
}

fn stands_in(parts: &[String], text: &str) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn every_message_of_parser_and_verifier_stands_in_a_file() {
    let found: BTreeSet<&str> = all()
        .iter()
        .flat_map(|ran| &ran.outcomes)
        .flat_map(|outcome| outcome.complaints.iter().map(|c| c.message.as_str()))
        .collect();
    let (mut missing, mut count, mut excused) = (Vec::new(), 0, BTreeSet::new());
    for source in SOURCES {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(source);
        let text = std::fs::read_to_string(path).unwrap();
        for message in messages(&text).into_iter().filter(|m| is_sentence(m)) {
            if let Some((text, _)) = UNREACHABLE.iter().find(|(text, _)| *text == message) {
                excused.insert(*text);
                continue;
            }
            count += 1;
            let parts = fixed(&message);
            if !found.iter().any(|text| stands_in(&parts, text)) {
                missing.push(format!("{source}: {message}"));
            }
        }
    }
    let stale: Vec<&str> = UNREACHABLE.iter().map(|(text, _)| *text).filter(|text| !excused.contains(text)).collect();
    assert!(stale.is_empty(), "excused, but no message: {stale:?}");
    println!("{count} messages, {} of them in no file", missing.len());
    assert!(missing.is_empty(), "messages that stand in no file:\n{}", missing.join("\n"));
}
