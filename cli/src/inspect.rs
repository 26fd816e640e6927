//! The command `fhec inspect` shows what a plan is and what it costs.

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::ir::cost::OpCounts;
use fhec::report::{Costs, Prediction};
use fhec::runtime::{Plan, Provenance, Security};
use fhec::{Error, MemoryPrediction, ir};
use serde::Serialize;

use super::limits::MaxSize;
use super::{files, output};

/// Show parameters, security, levels, operations, keys, predicted time and memory of a plan
#[derive(Args)]
pub struct Inspect {
    /// The plan
    #[arg(value_parser = files::input())]
    pub(super) plan: PathBuf,
    /// Costs of this machine, as `fhec calibrate` writes them, or a table of measured times; instead of the built-in profile
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    pub(super) latency: Option<PathBuf>,
    /// Print the program in text form
    #[arg(long)]
    pub(super) program: bool,
    #[command(flatten)]
    pub(super) max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// An input or output.
#[derive(Serialize)]
struct PortSummary {
    name: String,
    shape: Vec<usize>,
    ciphertexts: usize,
    /// What is left to the client, in words.
    heads: Vec<String>,
}

/// What a plan is, without its program.
#[derive(Serialize)]
pub struct Summary {
    model: String,
    /// Version of fhec that compiled it.
    compiled_by: String,
    inputs: Vec<PortSummary>,
    outputs: Vec<PortSummary>,
    n: u64,
    slots: usize,
    /// Images of one run.
    batch: usize,
    levels: u32,
    scale_bits: u32,
    primes: usize,
    special_primes: usize,
    security: Security,
    counts: OpCounts,
    /// Homomorphic operations, of every kind.
    hops: u64,
    /// log2 of a bound on the probability that a bootstrap of a run fails; absent without bootstraps.
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap_failure_log2: Option<f64>,
    evaluation_key_bytes: u64,
    keys: usize,
    /// Absent where an op has no known time.
    predicted_seconds: Option<f64>,
    /// Threads that the time is predicted for: those of this machine, or of the profile that was given; absent for a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_threads: Option<usize>,
    predicted_memory: MemoryPrediction,
    predicted_memory_bytes: u64,
}

impl Summary {
    /// The summary of a plan, predicted for this machine with the built-in costs.
    #[cfg(any(feature = "client", feature = "compiler"))]
    pub fn of(plan: &Plan) -> Self {
        Self::with(plan, &Prediction::of(plan, None))
    }

    pub fn with(plan: &Plan, prediction: &Prediction) -> Self {
        let port = |p: &ir::Port| PortSummary {
            name: p.name.clone(),
            shape: p.shape.0.clone(),
            ciphertexts: p.layout.as_ref().map_or(1, |l| l.ciphertexts),
            heads: p.heads.iter().map(ir::Head::to_string).collect(),
        };
        let Provenance { model, fhec, .. } = plan.provenance().clone();
        Self {
            model,
            compiled_by: fhec,
            inputs: plan.inputs().iter().map(port).collect(),
            outputs: plan.outputs().iter().map(port).collect(),
            n: 1 << plan.spec().log_n,
            slots: plan.slots(),
            batch: plan.batch(),
            levels: plan.spec().levels,
            scale_bits: plan.spec().scale_bits,
            primes: plan.spec().primes(),
            special_primes: plan.spec().special as usize,
            security: plan.security(),
            hops: plan.counts().total(),
            counts: plan.counts().clone(),
            bootstrap_failure_log2: plan.bootstrap_failure(),
            evaluation_key_bytes: prediction.key_bytes(),
            keys: prediction.keys.len(),
            predicted_seconds: prediction.seconds,
            predicted_threads: prediction.threads,
            predicted_memory_bytes: prediction.memory.total(),
            predicted_memory: prediction.memory.clone(),
        }
    }

