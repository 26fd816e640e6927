//! Plans on ciphertexts.

use std::ops::ControlFlow;
use std::sync::Arc;

use fhec_ckks::{Ciphertext, CkksError, Context, KeySet};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use fhec_ir::ckks::exec::{ClearBackend, ClearCt, execute};
use fhec_ir::{Tensor, largest_magnitude};
use fhec_runtime::{
    Executor, ExecutorOptions, MemoryPrediction, Plan, Range, RuntimeError, Simulator, context, pack_inputs, run_clear,
    unpack_outputs,
};

use crate::programs::{Program, bootstrapped, constant_bootstrapped, every_op, image};

struct Client {
    ctx: Arc<Context>,
    secret: SecretKey,
    random: Randomness,
}

impl Client {
    fn new(plan: &Plan) -> Self {
        let ctx = context(plan).unwrap();
        let mut random = Randomness::system().unwrap();
        Self { secret: SecretKey::generate(&ctx, &mut random).unwrap(), ctx, random }
    }
    fn keys(&mut self, plan: &Plan) -> Arc<KeySet> {
        let mut generator = KeyGenerator::new(&self.ctx, &self.secret, &mut self.random).unwrap();
        Arc::new(generator.generate(&plan.keys().requests(), |_| ()).unwrap())
    }
    fn run(&mut self, plan: &Plan, executor: &Executor, x: &Tensor) -> Result<Vec<Tensor>, RuntimeError> {
        unpack_outputs(plan.outputs(), &self.slots(plan, executor, x)?)
    }
    /// The slots of the results, in double precision: tensors are too coarse to show small errors.
    fn slots(&mut self, plan: &Plan, executor: &Executor, x: &Tensor) -> Result<Vec<Vec<f64>>, RuntimeError> {
        let level = plan.module().func.ty(plan.module().func.params()[0]).level as usize;
        let slots = pack_inputs(plan.inputs(), std::slice::from_ref(x))?.into_iter();
        let cts = slots.map(|s| self.secret.encrypt(&self.ctx, &s, level, &mut self.random).unwrap()).collect();
        let (cts, report) = executor.run(cts, &mut |_| ())?;
        assert_eq!(report.seconds_of.len(), report.ops);
        Ok(cts.iter().map(|ct| self.secret.decrypt(&self.ctx, ct).unwrap().re.to_vec()).collect())
    }
}

/// The slots of the results of the same program in the clear.
fn clear_slots(plan: &Plan, x: &Tensor) -> Vec<Vec<f64>> {
    let func = &plan.module().func;
    let levels = func.params().iter().map(|&p| *func.ty(p));
    let inputs = pack_inputs(plan.inputs(), std::slice::from_ref(x)).unwrap().into_iter().zip(levels);
    let inputs = inputs.map(|(slots, ty)| ClearCt { slots, ty }).collect();
    let results = execute(plan.module(), &mut ClearBackend, inputs, &mut ()).unwrap();
    results.into_iter().map(|ct| ct.slots).collect()
}

fn mean_square_difference(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let (a, b) = (a.concat(), b.concat());
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
}

fn largest_difference(a: &[Tensor], b: &[Tensor]) -> f64 {
    largest_magnitude(a[0].data().iter().zip(b[0].data()).map(|(a, b)| f64::from(a - b)))
}

#[test]
fn every_op_agrees_with_the_clear_run_and_the_noise_model() {
    let plan = every_op();
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    let (mut measured, mut modelled) = (0.0, 0.0);
    for i in 0..4 {
        let encrypted = client.slots(&plan, &executor, &image(i)).unwrap();
        measured += mean_square_difference(&encrypted, &clear_slots(&plan, &image(i))) / 4.0;
        let simulated = Simulator::new(&plan, 5).run(i as u64, &[image(i)]).unwrap();
        modelled += simulated.report.ops.last().unwrap().rms_error.powi(2) / 4.0;
    }
    let (measured, modelled): (f64, f64) = (measured.sqrt(), modelled.sqrt());
    assert!(measured < 1e-7, "{measured}");
    // The model must be of the right size: neither hiding errors nor inventing them.
    assert!(measured > modelled / 1.25 && measured < modelled * 1.25, "measured {measured}, modelled {modelled}");
}

