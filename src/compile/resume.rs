//! From a program in the middle of the pipeline to a plan: the passes that remain.

use std::collections::BTreeMap;

use fhec_ir::slot::SlotOp;
use fhec_ir::text::AnyModule;
use fhec_ir::{Shape, Tensor};
use fhec_passes::activations::{ApproximateError, ApproximateOptions};
use fhec_passes::pipeline;
use fhec_passes::planner::Limits;
use fhec_passes::program::Program;
use fhec_passes::registry::{PassContext, Registry};
use fhec_runtime::{Plan, Provenance};

use super::choose::Chosen;
use super::samples::synthetic;
use super::{Compiler, Model};
use crate::error::Error;

/// Inputs of a program, and how its activations are fitted to them.
pub type Samples = (Vec<Vec<Tensor>>, ApproximateOptions);

/// A plan that was made of a program in the middle of the pipeline.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The plan. Its provenance names the program; what only a compilation from a model knows is not in it.
    pub plan: Plan,
    /// Remarks of the passes, one sentence each.
    pub notes: Vec<String>,
    /// What the user should change.
    pub warnings: Vec<String>,
}

impl Compiler {
    /// The calibration data, or stand-ins for it, with a warning where activations rest on them, of the shapes that one input of `program` has.
    ///
    /// # Errors
    /// Calibration data without any inputs.
    pub fn samples_of(&self, program: &Program, warnings: &mut Vec<String>) -> Result<Samples, Error> {
        let ports = match &program.module {
            AnyModule::Nn(module) => return self.samples(module, true, warnings),
            AnyModule::Slot(module) => &module.inputs,
            AnyModule::Ckks(module) => &module.inputs,
        };
        let images = fhec_ir::io::batch(ports);
        let shapes: Vec<Shape> = ports.iter().map(|port| port.image(images).shape).collect();
        match &self.calibration {
            Some(samples) if samples.is_empty() => Err(ApproximateError::NoSamples.into()),
            Some(samples) => Ok((samples.clone(), self.options.approximate.clone())),
            None => Ok((synthetic(&shapes), self.options.approximate.clone())),
        }
    }

    /// What single passes are told by this compiler's options, with the inputs that [`Compiler::samples_of`] gives.
    pub fn context<'a>(&'a self, samples: &'a Samples) -> PassContext<'a> {
        PassContext {
            samples: &samples.0,
            calibrated: self.calibration.is_some(),
            approximate: samples.1.clone(),
            plan: self.options.asked_of_plans(),
            limits: self.options.limits,
            target: Some(&*self.engine),
            ..PassContext::default()
        }
    }

    /// Makes a plan of a program that any pass of a compilation with the same options has left: it runs those that remain.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn resume(&self, program: Program) -> Result<Resumed, Error> {
        let digest = blake3::hash(program.module.text().as_bytes()).to_hex().to_string();
        let passes = &program.facts.passes;
        let fitted = ["approximate-activations", "reconstruct"].iter().any(|&pass| passes.iter().any(|p| p == pass));
        if let AnyModule::Nn(module) = &program.module
            && !fitted
        {
            let compiled = self.compile(&Model { module: module.clone(), digest, batch: None })?;
            let (plan, notes, warnings) = (compiled.plan, compiled.notes, compiled.warnings);
            return Ok(Resumed { plan, notes, warnings });
        }
        let ran = passes.join(", ");
        let mut warnings = Vec::new();
        let samples = self.samples_of(&program, &mut warnings)?;
        let (plan, notes) = self.planned(program, &samples, &mut warnings)?;
        self.check_latency(&plan, &Chosen::default())?;
        if let Some(refused) = self.options.sizes.exceeded(&plan) {
            return Err(refused.into());
        }
        let provenance = Provenance {
            fhec: env!("CARGO_PKG_VERSION").into(),
            model: plan.module().func.name.clone(),
            model_digest: digest,
            options: BTreeMap::from([("resumed_after".to_string(), ran)]),
            report: None,
        };
        Ok(Resumed { plan: plan.with_provenance(provenance), notes, warnings })
    }

    /// The plan, still without its provenance, and the remarks of a program whose activations are polynomials.
    fn planned(
        &self,
        program: Program,
        samples: &Samples,
        warnings: &mut Vec<String>,
    ) -> Result<(Plan, Vec<String>), Error> {
        let mut options = self.asked_of_plans(&samples.0);
        if let Some(magnitudes) = program.facts.magnitudes {
            options = magnitudes.complete(&options, &samples.0);
        }
        let notes = program.facts.notes.clone();
        let remaining: &[&str] = match &program.module {
            AnyModule::Nn(module) => {
                let made = self.plan(module, &samples.0, None, options, &mut |_, _, _| (), warnings)?;
                self.check_placed(made.placement.as_ref())?;
                return Ok((made.plan, made.notes));
            }
            AnyModule::Slot(module) => {
                let refreshed = module.func.iter().any(|(_, node)| matches!(node.op, SlotOp::Refresh {}));
                match program.facts.bootstrapped {
                    Some(true) if !refreshed => &["place-bootstraps", "lower", "choose-parameters"],
                    None if !refreshed && !program.facts.tensors.is_empty() => {
                        let packed = program.facts.packing("plan", module)?;
                        let planned = pipeline::plan_packed(packed, &options, Some(&*self.engine))?;
                        return Ok((self.finish(planned.module, &samples.0, warnings)?, planned.notes));
                    }
                    _ => &["lower", "choose-parameters"],
                }
            }
            AnyModule::Ckks(module) if module.params.is_none() => &["choose-parameters"],
            AnyModule::Ckks(_) => &[],
        };
        let mut context = PassContext { limits: Limits::default(), ..self.context(samples) };
        let lowered = Registry::standard().run(remaining, program, &mut context)?;
        warnings.append(&mut context.warnings);
        match lowered.module {
            AnyModule::Ckks(module) => Ok((self.finish(module, &samples.0, warnings)?, notes)),
            AnyModule::Nn(_) | AnyModule::Slot(_) => Err(Error::Usage {
                reason: "the passes that remain did not lower the program".into(),
                repair: "report this as a bug".into(),
            }),
        }
    }
}
