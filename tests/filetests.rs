//! File tests: programs in text form, the passes that run on them, and what comes out. `docs/testing.md` tells how to write
//! one; `FHEC_BLESS=1` writes what is expected.

mod case;
mod coverage;
mod diff;
mod fill;
mod options;
mod outcome;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use case::Case;
use outcome::{Outcome, Stages};

/// A file that was run.
struct Ran {
    /// Below the folder of file tests.
    name: String,
    path: PathBuf,
    case: Case,
    /// Of every run line.
    outcomes: Vec<Outcome>,
}

impl Ran {
    /// The file as it should be.
    fn blessed(&self) -> String {
        self.case.with(&self.outcomes)
    }
}

fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/filetests")
}

/// All `.fhir` files below a folder, in order.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "fhir") {
            out.push(path);
        }
    }
}

fn run(path: PathBuf) -> Ran {
    let name = path.strip_prefix(folder()).unwrap().display().to_string();
    let text = std::fs::read_to_string(&path).unwrap();
    let case = Case::read(&name, &text);
    let mut stages = Stages::default();
    let outcomes = case.runs.iter().map(|run| outcome::of(&name, &case.input, run, &mut stages)).collect();
    Ran { name, path, case, outcomes }
}

/// Every file, run once for all tests of this module.
fn all() -> &'static [Ran] {
    static ALL: OnceLock<Vec<Ran>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut paths = Vec::new();
        files(&folder(), &mut paths);
        paths.into_par_iter().map(run).collect()
    })
}

#[test]
fn every_file_says_what_happens() {
    let bless = std::env::var_os("FHEC_BLESS").is_some();
    let mut failures = Vec::new();
    for ran in all() {
        let (found, text) = (ran.blessed(), std::fs::read_to_string(&ran.path).unwrap());
        if found == text {
            continue;
        }
        if bless {
            std::fs::write(&ran.path, found).unwrap();
        } else {
            failures.push(format!("tests/filetests/{}\n{}", ran.name, diff::lines(&text, &found)));
        }
    }
    let count = failures.len();
    assert!(count == 0, "{count} file tests fail (FHEC_BLESS=1 rewrites them):\n{}", failures.join("\n"));
}

#[test]
fn there_are_enough_files() {
    assert!(all().len() >= 60, "{} files", all().len());
}
