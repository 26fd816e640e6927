//! The commands on plans for TFHE. The options are those of CKKS; one that has no meaning here is refused.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "compiler")]
pub mod compile;
mod server;

use std::path::Path;

use fhec::Error;
use fhec::ir::text::to_hex;
use fhec::tfhe::{ParameterSet, Plan};
use serde::Serialize;

use super::inspect::Inspect;
use super::output;

#[cfg(feature = "client")]
pub use client::{decrypt, encrypt, keygen, run};
pub use server::{eval, export_client, simulate};

/// Refuses the first of `options` that is given: its name, and whether it is.
fn refuse(options: &[(&str, bool)]) -> Result<(), Error> {
    let given = options.iter().find(|(_, given)| *given);
    given.map_or(Ok(()), |(option, _)| {
        Err(Error::Usage {
            reason: format!("{option} has no meaning for a plan under TFHE"),
            repair: format!(
                "leave {option} out, or compile the model with `--scheme ckks`; docs/tfhe.md lists what applies"
            ),
        })
    })
}

/// A pool of so many threads, one per core by default.
fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    pool.map_err(|e| Error::Usage {
        reason: format!("no threads can be started: {e}"),
        repair: "give fewer `--threads`".into(),
    })
}

/// What a plan is.
#[derive(Serialize)]
struct Summary {
    scheme: &'static str,
    model: String,
    message_bits: u32,
    lookups: usize,
    weights: usize,
    parameters: Parameters,
    evaluation_key_bytes: u64,
    predicted_key_memory_bytes: u64,
    plan_digest: String,
}

#[derive(Serialize)]
struct Parameters {
    lwe_dimension: usize,
    glwe_dimension: usize,
    polynomial_size: usize,
}

impl Summary {
    fn of(plan: &Plan) -> Result<Self, Error> {
        let &ParameterSet { bits, lwe_dimension, glwe_dimension, polynomial_size, .. } = plan.parameters();
        Ok(Self {
            scheme: "tfhe",
            model: plan.model().into(),
            message_bits: bits,
            lookups: plan.program().lookups(),
            weights: plan.program().all_sums().map(|(_, sums)| sums.weights.len()).sum(),
            parameters: Parameters { lwe_dimension, glwe_dimension, polynomial_size },
            evaluation_key_bytes: plan.parameters().key_bytes(),
            predicted_key_memory_bytes: plan.parameters().key_memory(),
            plan_digest: to_hex(&plan.digest()?),
        })
    }
    fn print(&self) {
        say!("model       {}", self.model);
        say!("scheme      TFHE, message space of {} bits, 128 bits of security", self.message_bits);
        let Parameters { lwe_dimension, glwe_dimension, polynomial_size } = self.parameters;
        say!("parameters  n = {lwe_dimension}, k = {glwe_dimension}, N = {polynomial_size}");
        say!("program     {} look-ups, {} products with weights", self.lookups, self.weights);
        let [file, memory] = [self.evaluation_key_bytes, self.predicted_key_memory_bytes].map(output::bytes);
        say!("keys        {file} in the file, {memory} in memory");
    }
}

/// `fhec inspect`.
pub fn inspect(c: &Inspect) -> Result<(), Error> {
    refuse(&[("--latency", c.latency.is_some()), ("--program", c.program)])?;
    let plan = load(&c.plan, c.max_size.bytes())?;
    let summary = Summary::of(&plan)?;
    if c.json {
        return output::json(&serde_json::json!({
            "summary": summary, "provenance": plan.provenance(), "security_bits": 128,
        }));
    }
    summary.print();
    say!();
    let extents = plan.program().extents();
    let tops =
        extents.iter().skip(plan.program().inputs.len()).map(|(_, top)| Some(top + 1)).chain(std::iter::repeat(None));
    let rows: Vec<Vec<String>> = plan
        .program()
        .all_sums()
        .zip(tops)
        .map(|((node, sums), values)| {
            let largest = sums.weights.iter().map(|w| w.unsigned_abs()).max().unwrap_or(0);
            let values = values.map_or("-".into(), |values| values.to_string());
            vec![node.into(), sums.rows().to_string(), sums.weights.len().to_string(), largest.to_string(), values]
        })
        .collect();
    output::table(&["layer", "sums", "products", "largest weight", "values"], &rows);
    Ok(())
}

/// Reads a plan within a bound.
fn load(path: &Path, limit: Option<u64>) -> Result<Plan, Error> {
    Ok(Plan::load(path, limit)?)
}
