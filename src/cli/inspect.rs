//! `fhec inspect`

use std::path::{Path, PathBuf};

use clap::Args;
use fhec::report::keys;
use fhec::runtime::{HostProfile, OpCounts, Plan, Provenance, Security, predict_time};
use fhec::{Error, MemoryPrediction, ir};
use serde::Serialize;

use super::limits::MaxSize;
use super::{files, output};

/// Show parameters, security, levels, operations, keys, predicted time and memory of a plan
#[derive(Args)]
pub struct Inspect {
    /// The plan
    #[arg(value_parser = files::input())]
    plan: PathBuf,
    /// Costs of this machine, as `fhec calibrate` writes them, or a table of measured times; instead of the built-in profile
    #[arg(long, value_name = "FILE", value_parser = files::input())]
    latency: Option<PathBuf>,
    /// Print the program in text form
    #[arg(long)]
    program: bool,
    #[command(flatten)]
    max_size: MaxSize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// An input or output.
#[derive(Serialize)]
struct PortSummary {
    name: String,
    shape: Vec<usize>,
    ciphertexts: usize,
}

/// What a plan is, without its program.
#[derive(Serialize)]
pub struct Summary {
    model: String,
    fhec: String,
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

/// The predicted time. A measured table that does not fit the plan is an error, an op the built-in profile does not know
/// is not.
fn seconds(plan: &Plan, latency: Option<&Times>, threads: usize) -> Result<Option<f64>, Error> {
    match (predict_time(plan, latency.map(|t| &t.table), threads), latency) {
        (Ok(prediction), _) => Ok(Some(prediction.micros / 1e6)),
        (Err(_), None) => Ok(None),
        (Err(e), Some(_)) => {
            Err(Error::Usage { reason: e.to_string(), repair: "measure the table with this plan's ring degree".into() })
        }
    }
}

impl Summary {
    /// The summary of a plan.
    #[cfg(any(feature = "client", feature = "compiler"))]
    pub fn of(plan: &Plan) -> Result<Self, Error> {
        Self::with(plan, None)
    }

    fn with(plan: &Plan, latency: Option<&Times>) -> Result<Self, Error> {
        let port = |p: &ir::Port| PortSummary {
            name: p.name.clone(),
            shape: p.shape.0.clone(),
            ciphertexts: p.layout.as_ref().map_or(1, |l| l.ciphertexts),
        };
        let Provenance { model, fhec, .. } = plan.provenance().clone();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = MemoryPrediction::of(plan, threads);
        Ok(Self {
            model,
            fhec,
            inputs: plan.inputs().iter().map(port).collect(),
            outputs: plan.outputs().iter().map(port).collect(),
            n: 1 << plan.spec().log_n,
            slots: plan.slots(),
            batch: plan.batch(),
            levels: plan.spec().levels,
            scale_bits: plan.spec().scale_bits,
            primes: plan.params().q().len(),
            special_primes: plan.params().p().len(),
            security: plan.security(),
            counts: plan.counts().clone(),
            evaluation_key_bytes: keys(plan).iter().map(|k| k.bytes).sum(),
            keys: plan.keys().len(),
            predicted_seconds: seconds(plan, latency, threads)?,
            predicted_threads: latency.map_or(Some(threads), |t| t.threads),
            predicted_memory_bytes: memory.total(),
            predicted_memory: memory,
        })
    }

    /// Prints it for people.
    pub fn print(&self) {
        let ports = |ports: &[PortSummary]| {
            let shape = |p: &PortSummary| p.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let one = |p: &PortSummary| format!("{} {} in {} ciphertexts", p.name, shape(p), p.ciphertexts);
            ports.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        say!("model       {} (compiled by fhec {})", self.model, self.fhec);
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
            "operations  {} rotations, {} key switches, {} products, {} products with constants, {} bootstraps",
            c.rotations,
            c.key_switches,
            c.products,
            c.plain_products,
            c.bootstraps
        );
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

/// Times of a plan's ops by a file.
struct Times {
    table: ir::cost::LatencyTable,
    /// Absent where the file does not say.
    threads: Option<usize>,
}

/// The times of a plan's ops by a file, which holds a profile or a table.
fn times(path: &Path, plan: &Plan) -> Result<Times, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::File { file: path.display().to_string(), source })?;
    if let Ok(table) = ir::cost::LatencyTable::from_json(&text) {
        return Ok(Times { table, threads: None });
    }
    let profile = profile_in(path, &text)?;
    Ok(Times { table: profile.table(plan.params(), plan.slots()), threads: Some(profile.threads) })
}

fn profile_in(path: &Path, text: &str) -> Result<HostProfile, Error> {
    HostProfile::from_json(text).map_err(|e| Error::Usage {
        reason: format!("{}: {e}", path.display()),
        repair: "give what `fhec calibrate -o FILE` wrote, or a table of measured times".into(),
    })
}

/// The times of a host in a file.
#[cfg(feature = "compiler")]
pub fn profile(path: &Path) -> Result<HostProfile, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::File { file: path.display().to_string(), source })?;
    profile_in(path, &text)
}

pub fn run(c: &Inspect) -> Result<(), Error> {
    let plan = c.max_size.plan(&c.plan)?;
    if c.program {
        say!("{}", ir::text::print_module(plan.module()).trim_end());
        return Ok(());
    }
    let times = c.latency.as_deref().map(|path| times(path, &plan)).transpose()?;
    let summary = Summary::with(&plan, times.as_ref())?;
    let keys = keys(&plan);
    if c.json {
        return output::json(&serde_json::json!({
            "summary": summary, "key_list": keys, "provenance": plan.provenance(),
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
