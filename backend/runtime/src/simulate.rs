//! A simulation runs a plan in the clear, exactly or with the noise model.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use fhec_ckks::{CkksError, Verdict};
use fhec_ir::Tensor;
use fhec_ir::ckks::CtTy;
use fhec_ir::ckks::exec::{ClearBackend, ClearCt, execute};

use crate::error::RuntimeError;
use crate::noise::{LANES, NoiseBackend, NoiseModel, NoiseObserver, NoiseReport, NoisyCt, chebyshev_arguments};
use crate::plan::Plan;
use crate::tensors::{pack_inputs, unpack_outputs};

/// Runs the plan exactly, without noise: what the encrypted result is compared with.
///
/// # Errors
/// When the inputs do not fit the plan.
pub fn run_clear(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
    let levels = levels(plan);
    let cts = pack_inputs(plan.inputs(), inputs)?.into_iter().zip(levels);
    let cts = cts.map(|(slots, level)| ClearCt { slots, ty: CtTy::at(level) }).collect();
    let out = execute(plan.module(), &mut ClearBackend, cts, &mut ())?;
    unpack_outputs(plan.outputs(), &out.into_iter().map(|ct| ct.slots).collect::<Vec<_>>())
}

/// Levels of the input ciphertexts.
pub(crate) fn levels(plan: &Plan) -> Vec<u32> {
    let func = &plan.module().func;
    func.params().iter().map(|&p| func.ty(p).level).collect()
}

/// Runs a [`Plan`] over images in the clear, several per pass over its constants, with the noise model or without.
///
/// ```no_run
/// use fhec_ir::Tensor;
/// use fhec_runtime::{Plan, Simulator};
///
/// let plan = Plan::load("plan.fhe")?;
/// let inputs: Vec<Tensor> = plan.inputs().iter().map(|port| Tensor::full(port.shape.clone(), 0.5)).collect();
/// let simulated = Simulator::new(&plan, 1).run(0, &inputs)?;
/// for layer in &simulated.report.layers {
///     println!("{} leaves its range, up to {} times its limit", layer.node, layer.multiple);
/// }
/// # Ok::<(), fhec_runtime::RuntimeError>(())
/// ```
#[derive(Debug)]
pub struct Simulator<'a> {
    plan: &'a Plan,
    model: NoiseModel,
    noisy: bool,
    arguments: BTreeSet<usize>,
    seed: u64,
}

/// The result of one simulated image.
#[derive(Debug)]
pub struct Simulated {
    /// What decryption would give.
    pub outputs: Vec<Tensor>,
    /// What the program computes without noise.
    pub exact: Vec<Tensor>,
    /// Errors per op and out-of-range values.
    pub report: NoiseReport,
}

/// The results of many simulated images.
#[derive(Debug, Default)]
pub struct Simulation {
    /// What decryption would give, per image.
    pub outputs: Vec<Vec<Tensor>>,
    /// What the program computes without noise, per image.
    pub exact: Vec<Vec<Tensor>>,
    /// By how much decryption would be off, per image; empty for a run without noise. The difference of the two above has
    /// lost what single precision does not hold.
    pub errors: Vec<Vec<Tensor>>,
    /// Errors per op and out-of-range values over all images.
    pub report: NoiseReport,
}

impl<'a> Simulator<'a> {
    /// A simulator; the same seed gives the same noise.
    pub fn new(plan: &'a Plan, seed: u64) -> Self {
        let arguments = chebyshev_arguments(plan.module());
        Self { plan, model: NoiseModel::new(plan.spec(), plan.slots()), noisy: true, arguments, seed }
    }

    /// A simulator that adds no noise and only watches ranges.
    pub fn exact(plan: &'a Plan) -> Self {
        Self { noisy: false, ..Self::new(plan, 0) }
    }

    /// Sets the standard deviation of a bootstrap's error in the slots, for values in [-1, 1].
    pub fn with_bootstrap_error(self, deviation: f64) -> Self {
        Self { model: self.model.with_bootstrap(deviation), ..self }
    }

    /// Runs image number `image`, which selects its noise. May be called from several threads at once; for many images
    /// [`Simulator::run_many`] takes a fraction of the time.
    ///
    /// # Errors
    /// When the inputs do not fit the plan.
    pub fn run(&self, image: u64, inputs: &[Tensor]) -> Result<Simulated, RuntimeError> {
        let Simulation { mut outputs, mut exact, report, .. } = self.batch(image, &[inputs])?;
        Ok(Simulated { outputs: outputs.pop().unwrap_or_default(), exact: exact.pop().unwrap_or_default(), report })
    }

