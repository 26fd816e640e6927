//! Plans: a `ckks` program with everything a server or a client needs to run it.
//!
//! No type of an engine stands here: what a plan records of the one that it is made for comes from `engine.rs`, its file
//! format from `file.rs`. A second engine reads the program ([`Plan::module`]), the parameters ([`Plan::spec`]) and the ports;
//! `examples/openfhe.rs` is one.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use fhec_container::Reader;
use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::OpCounts;
use fhec_ir::verify::verify;
use fhec_ir::{Ckks, Digest, Module, Node, ParamSpec, Port, Value};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::client_plan::{ClientPlan, PlanEnd};
use crate::engine::{self, Recorded};
use crate::error::RuntimeError;
use crate::keys::KeyList;

/// Kind of a plan file.
pub const PLAN_KIND: &str = "plan";
/// Version of the plan format. Raise it whenever a plan written before would be read differently.
pub const PLAN_VERSION: u32 = 3;
/// Longest report in a plan, in bytes of JSON: as values in memory it takes up to a hundred times as much.
const MAX_REPORT: usize = 1 << 20;

/// Where a plan comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of fhec that compiled it.
    pub fhec: String,
    /// Name of the model.
    pub model: String,
    /// blake3 of the model file, in hexadecimal.
    pub model_digest: String,
    /// Compiler options that shaped the plan.
    pub options: BTreeMap<String, String>,
    /// What the passes reported: approximation errors, ranges, choices.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded")]
    pub report: Option<serde_json::Value>,
}

/// A JSON value whose text is not too long.
fn bounded<'de, D: Deserializer<'de>>(d: D) -> Result<Option<serde_json::Value>, D::Error> {
    let text = Box::<RawValue>::deserialize(d)?;
    if text.get().len() > MAX_REPORT {
        return Err(D::Error::custom(format!("a report of {} bytes, at most {MAX_REPORT} are read", text.get().len())));
    }
    serde_json::from_str(text.get()).map(Some).map_err(D::Error::custom)
}

/// What the parameters promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Bits of classical security, 0 when the parameters are marked insecure.
    pub bits: u32,
    /// log2 of the product of all primes.
    pub log_qp: f64,
    /// The bound on it for 128 bits at this ring degree, where one is known.
    pub max_log_qp: Option<u32>,
}

/// A compiled model: program, constants, parameters, key list.
///
/// It is run by an [`Executor`](crate::Executor) on ciphertexts, by [`run_clear`](crate::run_clear) exactly and by a
/// [`Simulator`](crate::Simulator) with modelled noise. [`Plan::client`] gives what a client needs of it.
///
/// ```no_run
/// use fhec_runtime::Plan;
///
/// let plan = Plan::load("plan.fhe")?;
/// println!("{} levels, {} bootstraps", plan.depth(), plan.counts().bootstraps);
/// plan.client()?.save("client.fhe")?;
/// # Ok::<(), fhec_runtime::RuntimeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    module: Module<Ckks>,
    provenance: Provenance,
    slots: usize,
    counts: OpCounts,
    recorded: Recorded,
    result_errors: Vec<f64>,
    /// Hash of the file's content, once known.
    digest: OnceLock<Digest>,
}

impl Plan {
    /// A plan for a lowered program.
    ///
    /// # Errors
    /// When the program does not verify, lacks parameters or ports, its parameters are insecure without saying so, or its
    /// bootstraps fail too often.
    pub fn new(module: Module<Ckks>, provenance: Provenance) -> Result<Self, RuntimeError> {
        let name = module.func.name.clone();
        Self::checked(&name, module, provenance)
    }

    fn checked(file: &str, module: Module<Ckks>, provenance: Provenance) -> Result<Self, RuntimeError> {
        let not_a_plan = |reason: &str| RuntimeError::NotAPlan { file: file.into(), reason: reason.into() };
        verify(&module).map_err(|e| RuntimeError::Verify { file: file.into(), source: Box::new(e) })?;
        let spec = module.params.as_ref().ok_or_else(|| not_a_plan("the program has no parameters"))?;
        if module.inputs.is_empty() || module.outputs.is_empty() {
            return Err(not_a_plan("the program does not say what its inputs and outputs are"));
        }
        let layouts = module.inputs.iter().chain(&module.outputs).filter_map(|port| port.layout.as_ref());
        let slots = layouts.map(|l| l.slots).next().ok_or_else(|| not_a_plan("the ports have no layouts"))?;
        let counts = OpCounts::of(&module, slots);
        let recorded = Recorded::of(file, &module, spec, slots, counts.bootstraps)?;
        let (result_errors, digest) = (Vec::new(), OnceLock::new());
        Ok(Self { module, provenance, slots, counts, recorded, result_errors, digest })
    }

    /// The plan with the root mean square error that the noise of its ciphertexts leaves in each of its outputs: what the
    /// publication of results is sized by.
    ///
    /// # Errors
    /// When these are not as many as there are outputs, or one is not above zero and finite.
    pub fn with_result_errors(self, result_errors: Vec<f64>) -> Result<Self, RuntimeError> {
        possible_errors(&result_errors, self.outputs().len())
            .map_err(|reason| RuntimeError::NotAPlan { file: self.module.func.name.clone(), reason })?;
        Ok(Self { result_errors, digest: OnceLock::new(), ..self })
    }

