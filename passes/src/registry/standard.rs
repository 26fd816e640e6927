//! The passes of this crate, each as the pipeline runs it.

use fhec_ir::ckks::CkksOp;
use fhec_ir::slot::SlotOp;
use fhec_ir::{Ckks, Dialect, Module, Nn, Slot};

use super::{AnyPass, PassContext, PassOption, RunError, of_level};
use crate::activations::given::{self, Measured};
use crate::activations::rebuild::{ReconstructOptions, Reconstructed, reconstruct};
use crate::activations::sensitivity::Sensitivities;
use crate::activations::{ApproximateActivations, Approximated, Replacement};
use crate::batch::Batch;
use crate::bootstraps::offer::{Decision, Offer, Request, SENSITIVITY_SAMPLES};
use crate::bootstraps::{self, Placer, RangeSamples};
use crate::compose::{self, ComposeFunctions, Composed};
use crate::ends::Ends;
use crate::fold::Fold;
use crate::lower::{LowerToCkks, depth};
use crate::pack::Pack;
use crate::parameters;
use crate::pass::Pass;
use crate::pipeline::{self, Packing, PlanOptions};
use crate::planner::Limits;
use crate::program::Program;
use crate::skips::{self, ConvertSkips, SkipForm};

/// Runs a pass.
type Run = fn(Program, &mut PassContext<'_>) -> Result<Program, RunError>;

/// A pass of this crate.
struct Standard {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    summary: &'static str,
    options: &'static [PassOption],
    run: Run,
}

impl AnyPass for Standard {
    fn name(&self) -> &str {
        self.name
    }
    fn from(&self) -> &'static str {
        self.from
    }
    fn to(&self) -> &'static str {
        self.to
    }
    fn summary(&self) -> &str {
        self.summary
    }
    fn options(&self) -> &'static [PassOption] {
        self.options
    }
    fn run(&self, program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
        (self.run)(program, context)
    }
}

pub(super) fn passes() -> Vec<Box<dyn AnyPass>> {
    use PassOption::{Approximation, Batch, Calibration, Margin, Placement, Precision, Slots};
    let pass = |name, from, to, summary, options, run| -> Box<dyn AnyPass> {
        Box::new(Standard { name, from, to, summary, options, run })
    };
    let (nn, slot, ckks) = (Nn::NAME, Slot::NAME, Ckks::NAME);
    vec![
        pass("verify", "any", "same", "check the rules of the level", &[], |program, _| Ok(program)),
        pass("fold", nn, nn, "canonicalise and fold by equality saturation", &[], fold),
        pass(
            skips::RESIDUAL,
            nn,
            nn,
            "find residual blocks and the forms that their skips can have",
            &[],
            |p, context| convert_skips(p, context, SkipForm::Residual),
        ),
        pass(skips::DIRAC, nn, nn, "put skips into Dirac kernels; the network must be trained", &[], |p, context| {
            convert_skips(p, context, SkipForm::Dirac)
        }),
        pass(
            skips::SHARED,
            nn,
            nn,
            "add one tensor per stage at its joins; the network must be trained",
            &[],
            |p, context| convert_skips(p, context, SkipForm::Shared),
        ),
        pass(
            compose::NAME,
            nn,
            nn,
            "what is made of one value, element by element, becomes one function",
            &[],
            compose,
        ),
        pass(
            given::NAME,
            nn,
            nn,
            "measure where the operands of a network's own polynomials lie",
            &[Calibration, Margin],
            measure_ranges,
        ),
        pass(
            "choose-polynomials",
            nn,
            nn,
            "choose the polynomial of every activation together with the bootstraps",
            &[Calibration, Approximation, Margin, Batch, Placement],
            choose_polynomials,
        ),
        pass(
            "approximate-activations",
            nn,
            nn,
            "replace activations by polynomials",
            &[Calibration, Approximation, Margin],
            approximate,
        ),
        pass(
            "reconstruct",
            nn,
            nn,
            "replace activations by polynomials and rebuild every layer against the original network",
            &[Calibration, Approximation, Margin],
            rebuild,
        ),
        pass("pack", nn, slot, "lay tensors out in slots; linear ops become diagonals", &[Slots], pack),
        pass("batch", slot, slot, "several images in the slots of one ciphertext", &[Batch], batch),
        pass(
            "place-bootstraps",
            slot,
            slot,
            "refresh values where levels run out",
            &[Calibration, Margin, Batch, Placement],
            place_bootstraps,
        ),
        pass(
            "lower",
            slot,
            ckks,
            "levels, scales, rescales, relinearisations",
            &[Calibration, Batch, Placement, Precision],
            lower,
        ),
        pass("choose-parameters", ckks, ckks, "ring, primes and scale", &[Precision], choose_parameters),
        pass("plan", nn, ckks, "pack, lower and choose parameters", &[Calibration, Batch, Placement, Precision], plan),
    ]
}

