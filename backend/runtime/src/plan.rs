//! Plans: a `ckks` program with everything a server or a client needs to run it, and their file format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use fhec_ckks::{CkksError, Params};
use fhec_container::{Codec, Destination, Dtype, Reader, Writer};
use fhec_ir::ckks::CkksOp;
use fhec_ir::text::{Blobs, parse_module, print_with_blobs};
use fhec_ir::verify::verify;
use fhec_ir::{BootstrapSpec, Ckks, Digest, Module, Node, ParamSpec, Port, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;
use crate::keys::KeyList;
use crate::stats::OpCounts;

/// Kind of a plan file.
pub const PLAN_KIND: &str = "plan";
/// Version of the plan format. Raise it whenever a plan written before would be read differently.
pub const PLAN_VERSION: u32 = 2;
const PROGRAM: &str = "program";

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
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

/// The JSON part of a plan file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    provenance: Provenance,
    /// The engine's parameters with their primes.
    params: Params,
    security: Security,
    keys: KeyList,
    counts: OpCounts,
    /// Shapes of the constants that are stored as sections, by digest.
    constants: BTreeMap<String, Vec<usize>>,
    /// Root mean square errors of the outputs, in order, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    result_errors: Vec<f64>,
}

/// A compiled model: program, constants, parameters, key list.
#[derive(Clone, Debug)]
pub struct Plan {
    module: Module<Ckks>,
    provenance: Provenance,
    params: Params,
    slots: usize,
    keys: KeyList,
    counts: OpCounts,
    result_errors: Vec<f64>,
    /// Hash of the file's content, once known.
    digest: OnceLock<Digest>,
}

impl Plan {
    /// A plan for a lowered program.
    ///
    /// # Errors
    /// When the program does not verify, lacks parameters or ports, or its parameters are insecure without saying so.
    pub fn new(module: Module<Ckks>, provenance: Provenance) -> Result<Self, RuntimeError> {
        let name = module.func.name.clone();
        let params = module.params.as_ref().map(engine_params).transpose()?;
        Self::checked(&name, module, provenance, params)
    }

    fn checked(
        file: &str,
        module: Module<Ckks>,
        provenance: Provenance,
        params: Option<Params>,
    ) -> Result<Self, RuntimeError> {
        let not_a_plan = |reason: &str| RuntimeError::NotAPlan { file: file.into(), reason: reason.into() };
        verify(&module).map_err(|e| RuntimeError::Verify { file: file.into(), source: Box::new(e) })?;
        let params = params.ok_or_else(|| not_a_plan("the program has no parameters"))?;
        if module.inputs.is_empty() || module.outputs.is_empty() {
            return Err(not_a_plan("the program does not say what its inputs and outputs are"));
        }
        let layouts = module.inputs.iter().chain(&module.outputs).filter_map(|port| port.layout.as_ref());
        let slots = layouts.map(|l| l.slots).next().ok_or_else(|| not_a_plan("the ports have no layouts"))?;
        let keys = KeyList::of(&module, &params, slots)?;
        let counts = OpCounts::of(&module, slots);
        let (result_errors, digest) = (Vec::new(), OnceLock::new());
        Ok(Self { module, provenance, params, slots, keys, counts, result_errors, digest })
    }

    /// The plan with the root mean square error that the noise of its ciphertexts leaves in each of its outputs: what the
    /// publication of results is sized by.
    ///
    /// # Errors
    /// When these are not as many as there are outputs, or one is not above zero and finite.
    pub fn with_result_errors(self, result_errors: Vec<f64>) -> Result<Self, RuntimeError> {
        let possible = result_errors.iter().all(|&e| e > 0.0 && e.is_finite());
        if result_errors.len() != self.outputs().len() || !possible {
            let reason = format!("errors {result_errors:?} for {} outputs", self.outputs().len());
            return Err(RuntimeError::NotAPlan { file: self.module.func.name.clone(), reason });
        }
        Ok(Self { result_errors, digest: OnceLock::new(), ..self })
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
    /// The parameters with their primes.
    pub fn params(&self) -> &Params {
        &self.params
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
        &self.keys
    }
    /// Its operations.
    pub fn counts(&self) -> &OpCounts {
        &self.counts
    }
    /// What its parameters promise.
    pub fn security(&self) -> Security {
        Security {
            bits: if self.params.is_insecure() { 0 } else { 128 },
            log_qp: self.params.log_qp(),
            max_log_qp: self.spec().max_log_qp(),
        }
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

    fn write<W>(&self, section: &mut W) -> Result<Manifest, fhec_container::Error>
    where
        W: FnMut(&str, Dtype, Bytes<'_>) -> Result<(), fhec_container::Error>,
    {
        let (text, blobs) = print_with_blobs(&self.module);
        section(PROGRAM, Dtype::Text, Bytes::Text(text.as_bytes()))?;
        let mut constants = BTreeMap::new();
        for (digest, tensor) in blobs.iter() {
            let name = hex(digest);
            section(&constant_section(&name), Dtype::F32, Bytes::Floats(tensor.data()))?;
            constants.insert(name, tensor.shape().0.clone());
        }
        Ok(Manifest {
            provenance: self.provenance.clone(),
            params: self.params.clone(),
            security: self.security(),
            keys: self.keys.clone(),
            counts: self.counts.clone(),
            constants,
            result_errors: self.result_errors.clone(),
        })
    }

    /// The plan as a file's bytes: equal plans give equal bytes.
    ///
    /// # Errors
    /// When the report cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RuntimeError> {
        let mut writer = Writer::in_memory(PLAN_KIND, PLAN_VERSION)?;
        let manifest = self.write(&mut |name, dtype, bytes| match bytes {
            Bytes::Text(text) => writer.section(name, dtype, text, Codec::Zstd),
            Bytes::Floats(data) => writer.section(name, dtype, data, Codec::Zstd),
        })?;
        Ok(writer.into_bytes(&manifest)?)
    }

    /// Writes the plan to a file; returns the digest of its content.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<Digest, RuntimeError> {
        let mut writer = Writer::create(to, PLAN_KIND, PLAN_VERSION)?;
        let manifest = self.write(&mut |name, dtype, bytes| match bytes {
            Bytes::Text(text) => writer.section(name, dtype, text, Codec::Zstd),
            Bytes::Floats(data) => writer.section(name, dtype, data, Codec::Zstd),
        })?;
        let digest = writer.finish(&manifest)?;
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another version, or its program does not verify.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::read(Reader::open(path)?)
    }

    /// Reads a plan from bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(Reader::from_bytes(name, bytes)?)
    }