    /// Prints it for people.
    pub fn print(&self) {
        let ports = |ports: &[PortSummary]| {
            let shape = |p: &PortSummary| p.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let one = |p: &PortSummary| {
                let left = if p.heads.is_empty() { "" } else { ", left to the client: " };
                let heads = p.heads.join(", ");
                format!("{} {} in {} ciphertexts{left}{heads}", p.name, shape(p), p.ciphertexts)
            };
            ports.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        say!("model       {} (compiled by fhec {})", self.model, self.compiled_by);
        if self.batch > 1 {
            say!("batch       {} images", self.batch);
        }
        say!("inputs      {}", ports(&self.inputs));
        say!("outputs     {}", ports(&self.outputs));
        say!(
            "parameters  N = {}, {} slots used, {} levels of {} bits, {} + {} primes",
            self.n,
            self.slots,
            self.levels,
            self.scale_bits,
            self.primes,
            self.special_primes
        );
        let bound = self.security.max_log_qp.map_or(String::new(), |b| format!(" (at most {b} for 128 bits)"));
        let bits = match self.security.bits {
            0 => "INSECURE".to_string(),
            bits => format!("{bits}-bit"),
        };
        say!("security    {bits}, log QP = {:.1}{bound}", self.security.log_qp);
        let c = &self.counts;
        say!(
            "operations  {} HOPs: {} products with constants, {} with numbers, {} of ciphertexts, {} additions, {} key switches \
             ({} of them rotations), {} rescales, {} bootstraps",
            self.hops,
            c.plain_products,
            c.scalar_products,
            c.products,
            c.additions,
            c.key_switches,
            c.rotations,
            c.rescales,
            c.bootstraps
        );
        if let Some(log2) = self.bootstrap_failure_log2 {
            say!("failures    a bootstrap of a run fails with a probability of at most 2^{log2:.1}");
        }
        say!("keys        {} keys, {} in the file", self.keys, output::bytes(self.evaluation_key_bytes));
        if let Some(seconds) = self.predicted_seconds {
            let threads = match self.predicted_threads {
                None => String::new(),
                Some(1) => " for one thread".into(),
                Some(threads) => format!(" for {threads} threads"),
            };
            say!("time        {} predicted{threads}", output::seconds(seconds));
        }
        let m = &self.predicted_memory;
        say!(
            "memory      {} predicted: keys {}, constants {}, ciphertexts {}, temporaries {}",
            output::bytes(self.predicted_memory_bytes),
            output::bytes(m.keys),
            output::bytes(m.matrices + m.encodings + m.constants),
            output::bytes(m.ciphertexts),
            output::bytes(m.scratch + m.recycled + m.tables)
        );
    }
}

/// What a run of the plan takes with the costs of a file, or the built-in ones on the threads of this machine.
pub fn predicted(plan: &Plan, latency: Option<&Path>) -> Result<Prediction, Error> {
    match latency {
        Some(path) => Prediction::by(plan, &Costs::read(path, plan)?),
        None => Ok(Prediction::of(plan, None)),
    }
}

pub fn run(c: &Inspect) -> Result<(), Error> {
    #[cfg(feature = "tfhe")]
    if fhec::tfhe::is_plan(&c.plan) {
        return super::tfhe::inspect(c);
    }
    let plan = c.max_size.plan(&c.plan)?;
    let program = c.program.then(|| ir::text::print_module(plan.module()));
    if let Some(program) = program.as_ref().filter(|_| !c.json) {
        say!("{}", program.trim_end());
        return Ok(());
    }
    let prediction = predicted(&plan, c.latency.as_deref())?;
    let summary = Summary::with(&plan, &prediction);
    let keys = &prediction.keys;
    if c.json {
        return output::json(&serde_json::json!({
            "summary": summary, "key_list": keys, "provenance": plan.provenance(),
            "security_bits": plan.security().bits, "program": program,
        }));
    }
    summary.print();
    say!();
    let ops: Vec<Vec<String>> =
        plan.counts().ops.iter().map(|(op, count)| vec![op.clone(), count.to_string()]).collect();
    output::table(&["op", "count"], &ops);
    say!();
    let rows: Vec<Vec<String>> =
        keys.iter().map(|k| vec![k.name.clone(), k.level.to_string(), output::bytes(k.bytes)]).collect();
    output::table(&["key", "level", "bytes"], &rows);
    Ok(())
}