fn convert_skips(program: Program, context: &mut PassContext<'_>, form: SkipForm) -> Result<Program, RunError> {
    let pass = ConvertSkips { form };
    let module = of_level(pass.name(), &program)?;
    for block in skips::blocks(module) {
        context.explanation.push_str(&format!("{block}; now {}\n", block.nearest(form)));
    }
    let converted = pass.run(module)?;
    Ok(program.becomes(converted))
}

fn fold(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let folded = Fold::default().fold(of_level("fold", &program)?)?;
    context.explanation.push_str(&folded.explanation.to_string());
    context.warnings.extend(folded.warning());
    Ok(program.becomes(folded.module))
}

fn compose(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let Composed { module, functions } = ComposeFunctions.compose(of_level(compose::NAME, &program)?)?;
    functions.iter().for_each(|function| context.explanation.push_str(&function.to_string()));
    Ok(program.becomes(module))
}

/// The samples of a pass that cannot do without.
fn samples<'a>(pass: &'static str, context: &PassContext<'a>) -> Result<&'a [Vec<fhec_ir::Tensor>], RunError> {
    let (needs, repair) = ("calibration data", "give --calibration a few hundred training inputs");
    if context.samples.is_empty() {
        return Err(RunError::Missing { pass, needs, repair });
    }
    Ok(context.samples)
}

fn measure_ranges(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let module: &Module<Nn> = of_level(given::NAME, &program)?;
    let samples = samples(given::NAME, context)?;
    let Measured { module, runaway } = given::measured(module, samples, context.approximate.margin)?;
    if !runaway.is_empty() {
        let (count, of) = (runaway.len(), samples.len());
        context.warnings.push(format!("on {count} of {of} inputs the network runs away: ranges do not hold them"));
    }
    Ok(program.becomes(module))
}

fn choose_polynomials(mut program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let pass = "choose-polynomials";
    let module: &Module<Nn> = of_level(pass, &program)?;
    let samples = samples(pass, context)?;
    let repair = "choose it for an engine: `fhec opt` does";
    let target = context.target.ok_or(RunError::Missing { pass, needs: "an engine that bootstraps", repair })?;
    let approximate = context.approximate.clone();
    let plan = PlanOptions { ranges: ranges(context), ..context.plan.clone() };
    let offer = Offer::new(module, Request { samples, approximate: &approximate, plan: &plan })?;
    let weights = Sensitivities::measure(module, &samples[..samples.len().min(SENSITIVITY_SAMPLES)], None);
    let unweighed = |e| format!("the error of all activations counts alike, since their effect is not known: {e}");
    let offer = offer.weighed(&weights.unwrap_or_else(|e| {
        context.warnings.push(unweighed(e));
        Sensitivities::default()
    }));
    let Decision { choices, placed, .. } = offer.choose(target, &context.limits, None)?;
    context.explanation.push_str(&offer.forms());
    context.explanation.push_str(&placed.placement.explanation.to_string());
    let func = module.func.clone();
    program.facts.choose(&func, &choices);
    Ok(program)
}

