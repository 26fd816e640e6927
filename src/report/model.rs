//! The content of a report, as data.

use std::collections::BTreeMap;

use fhec_runtime::{MemoryPrediction, Plan, Security};
use serde::{Deserialize, Serialize};

use super::findings::{Findings, ParetoPoint};
use super::polynomial::{Polynomial, polynomials};
use super::prediction::{Key, Prediction};
use super::simulation::{Op, Simulated, Simulation};
use super::walk::{Walked, walk};

/// What the time of an op goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Convolutions, products with matrices, pooling: transforms, rotations, constant vectors.
    Linear,
    /// Polynomials: products of ciphertexts and multiples.
    Polynomial,
    /// Bootstraps.
    Bootstrap,
}

/// Ops of one layer that follow each other at one level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Index of the layer.
    pub layer: usize,
    /// Phase.
    pub phase: Phase,
    /// Level of the results.
    pub level: u32,
    /// Beginning: predicted seconds from the start, or ops where no times are known.
    pub start: f64,
    /// Length in the same unit.
    pub length: f64,
    /// Ops by mnemonic.
    pub ops: BTreeMap<&'static str, u64>,
    /// The most bytes that ciphertexts take meanwhile.
    pub ciphertext_bytes: u64,
    /// The most bytes of an op's temporaries.
    pub scratch_bytes: u64,
}

/// The modelled error of a layer's last result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// Largest magnitude of the result itself.
    pub magnitude: f64,
    /// Root mean square of the error.
    pub rms_error: f64,
    /// Largest error.
    pub max_error: f64,
}

/// All ops of one node of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The model's node.
    pub node: String,
    /// Ops.
    pub ops: u64,
    /// Rotations, those inside transforms included.
    pub rotations: u64,
    /// Products of two ciphertexts.
    pub products: u64,
    /// Bootstraps.
    pub bootstraps: u64,
    /// Level of the highest operand from another layer; none where there is no such operand.
    pub level_in: Option<u32>,
    /// Level of the last result.
    pub level_out: u32,
    /// Predicted seconds; none where an op has no known time.
    pub seconds: Option<f64>,
    /// Seconds in the run that was given.
    pub measured_seconds: Option<f64>,
    /// The error of its last result, in the simulation that was given.
    pub noise: Option<Noise>,
    /// Distinct evaluation keys, bootstraps not counted.
    pub keys: usize,
    /// Index into the activations of the findings.
    pub activation: Option<usize>,
    /// Index into the reconstructed layers of the findings.
    pub reconstruction: Option<usize>,
}

/// Parameters of the scheme.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// Ring degree.
    pub n: u64,
    /// Slots that the program uses.
    pub slots: usize,
    /// Highest level of the program.
    pub levels: u32,
    /// Levels that a bootstrap consumes above it.
    pub bootstrap_levels: Option<u32>,
    /// log2 of the scale.
    pub scale_bits: u32,
    /// Bits of the first prime.
    pub first_bits: u32,
    /// Primes of ciphertexts.
    pub primes: usize,
    /// Special primes of key switching.
    pub special_primes: usize,
    /// What they promise.
    pub security: Security,
}

/// An encrypted run: the part of the JSON of `fhec run` and `fhec eval` that a report shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The digest of the plan that ran, in hexadecimal.
    #[serde(default)]
    pub plan_digest: Option<String>,
    /// Images.
    #[serde(default)]
    pub images: u64,
    /// Threads.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Mean seconds of a run.
    pub seconds_per_run: f64,
    /// Seconds by mnemonic, of one run.
    #[serde(default)]
    pub seconds_by_op: BTreeMap<String, f64>,
    /// Seconds of every op of one run, in program order.
    #[serde(default, skip_serializing)]
    pub op_seconds: Vec<f64>,
    /// The most memory the process has held.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// What had been predicted.
    #[serde(default)]
    pub predicted_memory_bytes: Option<u64>,
    /// Largest error of a result against the program in the clear.
    #[serde(default)]
    pub max_error: Option<f64>,
    /// Images whose class is that of the program in the clear.
    #[serde(default)]
    pub same_argmax: Option<u64>,
    /// Images whose class is the label's.
    #[serde(default)]
    pub right: Option<u64>,
}

/// A part of a bootstrap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// `mod_raise`, `coeffs_to_slots`, `eval_mod` or `slots_to_coeffs`.
    pub stage: &'static str,
    /// The level of its input, counted from the lowest one.
    pub from: usize,
    /// The level of its result.
    pub to: usize,
    /// Predicted seconds.
    pub seconds: f64,
}

