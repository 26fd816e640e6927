//! The command `fhec serve` runs a plan for several tenants over HTTP, and `fhec token` says who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use fhec::{Destination, Error};
use fhec_server::{Config, Limits, PlanEngine, ServeError, Service, Tokens};
use miette::Diagnostic;

use super::files::{Files, Overwrite};
use super::limits::MaxSize;
use super::{Resources, output, signals, values};

/// Run a plan for several tenants over HTTP; needs no secret key
///
/// Clients upload evaluation keys once, send what `encrypt` writes, and fetch what `decrypt` reads; `fhec remote` does all of it.
/// What was accepted is in the folder of `--keys-dir`, and is computed after a restart. SIGTERM and SIGINT stop the service once
/// the running job is done or `--grace` is over; a second one ends it at once.
#[derive(Args)]
pub struct Serve {
    /// The plan
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The folder of keys, jobs and results: one that is empty or not there, or that of an earlier service of this plan
    #[arg(long, value_name = "DIR")]
    keys_dir: PathBuf,
    /// Where to listen: an address and a port, of which 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The file of tokens that `fhec token` writes; it is read again when it changes. Without it, who reaches the address may do all
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Listen without tokens where other machines reach
    #[arg(long, conflicts_with = "tokens")]
    insecure_no_auth: bool,
    #[command(flatten)]
    resources: Resources,
    /// Jobs that are computed at one time
    #[arg(long, value_name = "N", default_value_t = Limits::default().workers, value_parser = values::threads)]
    workers: usize,
    /// Jobs that wait, of all tenants; more are refused until there is room
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue, value_parser = values::count)]
    queue: usize,
    /// Jobs that wait, of one tenant
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue_per_tenant, value_parser = values::count)]
    queue_per_tenant: usize,
    /// Sets of evaluation keys of one tenant
    #[arg(long, value_name = "N", default_value_t = Limits::default().keys_per_tenant, value_parser = values::count)]
    keys_per_tenant: usize,
    /// Runs of the plan in one request
    #[arg(long, value_name = "N", default_value_t = Limits::default().runs, value_parser = values::count)]
    max_runs: usize,
    /// Bound on the disk of keys, requests and results together
    #[arg(long, value_name = "SIZE", default_value = "64G", value_parser = output::parse_bytes)]
    disk: u64,
    /// Seconds that a finished job and its result are kept
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().keep.as_secs())]
    keep: u64,
    /// Seconds that a connection may be without progress
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().idle.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// Seconds that a running job may go on once the service is told to stop; what is not done then runs again
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().grace.as_secs())]
    grace: u64,
    /// Connections at one time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = values::count)]
    connections: usize,
    /// The log, on standard error: lines for people, or one JSON object a line. `RUST_LOG` says what is in it
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
    #[command(flatten)]
    max_size: MaxSize,
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogForm {
    Text,
    Json,
}

impl Serve {
    /// Whether the log is of JSON objects.
    pub fn logs_json(&self) -> bool {
        self.log == LogForm::Json
    }

    fn config(&self) -> Config {
        Config {
            listen: self.listen,
            folder: self.keys_dir.clone(),
            tokens: self.tokens.clone(),
            without_tokens: self.insecure_no_auth,
            limits: Limits {
                workers: self.workers,
                queue: self.queue,
                queue_per_tenant: self.queue_per_tenant,
                keys_per_tenant: self.keys_per_tenant,
                runs: self.max_runs,
                disk: self.disk,
                keep: Duration::from_secs(self.keep),
                idle: Duration::from_secs(self.idle),
                grace: Duration::from_secs(self.grace),
                connections: self.connections,
                ..Limits::default()
            },
        }
    }
}

/// An error of the service as one of the program.
fn error(e: ServeError) -> Error {
    match e {
        ServeError::Plan(e) => e,
        ServeError::Output(e) => e.into(),
        ServeError::File { path, source } => Error::File { file: path.display().to_string(), source },
        e => {
            let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
            let repair = e.help().map(|help| help.to_string()).unwrap_or_default();
            Error::Usage { reason: format!("{e}{cause}"), repair }
        }
    }
}

pub fn run(c: &Serve) -> Result<(), Error> {
    let plan = c.max_size.plan(&c.plan)?;
    if c.tokens.is_none() {
        let who =
            if c.insecure_no_auth { "everybody who reaches this address" } else { "every program of this machine" };
        output::warning(format!("there are no tokens: {who} may use the service, as one tenant"));
    }
    let fhec::ExecutorOptions { threads, memory } = c.resources.options();
    let resources =
        fhec_server::Resources { threads, memory, workers: c.workers, runs: c.max_runs, max_size: c.max_size.bytes() };
    let engine = PlanEngine::new(plan, resources).map_err(error)?;
    let service = Service::start(Arc::new(engine), c.config()).map_err(error)?;
    let stopper = service.stopper();
    signals::on_first(move || stopper.stop());
    say!("listening on http://{}", service.address());
    service.wait();
    Ok(())
}

/// Make a token of a tenant of `fhec serve`
///
/// The token is printed, once, and is for the client alone. Its hash is added to the file, which is for the service. To take a
/// token back, remove its line.
#[derive(Args)]
pub struct Token {
    /// The name of the tenant: small letters, digits, `-` and `_`
    tenant: String,
    /// The file of the tokens' hashes; it is made where it is not there
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn token(c: &Token) -> Result<(), Error> {
    // The file is added to: what is in it stays.
    let mut files = Files::new(Overwrite { force: true }, c.json);
    let to: Destination = files.writes("--tokens", &c.tokens)?.private();
    let mut lines = match c.tokens.exists() {
        true => {
            Tokens::read(&c.tokens).map_err(error)?;
            let file = c.tokens.display().to_string();
            std::fs::read_to_string(&c.tokens).map_err(|source| Error::File { file, source })?
        }
        false => String::new(),
    };
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    let new = Tokens::generate(&c.tenant).map_err(error)?;
    lines.push_str(&new.line);
    lines.push('\n');
    to.write(lines.as_bytes())?;
    if c.json {
        return output::json(&serde_json::json!({ "tenant": c.tenant, "token": new.token, "tokens": c.tokens }));
    }
    say!("{}", new.token);
    Ok(())
}
