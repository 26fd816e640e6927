//! Precision, time and memory of bootstraps at N = 2^16, one line per target, as in `docs/bootstrapping.md`:
//! `cargo run --release -p fhec-ckks --example bootstrap -- PRESET LEVELS SCALE_BITS LOG_SLOTS TARGETS [field=value ...]`
//! with `standard` or `compact`, targets `5,8,10`, and any of the fields `cts_levels stc_levels mod_bits mod_scale_bits
//! sum_scale_bits arcsine_degree ratio_bits` of the circuit to search, `alpha`, `log_n` (below 16 insecure), `seeds`, `threads`,
//! `key_mb` (bound on expanded key halves).

use fhec_ckks::{Bootstrapper, Circuit, CkksError, Context, Evaluator, ParamSpec, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut places, mut fields) = (Vec::new(), BTreeMap::new());
    for arg in std::env::args().skip(1) {
        match arg.split_once('=') {
            Some((name, value)) => {
                fields.insert(name.to_string(), value.parse::<u32>()?);
            }
            None => places.push(arg),
        }
    }
    let [preset, levels, scale_bits, log_slots, targets] = &places[..] else {
        return Err("PRESET LEVELS SCALE_BITS LOG_SLOTS TARGETS".into());
    };
    let (levels, scale_bits, log_slots) = (levels.parse()?, scale_bits.parse()?, log_slots.parse::<u32>()?);
    let targets: Vec<usize> = targets.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let preset = match &preset[..] {
        "standard" => Circuit::standard(scale_bits),
        "compact" => Circuit::compact(scale_bits),
        _ => return Err("PRESET is standard or compact".into()),
    };
    let field = |name: &str, default: u32| fields.get(name).copied().unwrap_or(default);
    let circuit = Circuit {
        cts_levels: field("cts_levels", preset.cts_levels),
        stc_levels: field("stc_levels", preset.stc_levels),
        mod_bits: field("mod_bits", preset.mod_bits),
        mod_scale_bits: field("mod_scale_bits", preset.mod_scale_bits),
        sum_scale_bits: field("sum_scale_bits", preset.sum_scale_bits),
        arcsine_degree: field("arcsine_degree", preset.arcsine_degree),
        ratio_bits: field("ratio_bits", preset.ratio_bits),
        ..preset
    };
    let mut spec = Params::with_bootstrap(levels, scale_bits, circuit)?.spec().clone();
    spec.special = field("special", spec.special);
    spec.log_n = field("log_n", spec.log_n);
    spec.insecure = spec.log_n < 16;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(field("threads", 1) as usize).build()?;
    Ok(pool.install(|| run(spec, 1 << log_slots, &targets, field("seeds", 3), field("key_mb", 1 << 20)))?)
}

fn run(spec: ParamSpec, slots: usize, targets: &[usize], seeds: u32, key_mb: u32) -> Result<(), CkksError> {
    let params = Params::new(spec)?;
    let (q, p) = (params.q().len(), params.p().len());
    println!("N = 2^{}, log QP {:.0}, {q} + {p} primes, {slots} slots", params.log_n(), params.log_qp());
    println!("target  start  least s  of this thread  worst bits  rms bits  keys  MB stored  peak MB");
    let ctx = Context::new(params)?;
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    for &target in targets {
        let boot = Bootstrapper::new(&ctx, slots, target)?;
        let wanted = Bootstrapper::keys(ctx.params(), slots, target)?;
        let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&wanted, |_| ())?;
        let bytes: usize = keys.infos().iter().map(|k| k.stored_bytes).sum();
        keys.set_memory_bound((key_mb as usize) << 20);
        let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
        let (mut worst, mut square, mut wall, mut cpu) = (0f64, 0f64, f64::INFINITY, f64::INFINITY);
        for seed in 0..seeds {
            let mut state = u64::from(seed) + 1;
            let values: Vec<f64> = (0..slots)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
                })
                .collect();
            let x = secret.encrypt(&ctx, &values, 0, &mut random)?;
            let (start, before) = (Instant::now(), cpu_seconds());
            let y = boot.apply(&eval, &x)?;
            (wall, cpu) = (wall.min(start.elapsed().as_secs_f64()), cpu.min(cpu_seconds() - before));
            let out = secret.decrypt(&ctx, &y)?.re;
            let errors = out.iter().zip(&values).map(|(a, b)| (a - b).abs());
            worst = errors.clone().fold(worst, f64::max);
            square += errors.map(|e| e * e).sum::<f64>() / (slots as f64 * f64::from(seeds));
        }
        let (start, keys, peak) = (boot.start(), wanted.len(), peak_bytes() >> 20);
        let (worst, rms, stored) = (-worst.log2(), -square.sqrt().log2(), bytes >> 20);
        println!("{target:6} {start:6} {wall:8.2} {cpu:15.2} {worst:11.1} {rms:9.1} {keys:5} {stored:10} {peak:8}");
    }
    Ok(())
}

/// The most memory this process had resident so far, where the system tells.
fn peak_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) << 10
}

/// Seconds this thread has run, where the system tells.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}
