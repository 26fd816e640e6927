//! The encrypted inputs or results of many images are one file.

use std::path::Path;

use fhec_ckks::{Ciphertext, CiphertextFile, CiphertextInfo, Context, ShortDigest};
use fhec_files::Destination;
use fhec_ir::Digest;
use fhec_ir::text::to_hex;
use fhec_runtime::ClientPlan;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::request::RequestId;

/// What ciphertexts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Inputs of a plan.
    Inputs,
    /// Its results.
    Outputs,
}

/// Encrypted images: for each run of a plan, the ciphertexts of all inputs or all outputs.
///
/// A client makes inputs and decrypts results; a [`Server`](crate::Server) makes results of inputs. It names the plan and the
/// request ([`RequestId`]), and what does not go with these is refused.
#[derive(Clone, Debug)]
pub struct Encrypted {
    pub(crate) plan: Digest,
    pub(crate) content: Content,
    pub(crate) runs: Vec<Vec<Ciphertext>>,
    /// Images in the runs; the last run may have room for more.
    pub(crate) images: usize,
    pub(crate) request: RequestId,
}

/// What the file says besides the ciphertexts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    content: Content,
    images: usize,
    request: RequestId,
}

impl Encrypted {
    /// What the ciphertexts hold.
    pub fn content(&self) -> Content {
        self.content
    }
    /// Number of images.
    pub fn images(&self) -> usize {
        self.images
    }
    /// The ciphertexts of every run.
    pub fn ciphertexts(&self) -> &[Vec<Ciphertext>] {
        &self.runs
    }
    /// The request that they are, or that they answer.
    pub fn request(&self) -> RequestId {
        self.request
    }

    fn label(&self) -> Label {
        Label { plan: to_hex(&self.plan), content: self.content, images: self.images, request: self.request }
    }

