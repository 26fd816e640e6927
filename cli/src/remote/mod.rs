//! The command `fhec remote` has a service compute on encrypted inputs.

mod service;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fhec::ir::text::to_hex;
use fhec::{Content, EncryptedFile, Error, data};
use zeroize::Zeroizing;

use super::files::{self, Files, Overwrite};
use super::heads::Heads;
use super::limits::MaxSize;
use super::secret::Secrecy;
use super::top::Top;
use super::{Consent, output, progress, trust};
use service::Service;

/// Encrypt inputs, have a service compute on them, and decrypt the results
///
/// The evaluation keys are uploaded where the service does not have them; an upload that broke off goes on. Nothing leaves this
/// machine but evaluation keys and ciphertexts.
#[derive(Args)]
pub struct Remote {
    /// The address of `fhec serve`, such as http://127.0.0.1:8080
    service: String,
    /// The plan, or what a client needs of it
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    plan: PathBuf,
    /// The secret key; it stays here
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    secret: PathBuf,
    /// The evaluation keys
    #[arg(long, value_name = "FILE")]
    evaluation: PathBuf,
    /// Inputs, .npy or .npz, one image or many in the leading dimension
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    input: PathBuf,
    /// Where the results go: .npy, or .npz for several outputs
    #[arg(short, long, value_name = "FILE", value_parser = files::destination())]
    output: PathBuf,
    /// File whose first line is the token that `fhec token` printed
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    token_file: Option<PathBuf>,
    /// Send the token and ciphertexts over http to another machine
    #[arg(long)]
    plain_http: bool,
    /// Seconds that a service which is busy, stopped or out of reach is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    patience: u64,
    /// Leave the job and its result with the service
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    secrecy: Secrecy,
    #[command(flatten)]
    heads: Heads,
    #[command(flatten)]
    top: Top,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Remote) -> Result<(), Error> {
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = files.reads("the secret key", [&c.secret])?.reads("the evaluation keys", [&c.evaluation])?;
    let files = files.reads("the input", [&c.input])?.reads("the passphrase", c.secrecy.file())?;
    let mut files = files.reads("the names", &c.top.names)?.reads("the token", &c.token_file)?;
    let plan = c.max_size.client_plan(&c.plan)?;
    let ports = plan.image_outputs();
    let written = if c.top.is_asked() { c.heads.scores(&ports)? } else { c.heads.outputs(&ports)? };
    let to = files.writes_results("--output", &c.output, &written)?;
    let mut client = c.secrecy.load(c.consent.options(), &plan, &c.secret)?;
    let images = data::read_samples(&c.input, &plan.image_inputs())?;
    let inputs = trust::inputs(&c.input, &plan.image_inputs(), &images);
    trust::near(&c.input, &inputs, c.overwrite.force)?;

    let token = c.token_file.as_deref().map(first_line).transpose()?;
    let service = Service::new(&c.service, token, c.plain_http, Duration::from_secs(c.patience))?;
    let started = Instant::now();
    let facts = service.plan()?;
    let expected = to_hex(&plan.plan_digest());
    if facts.plan != expected {
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        let reason = format!(
            "the service computes plan {}, {} is of plan {}",
            short(&facts.plan),
            c.plan.display(),
            short(&expected)
        );
        let repair = "give the plan that the service runs, and keys for it".into();
        return Err(Error::Service { service: c.service.clone(), reason, repair });
    }
    let bar = progress::bar("upload", 1);
    let key = service.upload(&c.evaluation, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let key = key?;
    let encrypted = client.encrypt(&images)?;
    let request = encrypted.to_bytes(client.context())?;
    let job = service.submit(&key, &request)?;
    let bar = progress::bar("remote", 1);
    let done = service.wait(&job.id, |job| {
        bar.set_length(job.progress.total.max(1));
        bar.set_position(job.progress.done);
        bar.set_message(job.state.clone());
    });
    bar.finish_and_clear();
    let done = done?;
    if done.state != "done" {
        return Err(service.failure(&done));
    }
    let runs = encrypted.ciphertexts().len() as u64;
    let result = service.result(&job.id, plan.most_output_bytes(runs))?;
    let file = EncryptedFile::from_bytes(&plan, "the result", &result)?.expect(Content::Outputs)?;
    if file.request() != encrypted.request() {
        return Err(Error::Ciphertexts {
            file: "the result".into(),
            reason: format!("it answers request {}, sent was request {}", file.request(), encrypted.request()),
            repair: "tell whoever runs the service that it confuses requests".into(),
        });
    }
    let results = client.decrypt(&file.with_limit(c.max_size.bytes()).read(client.context())?)?;
    let checks = trust::results(&ports, &results, c.overwrite.force)?;
    let results = c.heads.results(&ports, results)?;
    let best = c.top.of(&written, &results)?;
    data::write_samples(to, &written, &results)?;
    // The results are here: that they stay there too is no reason to fail.
    if !c.keep
        && let Err(e) = service.forget(&job.id)
    {
        output::warning(format!("the result stays with the service until it is kept no longer: {e}"));
    }
    let seconds = started.elapsed().as_secs_f64();
    if c.json {
        return output::json(&serde_json::json!({
            "images": results.len(), "output": c.output, "job": job.id, "key": key, "seconds": seconds,
            "service_seconds": done.seconds, "request_bytes": request.len(), "result_bytes": result.len(),
            "inputs": inputs, "results": checks, "top": best, "heads": c.heads.report(&ports),
            "security_bits": plan.security().bits,
        }));
    }
    best.iter().for_each(|image| say!("{image}"));
    say!(
        "{}: results of {} images in {}, {} sent, {} received",
        c.output.display(),
        results.len(),
        output::seconds(seconds),
        output::bytes(request.len() as u64),
        output::bytes(result.len() as u64)
    );
    c.heads.print(&ports);
    Ok(())
}

/// The first line of a file.
fn first_line(path: &Path) -> Result<Zeroizing<String>, Error> {
    let file = path.display().to_string();
    let text =
        Zeroizing::new(std::fs::read_to_string(path).map_err(|source| Error::File { file: file.clone(), source })?);
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.into())),
        None => Err(Error::Usage {
            reason: format!("{file}: its first line is empty"),
            repair: "give the file of a token".into(),
        }),
    }
}
