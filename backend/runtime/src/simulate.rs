//! Runs a plan in the clear: exactly, or with the noise model.

use std::collections::BTreeSet;

use fhec_ir::Tensor;
use fhec_ir::ckks::CtTy;
use fhec_ir::ckks::exec::{ClearBackend, ClearCt, execute};

use crate::error::RuntimeError;
use crate::noise::{NoiseBackend, NoiseModel, NoiseObserver, NoiseReport, chebyshev_arguments};
use crate::plan::Plan;
use crate::tensors::{pack_inputs, unpack_outputs};

/// Runs the plan exactly, without noise: what the encrypted result is compared with.
///
/// # Errors
/// When the inputs do not fit the plan.
pub fn run_clear(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
    let levels = levels(plan);
    let cts = pack_inputs(plan, inputs)?.into_iter().zip(levels);
    let cts = cts.map(|(slots, level)| ClearCt { slots, ty: CtTy::at(level) }).collect();
    let out = execute(plan.module(), &mut ClearBackend, cts, &mut ())?;
    unpack_outputs(plan, &out.into_iter().map(|ct| ct.slots).collect::<Vec<_>>())
}

/// Levels of the input ciphertexts.
pub(crate) fn levels(plan: &Plan) -> Vec<u32> {
    let func = &plan.module().func;
    func.params().iter().map(|&p| func.ty(p).level).collect()
}

/// Runs a plan with the noise model, image by image.
#[derive(Debug)]
pub struct Simulator<'a> {
    plan: &'a Plan,
    model: NoiseModel,
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
    /// Errors per op and range escapes.
    pub report: NoiseReport,
}

impl<'a> Simulator<'a> {
    /// A simulator; the same seed gives the same noise.
    pub fn new(plan: &'a Plan, seed: u64) -> Self {
        let arguments = chebyshev_arguments(plan.module());
        Self { plan, model: NoiseModel::new(plan.spec()), arguments, seed }
    }

    /// Runs image number `image`, which selects its noise. May be called from several threads at once.
    ///
    /// # Errors
    /// When the inputs do not fit the plan.
    pub fn run(&self, image: u64, inputs: &[Tensor]) -> Result<Simulated, RuntimeError> {
        let mut backend = NoiseBackend::new(&self.model, self.seed, image);
        let slots = pack_inputs(self.plan, inputs)?.into_iter().zip(levels(self.plan));
        let cts: Vec<_> = slots.map(|(slots, level)| backend.encrypt(slots, level)).collect();
        let mut observer = NoiseObserver::new(&self.model, &self.arguments);
        observer.inputs(self.plan.module(), &cts);
        let out = execute(self.plan.module(), &mut backend, cts, &mut observer)?;
        let (exact, noisy): (Vec<_>, Vec<_>) = out.into_iter().map(|ct| (ct.exact.slots, ct.noisy.slots)).unzip();
        Ok(Simulated {
            outputs: unpack_outputs(self.plan, &noisy)?,
            exact: unpack_outputs(self.plan, &exact)?,
            report: observer.finish(),
        })
    }
}