#[test]
fn progress_names_every_op_in_order() {
    let plan = every_op();
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor =
        Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions { threads: 1, memory: None }).unwrap();
    assert_eq!(executor.threads(), 1);
    let slots = pack_inputs(plan.inputs(), &[image(0)]).unwrap();
    let ct = client.secret.encrypt(&client.ctx, &slots[0], 5, &mut client.random).unwrap();
    let mut seen = Vec::new();
    executor.run(vec![ct], &mut |p| seen.push((p.index, p.total, p.op))).unwrap();
    assert_eq!(seen.len(), plan.module().func.len() - 1);
    assert_eq!(seen[0], (0, seen.len(), "linear"));
    assert!(seen.iter().enumerate().all(|(i, s)| s.0 == i));
}

#[test]
fn a_run_stops_where_its_progress_says_so_and_the_executor_runs_on() {
    let plan = Arc::new(every_op());
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    let slots = pack_inputs(plan.inputs(), &[image(0)]).unwrap();
    let ct = client.secret.encrypt(&client.ctx, &slots[0], 5, &mut client.random).unwrap();
    let mut last = 0;
    let stopped = executor.run(vec![ct.clone()], &mut |p| {
        last = p.index;
        if p.index < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(stopped, Err(RuntimeError::Engine(CkksError::Cancelled))), "{stopped:?}");
    assert_eq!(last, 3);
    executor.run(vec![ct], &mut |_| ()).unwrap();

    let images: Vec<_> = (0..100).map(|i| vec![image(i)]).collect();
    let stopped = Simulator::exact(&plan).run_many(&images, 1, &|_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(RuntimeError::Engine(CkksError::Cancelled))));
}

#[test]
fn threads_may_share_an_executor() {
    let plan = Arc::new(every_op());
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    let inputs: Vec<_> = (0..2)
        .map(|i| {
            let slots = pack_inputs(plan.inputs(), &[image(i)]).unwrap();
            vec![client.secret.encrypt(&client.ctx, &slots[0], 5, &mut client.random).unwrap()]
        })
        .collect();
    let alone: Vec<_> = inputs.iter().map(|x| executor.run(x.clone(), &mut |_| ()).unwrap().0).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let run = |x: &Vec<_>| executor.run(x.clone(), &mut |_| ()).unwrap().0;
        let threads: Vec<_> = inputs.iter().map(|x| scope.spawn(move || run(x))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let parts = |runs: &[Vec<Ciphertext>]| runs.iter().flatten().map(|ct| ct.parts().to_vec()).collect::<Vec<_>>();
    assert!(parts(&alone) == parts(&together));
}

#[test]
fn a_memory_bound_changes_no_bit_of_the_work_and_a_hopeless_one_is_refused() {
    let plan = every_op();
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let prediction = MemoryPrediction::of(&plan, 1);
    let shares = prediction.within(prediction.total(), 0).unwrap();
    assert_eq!((shares.keys, shares.encodings), (usize::MAX, usize::MAX));
    let hopeless = ExecutorOptions { threads: 1, memory: Some(1 << 20) };
    let error = Executor::new(plan.clone(), client.ctx.clone(), keys.clone(), hopeless).unwrap_err();
    let RuntimeError::Memory { least, .. } = error else { panic!("{error}") };
    for bound in [least, least + 12_345, least.midpoint(prediction.total()), prediction.total() - 1] {
        let shares = prediction.within(bound, 0).unwrap();
        assert!(shares.total <= bound && shares.total > bound / 2, "{shares:?} within {bound}");
    }
    let tight = ExecutorOptions { threads: 1, memory: Some(least) };
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, tight).unwrap();
    let exact = run_clear(&plan, &[image(3)]).unwrap();
    for _ in 0..2 {
        let out = client.run(&plan, &executor, &image(3)).unwrap();
        assert!(largest_difference(&out, &exact) < 1e-6);
    }
}

#[test]
fn keys_that_do_not_cover_the_plan_are_refused_before_the_run() {
    let plan = every_op();
    let mut client = Client::new(&plan);
    let mut requests = plan.keys().requests();
    requests.retain(|r| r.name.to_string() != "rotation by 8");
    let mut generator = KeyGenerator::new(&client.ctx, &client.secret, &mut client.random).unwrap();
    let keys = Arc::new(generator.generate(&requests, |_| ()).unwrap());
    let error = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap_err();
    assert!(matches!(error, RuntimeError::Engine(CkksError::MissingKey(_))), "{error}");
}

