//! What needs the secret key: `fhec keygen`, `fhec encrypt`, `fhec decrypt`, `fhec run`.

use std::time::Instant;

use fhec::tfhe::{Client, ClientPlan, Content, Encrypted};
use fhec::{Error, data};

use super::super::comparison::Comparison;
use super::super::decrypt::Decrypt;
use super::super::encrypt::Encrypt;
use super::super::files::Files;
use super::super::keygen::Keygen;
use super::super::run::Run;
use super::super::secret::warn_if_open;
use super::super::{output, trust};
use super::server::{evaluated, in_the_clear};
use super::{Summary, load, pool, refuse};

/// `fhec keygen`.
pub fn keygen(c: &Keygen) -> Result<(), Error> {
    refuse(&[("--passphrase", c.secrecy.is_given()), ("--insecure", c.consent.insecure)])?;
    let (to_secret, to_evaluation) = c.destinations()?;
    let plan = ClientPlan::load(&c.plan, c.max_size)?;
    let (limit, bytes) = (c.max_size.unwrap_or(fhec::DEFAULT_KEY_BYTES), plan.parameters().key_bytes());
    if bytes > limit {
        return Err(Error::KeysTooLarge { bytes, limit });
    }
    let started = Instant::now();
    let client = match &to_secret {
        // The secret key first, and on the disk: without it evaluation keys are lost.
        Some(to) => {
            let client = Client::generate(&plan);
            client.save(to)?;
            client
        }
        None => Client::load(&plan, &c.secret)?,
    };
    client.evaluation_keys().save(&to_evaluation)?;
    let seconds = started.elapsed().as_secs_f64();
    let [secret, evaluation] = c.written_bytes(&to_evaluation);
    if c.json {
        return output::json(&serde_json::json!({
            "evaluation_key_bytes": evaluation, "secret_key_bytes": secret, "seconds": seconds,
            "peak_memory_bytes": output::peak_memory(), "security_bits": 128,
        }));
    }
    say!("{}: secret key, {}; keep it", c.secret.display(), output::size_of(secret));
    let (size, seconds) = (output::size_of(evaluation), output::seconds(seconds));
    say!("{}: evaluation keys, {size}, made in {seconds}; give them to the server", c.evaluation.display());
    Ok(())
}

/// `fhec encrypt`.
pub fn encrypt(c: &Encrypt) -> Result<(), Error> {
    refuse(&[("--passphrase", c.key.has_passphrase()), ("--insecure", c.consent.insecure)])?;
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.images.among(c.key.among(files)?)?;
    let to = files.writes("--output", &c.output)?.private();
    let plan = ClientPlan::load(&c.plan, c.max_size.bytes())?;
    warn_if_open("secret key", c.key.path());
    let client = Client::load(&plan, c.key.path())?;
    let (images, _) = c.images.read(&plan.inputs())?;
    let inputs = trust::inputs(c.images.path(), &plan.inputs(), &images, c.overwrite.force)?;
    let started = Instant::now();
    client.encrypt(&images)?.save(&to)?;
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), output::written_bytes(&to));
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "ciphertext_bytes": bytes, "seconds": seconds, "inputs": inputs, "security_bits": 128,
        }));
    }
    let (size, seconds) = (output::size_of(bytes), output::seconds(seconds));
    say!("{}: {} images, {size}, encrypted in {seconds}", c.output.display(), images.len());
    Ok(())
}

/// `fhec decrypt`.
pub fn decrypt(c: &Decrypt) -> Result<(), Error> {
    refuse(&[("--passphrase", c.key.has_passphrase()), ("--publish", c.publish.is_some()), ("--any-key", c.any_key)])?;
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let files = c.key.among(files)?.reads("the input", [&c.input])?;
    let mut files = c.results.among(files)?.reads("the request", &c.request)?;
    let plan = ClientPlan::load(&c.plan, c.max_size.bytes())?;
    let ports = plan.outputs();
    let place = c.results.place(&mut files, ports.clone())?;
    warn_if_open("secret key", c.key.path());
    let client = Client::load(&plan, c.key.path())?;
    let results = Encrypted::load(&plan, Content::Outputs, &c.input, c.max_size.bytes())?;
    if let Some(path) = &c.request {
        let request = Encrypted::load(&plan, Content::Inputs, path, c.max_size.bytes())?.request();
        if request != results.request() {
            return Err(Error::Ciphertexts {
                file: c.input.display().to_string(),
                reason: format!("it answers another request than {}", path.display()),
                repair: "ask the server for the result of this request".into(),
            });
        }
    }
    let own = client.decrypt(&results)?;
    let checks = trust::results(&ports, &own, c.overwrite.force)?;
    let written = c.results.write(place, own)?;
    if c.json {
        return output::json(&serde_json::json!({
            "images": written.images, "output": c.results.path(), "results": checks, "top": written.top,
            "heads": written.heads, "security_bits": 128,
        }));
    }
    written.print_top();
    say!("{}: results of {} images", c.results.path().display(), written.images);
    written.print_heads();
    Ok(())
}