/// Everything a report shows of a [`Plan`].
///
/// ```no_run
/// use fhec::Plan;
/// use fhec::report::{Prediction, Report, html};
///
/// let plan = Plan::load("plan.fhe")?;
/// let report = Report::of(&plan, Prediction::of(&plan, None), None);
/// std::fs::write("report.html", html(&report)).expect("the file can be written");
/// # Ok::<(), fhec::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// Version of fhec that compiled it.
    pub compiled_by: String,
    /// Compiler options that shaped the plan.
    pub options: BTreeMap<String, String>,
    /// Parameters.
    pub parameters: Parameters,
    /// Bits of security, 0 where the parameters are marked insecure.
    pub security_bits: u32,
    /// Threads that times are predicted for; none where a table of measured times does not say.
    pub predicted_threads: Option<usize>,
    /// Predicted seconds of a run; none where an op has no known time.
    pub predicted_seconds: Option<f64>,
    /// Predicted seconds by mnemonic.
    pub predicted_seconds_by_op: BTreeMap<&'static str, f64>,
    /// Predicted seconds by phase.
    pub predicted_seconds_by_phase: BTreeMap<Phase, f64>,
    /// The program over time.
    pub spans: Vec<Span>,
    /// Its layers, in order of their first op.
    pub layers: Vec<Layer>,
    /// Predicted memory.
    pub predicted_memory: MemoryPrediction,
    /// All of it, in bytes.
    pub predicted_memory_bytes: u64,
    /// Evaluation keys.
    pub keys: Vec<Key>,
    /// The parts of a bootstrap to the highest level that one restores; empty without bootstraps, and for a table of measured times.
    pub bootstrap_stages: Vec<Stage>,
    /// The polynomials that the program evaluates.
    pub polynomials: Vec<Polynomial>,
    /// What the passes reported.
    pub findings: Findings,
    /// Index of this plan among the points of the front.
    pub front_plan: Option<usize>,
    /// An encrypted run, if given.
    pub run: Option<Run>,
    /// A simulation, if given.
    pub simulation: Option<Simulated>,
}

impl Report {
    /// The report of a plan, of what it is predicted to take, and of an encrypted run of it.
    pub fn of(plan: &Plan, prediction: Prediction, run: Option<Run>) -> Self {
        let Prediction { threads, seconds, seconds_of, memory, keys, op_memory, bootstrap } = prediction;
        let timed = seconds_of.is_some();
        let findings = Findings::of(plan.provenance().report.as_ref());
        let measured = run.as_ref().map(|run| run.op_seconds.clone());
        let Walked { spans, layers, by_op, by_phase } = walk(plan, &findings, seconds_of, measured, &op_memory);
        let stage = |s: fhec_runtime::StageTime| Stage {
            stage: s.stage.name(),
            from: s.from,
            to: s.to,
            seconds: s.micros / 1e6,
        };
        let spec = plan.spec();
        let provenance = plan.provenance();
        Self {
            model: provenance.model.clone(),
            compiled_by: provenance.fhec.clone(),
            options: provenance.options.clone(),
            parameters: Parameters {
                n: 1 << spec.log_n,
                slots: plan.slots(),
                levels: spec.levels,
                bootstrap_levels: spec.bootstrap.as_ref().map(|b| b.levels),
                scale_bits: spec.scale_bits,
                first_bits: spec.first_bits,
                primes: spec.primes(),
                special_primes: spec.special as usize,
                security: plan.security(),
            },
            security_bits: plan.security().bits,
            predicted_threads: threads,
            predicted_seconds: seconds,
            predicted_seconds_by_op: if timed { by_op } else { BTreeMap::new() },
            predicted_seconds_by_phase: if timed { by_phase } else { BTreeMap::new() },
            spans,
            layers,
            predicted_memory_bytes: memory.total(),
            predicted_memory: memory,
            keys,
            bootstrap_stages: bootstrap.into_iter().map(stage).collect(),
            polynomials: polynomials(plan, &findings),
            front_plan: findings.front_plan(),
            findings,
            run,
            simulation: None,
        }
    }

    /// The same with what a simulation of the plan told: the errors after its layers, and where the arguments of its polynomials are.
    #[must_use]
    pub fn with_simulation(mut self, simulation: Simulation) -> Self {
        for layer in &mut self.layers {
            let last = simulation.ops.iter().rev().find(|op| op.node == layer.node);
            layer.noise = last.and_then(Op::noise);
        }
        for polynomial in &mut self.polynomials {
            polynomial.data = simulation.data_of(&polynomial.values);
        }
        self.simulation = Some(simulation.summary());
        self
    }

    /// The same with this front; the name of an activation of the front that the plan does not have is the error.
    pub(super) fn of_front(mut self, front: Vec<ParetoPoint>) -> Result<Self, String> {
        let known = |node: &&String| !self.findings.activations.iter().any(|a| a.node == **node);
        if let Some(foreign) = front.iter().flat_map(|point| point.choices.keys()).find(known) {
            return Err(foreign.clone());
        }
        self.findings.set_front(front);
        self.front_plan = self.findings.front_plan();
        Ok(self)
    }
}
