//! Predicted against measured time of a random program of 200 operations, by kind:
//! `cargo run --release --example predicted -- [PROFILE.json] [threads=1] [seed=1] [bootstraps=1]`
//!
//! PROFILE is what `fhec calibrate -o PROFILE.json` wrote; without it the built-in profile predicts. The program runs under
//! the bootstrapping preset at N = 2^16 on vectors of 2^14 slots, at all its levels, with keys made for the highest level of
//! use. Its results are compared with the same program on clear slots. It runs four times, of which the
//! first builds tables; times are means of the others, on one thread of the time the thread ran.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use fhec::ir::cost::{LatencyTable, LinearSteps, Timed};
use fhec::runtime::HostProfile;
use fhec_ckks::{
    Bootstrapper, Ciphertext, Context, Diagonal, Evaluator, KeyName, KeyRequest, LinearTransform, Params, Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};

const SLOTS: usize = 1 << 14;
const OPERATIONS: usize = 200;
const LEVELS: u32 = 10;
const VALUES: usize = 5;
const RUNS: usize = 4;
/// Steps of the linear transforms.
const BABIES: [i64; 4] = [0, 1, 2, 3];
const GIANTS: [i64; 3] = [0, 4, 8];
/// Values stay below this, well within what level 0 holds.
const BOUND: f64 = 8.0;

/// One operation on the values; an operand at a higher level is dropped first.
#[derive(Clone, Copy, Debug)]
enum Op {
    Drop {
        x: usize,
        to: usize,
    },
    Add {
        x: usize,
        y: usize,
    },
    AddPlain {
        x: usize,
    },
    AddScalar {
        x: usize,
    },
    MulPlain {
        x: usize,
    },
    MulScalar {
        x: usize,
    },
    Mul {
        x: usize,
        y: usize,
    },
    Relinearize {
        x: usize,
    },
    Rescale {
        x: usize,
    },
    Rotate {
        x: usize,
        by: u32,
    },
    Linear {
        x: usize,
    },
    Bootstrap {
        x: usize,
    },
    /// A fresh encryption, which is not counted.
    Encrypt {
        x: usize,
    },
}

/// A linear congruential generator: programs depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Operations with the level of their operand.
fn program(seed: u64, bootstraps: usize) -> Vec<(Op, usize)> {
    let (mut dice, top) = (Dice(seed), LEVELS as usize);
    let (mut levels, mut bounds) = ([top; VALUES], [1.0f64; VALUES]);
    let (mut out, mut count, mut refreshed) = (Vec::new(), 0, 0);
    while count < OPERATIONS {
        let (x, y) = (dice.below(VALUES), dice.below(VALUES));
        let before = out.len();
        if levels[x] == 0 {
            // A bootstrap takes values in [-1, 1].
            if refreshed < bootstraps && bounds[x] <= 1.0 {
                out.push((Op::Bootstrap { x }, 0));
                (levels[x], refreshed) = (top, refreshed + 1);
                count += 1;
            } else {
                out.push((Op::Encrypt { x }, 0));
                (levels[x], bounds[x]) = (top, 1.0);
            }
            continue;
        }
        let kind = dice.below(8);
        if matches!(kind, 0 | 5) {
            let to = levels[x].min(levels[y]);
            let fits = if kind == 0 { bounds[x] + bounds[y] <= BOUND } else { bounds[x] * bounds[y] <= BOUND };
            if x == y || to == 0 || !fits {
                continue;
            }
            for v in [x, y] {
                if levels[v] > to {
                    out.push((Op::Drop { x: v, to }, levels[v]));
                    levels[v] = to;
                }
            }
        }
        let level = levels[x];
        match kind {
            0 => {
                out.push((Op::Add { x, y }, level));
                bounds[x] += bounds[y];
            }
            1 | 2 if bounds[x] + 1.0 > BOUND => continue,
            1 | 2 => {
                out.push((if kind == 1 { Op::AddPlain { x } } else { Op::AddScalar { x } }, level));
                bounds[x] += 1.0;
            }
            6 => out.push((Op::Rotate { x, by: 1 << dice.below(4) }, level)),
            _ => {
                out.push((
                    match kind {
                        3 => Op::MulPlain { x },
                        4 => Op::MulScalar { x },
                        5 => Op::Mul { x, y },
                        _ => Op::Linear { x },
                    },
                    level,
                ));
                if kind == 5 {
                    out.push((Op::Relinearize { x }, level));
                    bounds[x] *= bounds[y];
                } else {
                    bounds[x] /= 2.0;
                }
                out.push((Op::Rescale { x }, level));
                levels[x] -= 1;
            }
        }
        count += out.len() - before;
    }
    out
}

