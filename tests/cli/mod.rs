//! The `fhec` command as its users run it.

mod client_plan;
mod errors;
#[cfg(unix)]
mod files;
mod forge;
mod heads;
mod hostile;
mod insecure;
mod json;
mod labels;
#[cfg(feature = "compiler")]
mod library;
mod model;
mod options;
mod passphrase;
mod pipeline;
mod prepare;
mod publication;
#[cfg(feature = "compiler")]
mod search;
#[cfg(all(feature = "serve", feature = "remote", unix))]
mod serve;
mod surface;
#[cfg(feature = "compiler")]
mod tfhe;
mod trust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// A directory to run commands in.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Runs `fhec` here.
    pub fn fhec(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fhec")).args(args).current_dir(&self.0).output().unwrap()
    }
    /// Runs `fhec` here and expects success; its standard output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.fhec(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fhec {}: {stderr}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }
    /// Runs `fhec` with `--json` and reads what it prints.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }
    /// Runs `fhec` here and expects an error message; no panic.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> String {
        self.fails_with(1, args)
    }
    /// Runs `fhec` here and expects a command line that is refused before any work.
    #[track_caller]
    pub fn misread(&self, args: &[&str]) -> String {
        self.fails_with(2, args)
    }
    /// Runs `fhec` here and expects an error message and this exit code; no panic.
    #[track_caller]
    pub fn fails_with(&self, code: i32, args: &[&str]) -> String {
        let output = self.fhec(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "fhec {}: {stderr}", args.join(" "));
        assert!(!stderr.contains("panicked"), "{stderr}");
        // The renderer breaks lines and draws a border; a message is one text.
        stderr.split_whitespace().filter(|w| !["│", "×", "╰─▶", "├─▶"].contains(w)).collect::<Vec<_>>().join(" ")
    }
}
