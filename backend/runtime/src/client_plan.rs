//! A client plan holds what a client needs of a plan, without its program and its constants, so that the model stays
//! with the server.

use std::path::Path;

use fhec_ckks::{KeyName, Params};
use fhec_container::{Destination, Reader, Writer};
use fhec_ir::text::{from_hex, to_hex};
use fhec_ir::verify::check_ports;
use fhec_ir::{Digest, Port};
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;
use crate::keys::KeyList;
use crate::plan::{Plan, Security, possible_errors};

/// Kind of a client plan file.
pub const CLIENT_PLAN_KIND: &str = "client-plan";
/// Version of its format.
pub const CLIENT_PLAN_VERSION: u32 = 1;

/// What packing adds to a limb, what a container says of a ciphertext and what it says besides, in bytes, at most.
const PER_LIMB: u64 = 64;
const PER_CIPHERTEXT: u64 = 1 << 10;
const PER_FILE: u64 = 128 << 10;

/// What generates keys, encrypts inputs and decrypts results of one plan: inputs and outputs with their layouts and levels,
/// parameters, the key list, and the digest of the plan. It holds no op and no constant. [`Plan::client`] makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPlan {
    pub(crate) plan: Digest,
    pub(crate) model: String,
    pub(crate) params: Params,
    pub(crate) slots: usize,
    pub(crate) keys: KeyList,
    pub(crate) inputs: Vec<PlanEnd>,
    pub(crate) outputs: Vec<PlanEnd>,
    pub(crate) result_errors: Vec<f64>,
}

/// An input or output, with the levels of the ciphertexts it spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanEnd {
    pub port: Port,
    pub levels: Vec<u32>,
}

/// The whole content of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientPlanManifest {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    /// Name of the model.
    model: String,
    params: Params,
    keys: KeyList,
    inputs: Vec<PlanEnd>,
    outputs: Vec<PlanEnd>,
    /// Root mean square errors of the outputs, in order; none where they are not known.
    result_errors: Vec<f64>,
}

impl ClientPlan {
    /// Digest of the plan: what requests, results and secret keys name.
    pub fn plan_digest(&self) -> Digest {
        self.plan
    }
    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// The parameters with their primes.
    pub fn params(&self) -> &Params {
        &self.params
    }
    /// What the parameters promise.
    pub fn security(&self) -> Security {
        Security::of(&self.params)
    }
    /// Slots of every ciphertext.
    pub fn slots(&self) -> usize {
        self.slots
    }
    /// The evaluation keys that the plan needs.
    pub fn keys(&self) -> &KeyList {
        &self.keys
    }
    /// The inputs of a run.
    pub fn inputs(&self) -> Vec<Port> {
        ports(&self.inputs)
    }
    /// The outputs of a run.
    pub fn outputs(&self) -> Vec<Port> {
        ports(&self.outputs)
    }
    /// Levels of the input ciphertexts of a run, in order.
    pub fn input_levels(&self) -> Vec<usize> {
        levels(&self.inputs)
    }
    /// Levels of the result ciphertexts of a run, in order.
    pub fn output_levels(&self) -> Vec<usize> {
        levels(&self.outputs)
    }
    /// The most bytes of a file with the inputs of so many runs.
    pub fn most_input_bytes(&self, runs: u64) -> u64 {
        self.most_bytes(&self.input_levels(), runs)
    }
    /// The most bytes of a file with the results of so many runs.
    pub fn most_output_bytes(&self, runs: u64) -> u64 {
        self.most_bytes(&self.output_levels(), runs)
    }
    fn most_bytes(&self, levels: &[usize], runs: u64) -> u64 {
        let n = self.params.n() as u64;
        // A residue takes the bits of its prime.
        let limb = |&prime: &u64| n * u64::from(64 - prime.leading_zeros()) / 8 + PER_LIMB;
        let part = |&level: &usize| self.params.q().iter().take(level + 1).map(limb).sum::<u64>();
        let run: u64 = levels.iter().map(|level| 2 * part(level) + PER_CIPHERTEXT).sum();
        runs.saturating_mul(run).saturating_add(PER_FILE)
    }
    /// The root mean square error that noise leaves in every output, where the compiler has found it.
    pub fn result_errors(&self) -> Option<&[f64]> {
        Some(&self.result_errors[..]).filter(|errors| !errors.is_empty())
    }
    /// Images of one run, along dimension 0 of all inputs and outputs.
    pub fn batch(&self) -> usize {
        fhec_ir::io::batch(self.inputs.iter().chain(&self.outputs).map(|end| &end.port))
    }
    /// The inputs of one image of a run.
    pub fn image_inputs(&self) -> Vec<Port> {
        self.inputs.iter().map(|end| end.port.image(self.batch())).collect()
    }
    /// The outputs of one image of a run.
    pub fn image_outputs(&self) -> Vec<Port> {
        self.outputs.iter().map(|end| end.port.image(self.batch())).collect()
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), RuntimeError> {
        let writer = Writer::create(to, CLIENT_PLAN_KIND, CLIENT_PLAN_VERSION)?;
        writer.finish(&self.manifest())?;
        Ok(())
    }

