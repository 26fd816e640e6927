//! `fhec calibrate` measures what the engine's work costs on this machine.
//!
//! Operations of the engine are timed at a range of limbs, digits and special primes, below the level of their keys as at
//! it; what a unit of each kind of work costs is fitted to those times ([`fit`]). An operation whose decrypted result is
//! wrong ends the calibration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fhec_ckks::{
    Ciphertext, Context, Diagonal, EngineStep, Evaluator, KeyName, KeyRequest, KeyShape, LinearTransform, ParamSpec,
    Params, Role,
};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use fhec_ir::cost::Timed;
use fhec_runtime::{HostProfile, Measurement, engine_steps, fit};
use serde::Serialize;

use crate::Error;
use crate::bench::{in_pool, precision_bits};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrateOptions {
    /// log2 of the ring degree, 11..=16.
    pub log_n: u32,
    /// Threads.
    pub threads: usize,
}

/// How far a calibration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrateProgress {
    /// Groups of measurements done.
    pub done: usize,
    /// Groups in all.
    pub total: usize,
    /// Limbs of the group that comes next.
    pub limbs: usize,
}

/// A profile, and how well it gives the times it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// The profile.
    pub profile: HostProfile,
    /// What was measured.
    pub operations: Vec<Operation>,
    /// Root mean square of the relative errors of the profile's times.
    pub rms_error: f64,
}

/// One measured operation.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// What it is.
    pub name: String,
    /// Limbs of its operand.
    pub limbs: usize,
    /// Special primes of its key.
    pub special: usize,
    /// Fastest of the repetitions, in seconds.
    pub seconds: f64,
    /// By the profile.
    pub profile_seconds: f64,
}

impl Operation {
    /// The relative error of the profile's time.
    pub fn error(&self) -> f64 {
        self.profile_seconds / self.seconds - 1.0
    }
}

impl Calibration {
    /// The operation whose time the profile misses most.
    pub fn worst(&self) -> Option<&Operation> {
        self.operations.iter().max_by(|a, b| a.error().abs().total_cmp(&b.error().abs()))
    }
}

/// Levels of keys, each with the levels the keys are used at.
type KeyUses = &'static [(usize, &'static [usize])];

/// Chains whose levels have one to seven digits: limbs, special primes, uses of keys.
const CHAINS: [(u32, u32, KeyUses); 2] = [
    (26, 9, &[(25, &[25, 16, 7]), (13, &[13, 5]), (4, &[4, 2])]),
    (32, 5, &[(31, &[31, 20, 11]), (17, &[17, 9]), (8, &[8]), (3, &[3, 1])]),
];
/// Rotations with keys: baby and giant steps.
const ROTATIONS: [u32; 5] = [1, 2, 3, 4, 8];
/// Linear transforms: baby steps, giant steps, log2 of how often the diagonals repeat.
const TRANSFORMS: [(&[i64], &[i64], u32); 5] = [
    (&[0, 1, 2, 3], &[0], 0),
    (&[0, 1, 2, 3], &[0, 4, 8], 0),
    (&[0], &[4, 8], 0),
    (&[1, 2], &[0, 4], 5),
    (&[0, 1, 2, 3], &[0, 4, 8], 3),
];
/// Everything is measured so often, far apart in time, so that a noisy neighbour does not hit all of it; the fastest counts.
const ROUNDS: usize = 2;
/// In one round an operation is repeated at least so often and, up to a limit, for so long.
const REPETITIONS: usize = 2;
const MAX_REPETITIONS: usize = 40;
const PATIENCE: Duration = Duration::from_millis(120);
/// The least bits of precision that an operation must keep; the time of one that keeps fewer is not used.
const MIN_PRECISION_BITS: f64 = 15.0;

