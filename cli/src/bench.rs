//! The command `fhec bench` times the engine's operations.

use clap::Args;
use fhec::Error;
use fhec::bench::{BenchOptions, bench};

use super::{output, values};

/// Time the engine's operations, each next to a lower bound: its transforms alone
#[derive(Args)]
pub struct Bench {
    /// log2 of the ring degree N
    #[arg(long, default_value_t = 16, value_parser = values::log_n)]
    log_n: u32,
    /// Limbs of the ciphertexts, of about 50 bits
    #[arg(long, default_value_t = 26, value_parser = values::limbs)]
    limbs: u32,
    /// Digits of a key switch
    #[arg(long, default_value_t = 4, value_parser = values::digits)]
    digits: u32,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = values::threads)]
    threads: usize,
    /// Timed repetitions of each operation; the fastest counts
    #[arg(long, default_value_t = 7, value_parser = values::count)]
    repetitions: usize,
    /// Leave out the bootstraps, which take minutes and have parameters of their own
    #[arg(long)]
    no_bootstrap: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(c: &Bench) -> Result<(), Error> {
    let (log_n, limbs, digits) = (c.log_n, c.limbs, c.digits);
    let (threads, repetitions, bootstrap) = (c.threads, c.repetitions, !c.no_bootstrap);
    let report = bench(BenchOptions { log_n, limbs, digits, threads, repetitions, bootstrap })?;
    if c.json {
        return output::json(&report);
    }
    say!(
        "N = 2^{log_n}, {limbs} limbs, {digits} digits, log QP {:.0}, {} thread(s), {}; one transform {:.3} ms; a key {}",
        report.log_qp,
        c.threads,
        report.isa,
        1e3 * report.transform_seconds,
        output::bytes(report.key_bytes)
    );
    let milliseconds = |seconds: f64| format!("{:.3}", 1e3 * seconds);
    let rows: Vec<Vec<String>> = report
        .ops
        .iter()
        .map(|(name, op)| {
            let ratio = op.ratio.map_or("-".into(), |r| format!("{r:.2}"));
            let bits = if op.precision_bits.is_finite() { format!("{:.1}", op.precision_bits) } else { "-".into() };
            vec![
                (*name).to_string(),
                milliseconds(op.seconds),
                milliseconds(op.median_seconds),
                op.transforms.to_string(),
                milliseconds(op.floor_seconds),
                ratio,
                bits,
            ]
        })
        .collect();
    output::table(&["operation", "ms", "median", "transforms", "bound ms", "ratio", "bits"], &rows);
    for (name, p) in &report.bootstraps {
        say!(
            "{name}: N = 2^{}, {} slots to level {} of {} bits, log QP {:.0}, {} keys of {}",
            p.spec.log_n,
            p.slots,
            p.target,
            p.spec.scale_bits,
            p.log_qp,
            p.keys,
            output::bytes(p.key_bytes)
        );
    }
    Ok(())
}
