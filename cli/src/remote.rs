//! The command `fhec remote` has a service compute on encrypted inputs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fhec::remote::{Computed, Service};
use fhec::{EncryptedFile, Error};
use zeroize::Zeroizing;

use super::files::{self, Files, Overwrite};
use super::images::Images;
use super::limits::MaxSize;
use super::results::Results;
use super::secret::{self, SecretKey};
use super::{Consent, output, progress, trust};

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
    #[command(flatten)]
    key: SecretKey,
    /// The evaluation keys
    #[arg(long, value_name = "FILE")]
    evaluation: PathBuf,
    #[command(flatten)]
    images: Images,
    #[command(flatten)]
    results: Results,
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
    let files = c.key.among(files)?.reads("the evaluation keys", [&c.evaluation])?;
    let files = c.results.among(c.images.among(files)?)?;
    let mut files = files.reads("the token", &c.token_file)?;
    let plan = c.max_size.client_plan(&c.plan)?;
    let ports = plan.image_outputs();
    let place = c.results.place(&mut files, ports.clone())?;
    let mut client = c.key.load(c.consent.options(), &plan)?;
    let (images, _) = c.images.read(&plan.image_inputs())?;
    let inputs = trust::inputs(c.images.path(), &plan.image_inputs(), &images, c.overwrite.force)?;

    let token = c.token_file.as_deref().map(token).transpose()?;
    let service = Service::new(&c.service, token, c.plain_http)?.patience(Duration::from_secs(c.patience));
    let started = Instant::now();
    service.runs(&plan)?;
    let key = upload(&service, &c.evaluation)?;
    let request = client.encrypt(&images)?.to_bytes(client.context())?;
    let bar = progress::bar("remote", 1);
    let computed = service.compute(&plan, &key, &request, |job| {
        bar.set_length(job.progress.total.max(1));
        bar.set_position(job.progress.done);
        bar.set_message(job.state.clone());
    });
    bar.finish_and_clear();
    let Computed { job, result } = computed?;
    let file = EncryptedFile::from_bytes(&plan, "the result", &result)?.with_limit(c.max_size.bytes());
    let results = client.decrypt(&file.read(client.context())?)?;
    let checks = trust::results(&ports, &results, c.overwrite.force)?;
    let written = c.results.write(place, results)?;
    // The results are here: that they stay there too is no reason to fail.
    if !c.keep
        && let Err(e) = service.forget(&job.id)
    {
        output::warning(format!("the result stays with the service until it is kept no longer: {e}"));
    }
    let seconds = started.elapsed().as_secs_f64();
    if c.json {
        return output::json(&serde_json::json!({
            "images": written.images, "output": c.results.path(), "job": job.id, "key": key, "seconds": seconds,
            "service_seconds": job.seconds, "request_bytes": request.len(), "result_bytes": result.len(),
            "inputs": inputs, "results": checks, "top": written.top, "heads": written.heads,
            "security_bits": plan.security().bits,
        }));
    }
    written.print_top();
    say!(
        "{}: results of {} images in {}, {} sent, {} received",
        c.results.path().display(),
        written.images,
        output::seconds(seconds),
        output::bytes(request.len() as u64),
        output::bytes(result.len() as u64)
    );
    written.print_heads();
    Ok(())
}

/// Uploads the evaluation keys; their name with the service.
fn upload(service: &Service, path: &Path) -> Result<String, Error> {
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(|source| Error::File { file: name.clone(), source })?;
    let bar = progress::bar("upload", 1);
    let key = service.upload(&name, &mut file, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    key
}

/// The token in the first line of a file.
fn token(path: &Path) -> Result<Zeroizing<String>, Error> {
    let line = secret::first_line("token", path)?;
    let token = str::from_utf8(&line).map_or("", str::trim);
    if token.is_empty() {
        return Err(Error::Usage {
            reason: format!("{}: its first line is no token", path.display()),
            repair: "give what `fhec token` printed".into(),
        });
    }
    Ok(Zeroizing::new(token.into()))
}
