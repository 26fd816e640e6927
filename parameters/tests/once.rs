//! The table of this crate is the only one of the project.

use std::path::{Path, PathBuf};

/// Bounds that no code has for another reason.
fn unmistakable() -> Vec<String> {
    fhec_parameters::rings().map(|(_, bits)| bits).filter(|&bits| bits > 500).map(|bits| bits.to_string()).collect()
}

/// Whether `text` has the number by itself, with or without underscores or a fraction of zeros.
fn states(text: &str, number: &str) -> bool {
    let text = text.replace('_', "");
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    text.match_indices(number).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + number.len()..]);
        // 0.868 is another number, 868.0 is not.
        let fraction = before.ends_with('.')
            || after.strip_prefix('.').is_some_and(|f| f.starts_with(|c| ('1'..='9').contains(&c)));
        !digit(before.chars().next_back()) && !digit(after.chars().next()) && !fraction
    })
}

/// Source files below `folder`, build products and this crate left out.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if entry.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") && name != "parameters" {
                sources(&entry, found);
            }
        } else if ["rs", "py", "js", "toml"].iter().any(|ext| name.ends_with(&format!(".{ext}"))) {
            found.push(entry);
        }
    }
}

#[test]
fn nothing_else_states_the_bounds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 200 && files.iter().any(|f| f.ends_with("ckks/src/params.rs")), "the sources were found");
    let numbers = unmistakable();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let stated: Vec<&String> = numbers.iter().filter(|n| states(&text, n)).collect();
        assert!(stated.is_empty(), "{} states {stated:?}: ask fhec_parameters instead", file.display());
    }
}

#[test]
fn a_second_table_would_be_seen() {
    let bound = &unmistakable()[1];
    for text in ["(16, {})", "limit = {}.0", "Some({})", "log_qp <= {}", "at most {}"] {
        assert!(states(&text.replace("{}", bound), bound), "{text}");
    }
    let (head, tail) = bound.split_at(1);
    assert!(states(&format!("{head}_{tail}"), bound));
    for text in ["1{}", "{}5", "0.{}", "{}.25", "0x{}", "{}ab"] {
        assert!(!states(&text.replace("{}", bound), bound), "{text}");
    }
}