/// The keys of a program, each for the highest level of use.
fn keys(params: &Params, program: &[(Op, usize)]) -> Result<BTreeMap<KeyName, usize>, Box<dyn Error>> {
    let mut keys = BTreeMap::new();
    let mut need = |name: KeyName, level: usize| {
        let known = keys.entry(name).or_insert(level);
        *known = level.max(*known);
    };
    for &(op, level) in program {
        match op {
            Op::Relinearize { .. } => need(KeyName::Relin, level),
            Op::Rotate { by, .. } => need(KeyName::Rotation(by), level),
            Op::Linear { .. } => BABIES
                .iter()
                .chain(&GIANTS)
                .filter(|&&by| by != 0)
                .for_each(|&by| need(KeyName::Rotation(by as u32), level)),
            Op::Bootstrap { .. } => {
                Bootstrapper::keys(params, SLOTS, LEVELS as usize)?.iter().for_each(|key| need(key.name, key.level))
            }
            _ => {}
        }
    }
    Ok(keys)
}

fn steps() -> Vec<(i64, i64)> {
    GIANTS.iter().flat_map(|&g| BABIES.iter().map(move |&b| (b + g, g))).collect()
}

/// Constant vectors: they halve what they multiply.
fn vector(seed: usize) -> Vec<f64> {
    (0..SLOTS).map(|i| 0.5 * ((i * (2 * seed + 1)) as f64 * 0.37).cos()).collect()
}

/// Microseconds that the table gives for an operation.
fn predict(
    table: &LatencyTable,
    keys: &BTreeMap<KeyName, usize>,
    (op, level): (Op, usize),
) -> Result<f64, Box<dyn Error>> {
    let at = level as u32;
    let keyed = |op: Timed, name: KeyName| table.time_with_key(op, at, keys.get(&name).map_or(at, |&l| l as u32));
    Ok(match op {
        Op::Encrypt { .. } => 0.0,
        Op::Drop { to, .. } => table.time(Timed::LevelDrop, to as u32)?,
        Op::Add { .. } => table.time(Timed::Add, at)?,
        Op::AddPlain { .. } => table.time(Timed::AddPlain, at)?,
        Op::AddScalar { .. } => table.time(Timed::AddScalar, at)?,
        Op::MulPlain { .. } => table.time(Timed::MulPlain, at)?,
        Op::MulScalar { .. } => table.time(Timed::MulScalar, at)?,
        Op::Mul { .. } => table.time(Timed::Mul, at)?,
        Op::Relinearize { .. } => keyed(Timed::Relinearize, KeyName::Relin)?,
        Op::Rescale { .. } => table.time(Timed::Rescale, at)?,
        Op::Rotate { by, .. } => keyed(Timed::Rotate, KeyName::Rotation(by))?,
        Op::Linear { .. } => {
            let steps = LinearSteps::of_pairs(steps(), SLOTS);
            // All keys of the transform have the level of the widest.
            let level = |by: &&i64| keys.get(&KeyName::Rotation(**by as u32)).copied().unwrap_or(0) as u32;
            let widest = BABIES.iter().chain(&GIANTS).filter(|&&by| by != 0).map(|by| level(&by)).max().unwrap_or(at);
            let time = |op| table.time_with_key(op, at, widest);
            time(Timed::Hoist)?
                + steps.babies.len() as f64 * time(Timed::BabyStep)?
                + steps.giants.len() as f64 * time(Timed::GiantStep)?
                + steps.products as f64 * time(Timed::Diagonal)?
        }
        Op::Bootstrap { .. } => table.bootstrap_time(SLOTS, LEVELS)?,
    })
}

/// One value: encrypted and clear.
struct Value {
    ct: Ciphertext,
    clear: Vec<f64>,
}

/// Seconds this thread has run, so that other processes do not count; with several threads, where the work is on others too,
/// or where the system does not tell, seconds passed. The system counts in ticks of a few milliseconds, so sums count.
fn seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let passed = START.elapsed().as_secs_f64();
    if rayon::current_num_threads() > 1 {
        return passed;
    }
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    nanos.map_or(passed, |ns| ns * 1e-9)
}