#[test]
fn ciphertexts_of_another_key_are_refused() {
    let plan = every_op();
    let (mut owner, mut other) = (Client::new(&plan), Client::new(&plan));
    let keys = owner.keys(&plan);
    let executor = Executor::new(plan.clone(), owner.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    let error = other.run(&plan, &executor, &image(0)).unwrap_err();
    let mut chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    assert!(chain.any(|e| e.to_string().contains("another secret key")), "{error:?}");
}

#[test]
fn a_program_without_key_switches_needs_no_keys() {
    let (mut p, x) = Program::new(1);
    let y = p.push(fhec_ir::ckks::CkksOp::MulInt { by: -3 }, [x]);
    let plan = p.plan(y);
    assert!(plan.keys().is_empty());
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    let out = client.run(&plan, &executor, &image(1)).unwrap();
    assert!(largest_difference(&out, &run_clear(&plan, &[image(1)]).unwrap()) < 1e-6);
}

#[test]
fn bootstraps_restore_the_levels_that_the_plan_states() {
    let plan = bootstrapped();
    assert_eq!(plan.counts().bootstraps, 2);
    let reread = Plan::from_bytes("plan", &plan.to_bytes().unwrap()).unwrap();
    assert_eq!((reread.spec(), reread.keys()), (plan.spec(), plan.keys()));
    let mut client = Client::new(&plan);
    let keys = client.keys(&plan);
    let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
    for i in 0..2 {
        // The executor compares levels, op trace and engine counters with the plan.
        let encrypted = client.slots(&plan, &executor, &image(i)).unwrap();
        let error = mean_square_difference(&encrypted, &clear_slots(&plan, &image(i))).sqrt();
        assert!(error > 0.0 && error < 1e-4, "{error}");
    }
}

#[test]
fn a_bootstrap_without_its_keys_is_refused_before_the_run() {
    let plan = bootstrapped();
    let mut client = Client::new(&plan);
    let mut requests = plan.keys().requests();
    requests.retain(|r| r.name != fhec_ckks::KeyName::FromSparse);
    let mut generator = KeyGenerator::new(&client.ctx, &client.secret, &mut client.random).unwrap();
    let keys = Arc::new(generator.generate(&requests, |_| ()).unwrap());
    let error = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap_err();
    assert!(matches!(error, RuntimeError::Engine(CkksError::MissingKey(fhec_ckks::KeyName::FromSparse))), "{error}");
}

#[test]
fn a_bootstrap_of_values_beyond_its_interval_is_reported() {
    let plan = bootstrapped();
    let large = Tensor::new([1, 20], image(0).data().iter().map(|x| 40.0 * x).collect::<Vec<_>>());
    let escapes = Simulator::new(&plan, 1).run(0, &[large]).unwrap().report.escapes;
    assert!(escapes.iter().any(|e| e.range == Range::Bootstrap && e.node == "layer"), "{escapes:?}");
    let inside = Simulator::new(&plan, 1).run(0, &[image(0)]).unwrap().report.escapes;
    assert!(inside.iter().all(|e| e.range != Range::Bootstrap), "{inside:?}");
}

/// Without an arcsine a bootstrap brings constants nearer to zero, 13 deviations of its noise for ones: the simulation must say
/// so, with the sign.
#[test]
fn the_sine_of_a_bootstrap_shows_in_the_simulation() {
    for constant in [1.0, -1.0, 0.5] {
        let plan = constant_bootstrapped(constant);
        let mut client = Client::new(&plan);
        let keys = client.keys(&plan);
        let executor = Executor::new(plan.clone(), client.ctx.clone(), keys, ExecutorOptions::default()).unwrap();
        let zeros = Tensor::full([1, 20], 0.0);
        let encrypted = client.slots(&plan, &executor, &zeros).unwrap();
        let errors = encrypted[0].iter().map(|slot| slot - f64::from(constant));
        let measured = errors.sum::<f64>() / encrypted[0].len() as f64;
        // Little noise, so that what is left is the sine's.
        let simulated = Simulator::new(&plan, 1).with_bootstrap_error(1e-7).run(0, &[zeros]).unwrap();
        let report = simulated.report.ops.last().unwrap();
        let lost = f64::from(constant.abs().powi(3)) * (std::f64::consts::TAU / 256.0).powi(2) / 6.0;
        assert!((report.rms_error / lost - 1.0).abs() < 0.02, "{constant}: {report:?}, the sine loses {lost:e}");
        let error = simulated.outputs[0].data()[0] - simulated.exact[0].data()[0];
        assert_eq!(error.signum(), -constant.signum(), "{constant}: {error}");
        let noise = 1.0 / 131_072.0;
        assert!((measured + lost * f64::from(constant.signum())).abs() < noise, "{constant}: {measured:e}, {lost:e}");
    }
}
