//! This is our side of `benches/crosscheck.py`: `crosscheck < JOB.json > RESULTS.json` compiles programs of the `slot`
//! level, runs them on ciphertexts, bootstraps, and prints the decrypted slots by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhec::ir::text::{Blobs, parse_module};
use fhec::ir::{Module, Slot, Tensor};
use fhec::passes::Lower;
use fhec::passes::lower::LowerToCkks;
use fhec::passes::parameters::{self, ParamOptions, Precision};
use fhec::runtime::Provenance;
use fhec::{Client, Error, ExecutorOptions, Plan, Server};
use fhec_ckks::{Bootstrapper, Context, Evaluator, ParamSpec, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    /// The results' error must stay below 2^-this: parameters are chosen for it.
    precision_bits: u32,
    programs: Vec<Program>,
    bootstraps: Vec<Bootstrap>,
}

/// A program with tensors for its inputs, each `[slots]` in [-1, 1].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    text: String,
    inputs: Vec<Vec<f32>>,
}

/// A bootstrap, and the square of its result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bootstrap {
    name: String,
    /// log2 of the ring degree; below 16 the parameters are insecure.
    log_n: u32,
    /// Program levels, and bits of each.
    levels: u32,
    scale_bits: u32,
    /// `[slots]` in [-1, 1].
    input: Vec<f64>,
}

/// Decrypted slots, and the parameters they were had under.
#[derive(Debug, Serialize)]
struct Results {
    log_n: u32,
    log_qp: f64,
    insecure: bool,
    outputs: Vec<Vec<f64>>,
}

impl Results {
    fn new(params: &Params, outputs: Vec<Vec<f64>>) -> Self {
        Self { log_n: params.log_n(), log_qp: params.log_qp(), insecure: params.is_insecure(), outputs }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job: Job = serde_json::from_reader(std::io::stdin().lock())?;
    let mut results = BTreeMap::new();
    for program in job.programs {
        results.insert(program.name.clone(), run(program, job.precision_bits)?);
    }
    for bootstrap in job.bootstraps {
        results.insert(bootstrap.name.clone(), refresh(&bootstrap)?);
    }
    serde_json::to_writer(std::io::stdout().lock(), &results)?;
    Ok(())
}

/// From text to decrypted results, through everything a compiled model passes after packing.
fn run(program: Program, precision_bits: u32) -> Result<Results, Error> {
    let plan = plan(&program, precision_bits)?;
    let tensor = |data: Vec<f32>| Tensor::new([data.len()], data);
    let inputs = vec![program.inputs.into_iter().map(tensor).collect()];
    let mut client = Client::generate(&plan.client()?)?;
    let keys = client.evaluation_keys(|_| ())?;
    let encrypted = client.encrypt(&inputs)?;
    let server = Server::new(plan.clone(), client.context().clone(), keys, ExecutorOptions::default())?;
    let (outputs, _) = server.eval(&encrypted, &mut |_| ())?;
    let slots = |tensor: &Tensor| tensor.data().iter().map(|&x| f64::from(x)).collect();
    let outputs = client.decrypt(&outputs)?.iter().flatten().map(slots).collect();
    Ok(Results::new(&fhec_runtime::params(&plan), outputs))
}

fn plan(program: &Program, precision_bits: u32) -> Result<Plan, Error> {
    let module: Module<Slot> = parse_module(&program.name, &program.text, &Blobs::default())?;
    let slots = program.inputs.first().map_or(1, Vec::len);
    let options = ParamOptions { precision: Precision::Scaled(precision_bits), ..ParamOptions::default() };
    let estimate = parameters::estimate(&module, options.input_bound, &options.samples);
    let mut lowered = LowerToCkks::default().run(&module)?;
    lowered.params = Some(parameters::choose(&lowered, slots, &estimate, &options)?);
    let provenance = Provenance { model: program.name.clone(), ..Provenance::default() };
    Ok(Plan::new(lowered, provenance)?)
}

fn refresh(job: &Bootstrap) -> Result<Results, Error> {
    let preset = Params::bootstrapping(job.levels, job.scale_bits)?.spec().clone();
    let ctx = Context::new(Params::new(ParamSpec { log_n: job.log_n, insecure: job.log_n < 16, ..preset })?)?;
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let target = job.levels as usize;
    let bootstrapper = Bootstrapper::new(&ctx, job.input.len(), target)?;
    let requests = Bootstrapper::keys(ctx.params(), job.input.len(), target)?;
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let x = secret.encrypt(&ctx, &job.input, 0, &mut random)?;
    let fresh = bootstrapper.apply(&eval, &x)?;
    let square = eval.mul_rescale(&fresh, &fresh)?;
    let outputs = [&fresh, &square].map(|ct| Ok(secret.decrypt(&ctx, ct)?.re.to_vec()));
    Ok(Results::new(ctx.params(), outputs.into_iter().collect::<Result<_, Error>>()?))
}
