//! The command line. One file per command; what a command prints for people goes to the terminal as text, with `--json`
//! as one JSON object on standard output. Progress goes to standard error and only to a terminal.

/// `println!` that ends the program quietly when nobody reads.
macro_rules! say {
    () => { crate::cli::output::line(format_args!("")) };
    ($($text:tt)*) => { crate::cli::output::line(format_args!($($text)*)) };
}

#[cfg(feature = "client")]
mod bench;
#[cfg(feature = "client")]
mod calibrate;
mod comparison;
#[cfg(feature = "compiler")]
mod compile;
#[cfg(feature = "client")]
mod decrypt;
#[cfg(all(feature = "client", feature = "compiler"))]
mod demo;
#[cfg(feature = "client")]
mod encrypt;
mod eval;
mod export_client;
mod files;
mod inspect;
#[cfg(feature = "client")]
mod keygen;
mod limits;
#[cfg(feature = "compiler")]
mod opt;
mod output;
mod progress;
mod report;
#[cfg(feature = "client")]
mod run;
mod simulate;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use fhec::{Error, ExecutorOptions};

/// Compiles trained neural networks (ONNX) into programs that a server runs on encrypted data.
#[derive(Parser)]
#[command(name = "fhec", version, arg_required_else_help = true)]
#[cfg_attr(
    feature = "compiler",
    command(after_help = "`fhec model.onnx -o plan.fhe` is short for `fhec compile model.onnx -o plan.fhe`.")
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile an ONNX model to a plan
    #[cfg(feature = "compiler")]
    Compile(compile::Compile),
    /// Write what a client needs of a plan, without the model's weights
    ExportClient(export_client::ExportClient),
    /// Make a secret key and the evaluation keys a plan needs
    #[cfg(feature = "client")]
    Keygen(keygen::Keygen),
    /// Encrypt inputs
    #[cfg(feature = "client")]
    Encrypt(encrypt::Encrypt),
    /// Run a plan on encrypted inputs; needs no secret key
    Eval(eval::Eval),
    /// Decrypt results
    #[cfg(feature = "client")]
    Decrypt(decrypt::Decrypt),
    /// Keygen, encrypt, eval and decrypt in one process
    #[cfg(feature = "client")]
    Run(run::Run),
    /// Run a plan in the clear with modelled noise
    Simulate(simulate::Simulate),
    /// Show parameters, security, levels, operations, keys, predicted time and memory of a plan
    Inspect(inspect::Inspect),
    /// Write a page that shows a plan: levels over time, layers, keys, predicted against measured times
    Report(report::Report),
    /// Run passes on a program in text form
    #[cfg(feature = "compiler")]
    Opt(opt::Opt),
    /// Time the engine's operations, each next to its floor
    #[cfg(feature = "client")]
    Bench(bench::Bench),
    /// Measure what the engine's work costs on this machine
    #[cfg(feature = "client")]
    Calibrate(calibrate::Calibrate),
    /// Compile the digit network of this repository and classify a digit it cannot see
    #[cfg(all(feature = "client", feature = "compiler"))]
    Demo(demo::Demo),
}

/// Resources of an encrypted run.
#[derive(Args, Clone, Copy)]
struct Resources {
    /// Threads; one per core by default
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Bound on memory, such as 16G or 800M: keys and constants are then made again instead of kept
    #[arg(long, value_name = "SIZE", value_parser = output::parse_bytes)]
    mem: Option<u64>,
}

impl Resources {
    fn options(self) -> ExecutorOptions {
        ExecutorOptions { threads: self.threads, memory: self.mem }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(with_default_command(std::env::args_os().collect()));
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{:?}", miette::Report::new(e));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        #[cfg(feature = "compiler")]
        Command::Compile(c) => compile::run(&c),
        Command::ExportClient(c) => export_client::run(&c),
        #[cfg(feature = "client")]
        Command::Keygen(c) => keygen::run(&c),
        #[cfg(feature = "client")]
        Command::Encrypt(c) => encrypt::run(&c),
        Command::Eval(c) => eval::run(&c),
        #[cfg(feature = "client")]
        Command::Decrypt(c) => decrypt::run(&c),
        #[cfg(feature = "client")]
        Command::Run(c) => run::run(&c),
        Command::Simulate(c) => simulate::run(&c),
        Command::Inspect(c) => inspect::run(&c),
        Command::Report(c) => report::run(&c),
        #[cfg(feature = "compiler")]
        Command::Opt(c) => opt::run(&c),
        #[cfg(feature = "client")]
        Command::Bench(c) => bench::run(&c),
        #[cfg(feature = "client")]
        Command::Calibrate(c) => calibrate::run(&c),
        #[cfg(all(feature = "client", feature = "compiler"))]
        Command::Demo(c) => demo::run(&c),
    }
}

/// `fhec model.onnx …` and `fhec -o plan.fhe model.onnx` mean `fhec compile …`.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    if cfg!(not(feature = "compiler")) {
        return args;
    }
    let known = |first: &OsString| {
        let own = ["help", "--help", "-h", "--version", "-V"].iter().any(|own| first == own);
        own || Cli::command().get_subcommands().any(|c| first == c.get_name())
    };
    if args.get(1).is_some_and(|first| !known(first)) {
        args.insert(1, "compile".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "compiler")]
    #[test]
    fn a_model_alone_is_compiled() {
        let with = |args: &[&str]| {
            let args = std::iter::once("fhec").chain(args.iter().copied()).map(OsString::from).collect();
            with_default_command(args)[1..].iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(with(&["m.onnx", "-o", "p.fhe"]), ["compile", "m.onnx", "-o", "p.fhe"]);
        assert_eq!(with(&["-o", "p.fhe", "m.onnx"]), ["compile", "-o", "p.fhe", "m.onnx"]);
        assert_eq!(with(&["run", "p.fhe"]), ["run", "p.fhe"]);
        assert_eq!(with(&["--help"]), ["--help"]);
        assert!(with(&[]).is_empty());
    }
}