/// The program with the network of polynomials and its magnitudes; its ports know the ranges of calibration data.
fn polynomial(
    program: Program,
    mut module: Module<Nn>,
    activations: &[Replacement],
    context: &mut PassContext<'_>,
) -> Result<Program, RunError> {
    let ends = Ends::measure(&module, context.samples)?;
    if context.calibrated {
        ends.describe(&mut module, context.plan.params.precision.allows(ends.magnitudes.result));
    }
    for a in activations {
        let (node, function, degree, (lo, hi), rms) = (&a.node, &a.function, a.degree, a.interval, a.rms_error);
        let several = if a.channels == 1 { String::new() } else { format!(" for each of {} channels", a.channels) };
        let line =
            format!("{node}: {function} by degree {degree}{several} on [{lo:.4}, {hi:.4}], rms error {rms:.1e}\n");
        context.explanation.push_str(&line);
    }
    let mut program = program.becomes(module);
    program.facts.magnitudes = Some(ends.magnitudes);
    Ok(program)
}

fn approximate(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let pass = "approximate-activations";
    let module: &Module<Nn> = of_level(pass, &program)?;
    let choices = program.facts.chosen(&module.func);
    let options = context.approximate.clone();
    let Approximated { module, activations, .. } =
        ApproximateActivations::calibrated_with(module, samples(pass, context)?, options, &choices)?;
    polynomial(program, module, &activations, context)
}

fn rebuild(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let pass = "reconstruct";
    let module: &Module<Nn> = of_level(pass, &program)?;
    let choices = program.facts.chosen(&module.func);
    let approximate = context.approximate.clone();
    let options = ReconstructOptions { approximate, choices, ..ReconstructOptions::default() };
    let Reconstructed { module, activations, .. } =
        reconstruct(module, samples(pass, context)?, &options, &mut |_, _, _| ())?;
    polynomial(program, module, &activations, context)
}

fn pack(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let bound = plan_options(&program, context).params.result_bound;
    let pack =
        Pack { max_slots: context.slots, cost: context.plan.cost, result_exponent: parameters::result_exponent(bound) };
    let packed = pack.pack(of_level("pack", &program)?)?;
    Ok(program.packed(packed))
}

fn batch(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let module: &Module<Slot> = of_level("batch", &program)?;
    let batched = Batch { images: context.plan.batch }.run(module)?;
    // Every op stays one op, except for those that nothing reads.
    let kept = batched.func.len() == module.func.len();
    let tensors = if kept { program.facts.tensors.clone() } else { Vec::new() };
    let mut program = program.becomes(batched);
    program.facts.tensors = tensors;
    Ok(program)
}

/// The options of planning, completed by what is known of the program.
fn plan_options(program: &Program, context: &PassContext<'_>) -> PlanOptions {
    let magnitudes = program.facts.magnitudes;
    let options =
        magnitudes.map_or_else(|| context.plan.clone(), |known| known.complete(&context.plan, context.samples));
    PlanOptions { ranges: ranges(context), ..options }
}

/// What values are measured on that no polynomial reads: calibration data, no stand-ins for it.
fn ranges(context: &PassContext<'_>) -> Option<RangeSamples> {
    RangeSamples::new(context.samples, context.approximate.margin).filter(|_| context.calibrated)
}