/// Measures the costs of this machine in a ring of degree `2^log_n`: a minute or two and 3 GB at `N = 2^16`, less below.
///
/// # Errors
/// A ring degree without parameters, or an operation whose result is wrong.
pub fn calibrate(
    options: CalibrateOptions,
    mut progress: impl FnMut(CalibrateProgress) + Send,
) -> Result<Calibration, Error> {
    if !(11..=16).contains(&options.log_n) {
        return Err(Error::Usage {
            reason: format!("N = 2^{} cannot be calibrated", options.log_n),
            repair: "ask for --log-n 11 to 16; other degrees take the costs of the nearest".into(),
        });
    }
    let threads = options.threads.max(1);
    let (times, isa) = in_pool(threads, || measure(options.log_n, &mut progress))?;
    let measurements: Vec<Measurement> = times.iter().map(|t| t.measurement.clone()).collect();
    let machine = machine();
    let profile = HostProfile {
        name: format!("{machine}, {threads} thread(s)"),
        machine,
        threads,
        isa: isa.into(),
        costs: BTreeMap::from([(options.log_n, fit(options.log_n, &measurements))]),
    };
    let operation = |t: Time| {
        let Measurement { steps, micros } = t.measurement;
        let (seconds, profile_seconds) = (micros / 1e6, profile.micros(options.log_n, steps) / 1e6);
        Operation { name: t.name, limbs: t.shape.limbs, special: t.shape.alpha, seconds, profile_seconds }
    };
    let operations: Vec<Operation> = times.into_iter().map(operation).collect();
    let square = operations.iter().map(|o| o.error() * o.error()).sum::<f64>() / operations.len() as f64;
    Ok(Calibration { profile, operations, rms_error: square.sqrt() })
}

/// Seconds between the system's updates of [`thread_seconds`].
const TICK: f64 = 4e-3;
/// So many of them make a time.
const TICKS: f64 = 20.0;

/// Seconds this thread has run, where the system tells.
pub(crate) fn thread_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// Processor time of each of `repetitions` calls since [`thread_seconds`] gave `before`: where other processes take the
/// processor away, it says more than the time that passed. `None` where more than one thread works, or for too short a time:
/// the system counts it in ticks.
pub(crate) fn processor_seconds(before: Option<f64>, repetitions: usize) -> Option<f64> {
    let seconds = thread_seconds()? - before?;
    (rayon::current_num_threads() == 1 && seconds >= TICKS * TICK).then(|| seconds / repetitions as f64)
}

/// The processor's name.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// How long an operation took at one shape.
struct Time {
    name: String,
    shape: KeyShape,
    measurement: Measurement,
}

/// The times, and the instruction set of the kernels.
fn measure(
    log_n: u32,
    progress: &mut (impl FnMut(CalibrateProgress) + Send),
) -> Result<(Vec<Time>, &'static str), Error> {
    let uses: usize = CHAINS.iter().flat_map(|(_, _, keys)| *keys).map(|(_, levels)| levels.len()).sum();
    let (mut times, mut done, mut isa) = (Vec::new(), 0, "");
    for round in 0..ROUNDS {
        let mut known = (round > 0).then_some(0);
        for (limbs, alpha, keys) in CHAINS {
            let ctx = Context::new(chain(log_n, limbs, alpha)?)?;
            isa = ctx.ring().isa().name();
            let mut random = Randomness::system()?;
            let secret = SecretKey::generate(&ctx, &mut random)?;
            for &(key_level, levels) in keys {
                let names = ROTATIONS.map(KeyName::Rotation).into_iter().chain([KeyName::Relin]);
                let requests: Vec<KeyRequest> = names.map(|name| KeyRequest { name, level: key_level }).collect();
                let keys = KeyGenerator::new(&ctx, &secret, &mut random)?.generate(&requests, |_| ())?;
                let eval = Evaluator::new(ctx.clone(), Arc::new(keys))?;
                for &level in levels {
                    progress(CalibrateProgress { done, total: ROUNDS * uses, limbs: level + 1 });
                    let shape = KeyShape::new(ctx.params(), level, key_level);
                    let mut bench = Bench { ctx: &ctx, secret: &secret, eval: &eval, shape, times: &mut times, known };
                    bench.run(&mut random)?;
                    known = bench.known;
                    done += 1;
                }
            }
        }
    }
    Ok((times, isa))
}

/// Parameters of `limbs` limbs of about 50 bits.
fn chain(log_n: u32, limbs: u32, alpha: u32) -> Result<Params, Error> {
    Ok(Params::new(ParamSpec {
        log_n,
        first_bits: 50,
        scale_bits: 49,
        levels: limbs - 1,
        special: alpha,
        special_bits: 50,
        bootstrap: None,
        // Nothing is kept secret: the same chains serve at every ring degree.
        insecure: true,
    })?)
}

/// The measurements at one level with the keys of one level.
struct Bench<'a> {
    ctx: &'a Arc<Context>,
    secret: &'a SecretKey,
    eval: &'a Evaluator,
    shape: KeyShape,
    times: &'a mut Vec<Time>,
    /// In later rounds, where the next operation's time of earlier rounds is.
    known: Option<usize>,
}

