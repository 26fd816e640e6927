//! `fhec bench` times the engine's operations, each next to a lower bound.
//!
//! The lower bound (`floor_seconds`) is the number of one-limb transforms that the operation makes times the measured time of
//! one, for no key switch can be faster than its transforms. An operation whose decrypted result is wrong gets no time but an
//! error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fhec_ckks::{
    Bootstrapper, Ciphertext, Circuit, Context, EngineCounts, Evaluator, KeyName, KeyRequest, ParamSpec, Params, Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use serde::Serialize;

use crate::Error;
use crate::calibrate::{processor_seconds, thread_seconds};

/// What to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BenchOptions {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Limbs of the ciphertexts, of about 50 bits.
    pub limbs: u32,
    /// Digits of a key switch.
    pub digits: u32,
    /// Threads.
    pub threads: usize,
    /// Timed repetitions of each operation; the fastest counts.
    pub repetitions: usize,
    /// Whether to time bootstraps, which have parameters of their own.
    pub bootstrap: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { log_n: 16, limbs: 26, digits: 4, threads: 1, repetitions: 7, bootstrap: true }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OpTime {
    /// Fastest of the repetitions, or their processor time on one thread where that is less.
    pub seconds: f64,
    /// Median of the repetitions.
    pub median_seconds: f64,
    /// Transforms of one limb it makes.
    pub transforms: u64,
    /// Those transforms alone (on one thread, divided by the threads used).
    pub floor_seconds: f64,
    /// `seconds / floor_seconds`; absent when it makes no transforms.
    pub ratio: Option<f64>,
    /// -log2 of the largest slot error against the clear result.
    pub precision_bits: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// What was timed.
    pub options: BenchOptions,
    /// log2(Q·P).
    pub log_qp: f64,
    /// Bits of security of the parameters.
    pub security_bits: u32,
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// Seconds of one transform of one limb.
    pub transform_seconds: f64,
    /// Bytes of one switching key in memory.
    pub key_bytes: u64,
    /// By name of the operation.
    pub ops: BTreeMap<&'static str, OpTime>,
    /// The parameters of the bootstraps among them, by name.
    pub bootstraps: BTreeMap<&'static str, BootstrapPreset>,
}

/// Under which parameters a bootstrap was timed.
#[derive(Clone, Debug, Serialize)]
pub struct BootstrapPreset {
    /// What the primes were chosen from.
    pub spec: ParamSpec,
    /// log2(Q·P).
    pub log_qp: f64,
    /// Slots of the vector.
    pub slots: usize,
    /// The level it brings the ciphertext to.
    pub target: usize,
    /// Number of keys.
    pub keys: usize,
    /// Bytes of the keys in memory.
    pub key_bytes: u64,
}

/// Levels and bits of their scale that the bootstraps leave.
const BOOTSTRAP: (u32, u32) = (10, 42);
/// Bootstraps take seconds.
const BOOTSTRAP_REPETITIONS: usize = 2;
/// The least bits of precision that an operation must keep; the time of one that keeps fewer is not reported.
const MIN_PRECISION_BITS: f64 = 20.0;
/// What the compact circuit of bootstrapping is made to keep.
const MIN_COMPACT_BITS: f64 = 13.0;

struct Bench {
    options: BenchOptions,
    ctx: Arc<Context>,
    secret: SecretKey,
    eval: Evaluator,
    transform_seconds: f64,
    least_bits: f64,
    ops: BTreeMap<&'static str, OpTime>,
}

/// Times every operation under parameters that pass the security gate.
///
/// # Errors
/// Parameters below 128-bit security, or an operation whose result is wrong.
pub fn bench(options: BenchOptions) -> Result<BenchReport, Error> {
    in_pool(options.threads, || run(options))
}

/// Runs `f` on a pool of `threads` threads, at least one.
pub(crate) fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map_err(|e| Error::Usage {
        reason: format!("no pool of {threads} threads: {e}"),
        repair: "ask for fewer threads".into(),
    })?;
    pool.install(f)
}

/// -log2 of the largest error of the real parts of a ciphertext's slots.
pub(crate) fn precision_bits(
    ctx: &Context,
    secret: &SecretKey,
    ct: &Ciphertext,
    expected: &[f64],
) -> Result<f64, Error> {
    let got = secret.decrypt(ctx, ct)?;
    let worst = fhec_ir::largest_magnitude(expected.iter().zip(got.re.iter()).map(|(a, b)| a - b));
    Ok(-(worst + f64::MIN_POSITIVE).log2())
}