    /// Runs images, numbered from 0, on `threads` threads. The result does not depend on the number of threads. `progress`
    /// receives how many more images are done.
    ///
    /// # Errors
    /// When the inputs of an image do not fit the plan, or `progress` says to stop.
    pub fn run_many<V: Verdict>(
        &self,
        images: &[Vec<Tensor>],
        threads: usize,
        progress: &(impl Fn(usize) -> V + Sync + ?Sized),
    ) -> Result<Simulation, RuntimeError> {
        let _span = tracing::debug_span!("simulate", runs = images.len()).entered();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let first = next.fetch_add(LANES, Ordering::Relaxed);
                let Some(batch) = images.get(first..).filter(|rest| !rest.is_empty()) else { return Ok(done) };
                let batch: Vec<&[Tensor]> = batch.iter().take(LANES).map(Vec::as_slice).collect();
                done.push((first, self.batch(first as u64, &batch)?));
                if !progress(batch.len()).goes_on() {
                    return Err(CkksError::Cancelled.into());
                }
            }
        };
        let parts: Vec<Result<Vec<_>, RuntimeError>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut batches = Vec::new();
        for part in parts {
            batches.extend(part?);
        }
        batches.sort_by_key(|(first, _)| *first);
        let mut all = Simulation::default();
        for (_, batch) in batches {
            all.outputs.extend(batch.outputs);
            all.exact.extend(batch.exact);
            all.errors.extend(batch.errors);
            all.report.merge(batch.report);
        }
        Ok(all)
    }

    /// Runs at most [`LANES`] images, numbered from `first`, at once.
    fn batch(&self, first: u64, images: &[&[Tensor]]) -> Result<Simulation, RuntimeError> {
        let mut backend = NoiseBackend::new(self.noisy.then_some(&self.model), self.seed, first);
        let levels = levels(self.plan);
        // Lanes without an image run on zeros.
        let mut lanes = vec![vec![[0.0; LANES]; self.plan.slots()]; levels.len()];
        for (lane, inputs) in images.iter().enumerate() {
            for (ct, slots) in lanes.iter_mut().zip(pack_inputs(self.plan.inputs(), inputs)?) {
                ct.iter_mut().zip(slots).for_each(|(lanes, x)| lanes[lane] = x);
            }
        }
        let cts: Vec<_> = lanes.iter().zip(levels).map(|(slots, level)| backend.encrypt(slots, level)).collect();
        let mut observer = NoiseObserver::new(&self.model, &self.arguments, images.len());
        observer.inputs(self.plan.module(), &cts);
        let results = execute(self.plan.module(), &mut backend, cts, &mut observer)?;
        let mut out = Simulation { report: observer.finish(), ..Simulation::default() };
        for lane in 0..images.len() {
            let exact: Vec<Vec<f64>> = results.iter().map(|ct| exact(ct, lane)).collect();
            let noisy: Vec<Vec<f64>> = results.iter().map(|ct| noisy(ct, lane)).collect();
            let outputs = self.plan.outputs();
            out.exact.push(unpack_outputs(outputs, &exact)?);
            out.outputs.push(unpack_outputs(outputs, &noisy)?);
            if self.noisy {
                let errors: Vec<Vec<f64>> = results.iter().map(|ct| error(ct, lane)).collect();
                let errors = unpack_outputs(outputs, &errors)?;
                errors.iter().flat_map(|t| t.data()).for_each(|&e| out.report.results.add(f64::from(e)));
                out.errors.push(errors);
            }
        }
        Ok(out)
    }
}

fn exact(ct: &NoisyCt, lane: usize) -> Vec<f64> {
    ct.exact.slots.iter().map(|x| x[lane]).collect()
}

fn error(ct: &NoisyCt, lane: usize) -> Vec<f64> {
    ct.error.iter().map(|e| f64::from(e[lane])).collect()
}

fn noisy(ct: &NoisyCt, lane: usize) -> Vec<f64> {
    let mut slots = exact(ct, lane);
    slots.iter_mut().zip(ct.error.iter()).for_each(|(x, e)| *x += f64::from(e[lane]));
    slots
}