    /// The bytes of a file: equal client plans give equal bytes.
    ///
    /// # Errors
    /// When they are too long for a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RuntimeError> {
        Ok(Writer::in_memory(CLIENT_PLAN_KIND, CLIENT_PLAN_VERSION)?.into_bytes(&self.manifest())?)
    }

    fn manifest(&self) -> ClientPlanManifest {
        ClientPlanManifest {
            plan: to_hex(&self.plan),
            model: self.model.clone(),
            params: self.params.clone(),
            keys: self.keys.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            result_errors: self.result_errors.clone(),
        }
    }

    /// Reads a client plan, or takes what a client needs from a plan.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or of another version, or what it describes is not possible.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::load_within(path, None)
    }

    /// As [`ClientPlan::load`], of a file that may take `limit` bytes of memory.
    ///
    /// # Errors
    /// As [`ClientPlan::load`].
    pub fn load_within(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, RuntimeError> {
        Self::read(Reader::open_within(path, limit)?)
    }

    /// Reads the bytes of a client plan or of a plan; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`ClientPlan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(Reader::from_bytes(name, bytes)?)
    }

    fn read(reader: Reader) -> Result<Self, RuntimeError> {
        if reader.kind() != CLIENT_PLAN_KIND {
            return Plan::read(reader)?.client();
        }
        let reader = reader.expect(CLIENT_PLAN_KIND, CLIENT_PLAN_VERSION)?;
        let malformed = |reason: String| fhec_container::ContainerError::malformed(reader.file(), reason);
        let ClientPlanManifest { plan, model, params, keys, inputs, outputs, result_errors } = reader.manifest()?;
        let plan = from_hex(&plan).ok_or_else(|| malformed("the digest of the plan has not 64 hex digits".into()))?;
        let slots = possible_ends(&params, &inputs, &outputs).map_err(malformed)?;
        keys.check(&params).map_err(malformed)?;
        if !result_errors.is_empty() {
            possible_errors(&result_errors, outputs.len()).map_err(malformed)?;
        }
        Ok(Self { plan, model, params, slots, keys, inputs, outputs, result_errors })
    }
}

fn ports(ends: &[PlanEnd]) -> Vec<Port> {
    ends.iter().map(|end| end.port.clone()).collect()
}

fn levels(ends: &[PlanEnd]) -> Vec<usize> {
    ends.iter().flat_map(|end| &end.levels).map(|&level| level as usize).collect()
}

/// Checks inputs and outputs; the number of slots.
fn possible_ends(params: &Params, inputs: &[PlanEnd], outputs: &[PlanEnd]) -> Result<usize, String> {
    if inputs.is_empty() || outputs.is_empty() {
        return Err("a client plan needs inputs and outputs".into());
    }
    for end in inputs.iter().chain(outputs) {
        let name = &end.port.name;
        if end.port.layout.as_ref().is_some_and(|layout| layout.ciphertexts != end.levels.len()) {
            return Err(format!(
                "`{name}` states the levels of {} ciphertexts, its layout spans others",
                end.levels.len()
            ));
        }
        if end.port.range.is_some_and(|range| !range.is_ordered()) {
            return Err(format!("the range of `{name}` is no range"));
        }
        if let Some(level) = end.levels.iter().find(|&&level| level as usize > params.max_level()) {
            return Err(format!("`{name}` is at level {level}, above the top level {}", params.max_level()));
        }
    }
    let (input_ports, output_ports) = (ports(inputs), ports(outputs));
    let described =
        [("input", &input_ports[..], levels(inputs).len()), ("output", &output_ports[..], levels(outputs).len())];
    let slots = check_ports(&described, None).map_err(|problems| problems.join("; "))?;
    let limit = params.max_slots();
    slots
        .filter(|&slots| slots <= limit)
        .ok_or_else(|| format!("the layouts have more slots than the {limit} of a ciphertext"))
}

impl KeyList {
    /// Refuses a list with keys that no program under these parameters can need.
    fn check(&self, params: &Params) -> Result<(), String> {
        let levels = |name: KeyName, levels: &[u32]| {
            let descend = levels.windows(2).all(|pair| pair[0] > pair[1]);
            let within = levels.first().is_none_or(|&top| top as usize <= params.top_level());
            if descend && within { Ok(()) } else { Err(format!("the levels of the key for {name} are not possible")) }
        };
        levels(KeyName::Relin, &self.relinearization)?;
        levels(KeyName::Conj, &self.conjugation)?;
        levels(KeyName::FromSparse, self.from_sparse.as_slice())?;
        for (&by, of_rotation) in &self.rotations {
            if by == 0 || by as usize >= params.max_slots() {
                return Err(format!("there is no rotation by {by}"));
            }
            levels(KeyName::Rotation(by), of_rotation)?;
        }
        let sparse = params.spec().bootstrap.as_ref().is_some_and(|b| b.circuit.sparse_weight > 0);
        if self.from_sparse.is_some() && !sparse {
            return Err("a key for a sparse secret, which the parameters do not have".into());
        }
        Ok(())
    }
}