    /// The plan with this provenance.
    #[must_use]
    pub fn with_provenance(self, provenance: Provenance) -> Self {
        Self { provenance, digest: OnceLock::new(), ..self }
    }

    /// The program.
    pub fn module(&self) -> &Module<Ckks> {
        &self.module
    }
    /// Where the plan comes from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }
    /// The parameters as the compiler chose them.
    pub fn spec(&self) -> &ParamSpec {
        self.module.params.as_ref().expect("checked when the plan was made")
    }
    /// Slots of every vector in the program; the content of a ciphertext repeats with this period.
    pub fn slots(&self) -> usize {
        self.slots
    }
    /// Images of one run, along dimension 0 of all inputs and outputs.
    pub fn batch(&self) -> usize {
        fhec_ir::io::batch(self.inputs().iter().chain(self.outputs()))
    }
    /// The inputs of one image of a run.
    pub fn image_inputs(&self) -> Vec<Port> {
        self.inputs().iter().map(|port| port.image(self.batch())).collect()
    }
    /// The outputs of one image of a run.
    pub fn image_outputs(&self) -> Vec<Port> {
        self.outputs().iter().map(|port| port.image(self.batch())).collect()
    }
    /// The inputs of a run.
    pub fn inputs(&self) -> &[Port] {
        &self.module.inputs
    }
    /// The outputs of a run.
    pub fn outputs(&self) -> &[Port] {
        &self.module.outputs
    }
    /// The root mean square error of every output, where the compiler has found it.
    pub fn result_errors(&self) -> Option<&[f64]> {
        Some(&self.result_errors[..]).filter(|errors| !errors.is_empty())
    }
    /// The evaluation keys it needs.
    pub fn keys(&self) -> &KeyList {
        &self.recorded.keys
    }
    /// Its operations.
    pub fn counts(&self) -> &OpCounts {
        &self.counts
    }
    /// What its parameters promise.
    pub fn security(&self) -> Security {
        self.recorded.security.clone()
    }
    /// What a client needs to know of it: ports, parameters, keys, and the digest that stands for the rest.
    ///
    /// # Errors
    /// As [`Plan::to_bytes`].
    pub fn client(&self) -> Result<ClientPlan, RuntimeError> {
        let func = &self.module.func;
        let ends = |ports: &[Port], values: &[Value]| {
            let mut levels = values.iter().map(|&value| func.ty(value).level);
            let spanned = |port: &Port| port.layout.as_ref().map_or(0, |layout| layout.ciphertexts);
            let end =
                |port: &Port| PlanEnd { port: port.clone(), levels: levels.by_ref().take(spanned(port)).collect() };
            ports.iter().map(end).collect()
        };
        Ok(ClientPlan {
            plan: self.digest()?,
            model: self.provenance.model.clone(),
            params: engine::params(self),
            slots: self.slots,
            keys: self.keys().clone(),
            inputs: ends(self.inputs(), func.params()),
            outputs: ends(self.outputs(), func.results()),
            result_errors: self.result_errors.clone(),
        })
    }
    /// log2 of a bound on the probability that a bootstrap of a run fails, which makes its result garbage; `None` without
    /// bootstraps. Plans whose bound is above 2^-60 are refused.
    pub fn bootstrap_failure(&self) -> Option<f64> {
        self.recorded.bootstrap_failure
    }
    /// The levels that its bootstraps restore, each once.
    pub fn bootstrap_levels(&self) -> BTreeSet<u32> {
        let restored = |node: &Node<Ckks>| match node.op {
            CkksOp::Bootstrap { to } => Some(to),
            _ => None,
        };
        self.module.func.iter().filter_map(|(_, node)| restored(node)).collect()
    }
    /// Levels between the highest and the lowest ciphertext.
    pub fn depth(&self) -> u32 {
        let levels = || self.module.func.iter().map(|(_, n)| n.ty.level);
        levels().max().unwrap_or(0) - levels().min().unwrap_or(0)
    }

    /// Hash of the whole content: what a ciphertext made for this plan names.
    ///
    /// # Errors
    /// As [`Plan::to_bytes`].
    pub fn digest(&self) -> Result<Digest, RuntimeError> {
        match self.digest.get() {
            Some(known) => Ok(*known),
            None => {
                let digest = Reader::from_bytes(PLAN_KIND, &self.to_bytes()?)?.digest();
                Ok(*self.digest.get_or_init(|| digest))
            }
        }
    }
}

/// Refuses errors that are not one of every output, above zero and finite.
pub(crate) fn possible_errors(errors: &[f64], outputs: usize) -> Result<(), String> {
    if errors.len() != outputs {
        return Err(format!("it states the errors of {} outputs and has {outputs}", errors.len()));
    }
    match errors.iter().find(|&&e| !(e > 0.0 && e.is_finite())) {
        Some(error) => Err(format!("{error} is no error of an output: it must be above zero and finite")),
        None => Ok(()),
    }
}
