//! Plans: a `ckks` program with everything a server or a client needs to run it, and their file format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use fhec_ckks::{CkksError, MAX_FAILURE, Params};
use fhec_container::{Codec, Destination, Dtype, Reader, Section, Writer};
use fhec_ir::ckks::CkksOp;
use fhec_ir::text::{BlobSource, Blobs, parse_module, print_with_blobs, to_hex};
use fhec_ir::verify::verify;
use fhec_ir::{BootstrapSpec, Ckks, Digest, Module, Node, ParamSpec, Port, Shape, Tensor, Value, digest_of};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::client_plan::{ClientPlan, End};
use crate::error::RuntimeError;
use crate::keys::KeyList;
use crate::stats::OpCounts;

/// Kind of a plan file.
pub const PLAN_KIND: &str = "plan";
/// Version of the plan format. Raise it whenever a plan written before would be read differently.
pub const PLAN_VERSION: u32 = 2;
const PROGRAM: &str = "program";
/// Memory that reading a program takes, as a multiple of the length of its text.
const TEXT_INFLATION: u64 = 64;
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

impl Security {
    /// What these parameters promise.
    pub fn of(params: &Params) -> Self {
        Self {
            bits: if params.is_insecure() { 0 } else { 128 },
            log_qp: params.log_qp(),
            max_log_qp: compiler_spec(params.spec()).max_log_qp(),
        }
    }
}

