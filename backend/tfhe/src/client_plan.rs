//! What a client needs of a plan: no weight and no table.

use std::path::Path;

use fhec_container::{ContainerError, Destination, Reader, Writer};
use fhec_integer::{Input, check_port};
use fhec_ir::text::{from_hex, to_hex};
use fhec_ir::{Digest, Port};
use serde::{Deserialize, Serialize};

use crate::error::TfheError;
use crate::parameters::ParameterSet;
use crate::plan::Plan;
use crate::plan_file::PLAN_KIND;

/// Kind of a client plan file.
pub const CLIENT_PLAN_KIND: &str = "tfhe-client-plan";
/// Version of its format.
const VERSION: u32 = 1;

/// What makes keys, encrypts inputs and decrypts results of one plan. [`Plan::client`] makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPlan {
    pub(crate) plan: Digest,
    pub(crate) model: String,
    pub(crate) set: &'static ParameterSet,
    pub(crate) inputs: Vec<Input>,
    /// For every input the bits of the message space that it is encoded in.
    pub(crate) input_bits: Vec<u32>,
    pub(crate) outputs: Vec<Decoding>,
}

/// How the numbers of an output are read: `shift + scale · sum`, element by element.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// The model's output.
    pub port: Port,
    /// Bits of the message space.
    pub bits: u32,
    /// The least value of each sum, which the ciphertext holds as 0.
    pub least: Vec<i64>,
    /// The largest.
    pub most: Vec<i64>,
    /// The factors.
    pub scale: Vec<f64>,
    /// What is added.
    pub shift: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientPlanManifest {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    model: String,
    message_bits: u32,
    inputs: Vec<Input>,
    input_bits: Vec<u32>,
    outputs: Vec<Decoding>,
}

impl ClientPlan {
    /// Digest of the plan: what keys and ciphertexts name.
    pub fn plan_digest(&self) -> Digest {
        self.plan
    }
    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// The parameter set.
    pub fn parameters(&self) -> &'static ParameterSet {
        self.set
    }
    /// The inputs.
    pub fn inputs(&self) -> Vec<Port> {
        self.inputs.iter().map(|input| input.port.clone()).collect()
    }
    /// The outputs.
    pub fn outputs(&self) -> Vec<Port> {
        self.outputs.iter().map(|output| output.port.clone()).collect()
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), TfheError> {
        Writer::create(to, CLIENT_PLAN_KIND, VERSION)?.finish(&self.manifest())?;
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// None today; kept for names that cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TfheError> {
        Ok(Writer::in_memory(CLIENT_PLAN_KIND, VERSION)?.into_bytes(&self.manifest())?)
    }

    fn manifest(&self) -> ClientPlanManifest {
        ClientPlanManifest {
            plan: to_hex(&self.plan),
            model: self.model.clone(),
            message_bits: self.set.bits,
            inputs: self.inputs.clone(),
            input_bits: self.input_bits.clone(),
            outputs: self.outputs.clone(),
        }
    }

    /// Reads a file, of a client plan or of a plan, that may take `limit` bytes of memory; without one, what files may by default.
    ///
    /// # Errors
    /// A damaged file, or one of something else.
    pub fn load(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, TfheError> {
        let path = path.as_ref();
        let reader = Reader::open_within(path, limit)?;
        if reader.kind() == PLAN_KIND {
            return Plan::load(path, limit)?.client();
        }
        Self::read(&reader.expect(CLIENT_PLAN_KIND, VERSION)?)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`ClientPlan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, TfheError> {
        Self::read(&Reader::from_bytes(name, bytes)?.expect(CLIENT_PLAN_KIND, VERSION)?)
    }

    fn read(reader: &Reader) -> Result<Self, TfheError> {
        let manifest: ClientPlanManifest = reader.manifest()?;
        let malformed = |reason: String| ContainerError::malformed(reader.file(), reason);
        let plan = from_hex(&manifest.plan).ok_or_else(|| malformed("it names no plan".into()))?;
        let set = ParameterSet::of_bits(manifest.message_bits)?;
        let ports = manifest.inputs.iter().map(|input| &input.port);
        ports.chain(manifest.outputs.iter().map(|output| &output.port)).try_for_each(check_port)?;
        let most_bits = set.result_bits().max().unwrap_or(set.bits).max(set.bits);
        let encodable = |bits: u32, top: u64| (1..=most_bits).contains(&bits) && top < 1 << bits;
        if manifest.input_bits.len() != manifest.inputs.len() || manifest.outputs.is_empty() {
            return Err(malformed("its inputs have no encodings, or it has no output".into()).into());
        }
        for (input, &bits) in manifest.inputs.iter().zip(&manifest.input_bits) {
            if input.quantiser.check().is_err() || !encodable(bits, u64::from(input.quantiser.top)) {
                return Err(malformed(format!("input `{}` cannot be encoded in {bits} bits", input.port.name)).into());
            }
        }
        for output in &manifest.outputs {
            let len = output.port.shape.len();
            let lens = [output.least.len(), output.most.len(), output.scale.len(), output.shift.len()];
            let spans = output.least.iter().zip(&output.most);
            let spanned = |(least, most): (&i64, &i64)| least <= most && encodable(output.bits, most.abs_diff(*least));
            let finite = output.scale.iter().chain(&output.shift).all(|x| x.is_finite());
            if lens.iter().any(|&l| l != len) || !finite || !spans.into_iter().all(spanned) {
                return Err(malformed(format!("output `{}` cannot be decoded", output.port.name)).into());
            }
        }
        Ok(Self {
            plan,
            model: manifest.model,
            set,
            inputs: manifest.inputs,
            input_bits: manifest.input_bits,
            outputs: manifest.outputs,
        })
    }
}
