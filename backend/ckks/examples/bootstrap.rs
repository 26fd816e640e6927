//! Precision and time of a bootstrap:
//! `cargo run --release -p fhec-ckks --example bootstrap -- LOG_N LOG_SLOTS TARGET [field=value ...]`
//! with fields of the spec (`levels scale_bits alpha mod_scale_bits k degree double_angle arcsine_degree ratio_bits cts_levels
//! stc_levels stc_bits mod_bits`), `seeds`, `threads`, `key_mb` (bound on expanded key halves).

use fhec_ckks::{BootstrapSpec, Bootstrapper, CkksError, Context, Evaluator, ParamSpec, Params};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut numbers, mut fields) = (Vec::new(), BTreeMap::new());
    for arg in std::env::args().skip(1) {
        match arg.split_once('=') {
            Some((name, value)) => {
                fields.insert(name.to_string(), value.parse::<u32>()?);
            }
            None => numbers.push(arg.parse::<u32>()?),
        }
    }
    let [log_n, log_slots, target] = numbers[..] else { return Err("LOG_N LOG_SLOTS TARGET".into()) };
    let field = |name: &str, default: u32| fields.get(name).copied().unwrap_or(default);
    let bootstrap = BootstrapSpec {
        cts_levels: field("cts_levels", 3),
        stc_levels: field("stc_levels", 3),
        stc_bits: field("stc_bits", 42),
        mod_bits: field("mod_bits", 50),
        mod_scale_bits: field("mod_scale_bits", 55),
        sum_scale_bits: field("sum_scale_bits", 55),
        k: field("k", 14),
        degree: field("degree", 30),
        double_angle: field("double_angle", 3),
        arcsine_degree: field("arcsine_degree", 7),
        ratio_bits: field("ratio_bits", 5),
        sparse_weight: field("sparse_weight", 32),
    };
    let spec = ParamSpec {
        log_n,
        first_bits: 50,
        scale_bits: field("scale_bits", 42),
        levels: field("levels", 10),
        alpha: field("alpha", 7),
        special_bits: 50,
        bootstrap: Some(bootstrap),
        insecure: log_n < 16,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(field("threads", 1) as usize).build()?;
    Ok(pool.install(|| run(spec, 1 << log_slots, target as usize, field("seeds", 3), field("key_mb", 1 << 20)))?)
}

fn run(spec: ParamSpec, slots: usize, target: usize, seeds: u32, key_mb: u32) -> Result<(), CkksError> {
    let params = Params::new(spec)?;
    println!("log QP {:.0}, {} + {} primes", params.log_qp(), params.q().len(), params.p().len());
    let ctx = Context::new(params)?;
    let start = Instant::now();
    let boot = Bootstrapper::new(&ctx, slots, target)?;
    println!("setup {:.2} s, matrices {} MB, {boot}", start.elapsed().as_secs_f64(), boot.bytes() >> 20);
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let start = Instant::now();
    let wanted = Bootstrapper::keys(ctx.params(), slots, target)?;
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&wanted, |_| ())?;
    let bytes: usize = keys.infos().iter().map(|k| k.stored_bytes).sum();
    println!("{} keys, {} MB stored, {:.1} s", keys.infos().len(), bytes >> 20, start.elapsed().as_secs_f64());
    keys.set_memory_bound((key_mb as usize) << 20);
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let (mut worst, mut square) = (0f64, 0f64);
    for seed in 0..seeds {
        let mut state = u64::from(seed) + 1;
        let values: Vec<f64> = (0..slots)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect();
        let x = secret.encrypt(&ctx, &values, 0, &mut random)?;
        let before = eval.counts();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let y = boot.apply(&eval, &x)?;
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let out = secret.decrypt(&ctx, &y)?.re;
        let errors: Vec<f64> = out.iter().zip(&values).map(|(a, b)| (a - b).abs()).collect();
        let largest = errors.iter().copied().fold(0.0, f64::max);
        worst = worst.max(largest);
        square += errors.iter().map(|e| e * e).sum::<f64>() / (slots as f64 * f64::from(seeds));
        println!(
            "{elapsed:.3} s (this thread {cpu:.3} s), worst {:.2} bits, {:?}",
            -largest.log2(),
            eval.counts() - before
        );
    }
    println!("worst {:.2} bits, rms {:.2} bits", -worst.log2(), -square.sqrt().log2());
    Ok(())
}

/// Seconds this thread has run, where the system tells.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}