    fn read(reader: Reader) -> Result<Self, RuntimeError> {
        let reader = reader.expect(PLAN_KIND, PLAN_VERSION)?;
        let file = reader.file().to_string();
        let malformed = |reason: String| fhec_container::Error::malformed(&file, reason);
        let manifest: Manifest = reader.manifest()?;
        let mut blobs = Blobs::default();
        for (name, shape) in &manifest.constants {
            let section = reader.section(&constant_section(name))?;
            let data = section.as_slice::<f32>()?;
            let shape = Shape(shape.clone());
            if shape.checked_len() != Some(data.len()) {
                return Err(malformed(format!("constant {name} of shape {shape} has {} elements", data.len())).into());
            }
            if hex(&blobs.insert(Tensor::new(shape, data))) != *name {
                return Err(malformed(format!("constant {name} is not what its name says")).into());
            }
        }
        let program = reader.section(PROGRAM)?;
        let module: Module<Ckks> = parse_module(&file, program.as_str()?, &blobs)
            .map_err(|e| RuntimeError::Program { file: file.clone(), source: Box::new(e) })?;
        if module.params.as_ref().map(engine_spec).as_ref() != Some(manifest.params.spec()) {
            return Err(malformed("the program and the plan state different parameters".into()).into());
        }
        let plan = Self::checked(&file, module, manifest.provenance, Some(manifest.params))?;
        if (&plan.keys, &plan.counts) != (&manifest.keys, &manifest.counts) {
            return Err(malformed("the plan's key list or op counts are not those of its program".into()).into());
        }
        let plan = match manifest.result_errors {
            none if none.is_empty() => plan,
            errors => plan.with_result_errors(errors)?,
        };
        plan.digest.get_or_init(|| reader.digest());
        Ok(plan)
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

/// Elements of a section.
enum Bytes<'a> {
    Text(&'a [u8]),
    Floats(&'a [f32]),
}

fn constant_section(digest: &str) -> String {
    format!("constant/{digest}")
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// The engine's form of the compiler's parameters.
fn engine_spec(spec: &ParamSpec) -> fhec_ckks::ParamSpec {
    fhec_ckks::ParamSpec {
        log_n: spec.log_n,
        first_bits: spec.first_bits,
        scale_bits: spec.scale_bits,
        levels: spec.levels,
        alpha: spec.special,
        special_bits: spec.special_bits,
        bootstrap: spec.bootstrap.as_ref().map(|b| fhec_ckks::BootstrapSpec {
            cts_levels: b.cts_levels,
            stc_levels: b.stc_levels,
            stc_bits: b.stc_bits,
            mod_bits: b.mod_bits,
            mod_scale_bits: b.mod_scale_bits,
            sum_scale_bits: b.sum_scale_bits,
            k: b.k,
            degree: b.degree,
            double_angle: b.double_angle,
            arcsine_degree: b.arcsine_degree,
            ratio_bits: b.ratio_bits,
            sparse_weight: b.sparse_weight,
        }),
        insecure: spec.insecure,
    }
}

/// The compiler's form of the engine's parameters.
pub fn compiler_spec(spec: &fhec_ckks::ParamSpec) -> ParamSpec {
    ParamSpec {
        log_n: spec.log_n,
        first_bits: spec.first_bits,
        scale_bits: spec.scale_bits,
        levels: spec.levels,
        special_bits: spec.special_bits,
        special: spec.alpha,
        bootstrap: spec.bootstrap.as_ref().map(|b| BootstrapSpec {
            levels: b.levels(),
            cts_levels: b.cts_levels,
            stc_levels: b.stc_levels,
            stc_bits: b.stc_bits,
            mod_bits: b.mod_bits,
            mod_scale_bits: b.mod_scale_bits,
            sum_scale_bits: b.sum_scale_bits,
            k: b.k,
            degree: b.degree,
            double_angle: b.double_angle,
            arcsine_degree: b.arcsine_degree,
            ratio_bits: b.ratio_bits,
            sparse_weight: b.sparse_weight,
        }),
        insecure: spec.insecure,
    }
}

/// Chooses the primes for the compiler's parameters.
///
/// # Errors
/// When they are out of range, or insecure without saying so.
pub fn engine_params(spec: &ParamSpec) -> Result<Params, RuntimeError> {
    let engine = engine_spec(spec);
    if let (Some(stated), Some(b)) = (&spec.bootstrap, &engine.bootstrap)
        && stated.levels != b.levels()
    {
        let (stated, consumed) = (stated.levels, b.levels());
        return Err(CkksError::Params(format!("a bootstrap consumes {consumed} levels, {stated} are stated")).into());
    }
    Ok(Params::new(engine)?)
}