/// Runs one operation on ciphertexts; the time is its own alone.
fn run(eval: &Evaluator, op: Op, values: &mut [Value]) -> Result<f64, Box<dyn Error>> {
    let ctx = eval.context().clone();
    let start = seconds();
    let (x, ct) = match op {
        Op::Encrypt { .. } => return Ok(0.0),
        Op::Drop { x, to } => (x, eval.level_drop(&values[x].ct, to)?),
        Op::Add { x, y } => (x, eval.add(&values[x].ct, &values[y].ct)?),
        Op::AddPlain { x } => {
            // A program's constants are encoded once, before it runs.
            let ct = &values[x].ct;
            let plain = ctx.encode(&vector(x), Role::Term { level: ct.level(), sd: ct.scale_degree() })?;
            let start = seconds();
            let out = eval.add_plain(ct, &plain)?;
            let spent = seconds() - start;
            values[x].ct = out;
            return Ok(spent);
        }
        Op::AddScalar { x } => (x, eval.add_scalar(&values[x].ct, 0.5)?),
        Op::MulPlain { x } => {
            let ct = &values[x].ct;
            let plain = ctx.encode(&vector(x), Role::Factor { operand: ct.level(), at: ct.level() })?;
            let start = seconds();
            let out = eval.mul_plain(ct, &plain)?;
            let spent = seconds() - start;
            values[x].ct = out;
            return Ok(spent);
        }
        Op::MulScalar { x } => (x, eval.mul_scalar(&values[x].ct, 0.5, values[x].ct.level())?),
        Op::Mul { x, y } => (x, eval.mul(&values[x].ct, &values[y].ct)?),
        Op::Relinearize { x } => (x, eval.relinearize(&values[x].ct)?),
        Op::Rescale { x } => (x, eval.rescale(&values[x].ct)?),
        Op::Rotate { x, by } => (x, eval.rotate(&values[x].ct, i64::from(by))?),
        Op::Linear { x } => {
            let (level, steps) = (values[x].ct.level(), steps());
            let vectors: Vec<Vec<f64>> = (0..steps.len()).map(diagonal).collect();
            let terms: Vec<Diagonal<'_>> = steps
                .iter()
                .zip(&vectors)
                .map(|(&(rotation, giant), re)| Diagonal { rotation, giant, re, im: &[] })
                .collect();
            let transform = LinearTransform::new(&ctx, SLOTS, level, level, &terms)?;
            let start = seconds();
            let out = eval.linear(&values[x].ct, &transform)?;
            let spent = seconds() - start;
            values[x].ct = out;
            return Ok(spent);
        }
        Op::Bootstrap { x } => (x, eval.bootstrap(&values[x].ct, LEVELS as usize)?),
    };
    let spent = seconds() - start;
    values[x].ct = ct;
    Ok(spent)
}

fn diagonal(k: usize) -> Vec<f64> {
    let count = (BABIES.len() * GIANTS.len()) as f64;
    vector(k).into_iter().map(|v| v / count).collect()
}

/// The same on clear slots.
fn run_clear(op: Op, values: &mut [Value]) {
    let (x, clear): (usize, Vec<f64>) = match op {
        Op::Add { x, y } => (x, values[x].clear.iter().zip(&values[y].clear).map(|(a, b)| a + b).collect()),
        Op::AddPlain { x } => (x, values[x].clear.iter().zip(vector(x)).map(|(a, b)| a + b).collect()),
        Op::AddScalar { x } => (x, values[x].clear.iter().map(|a| a + 0.5).collect()),
        Op::MulPlain { x } => (x, values[x].clear.iter().zip(vector(x)).map(|(a, b)| a * b).collect()),
        Op::MulScalar { x } => (x, values[x].clear.iter().map(|a| 0.5 * a).collect()),
        Op::Mul { x, y } => (x, values[x].clear.iter().zip(&values[y].clear).map(|(a, b)| a * b).collect()),
        Op::Rotate { x, by } => (x, (0..SLOTS).map(|i| values[x].clear[(i + by as usize) % SLOTS]).collect()),
        Op::Linear { x } => {
            let mut out = vec![0.0; SLOTS];
            for (k, (rotation, _)) in steps().into_iter().enumerate() {
                let d = diagonal(k);
                for (i, out) in out.iter_mut().enumerate() {
                    *out += d[i] * values[x].clear[(i + rotation as usize) % SLOTS];
                }
            }
            (x, out)
        }
        Op::Drop { .. } | Op::Relinearize { .. } | Op::Rescale { .. } | Op::Bootstrap { .. } | Op::Encrypt { .. } => {
            return;
        }
    };
    values[x].clear = clear;
}