fn run(options: BenchOptions) -> Result<BenchReport, Error> {
    if options.limbs < 2 || options.digits == 0 || options.digits > options.limbs || options.repetitions == 0 {
        return Err(Error::Usage {
            reason: format!("{} limbs in {} digits", options.limbs, options.digits),
            repair: "ask for at least 2 limbs, 1 to that many digits and 1 repetition".into(),
        });
    }
    let ctx = Context::new(Params::new(ParamSpec {
        log_n: options.log_n,
        first_bits: 50,
        scale_bits: 49,
        levels: options.limbs - 1,
        special: options.limbs.div_ceil(options.digits),
        special_bits: 50,
        bootstrap: None,
        insecure: false,
    })?)?;
    let level = options.limbs as usize - 1;
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let requests: Vec<KeyRequest> = std::iter::once(KeyName::Relin)
        .chain((1..=8).map(KeyName::Rotation))
        .map(|name| KeyRequest { name, level })
        .collect();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let transform_seconds = time_transform(&ctx, options.repetitions);
    let (least_bits, ops) = (MIN_PRECISION_BITS, BTreeMap::new());
    let mut bench = Bench { options, ctx: ctx.clone(), secret, eval, transform_seconds, least_bits, ops };
    bench.time_all(level, &mut random)?;
    let mut ops = bench.ops;
    let mut bootstraps = BTreeMap::new();
    if options.bootstrap {
        let (levels, scale_bits) = BOOTSTRAP;
        let compact = Params::with_bootstrap(levels, scale_bits, Circuit::compact(scale_bits))?;
        for (params, least_bits, names) in [
            (Params::bootstrapping(levels, scale_bits)?, MIN_PRECISION_BITS, ["bootstrap", "bootstrap_sparse"]),
            (compact, MIN_COMPACT_BITS, ["bootstrap_compact", "bootstrap_compact_sparse"]),
        ] {
            for (name, log_fraction) in names.into_iter().zip([1, 2]) {
                let (preset, time) = time_bootstrap(name, params.clone(), log_fraction, least_bits, options)?;
                bootstraps.insert(name, preset);
                ops.insert(name, time);
            }
        }
    }
    let p = ctx.params();
    // Two polynomials of Q·P per digit.
    let key_limbs = u64::from(options.limbs + options.limbs.div_ceil(options.digits));
    Ok(BenchReport {
        options,
        log_qp: p.log_qp(),
        security_bits: if p.is_insecure() { 0 } else { 128 },
        isa: ctx.ring().isa().name(),
        transform_seconds,
        key_bytes: 2 * u64::from(options.digits) * key_limbs * p.n() as u64 * 8,
        ops,
        bootstraps,
    })
}

/// A bootstrap of `N >> log_fraction` slots to the highest level of its preset.
fn time_bootstrap(
    name: &'static str,
    params: Params,
    log_fraction: u32,
    least_bits: f64,
    options: BenchOptions,
) -> Result<(BootstrapPreset, OpTime), Error> {
    let spec = params.spec().clone();
    let ctx = Context::new(params)?;
    let (slots, target) = (ctx.params().n() >> log_fraction, ctx.params().max_level());
    let mut random = Randomness::system()?;
    let secret = SecretKey::generate(&ctx, &mut random)?;
    let requests = Bootstrapper::keys(ctx.params(), slots, target)?;
    let key_bytes = requests.iter().map(|r| ctx.params().key_bytes(r.level) as u64).sum();
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
    let transform_seconds = time_transform(&ctx, options.repetitions);
    let options = BenchOptions { repetitions: BOOTSTRAP_REPETITIONS.min(options.repetitions), ..options };
    let values: Vec<f64> = (0..slots).map(|i| (i as f64 * 0.37).sin()).collect();
    let x = secret.encrypt(&ctx, &values, 0, &mut random)?;
    let log_qp = ctx.params().log_qp();
    let mut bench = Bench { options, ctx, secret, eval, transform_seconds, least_bits, ops: BTreeMap::new() };
    bench.time(name, Some(&values), |e| Ok(Some(e.bootstrap(&x, target)?)))?;
    Ok((BootstrapPreset { spec, log_qp, slots, target, keys: requests.len(), key_bytes }, bench.ops[name]))
}

/// Seconds of one transform of one limb, by the clock that the operations are timed with.
fn time_transform(ctx: &Context, repetitions: usize) -> f64 {
    let limb = ctx.ring().limb(0);
    let mut a: Vec<u64> = (0..ctx.params().n() as u64).collect();
    const BATCH: usize = 512;
    let cpu = thread_seconds();
    let fastest = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..BATCH {
                limb.forward(&mut a);
                limb.inverse(&mut a);
            }
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    let least = processor_seconds(cpu, repetitions).map_or(fastest, |seconds| seconds.min(fastest));
    least / (2 * BATCH) as f64
}