/// A plan that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Hash of its content.
    pub digest: Digest,
    /// Bytes of memory that reading it takes, where that is more than [`Plan::load`] admits: [`Plan::load_within`] does.
    pub limit: Option<u64>,
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
    /// When the program does not verify, lacks parameters or ports, its parameters are insecure without saying so, or its
    /// bootstraps fail too often.
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
        let bootstraps = counts.bootstraps;
        if let Some(log2) = failure(&params, bootstraps, slots).filter(|&log2| log2 > MAX_FAILURE) {
            return Err(RuntimeError::Failure { file: file.into(), bootstraps, slots, log2, limit: MAX_FAILURE });
        }
        let (result_errors, digest) = (Vec::new(), OnceLock::new());
        Ok(Self { module, provenance, params, slots, keys, counts, result_errors, digest })
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
        Security::of(&self.params)
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
            let end = |port: &Port| End { port: port.clone(), levels: levels.by_ref().take(spanned(port)).collect() };
            ports.iter().map(end).collect()
        };
        Ok(ClientPlan {
            plan: self.digest()?,
            model: self.provenance.model.clone(),
            params: self.params.clone(),
            slots: self.slots,
            keys: self.keys.clone(),
            inputs: ends(self.inputs(), func.params()),
            outputs: ends(self.outputs(), func.results()),
            result_errors: self.result_errors.clone(),
        })
    }
    /// log2 of a bound on the probability that a bootstrap of a run fails, which makes its result garbage; `None` without
    /// bootstraps. Plans above [`fhec_ckks::MAX_FAILURE`] are refused.
    pub fn bootstrap_failure(&self) -> Option<f64> {
        failure(&self.params, self.counts.bootstraps, self.slots)
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
            let name = to_hex(digest);
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

    /// Writes the plan to a file and reads it back.
    ///
    /// # Errors
    /// When the file cannot be written, or when what was written cannot be read.
    pub fn save(&self, to: impl Into<Destination>) -> Result<Saved, RuntimeError> {
        let _span = tracing::debug_span!("save-plan").entered();
        let to = to.into();
        let path = to.path().to_path_buf();
        let mut writer = Writer::create(to, PLAN_KIND, PLAN_VERSION)?;
        let manifest = self.write(&mut |name, dtype, bytes| match bytes {
            Bytes::Text(text) => writer.section(name, dtype, text, Codec::Zstd),
            Bytes::Floats(data) => writer.section(name, dtype, data, Codec::Zstd),
        })?;
        let digest = writer.finish(&manifest)?;
        let damaged = |e| RuntimeError::ReadBack { file: path.display().to_string(), source: Box::new(e) };
        // What went into a pipe is gone.
        let limit = path.is_file().then(|| self.read_back(&path, &digest)).transpose().map_err(damaged)?.flatten();
        Ok(Saved { digest: *self.digest.get_or_init(|| digest), limit })
    }

    /// Reads a file that this plan was written to as later commands will, with one constant in memory at a time; the memory
    /// that these must admit, where it is more than they do by default.
    fn read_back(&self, path: &Path, digest: &Digest) -> Result<Option<u64>, RuntimeError> {
        // What is read here is what this program wrote.
        let reader = Reader::open(path)?.with_limit(u64::MAX).expect(PLAN_KIND, PLAN_VERSION)?;
        if reader.digest() != *digest {
            return Err(fhec_container::Error::malformed(reader.file(), "it holds something else").into());
        }
        let manifest: Manifest = reader.manifest()?;
        for (name, shape) in &manifest.constants {
            let section = constant(&reader, name, shape)?;
            named(&reader, name, &digest_of(&Shape(shape.clone()), section.as_slice()?))?;
        }
        Self::assembled(&reader, manifest, &self.module.consts)?;
        Ok(Some(reader.spent()).filter(|&spent| spent > reader.default_limit()))
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another version, takes more memory than [`fhec_container::DEFAULT_LIMIT`]
    /// says, or its program does not verify.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::load_within(path, None)
    }

    /// Reads a plan file that may take `limit` bytes of memory; by default what [`Plan::load`] admits.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn load_within(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, RuntimeError> {
        let _span = tracing::debug_span!("load-plan").entered();
        Self::read(Reader::open_within(path, limit)?)
    }

    /// Reads a plan from bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(Reader::from_bytes(name, bytes)?)
    }

    pub(crate) fn read(reader: Reader) -> Result<Self, RuntimeError> {
        let reader = reader.expect(PLAN_KIND, PLAN_VERSION)?;
        let manifest: Manifest = reader.manifest()?;
        let mut blobs = Blobs::default();
        for (name, shape) in &manifest.constants {
            let section = constant(&reader, name, shape)?;
            let digest = blobs.insert(Tensor::new(shape.clone(), section.as_slice::<f32>()?));
            named(&reader, name, &digest)?;
        }
        Self::assembled(&reader, manifest, &blobs)
    }

    /// The plan of a file whose constants `blobs` supplies.
    fn assembled(reader: &Reader, manifest: Manifest, blobs: &dyn BlobSource) -> Result<Self, RuntimeError> {
        let file = reader.file().to_string();
        let malformed = |reason: String| fhec_container::Error::malformed(&file, reason);
        let length = reader.info(PROGRAM).map_or(0, |section| section.len);
        reader.spend("the program", length.saturating_mul(TEXT_INFLATION))?;
        let program = reader.section(PROGRAM)?;
        let constants =
            Constants { blobs, room: usize::try_from(reader.left()).unwrap_or(usize::MAX) / size_of::<f32>() };
        let module: Module<Ckks> = parse_module(&file, program.as_str()?, &constants)
            .map_err(|e| RuntimeError::Program { file: file.clone(), source: Box::new(e) })?;
        if module.params.as_ref().map(engine_spec).as_ref() != Some(manifest.params.spec()) {
            return Err(malformed("the program and the plan state different parameters".into()).into());
        }
        let plan = Self::checked(&file, module, manifest.provenance, Some(manifest.params))?;
        if (&plan.keys, &plan.counts) != (&manifest.keys, &manifest.counts) {
            return Err(malformed("the plan's key list or op counts are not those of its program".into()).into());
        }
        let plan = if manifest.result_errors.is_empty() {
            plan
        } else {
            possible_errors(&manifest.result_errors, plan.outputs().len()).map_err(malformed)?;
            Self { result_errors: manifest.result_errors, ..plan }
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

/// log2 of a bound on the probability that one of some bootstraps fails; `None` where there are none.
fn failure(params: &Params, bootstraps: u64, slots: usize) -> Option<f64> {
    params.bootstrap_failure(bootstraps, slots).filter(|_| bootstraps > 0)
}

/// The section of a constant, of as many elements as its shape has.
fn constant(reader: &Reader, name: &str, shape: &[usize]) -> Result<Section, fhec_container::Error> {
    let shape = Shape(shape.to_vec());
    let len = shape.checked_len().and_then(|len| u64::try_from(len).ok()?.checked_mul(size_of::<f32>() as u64));
    let Some(len) = len else {
        let reason = format!("constant {name} cannot be of shape {shape}");
        return Err(fhec_container::Error::malformed(reader.file(), reason));
    };
    reader.section_of(&constant_section(name), len)
}

/// Refuses a constant whose name is not its hash.
fn named(reader: &Reader, name: &str, digest: &Digest) -> Result<(), fhec_container::Error> {
    if to_hex(digest) == name {
        return Ok(());
    }
    Err(fhec_container::Error::malformed(reader.file(), format!("constant {name} is not what its name says")))
}

/// Elements of a section.
enum Bytes<'a> {
    Text(&'a [u8]),
    Floats(&'a [f32]),
}

/// The constants of a plan file, and the elements that its program may fill others with.
struct Constants<'a> {
    blobs: &'a dyn BlobSource,
    room: usize,
}

impl BlobSource for Constants<'_> {
    fn blob(&self, digest: &Digest) -> Option<Tensor> {
        self.blobs.blob(digest)
    }
    fn room(&self) -> usize {
        self.room
    }
}

fn constant_section(digest: &str) -> String {
    format!("constant/{digest}")
}

/// The engine's form of the compiler's parameters.
pub(crate) fn engine_spec(spec: &ParamSpec) -> fhec_ckks::ParamSpec {
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