/// The name of an operation's kind.
fn kind(op: Op) -> String {
    let text = format!("{op:?}");
    text.split(' ').next().unwrap_or_default().to_string()
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut file, mut fields) = (None, BTreeMap::from([("threads", 1), ("seed", 1), ("bootstraps", 1)]));
    let args: Vec<String> = std::env::args().skip(1).collect();
    for arg in &args {
        match arg.split_once('=') {
            Some((name, value)) => {
                fields.insert(name, value.parse::<usize>()?);
            }
            None => file = Some(arg),
        }
    }
    let profile = match file {
        Some(path) => HostProfile::from_json(&std::fs::read_to_string(path)?)?,
        None => HostProfile::builtin(fields["threads"]),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(fields["threads"]).build()?;
    let program = program(fields["seed"] as u64, fields["bootstraps"]);
    pool.install(|| compare(&profile, &program).map_err(|e| e.to_string()))?;
    Ok(())
}

fn compare(profile: &HostProfile, program: &[(Op, usize)]) -> Result<(), Box<dyn Error>> {
    let ctx = Context::new(Params::bootstrapping(LEVELS, 42)?)?;
    let table = profile.table(ctx.params(), SLOTS);
    let keys = keys(ctx.params(), program)?;
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let requests: Vec<KeyRequest> = keys.iter().map(|(&name, &level)| KeyRequest { name, level }).collect();
    let set = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(set))?;
    let mut measured = vec![0.0; program.len()];
    for run_index in 0..RUNS {
        let mut values = Vec::new();
        let clear = |x: usize| -> Vec<f64> { (0..SLOTS).map(|i| ((i * (x + 2)) as f64 * 0.21).sin()).collect() };
        for x in 0..VALUES {
            values.push(Value { ct: secret.encrypt(&ctx, &clear(x), LEVELS as usize, &mut random)?, clear: clear(x) });
        }
        for (&(op, _), mean) in program.iter().zip(&mut measured) {
            if let Op::Encrypt { x } = op {
                values[x] =
                    Value { ct: secret.encrypt(&ctx, &clear(x), LEVELS as usize, &mut random)?, clear: clear(x) };
            }
            let micros = run(&eval, op, &mut values)? * 1e6;
            if run_index == 0 {
                run_clear(op, &mut values);
            } else {
                *mean += micros / (RUNS - 1) as f64;
            }
        }
        if run_index == 0 {
            for value in &values {
                let got = secret.decrypt(&ctx, &value.ct)?.re;
                let worst = got.iter().zip(&value.clear).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if worst > 2f64.powi(-12) {
                    return Err(format!("the program's result is off by {worst:e}").into());
                }
            }
        }
    }
    let mut by_kind: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
    for (&(op, level), micros) in program.iter().zip(&measured) {
        if matches!(op, Op::Encrypt { .. }) {
            continue;
        }
        let sum = by_kind.entry(kind(op)).or_default();
        *sum = (sum.0 + 1, sum.1 + predict(&table, &keys, (op, level))?, sum.2 + micros);
    }
    println!("{}; {} keys", table.name, keys.len());
    println!("{:<14}{:>6}{:>14}{:>14}{:>9}", "operation", "count", "predicted ms", "measured ms", "error");
    let line = |name: &str, (count, predicted, measured): (usize, f64, f64)| {
        let error = 100.0 * (predicted / measured - 1.0);
        println!("{name:<14}{count:>6}{:>14.2}{:>14.2}{error:>+8.1}%", predicted / 1e3, measured / 1e3);
    };
    by_kind.iter().for_each(|(name, &sum)| line(name, sum));
    let total = |all: &mut dyn Iterator<Item = &(usize, f64, f64)>| {
        all.fold((0, 0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    };
    line("no bootstraps", total(&mut by_kind.iter().filter(|(name, _)| *name != "Bootstrap").map(|(_, sum)| sum)));
    line("total", total(&mut by_kind.values()));
    Ok(())
}