    fn flat(&self) -> Vec<Ciphertext> {
        self.runs.iter().flatten().cloned().collect()
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// Ciphertexts of other parameters than the context's.
    pub fn to_bytes(&self, context: &Context) -> Result<Vec<u8>, Error> {
        Ok(fhec_ckks::ciphertexts_to_bytes(context, &self.flat(), serde_json::json!(self.label()))?)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// As [`Encrypted::to_bytes`], or when the file cannot be written.
    pub fn save(&self, context: &Context, to: impl Into<Destination>) -> Result<(), Error> {
        Ok(fhec_ckks::write_ciphertexts(context, to, &self.flat(), serde_json::json!(self.label()))?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A damaged file, or one that was made for another plan.
    pub fn load(plan: &ClientPlan, context: &Context, path: &Path) -> Result<Self, Error> {
        EncryptedFile::open(plan, path)?.read(context)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Encrypted::load`].
    pub fn from_bytes(plan: &ClientPlan, context: &Context, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        EncryptedFile::from_bytes(plan, name, bytes)?.read(context)
    }

    /// The same images in parts of at most `runs` runs of the plan, and of one at least. Servers compute parts of a request apart;
    /// [`Encrypted::join`] puts what they give together.
    ///
    /// # Errors
    /// When these are no ciphertexts of the plan.
    pub fn split(self, plan: &ClientPlan, runs: usize) -> Result<Vec<Self>, Error> {
        self.expect(plan, self.content)?;
        let Self { plan: digest, content, runs: all, mut images, request } = self;
        let mut all = all.into_iter().peekable();
        let mut parts = Vec::new();
        while all.peek().is_some() {
            let runs: Vec<_> = all.by_ref().take(runs.max(1)).collect();
            let of_part = images.min(runs.len() * plan.batch());
            images -= of_part;
            parts.push(Self { plan: digest, content, runs, images: of_part, request });
        }
        Ok(parts)
    }

    /// What [`Encrypted::split`] has split, or the results of all parts, in their order. That none is left out is for the caller to
    /// see: parts do not tell how many there are.
    ///
    /// # Errors
    /// No parts, parts of several requests, or a part in the middle that has room for more images.
    pub fn join(plan: &ClientPlan, parts: Vec<Self>) -> Result<Self, Error> {
        const REPAIR: &str = "give all parts of one request, in their order";
        let mut parts = parts.into_iter();
        let none = || wrong("the parts", "there are none".into(), REPAIR);
        let mut whole = parts.next().ok_or_else(none)?;
        for part in parts {
            if (part.request, part.content) != (whole.request, whole.content) {
                let reason = format!("request {} in one, request {} in another", whole.request, part.request);
                return Err(wrong("the parts", reason, REPAIR));
            }
            if whole.images % plan.batch() != 0 {
                let reason = format!("{} images in runs of {}, and more follow", whole.images, plan.batch());
                return Err(wrong("the parts", reason, REPAIR));
            }
            whole.runs.extend(part.runs);
            whole.images += part.images;
        }
        whole.expect(plan, whole.content)?;
        Ok(whole)
    }

    /// [`Encrypted::split`] from bytes to bytes, for a program that has neither keys nor a server; `name` stands for the bytes in
    /// errors.
    ///
    /// # Errors
    /// As [`Encrypted::split`], or damaged bytes.
    pub fn split_bytes(plan: &ClientPlan, name: &str, bytes: &[u8], runs: usize) -> Result<Vec<Vec<u8>>, Error> {
        let context = Context::new(plan.params().clone())?;
        let parts = Self::from_bytes(plan, &context, name, bytes)?.split(plan, runs)?;
        parts.iter().map(|part| part.to_bytes(&context)).collect()
    }

    /// [`Encrypted::join`] from bytes to bytes; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Encrypted::join`], or damaged bytes.
    pub fn join_bytes<B: AsRef<[u8]>>(plan: &ClientPlan, name: &str, parts: &[B]) -> Result<Vec<u8>, Error> {
        let context = Context::new(plan.params().clone())?;
        let part = |bytes: &B| Self::from_bytes(plan, &context, name, bytes.as_ref());
        Self::join(plan, parts.iter().map(part).collect::<Result<_, _>>()?)?.to_bytes(&context)
    }

    /// Refuses what is not `content` of `plan`.
    pub(crate) fn expect(&self, plan: &ClientPlan, content: Content) -> Result<(), Error> {
        let infos: Vec<CiphertextInfo> = self.runs.iter().flatten().map(Ciphertext::info).collect();
        check("the ciphertexts", plan, &self.label(), &infos)?;
        expect("the ciphertexts", self.content, content)
    }
}

/// An open file of encrypted images, of which nothing is read but its label: what it holds, for which plan, and what its
/// ciphertexts are, all of which fits the plan.
pub struct EncryptedFile {
    file: CiphertextFile,
    label: Label,
    plan: Digest,
    per_run: usize,
}

impl EncryptedFile {
    /// Opens a file.
    ///
    /// # Errors
    /// A damaged file, one that was made for another plan, or ciphertexts that are not those of inputs or results of the plan.
    pub fn open(plan: &ClientPlan, path: &Path) -> Result<Self, Error> {
        Self::over(plan, CiphertextFile::open(plan.params(), path)?)
    }

    /// Opens the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`EncryptedFile::open`].
    pub fn from_bytes(plan: &ClientPlan, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::over(plan, CiphertextFile::from_bytes(plan.params(), name, bytes)?)
    }

    fn over(plan: &ClientPlan, file: CiphertextFile) -> Result<Self, Error> {
        let label: Label = file.extra().map_err(|e| {
            let reason = format!("the file does not say what it holds: {e}");
            wrong(file.name(), reason, "encrypt again with this version of fhec")
        })?;
        let per_run = check(file.name(), plan, &label, file.infos())?;
        Ok(Self { file, label, plan: plan.plan_digest(), per_run })
    }

    /// The same file, whose ciphertexts may take `limit` bytes of memory; without one, what files may by default.
    pub fn with_limit(self, limit: Option<u64>) -> Self {
        match limit {
            Some(limit) => Self { file: self.file.with_limit(limit), ..self },
            None => self,
        }
    }

    /// The request that the file is, or that it answers.
    pub fn request(&self) -> RequestId {
        self.label.request
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.label.images
    }

    /// Number of runs of the plan that they are for, or from.
    pub fn runs(&self) -> usize {
        self.file.infos().len() / self.per_run
    }

    /// Id of the secret key that all its ciphertexts are under; none where they differ.
    pub fn key(&self) -> Option<ShortDigest> {
        let mut keys = self.file.infos().iter().map(|info| info.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }

    /// Compares every ciphertext with its hash, without reading it into memory.
    ///
    /// # Errors
    /// A damaged ciphertext.
    pub fn verify(&self) -> Result<(), Error> {
        Ok(self.file.verify()?)
    }

    /// Refuses a file that holds something else.
    ///
    /// # Errors
    /// What the file holds.
    pub fn expect(self, content: Content) -> Result<Self, Error> {
        expect(self.file.name(), self.label.content, content)?;
        Ok(self)
    }

    /// Reads the ciphertexts.
    ///
    /// # Errors
    /// Damaged ciphertexts, or a context of other parameters.
    pub fn read(&self, context: &Context) -> Result<Encrypted, Error> {
        let Label { content, images, request, .. } = self.label;
        let mut runs = Vec::new();
        for from in (0..self.file.infos().len()).step_by(self.per_run) {
            let of_run = from..from + self.per_run;
            runs.push(of_run.map(|i| self.file.read(context, i)).collect::<Result<_, _>>()?);
        }
        Ok(Encrypted { plan: self.plan, content, runs, images, request })
    }
}

/// Checks a label and what is said of the ciphertexts against the plan; how many ciphertexts a run has.
fn check(file: &str, plan: &ClientPlan, label: &Label, infos: &[CiphertextInfo]) -> Result<usize, Error> {
    const COPY: &str = "copy the file again from where it was written";
    let expected = to_hex(&plan.plan_digest());
    if label.plan != expected {
        let reason = format!("made for plan {}, this is plan {}", short(&label.plan), short(&expected));
        return Err(wrong(file, reason, "use the plan that the input was encrypted for"));
    }
    let levels = match label.content {
        Content::Inputs => plan.input_levels(),
        Content::Outputs => plan.output_levels(),
    };
    let (per_run, runs) = (levels.len().max(1), label.images.div_ceil(plan.batch()));
    if runs.checked_mul(per_run) != Some(infos.len()) {
        let reason = format!("{} ciphertexts for {} images in runs of {per_run}", infos.len(), label.images);
        return Err(wrong(file, reason, COPY));
    }
    for (i, (info, &level)) in infos.iter().zip(levels.iter().cycle()).enumerate() {
        let found = (info.level, info.sd, info.parts, info.slots);
        let due = (level, 1, 2, plan.slots());
        if found != due {
            let describe = |(level, sd, parts, slots): (usize, u8, usize, usize)| {
                format!("level {level}, scale degree {sd}, {parts} parts and {slots} slots")
            };
            let reason = format!("ciphertext {i} is of {}; the plan has it of {}", describe(found), describe(due));
            return Err(wrong(file, reason, COPY));
        }
    }
    Ok(per_run)
}

/// Refuses ciphertexts that hold something else than `content`.
fn expect(file: &str, found: Content, content: Content) -> Result<(), Error> {
    if found == content {
        return Ok(());
    }
    let name = |content| match content {
        Content::Inputs => "inputs",
        Content::Outputs => "results",
    };
    let reason = format!("they hold {}, {} are needed", name(found), name(content));
    Err(wrong(file, reason, "`encrypt` writes inputs, `eval` reads inputs and writes results, `decrypt` reads results"))
}

fn wrong(file: &str, reason: String, repair: &str) -> Error {
    Error::Ciphertexts { file: file.into(), reason, repair: repair.into() }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
