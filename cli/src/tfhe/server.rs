//! What needs no secret key: `fhec eval`, `fhec simulate`, `fhec export-client`.

use std::path::PathBuf;
use std::time::Instant;

use fhec::tfhe::{Content, Encrypted, EvaluationKeys, Plan, Server};
use fhec::{Error, Tensor, data};
use rayon::prelude::*;

use super::super::eval::Eval;
use super::super::export_client::ExportClient;
use super::super::files::Files;
use super::super::simulate::Simulate;
use super::super::{output, progress};
use super::{load, pool, refuse};

/// `fhec eval`.
pub fn eval(c: &Eval) -> Result<(), Error> {
    refuse(&[("--mem", c.resources.mem.is_some())])?;
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = files.reads("the evaluation keys", [&c.evaluation])?.reads("the input", [&c.input])?;
    let to = files.writes("--output", &c.output)?;
    let plan = load(&c.plan, c.max_size.bytes())?;
    let inputs = Encrypted::load(&plan.client()?, Content::Inputs, &c.input, c.max_size.bytes())?;
    let keys = EvaluationKeys::load(&c.evaluation)?;
    let pool = pool(c.resources.threads)?;
    let (results, seconds) = pool.install(|| evaluated(&plan, keys, &inputs))?;
    results.save(&to)?;
    let (images, threads) = (results.images(), pool.current_num_threads());
    let each = seconds / images.max(1) as f64;
    if c.json {
        return output::json(&serde_json::json!({
            "images": images, "threads": threads, "seconds": seconds, "seconds_per_image": each,
            "lookups": plan.program().lookups(), "peak_memory_bytes": output::peak_memory(),
            "ciphertext_bytes": output::written_bytes(&to), "security_bits": 128,
        }));
    }
    say!("{}: {images} images, {} each on {threads} threads", c.output.display(), output::seconds(each));
    say!("{} look-ups per image; memory {} at most", plan.program().lookups(), output::size_of(output::peak_memory()));
    Ok(())
}

/// The encrypted results, and the seconds that they took, without the unpacking of the keys.
pub fn evaluated(plan: &Plan, keys: EvaluationKeys, inputs: &Encrypted) -> Result<(Encrypted, f64), Error> {
    let server = Server::new(plan, keys)?;
    let bar = progress::bar("eval", (plan.program().lookups() * inputs.images()).max(1) as u64);
    let started = Instant::now();
    let results = server.eval(inputs, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok((results, started.elapsed().as_secs_f64()))
}

/// The results in the clear: those of an encrypted run.
pub fn in_the_clear(plan: &Plan, images: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Error> {
    let run = |image: &Vec<Tensor>| plan.program().run(image).map_err(fhec::tfhe::TfheError::from);
    Ok(images.par_iter().map(run).collect::<Result<_, _>>()?)
}

/// `fhec simulate`: integers have no noise, so what it gives is what an encrypted run gives.
pub fn simulate(c: &Simulate) -> Result<(), Error> {
    refuse(&[("--per-op", c.per_op), ("--seed", c.seed != 1)])?;
    let files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let mut files = c.images.among(files)?.reads("the labels", &c.labels)?;
    let plan = load(&c.plan, c.max_size.bytes())?;
    let results = |path: &PathBuf| files.writes_results("--output", path, &plan.outputs());
    let to = c.output.as_ref().map(results).transpose()?;
    let (images, count) = c.images.read(&plan.inputs())?;
    let labels = |path| data::read_labels(path, count, &plan.outputs());
    let labels = c.labels.as_deref().map(labels).transpose()?;
    let started = Instant::now();
    let results = pool(c.threads)?.install(|| in_the_clear(&plan, &images))?;
    let seconds = started.elapsed().as_secs_f64();
    let right = labels.map(|labels| data::count_right(&results, &labels));
    if let Some(to) = to {
        data::write_samples(to, &plan.outputs(), &results)?;
    }
    let per_second = images.len() as f64 / seconds.max(f64::MIN_POSITIVE);
    if c.json {
        return output::json(&serde_json::json!({
            "images": images.len(), "seconds": seconds, "images_per_second": per_second,
            "labelled": right.map(|_| images.len()), "right": right, "right_exact": right, "security_bits": 128,
        }));
    }
    say!("{} images, {per_second:.0} per second: the integers of an encrypted run", images.len());
    if let Some(right) = right {
        say!("right: {right} of {}", images.len());
    }
    Ok(())
}

/// `fhec export-client`.
pub fn export_client(c: &ExportClient) -> Result<(), Error> {
    let mut files = Files::new(c.overwrite, c.json).reads("the plan", [&c.plan])?;
    let to = files.writes("--output", &c.output)?;
    load(&c.plan, c.max_size.bytes())?.client()?.save(&to)?;
    let bytes = output::written_bytes(&to);
    if c.json {
        return output::json(&serde_json::json!({
            "client_plan": c.output, "client_plan_bytes": bytes, "security_bits": 128,
        }));
    }
    say!("{}: what a client needs of {}, {}", c.output.display(), c.plan.display(), output::size_of(bytes));
    Ok(())
}
