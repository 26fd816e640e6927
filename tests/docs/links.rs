//! Every link of a page to another file, or to a heading, leads there, and the documentation site has every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::cli::repository;

/// Folders of the repository with pages, and whether those below belong to it too.
const FOLDERS: [(&str, bool); 7] = [
    (".", false),
    ("docs", true),
    ("models", false),
    ("python", false),
    ("bindings/python", false),
    ("fuzz", false),
    ("tests", true),
];

/// The pages in a folder, as paths from the repository.
fn pages_in(folder: &Path, below: bool, pages: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(repository("").join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        if below && repository("").join(&path).is_dir() {
            pages_in(&path, below, pages);
        } else if path.extension().is_some_and(|e| e == "md") {
            pages.insert(plain(&path));
        }
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => (),
            other => out.push(other),
        }
    }
    out
}

/// The lines of a page that are prose, with their numbers and without code.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Between backquotes nothing is a link, but a link may have code for its text.
            let code = |(k, part): (usize, &str)| if k % 2 == 1 { "code".into() } else { String::from(part) };
            out.push((i + 1, line.split('`').enumerate().map(code).collect()));
        }
    }
    out
}

/// The names that links call the headings of a page: as GitHub and mdBook derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut seen = BTreeMap::<String, usize>::new();
    let mut out = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        };
        let name: String = heading.trim().chars().filter_map(kept).collect();
        let again = seen.entry(name.clone()).or_default();
        out.insert(if *again == 0 { name } else { format!("{name}-{again}") });
        *again += 1;
    }
    out
}

/// The targets of the links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn pages() -> BTreeMap<PathBuf, String> {
    let mut paths = BTreeSet::new();
    for (folder, below) in FOLDERS {
        pages_in(Path::new(folder), below, &mut paths);
    }
    paths.into_iter().map(|p| (p.clone(), std::fs::read_to_string(repository("").join(p)).unwrap())).collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut broken = Vec::new();
    for (page, text) in &pages {
        for (number, line) in prose(text) {
            for target in targets(&line).filter(|t| !t.contains("://")) {
                let (file, anchor) = target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a)));
                let to = match file {
                    "" => page.clone(),
                    file => plain(&page.parent().unwrap().join(file)),
                };
                let known = match (anchor, pages.get(&to)) {
                    (Some(anchor), Some(text)) => anchors(text).contains(anchor),
                    (Some(_), None) => false,
                    (None, _) => repository("").join(&to).exists(),
                };
                if !known {
                    broken.push(format!("{}:{number}: {target}", page.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_site_has_every_page() {
    let pages = pages();
    let summary = &pages[Path::new("docs/SUMMARY.md")];
    let chapters: BTreeSet<PathBuf> =
        summary.lines().flat_map(targets).map(|target| plain(&Path::new("docs").join(target))).collect();
    let missing: Vec<_> = pages
        .keys()
        .filter(|page| page.starts_with("docs") && !page.ends_with("SUMMARY.md") && !chapters.contains(*page))
        .collect();
    assert!(missing.is_empty(), "pages that docs/SUMMARY.md leaves out: {missing:?}");
}