fn place_bootstraps(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let pass = bootstraps::NAME;
    let module: &Module<Slot> = of_level(pass, &program)?;
    let repair = "place them for an engine: `fhec opt` does";
    let target = context.target.ok_or(RunError::Missing { pass, needs: "an engine that bootstraps", repair })?;
    let packed = program.facts.packing(pass, module)?;
    let options = plan_options(&program, context);
    let estimate = Packing::estimate(module, &options);
    let result_level = pipeline::bootstrapped_result_level(&module.outputs, &estimate, &options, target);
    let placer = Placer::new(&packed, &Default::default(), target, result_level)?.with_strategy(options.strategy);
    let placer = placer.with_ranges(options.ranges.as_ref(), options.batch);
    let placement = placer.place(&Limits::default())?;
    context.explanation.push_str(&placement.explanation.to_string());
    let placed = placer.apply(&placement.plan);
    let mut program = program.becomes(placed);
    program.facts.bootstrapped = Some(!placement.plan.bootstraps.is_empty());
    Ok(program)
}

fn lower(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let module: &Module<Slot> = of_level("lower", &program)?;
    let options = plan_options(&program, context);
    let estimate = Packing::estimate(module, &options);
    let refreshed = module.func.iter().any(|(_, node)| matches!(node.op, SlotOp::Refresh {}));
    let lowered = match context.target.filter(|_| refreshed) {
        Some(target) => {
            let result_level = pipeline::bootstrapped_result_level(&module.outputs, &estimate, &options, target);
            let lower = LowerToCkks { result_level, single_chain: options.strategy.single_chain() };
            crate::Lower::run(&lower, module)?
        }
        None => pipeline::lower_to_fit(module, &estimate, &options)?.0,
    };
    let mut program = program.becomes(lowered);
    program.facts.estimate = Some(estimate);
    Ok(program)
}

fn choose_parameters(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let pass = parameters::NAME;
    let mut module: Module<Ckks> = of_level::<Ckks>(pass, &program)?.clone();
    let bootstraps = module.func.iter().any(|(_, node)| matches!(node.op, CkksOp::Bootstrap { .. }));
    let spec = if bootstraps {
        let repair = "choose them for an engine: `fhec opt` does";
        let target = context.target.ok_or(RunError::Missing { pass, needs: "an engine that bootstraps", repair })?;
        pipeline::bootstrapping_parameters(&module, target)?
    } else {
        let repair = "run `lower` in the same command, or keep the file of facts that lies beside its output";
        let needs = "an estimate of the results' error";
        let estimate = program.facts.estimate.ok_or(RunError::Missing { pass, needs, repair })?;
        let layouts = module.inputs.iter().chain(&module.outputs).filter_map(|port| port.layout.as_ref());
        let slots = layouts.map(|layout| layout.slots).next().unwrap_or(1);
        let options = plan_options(&program, context).params.of_parts(&module.outputs);
        parameters::choose(&module, slots, &estimate, &options)?
    };
    context.explanation.push_str(&format!("parameters for {} levels: {spec:?}\n", depth(&module)));
    module.params = Some(spec);
    Ok(program.becomes(module))
}

fn plan(program: Program, context: &mut PassContext<'_>) -> Result<Program, RunError> {
    let module: &Module<Nn> = of_level("plan", &program)?;
    let options = plan_options(&program, context);
    let planned = pipeline::plan(module, &options, context.target, |_, _, _| ())?;
    if let Some(placement) = &planned.placement {
        context.explanation.push_str(&placement.explanation.to_string());
    }
    let mut program = program.becomes(planned.module);
    program.facts.bootstrapped = Some(planned.placement.is_some());
    program.facts.notes.extend(planned.notes);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use crate::Lower;

    /// The names in the registry are those that the passes give themselves.
    #[test]
    fn passes_have_their_own_names() {
        let within = [
            Pass::name(&Fold::default()),
            Pass::name(&ComposeFunctions),
            Pass::name(&Batch { images: 1 }),
            bootstraps::NAME,
            parameters::NAME,
        ];
        let registry = Registry::standard();
        for name in within.into_iter().chain([Lower::name(&Pack::new(8)), Lower::name(&LowerToCkks::default())]) {
            assert!(registry.find(name).is_ok(), "{name}");
        }
        assert!(matches!(registry.find("nonsense"), Err(RunError::Unknown { .. })));
    }
}
