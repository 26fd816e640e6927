//! Times the operations on one thread:
//! `cargo run --release -p fhec-ckks --example ops -- LOG_N LIMBS DNUM [THREADS [BABIES GIANTS]]`.
//!
//! With the last two only a linear transform of half the slots with so many steps, as deep networks have them.
//! Parameters are marked insecure, so that any combination runs.

use fhec_ckks::{
    CkksError, Context, Diagonal, Evaluator, KeyName, KeyRequest, LinearTransform, ParamSpec, Params, Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use std::sync::Arc;
use std::time::Instant;

/// Runs `f` a few times and prints the fastest in milliseconds: of this thread's processor time, on one thread.
fn time<T>(name: &str, mut f: impl FnMut() -> T) {
    f();
    // The thread's clock ticks in milliseconds: every reading is taken over a run of calls.
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let (start, mut calls) = (clock(), 0);
            while calls < 3 || clock() - start < 0.05 {
                std::hint::black_box(f());
                calls += 1;
            }
            (clock() - start) * 1e3 / f64::from(calls)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<36}{:9.2} ms (median {:9.2})", times[0], times[2]);
}

/// Seconds this thread has run, if the pool has one thread and the system tells; else seconds.
fn clock() -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()) {
        Some(ns) if rayon::current_num_threads() == 1 => ns * 1e-9,
        _ => START.elapsed().as_secs_f64(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<u32> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let (log_n, limbs, dnum) = match args[..] {
        [n, l, d, ..] => (n, l, d),
        _ => (15, 12, 3),
    };
    let threads = args.get(3).copied().unwrap_or(1) as usize;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let steps = args.get(4..6).map(|steps| (i64::from(steps[0]), i64::from(steps[1])));
    Ok(pool.install(|| run(log_n, limbs, dnum, steps))?)
}

/// Times a transform of half the slots with so many baby and giant steps.
fn time_linear(
    ctx: &Arc<Context>,
    secret: &SecretKey,
    random: &mut Randomness,
    level: usize,
    (babies, giants): (i64, i64),
) -> Result<(), CkksError> {
    let slots = ctx.params().max_slots() / 2;
    let rotations = (1..babies).chain((1..giants).map(|g| g * babies));
    let requests: Vec<KeyRequest> =
        rotations.map(|r| KeyRequest { name: KeyName::Rotation(r as u32), level }).collect();
    let keys = KeyGenerator::new(ctx, secret, random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let values: Vec<f64> = (0..slots).map(|i| (i as f64 * 0.37).sin()).collect();
    let x = secret.encrypt(ctx, &values, level, random)?;
    let diagonals: Vec<Diagonal<'_>> = (0..babies * giants)
        .map(|r| Diagonal { rotation: r, giant: r / babies * babies, re: &values, im: &[] })
        .collect();
    let transform = LinearTransform::new(ctx, slots, level, level, &diagonals)?;
    time(&format!("linear transform, {babies} x {giants}"), || eval.linear(&x, &transform));
    Ok(())
}

fn run(log_n: u32, limbs: u32, dnum: u32, steps: Option<(i64, i64)>) -> Result<(), CkksError> {
    let alpha = limbs.div_ceil(dnum);
    let level = limbs as usize - 1;
    let params = Params::new(ParamSpec {
        log_n,
        first_bits: 50,
        scale_bits: 49,
        levels: limbs - 1,
        special: alpha,
        special_bits: 50,
        bootstrap: None,
        insecure: true,
    })?;
    let ctx = Context::new(params)?;
    println!("N = 2^{log_n}, {limbs} limbs, {alpha} special primes, {dnum} digits, {}", ctx.ring().isa().name());
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    if let Some(steps) = steps {
        return time_linear(&ctx, &secret, &mut random, level, steps);
    }
    let rotations: Vec<i64> = (1..8).chain([8, 16, 24]).collect();
    let mut requests = vec![KeyRequest { name: KeyName::Relin, level }];
    requests.extend(rotations.iter().map(|&r| KeyRequest { name: KeyName::Rotation(r as u32), level }));
    let start = Instant::now();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    println!("{:<36}{:9.2} ms each", "key generation", start.elapsed().as_secs_f64() * 1e3 / requests.len() as f64);
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let slots: Vec<f64> = (0..ctx.params().max_slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    time("encode", || ctx.encode(&slots, Role::Factor { operand: level, at: level }));
    time("encrypt (secret key)", || secret.encrypt(&ctx, &slots, level, &mut random));
    let x = secret.encrypt(&ctx, &slots, level, &mut random)?;
    time("decrypt", || secret.decrypt(&ctx, &x));
    time("add", || eval.add(&x, &x));
    let plain = ctx.encode(&slots, Role::Factor { operand: level, at: level })?;
    let kept = plain.clone().evaluate(&ctx);
    time("ct*pt + rescale (compact plaintext)", || eval.rescale(&eval.mul_plain(&x, &plain)?));
    time("ct*pt + rescale (evaluated plaintext)", || eval.rescale(&eval.mul_plain(&x, &kept)?));
    let product = eval.mul_plain(&x, &kept)?;
    time("rescale", || eval.rescale(&product));
    time("ct*ct", || eval.mul(&x, &x));
    time("ct*ct + relinearise + rescale", || eval.mul_rescale(&x, &x));
    time("rotate", || eval.rotate(&x, 1));
    time("7 hoisted rotations", || eval.rotate_many(&x, &[1, 2, 3, 4, 5, 6, 7]));
    let diagonals: Vec<Diagonal<'_>> =
        (0..32).map(|r| Diagonal { rotation: r, giant: r / 8 * 8, re: &slots, im: &[] }).collect();
    let transform = LinearTransform::new(&ctx, slots.len(), level, level, &diagonals)?;
    time("linear transform, 32 diagonals, 8 x 4", || eval.linear(&x, &transform));
    Ok(())
}
