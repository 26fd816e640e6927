//! The command line has one file per command. What a command prints goes to the terminal as text for people, or with `--json`
//! to standard output as one JSON object, errors too. Progress and warnings go to standard error.

/// `println!` that ends the program quietly when nobody reads.
macro_rules! say {
    () => { crate::output::line(format_args!("")) };
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}

mod arguments;
#[cfg(feature = "client")]
mod bench;
#[cfg(feature = "client")]
mod calibrate;
mod comparison;
#[cfg(feature = "compiler")]
mod compile;
mod completions;
#[cfg(feature = "client")]
mod decrypt;
#[cfg(all(feature = "client", feature = "compiler"))]
mod demo;
#[cfg(feature = "client")]
mod encrypt;
mod escapes;
mod eval;
mod export_client;
mod failure;
mod files;
#[cfg(feature = "client")]
mod heads;
mod images;
mod inspect;
#[cfg(feature = "client")]
mod keygen;
mod limits;
mod log;
mod man;
#[cfg(feature = "compiler")]
mod opt;
mod output;
#[cfg(feature = "compiler")]
mod prepare;
mod progress;
#[cfg(feature = "remote")]
mod remote;
mod report;
#[cfg(feature = "client")]
mod results;
#[cfg(feature = "client")]
mod run;
#[cfg(feature = "compiler")]
mod search;
#[cfg(feature = "client")]
mod secret;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "compiler")]
mod shaping;
mod signals;
mod simulate;
#[cfg(feature = "client")]
mod terminal;
#[cfg(feature = "tfhe")]
mod tfhe;
#[cfg(feature = "client")]
mod top;
#[cfg(feature = "client")]
mod trust;
mod values;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use fhec::{Error, ExecutorOptions};

/// The text below the help of `fhec`.
const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 an error; 2 a wrong command line; 3 inputs or results that must not be trusted; 130 and 143
interrupted by SIGINT and SIGTERM.

With --json standard output holds one JSON object, of a report or of an error. RUST_LOG=fhec=debug shows on standard error
what is done, RUST_LOG=trace every operation.";

/// Compiles trained neural networks (ONNX) into programs that a server runs on encrypted data.
#[derive(Parser)]
#[command(name = "fhec", version, arg_required_else_help = true)]
#[cfg_attr(not(feature = "compiler"), command(after_help = AFTER_HELP))]
#[cfg_attr(
    feature = "compiler",
    command(after_help = format!(
        "`fhec model.onnx -o plan.fhe` is short for `fhec compile model.onnx -o plan.fhe`.\n\n{AFTER_HELP}"
    ))
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
    /// Write the network that is to be trained in a model's place, and a recipe for its training
    #[cfg(feature = "compiler")]
    Prepare(prepare::Prepare),
    /// Search for plans of a model over the polynomials of all activations at once, by measured agreement
    #[cfg(feature = "compiler")]
    Search(search::Search),
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
    /// Encrypt inputs, have a service compute on them, and decrypt the results
    #[cfg(feature = "remote")]
    Remote(remote::Remote),
    /// Run a plan for several tenants over HTTP; needs no secret key
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    /// Make a token of a tenant of `fhec serve`
    #[cfg(feature = "serve")]
    Token(serve::Token),
    /// Run a plan in the clear with modelled noise
    Simulate(simulate::Simulate),
    /// Show parameters, security, levels, operations, keys, predicted time and memory of a plan
    Inspect(inspect::Inspect),
    /// Write a page that shows a plan: levels and memory over time, layers, polynomials, keys, measured times
    Report(report::Report),
    /// Run passes on a program in text form
    #[cfg(feature = "compiler")]
    Opt(opt::Opt),
    /// Time the engine's operations, each next to a lower bound
    #[cfg(feature = "client")]
    Bench(bench::Bench),
    /// Measure what the engine's work costs on this machine
    #[cfg(feature = "client")]
    Calibrate(calibrate::Calibrate),
    /// Compile the digit network of this repository and classify a digit it cannot see
    #[cfg(all(feature = "client", feature = "compiler"))]
    Demo(demo::Demo),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Write the manual pages
    Man(man::Man),
}

/// Resources of an encrypted run.
#[derive(Args, Clone, Copy)]
struct Resources {
    /// Threads; one per core by default
    #[arg(long, value_name = "N", value_parser = values::threads)]
    threads: Option<usize>,
    /// Bound on memory, such as 16G or 800M: keys and constants are then made again instead of kept
    #[arg(long, value_name = "SIZE", value_parser = output::parse_bytes)]
    mem: Option<u64>,
}

impl Resources {
    fn options(self) -> ExecutorOptions {
        ExecutorOptions { threads: self.threads.unwrap_or(0), memory: self.mem }
    }
}

/// Asks for what must not be done by accident.
#[cfg(feature = "client")]
#[derive(Args, Clone, Copy)]
struct Consent {
    /// Accept a plan whose parameters are marked insecure: whoever has a ciphertext may be able to read it
    #[arg(long)]
    insecure: bool,
}

#[cfg(feature = "client")]
impl Consent {
    fn options(self) -> fhec::ClientOptions {
        let options = fhec::Client::options();
        if self.insecure { options.allow_insecure() } else { options }
    }
}

/// Runs the command line of this process.
fn main() -> ExitCode {
    signals::handle();
    failure::keep_words_whole();
    let Cli { command } = match arguments::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    log::start(log(&command));
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failure::report(e),
    }
}

/// What a command logs unasked: a service what it does, the others nothing.
fn log(command: &Command) -> log::Log {
    match command {
        #[cfg(feature = "serve")]
        Command::Serve(c) => log::Log { filter: Some("fhec_server=info"), json: c.logs_json() },
        _ => log::Log::default(),
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        #[cfg(feature = "compiler")]
        Command::Compile(c) => compile::run(&c),
        #[cfg(feature = "compiler")]
        Command::Prepare(c) => prepare::run(&c),
        #[cfg(feature = "compiler")]
        Command::Search(c) => search::run(&c),
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
        #[cfg(feature = "remote")]
        Command::Remote(c) => remote::run(&c),
        #[cfg(feature = "serve")]
        Command::Serve(c) => serve::run(&c),
        #[cfg(feature = "serve")]
        Command::Token(c) => serve::token(&c),
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
        Command::Completions(c) => completions::run(&c),
        Command::Man(c) => man::run(&c),
    }
}

/// The whole command line as clap knows it.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