impl Bench {
    fn time_all(&mut self, level: usize, random: &mut Randomness) -> Result<(), Error> {
        let ctx = self.ctx.clone();
        let n = ctx.params().max_slots();
        let slots: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
        let rotated = |by: usize| -> Vec<f64> { (0..n).map(|i| slots[(i + by) % n]).collect() };
        let squares: Vec<f64> = slots.iter().map(|x| x * x).collect();
        let doubles: Vec<f64> = slots.iter().map(|x| 2.0 * x).collect();
        let x = self.secret.encrypt(&ctx, &slots, level, random)?;
        let factor = Role::Factor { operand: level, at: level };
        let plain = ctx.encode(&slots, factor)?.evaluate(&ctx);
        let product = self.eval.mul_plain(&x, &plain)?;
        self.time("encode", None, |_| Ok(ctx.encode(&slots, factor).map(|_| None)?))?;
        self.time("add", Some(&doubles), |e| Ok(Some(e.add(&x, &x)?)))?;
        self.time("rescale", Some(&squares), |e| Ok(Some(e.rescale(&product)?)))?;
        self.time("mul_plain_rescale", Some(&squares), |e| Ok(Some(e.rescale(&e.mul_plain(&x, &plain)?)?)))?;
        self.time("mul_relin_rescale", Some(&squares), |e| Ok(Some(e.mul_rescale(&x, &x)?)))?;
        self.time("rotate", Some(&rotated(1)), |e| Ok(Some(e.rotate(&x, 1)?)))?;
        // One more rotation of a ciphertext that is cut into digits already: the difference of eight and one, in seven.
        let steps: Vec<i64> = (1..=8).collect();
        self.time("rotate_8_hoisted", Some(&rotated(8)), |e| Ok(e.rotate_many(&x, &steps)?.pop()))?;
        let (eight, one) = (self.ops["rotate_8_hoisted"], self.ops["rotate"]);
        let share = |a: f64, b: f64| (a - b) / 7.0;
        let (seconds, floor_seconds) =
            (share(eight.seconds, one.seconds), share(eight.floor_seconds, one.floor_seconds));
        let extra = OpTime {
            seconds,
            median_seconds: share(eight.median_seconds, one.median_seconds),
            transforms: (eight.transforms - one.transforms) / 7,
            floor_seconds,
            ratio: Some(seconds / floor_seconds),
            precision_bits: eight.precision_bits,
        };
        self.ops.insert("hoisted_rotate", extra);
        Ok(())
    }

    /// Times `f` and compares what it returns with `expected`.
    fn time(
        &mut self,
        name: &'static str,
        expected: Option<&[f64]>,
        f: impl Fn(&Evaluator) -> Result<Option<Ciphertext>, Error>,
    ) -> Result<(), Error> {
        let before: EngineCounts = self.eval.counts();
        let result = f(&self.eval)?;
        let transforms = (self.eval.counts() - before).transforms;
        let precision_bits = match (expected, &result) {
            (Some(expected), Some(ct)) => precision_bits(&self.ctx, &self.secret, ct, expected)?,
            _ => f64::INFINITY,
        };
        if precision_bits < self.least_bits {
            return Err(Error::Usage {
                reason: format!("`{name}` keeps {precision_bits:.1} bits: a time of a wrong result is not a time"),
                repair: "report this with the output of `fhec bench --json`".into(),
            });
        }
        let mut times = Vec::with_capacity(self.options.repetitions);
        let cpu = thread_seconds();
        for _ in 0..self.options.repetitions {
            let start = Instant::now();
            std::hint::black_box(f(&self.eval)?);
            times.push(start.elapsed().as_secs_f64());
        }
        let least = processor_seconds(cpu, times.len()).unwrap_or(f64::INFINITY);
        times.sort_by(f64::total_cmp);
        let floor_seconds = transforms as f64 * self.transform_seconds / self.options.threads.max(1) as f64;
        let seconds = times[0].min(least);
        let time = OpTime {
            seconds,
            median_seconds: times[times.len() / 2],
            transforms,
            floor_seconds,
            ratio: (transforms > 0).then(|| seconds / floor_seconds),
            precision_bits,
        };
        self.ops.insert(name, time);
        Ok(())
    }
}
