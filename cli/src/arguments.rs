//! The arguments of this process become a command, or a message that says what is wrong with them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use super::{Cli, command, failure, output};

/// The command that `args`, the program's name first, ask for; or, once help or an error is written, the exit code.
pub fn parse(args: Vec<OsString>) -> Result<Cli, ExitCode> {
    let args = with_default_command(args);
    // Also where clap fails, the command and the wish for JSON are known.
    if let Some(known) = args.get(1).and_then(name) {
        output::begin(&known);
    }
    let options = args.iter().take_while(|&arg| arg != "--");
    failure::as_json(options.clone().any(|arg| arg == "--json"));
    Cli::try_parse_from(&args).map_err(|e| failure::command_line(&e))
}

/// The command of this name.
fn name(first: &OsString) -> Option<String> {
    command().get_subcommands().map(clap::Command::get_name).find(|name| first == name).map(Into::into)
}

/// `fhec model.onnx …` and `fhec -o plan.fhe model.onnx` mean `fhec compile …`. A bare word is a model only where there
/// is such a file: else it is a command that does not exist.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    if cfg!(not(feature = "compiler")) {
        return args;
    }
    let own = ["help", "--help", "-h", "--version", "-V"];
    let compiles = |first: &OsString| {
        let path = Path::new(first);
        let option = first.as_encoded_bytes().starts_with(b"-");
        let model = path.extension().is_some() || path.components().count() > 1 || path.is_file();
        !own.iter().any(|own| first == own) && name(first).is_none() && (option || model)
    };
    if args.get(1).is_some_and(compiles) {
        args.insert(1, "compile".into());
    }
    args
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;

    #[test]
    fn a_model_alone_is_compiled_and_a_typo_is_not() {
        let with = |args: &[&str]| {
            let args = std::iter::once("fhec").chain(args.iter().copied()).map(OsString::from).collect();
            with_default_command(args)[1..].iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(with(&["m.onnx", "-o", "p.fhe"]), ["compile", "m.onnx", "-o", "p.fhe"]);
        assert_eq!(with(&["-o", "p.fhe", "m.onnx"]), ["compile", "-o", "p.fhe", "m.onnx"]);
        assert_eq!(with(&["models/m", "-o", "p.fhe"])[0], "compile");
        assert_eq!(with(&["run", "p.fhe"]), ["run", "p.fhe"]);
        assert_eq!(with(&["--help"]), ["--help"]);
        assert_eq!(with(&["keygn", "p.fhe"]), ["keygn", "p.fhe"]);
        assert!(with(&[]).is_empty());
    }
}