impl Bench<'_> {
    fn run(&mut self, random: &mut Randomness) -> Result<(), Error> {
        let (ctx, eval, shape) = (self.ctx.clone(), self.eval, self.shape);
        let (level, limbs, n) = (shape.limbs - 1, shape.limbs, ctx.params().max_slots());
        let slots: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
        let mapped = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..n).map(f).collect() };
        let squares = mapped(&|i| slots[i] * slots[i]);
        let x = self.secret.encrypt(&ctx, &slots, level, random)?;
        let of = |op| engine_steps(op, shape, n);
        let factor = Role::Factor { operand: level, at: level };

        for slots in [&slots[..], &slots[..n / 16]] {
            let steps = vec![(EngineStep::Encode { slots: slots.len() }, 1)];
            self.time("encode", steps, None, || Ok(ctx.encode(slots, factor).map(|_| None)?))?;
        }
        let limb = ctx.ring().limb(0);
        let mut a: Vec<u64> = (0..ctx.params().n() as u64).collect();
        self.time("transform", vec![(EngineStep::Transform { limbs: 2 * limbs }, 1)], None, || {
            (0..limbs).for_each(|_| {
                limb.forward(&mut a);
                limb.inverse(&mut a);
            });
            Ok(None)
        })?;
        self.time("copy", vec![(EngineStep::Copy { limbs: 2 * limbs }, 1)], Some(&slots), || Ok(Some(x.clone())))?;
        self.time("add", of(Timed::Add), Some(&mapped(&|i| 2.0 * slots[i])), || Ok(Some(eval.add(&x, &x)?)))?;
        let steps = vec![(EngineStep::Copy { limbs: 4 * limbs }, 1), (EngineStep::Multiple { limbs: 2 * limbs }, 1)];
        self.time("mul_scalar", steps, Some(&mapped(&|i| 0.5 * slots[i])), || {
            Ok(Some(eval.mul_scalar(&x, 0.5, level)?))
        })?;
        let steps = vec![(EngineStep::Copy { limbs: 2 * limbs }, 1), (EngineStep::Multiple { limbs: 2 * limbs }, 1)];
        self.time("mul_int", steps, Some(&mapped(&|i| -slots[i])), || Ok(Some(eval.mul_int(&x, -1)?)))?;
        for few in [n, n / 16] {
            let plain = ctx.encode(&slots[..few], factor)?;
            let steps = vec![
                (EngineStep::Evaluate { limbs, coefficients: 2 * few }, 1),
                (EngineStep::Pointwise { limbs: 2 * limbs }, 1),
            ];
            let expected = mapped(&|i| slots[i] * slots[i % few]);
            self.time("mul_plain", steps, Some(&expected), || Ok(Some(eval.mul_plain(&x, &plain)?)))?;
        }
        let product = eval.mul(&x, &x)?;
        self.time("mul", of(Timed::Mul), Some(&squares), || Ok(Some(eval.mul(&x, &x)?)))?;
        self.time("relinearize", of(Timed::Relinearize), Some(&squares), || Ok(Some(eval.relinearize(&product)?)))?;
        let product = eval.relinearize(&product)?;
        self.time("rescale", of(Timed::Rescale), Some(&squares), || Ok(Some(eval.rescale(&product)?)))?;
        for by in [1usize, 8] {
            let expected = mapped(&|i| slots[(i + by) % n]);
            self.time("rotate", of(Timed::Rotate), Some(&expected), || Ok(Some(eval.rotate(&x, by as i64)?)))?;
        }
        let steps = vec![
            (EngineStep::Decompose(shape), 1),
            (EngineStep::InnerProduct(shape), 3),
            (EngineStep::ModDown(shape), 6),
            (EngineStep::Permute { limbs }, 3),
        ];
        let expected = mapped(&|i| slots[(i + 3) % n]);
        self.time("rotate_many", steps, Some(&expected), || Ok(eval.rotate_many(&x, &[1, 2, 3])?.pop()))?;
        for (babies, giants, repeats) in TRANSFORMS {
            self.transform(&x, &slots, babies, giants, n >> repeats)?;
        }
        Ok(())
    }

    /// A linear transform with every pair of steps, its diagonals of `period` slots repeated.
    fn transform(
        &mut self,
        x: &Ciphertext,
        slots: &[f64],
        babies: &[i64],
        giants: &[i64],
        period: usize,
    ) -> Result<(), Error> {
        let (n, level) = (slots.len(), self.shape.limbs - 1);
        let steps: Vec<(i64, i64)> = giants.iter().flat_map(|&g| babies.iter().map(move |&b| (b + g, g))).collect();
        let diagonal = |r: i64| -> Vec<f64> {
            (0..n).map(|i| ((i % period) as f64 + r as f64).cos() / steps.len() as f64).collect()
        };
        let diagonals: Vec<Vec<f64>> = steps.iter().map(|&(r, _)| diagonal(r)).collect();
        let terms: Vec<Diagonal<'_>> = steps
            .iter()
            .zip(&diagonals)
            .map(|(&(rotation, giant), re)| Diagonal { rotation, giant, re, im: &[] })
            .collect();
        let transform = LinearTransform::new(self.ctx, n, level, level, &terms)?;
        let mut expected = vec![0.0; n];
        for (&(r, _), d) in steps.iter().zip(&diagonals) {
            for (i, out) in expected.iter_mut().enumerate() {
                *out += d[i] * slots[(i + r as usize) % n];
            }
        }
        let moving = |steps: &[i64]| steps.iter().filter(|&&by| by != 0).count() as u64;
        let of = |op: Timed, times: u64| engine_steps(op, self.shape, n).into_iter().map(move |(s, k)| (s, k * times));
        let mut work: Vec<(EngineStep, u64)> =
            of(Timed::BabyStep, moving(babies)).chain(of(Timed::GiantStep, moving(giants))).collect();
        if moving(babies) > 0 {
            work.extend(of(Timed::Hoist, 1));
        } else {
            work.push((EngineStep::ModDown(self.shape), 2));
        }
        let limbs = self.shape.qp_limbs();
        work.push((EngineStep::Diagonal { limbs, coefficients: 2 * period, real: true }, terms.len() as u64));
        let name = format!("linear {}x{} of {period}", babies.len(), giants.len());
        let eval = self.eval;
        self.time(&name, work, Some(&expected), || Ok(Some(eval.linear(x, &transform)?)))
    }

    /// Times `f`, which makes `steps`, once its result is seen to be `expected`.
    fn time(
        &mut self,
        name: &str,
        steps: Vec<(EngineStep, u64)>,
        expected: Option<&[f64]>,
        mut f: impl FnMut() -> Result<Option<Ciphertext>, Error>,
    ) -> Result<(), Error> {
        let result = f()?;
        if let (Some(expected), Some(ct)) = (expected, &result) {
            let bits = precision_bits(self.ctx, self.secret, ct, expected)?;
            if bits < MIN_PRECISION_BITS {
                return Err(Error::Usage {
                    reason: format!("`{name}` at level {} keeps {bits:.1} bits", self.shape.limbs - 1),
                    repair: "report this with the output of `fhec bench --json`".into(),
                });
            }
        }
        drop(result);
        let started = Instant::now();
        let (cpu, mut repetitions) = (thread_seconds(), 0);
        let mut micros = f64::INFINITY;
        let ran = |since: Option<f64>| since.zip(thread_seconds()).map(|(before, after)| after - before);
        let alone = rayon::current_num_threads() == 1;
        // Long enough for the system's count, where that is used.
        let enough = |repetitions: usize| match ran(cpu).filter(|_| alone) {
            Some(seconds) => seconds >= TICKS * TICK || repetitions >= MAX_REPETITIONS,
            None => started.elapsed() >= PATIENCE || repetitions >= MAX_REPETITIONS,
        };
        while repetitions < REPETITIONS || !enough(repetitions) {
            let start = Instant::now();
            let result = std::hint::black_box(f()?);
            micros = micros.min(start.elapsed().as_secs_f64() * 1e6);
            repetitions += 1;
            drop(result);
        }
        if let Some(seconds) = processor_seconds(cpu, repetitions) {
            micros = micros.min(seconds * 1e6);
        }
        match self.known {
            Some(at) => {
                let known = &mut self.times[at].measurement.micros;
                *known = known.min(micros);
                self.known = Some(at + 1);
            }
            None => {
                let measurement = Measurement { steps, micros };
                self.times.push(Time { name: name.into(), shape: self.shape, measurement });
            }
        }
        Ok(())
    }
}