/// `fhec run`.
pub fn run(c: &Run) -> Result<(), Error> {
    refuse(&[("--mem", c.resources.mem.is_some()), ("--insecure", c.consent.insecure)])?;
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.results.among(c.images.among(files)?)?.reads("the labels", &c.labels)?;
    let plan = load(&c.plan, c.max_size.bytes())?;
    let ports = plan.outputs();
    let place = c.results.place(&mut files, ports.clone())?;
    let (images, count) = c.images.read(&plan.inputs())?;
    let labels = c.labels.as_deref().map(|path| data::read_labels(path, count, &ports)).transpose()?;
    let inputs = trust::inputs(c.images.path(), &plan.inputs(), &images, c.overwrite.force)?;
    let pool = pool(c.resources.threads)?;
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
    let (results, seconds, bytes) = pool.install(|| {
        let client = Client::generate(&plan.client()?);
        let keys = client.evaluation_keys();
        let keygen = lap();
        let encrypted = client.encrypt(&images)?;
        let encrypt = lap();
        let per_image = |all: u64| all / images.len().max(1) as u64;
        let (keys_bytes, input_bytes) = (keys.bytes(), per_image(encrypted.bytes()));
        let (outputs, eval) = evaluated(&plan, keys, &encrypted)?;
        lap();
        let output_bytes = per_image(outputs.bytes());
        let results = client.decrypt(&outputs)?;
        Ok::<_, Error>((results, [keygen, encrypt, eval, lap()], [keys_bytes, input_bytes, output_bytes]))
    })?;
    let exact = in_the_clear(&plan, &images)?;
    let equal = results == exact;
    if !equal {
        trust::untrusted(
            "the encrypted run does not give the integers of the program in the clear".into(),
            c.overwrite.force,
        )?;
    }
    let checks = trust::results(&ports, &results, c.overwrite.force)?;
    let right = labels.map(|labels| data::count_right(&results, &labels));
    let Comparison { max_error, same_argmax } = Comparison::of(&results, &exact);
    let written = c.results.write(place, results)?;
    let [keygen, encrypt, eval, decrypt] = seconds;
    let each = eval / images.len().max(1) as f64;
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "threads": pool.current_num_threads(), "seconds_per_image": each,
            "seconds": { "keygen": keygen, "encrypt": encrypt, "eval": eval, "decrypt": decrypt },
            "evaluation_key_bytes": bytes[0], "input_ciphertext_bytes": bytes[1], "output_ciphertext_bytes": bytes[2],
            "peak_memory_bytes": output::peak_memory(), "max_error": max_error, "same_argmax": same_argmax, "right": right,
            "inputs": inputs, "results": checks, "top": written.top, "heads": written.heads, "plan": Summary::of(&plan)?,
            "security_bits": 128,
        }));
    }
    say!("{} images, {} each on {} threads", images.len(), output::seconds(each), pool.current_num_threads());
    let [keygen, encrypt, eval, decrypt] = seconds.map(output::seconds);
    say!("keygen {keygen}, encrypt {encrypt}, eval {eval}, decrypt {decrypt}");
    let [keys, input, result] = bytes.map(output::bytes);
    say!(
        "evaluation keys {keys}, ciphertexts in {input}, out {result}; memory {}",
        output::size_of(output::peak_memory())
    );
    if equal {
        say!("every integer is that of the program in the clear");
    }
    if let Some(right) = right {
        say!("right: {right} of {}", images.len());
    }
    written.print_top();
    say!("results: {}", c.results.path().display());
    written.print_heads();
    Ok(())
}
