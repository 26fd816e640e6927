//! The encrypted inputs or results of many images, as one file.

use std::path::Path;
use std::sync::Arc;

use fhec_ckks::{Ciphertext, Context};
use fhec_files::Destination;
use fhec_runtime::Plan;
use serde::{Deserialize, Serialize};

use crate::error::Error;

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
#[derive(Clone, Debug)]
pub struct Encrypted {
    pub(crate) content: Content,
    pub(crate) runs: Vec<Vec<Ciphertext>>,
    /// Images in the runs; the last run may have room for more.
    pub(crate) images: usize,
}

/// What the file says besides the ciphertexts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    plan: String,
    content: Content,
    images: usize,
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

    fn label(&self, plan: &Plan) -> Result<serde_json::Value, Error> {
        let label = Label { plan: hex(&plan.digest()?), content: self.content, images: self.images };
        Ok(serde_json::json!(label))
    }

    fn flat(&self) -> Vec<Ciphertext> {
        self.runs.iter().flatten().cloned().collect()
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// Ciphertexts of other parameters than the plan's.
    pub fn to_bytes(&self, plan: &Plan, context: &Context) -> Result<Vec<u8>, Error> {
        Ok(fhec_ckks::ciphertexts_to_bytes(context, &self.flat(), self.label(plan)?)?)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// As [`Encrypted::to_bytes`], or when the file cannot be written.
    pub fn save(&self, plan: &Plan, context: &Context, to: impl Into<Destination>) -> Result<(), Error> {
        Ok(fhec_ckks::write_ciphertexts(context, to, &self.flat(), self.label(plan)?)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A damaged file, or one that was made for another plan.
    pub fn load(plan: &Plan, context: &Arc<Context>, path: &Path) -> Result<Self, Error> {
        let (ciphertexts, label) = fhec_ckks::read_ciphertexts(context, path)?;
        Self::sorted(plan, &path.display().to_string(), ciphertexts, label)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Encrypted::load`].
    pub fn from_bytes(plan: &Plan, context: &Arc<Context>, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let (ciphertexts, label) = fhec_ckks::ciphertexts_from_bytes(context, name, bytes)?;
        Self::sorted(plan, name, ciphertexts, label)
    }

    fn sorted(plan: &Plan, file: &str, ciphertexts: Vec<Ciphertext>, label: serde_json::Value) -> Result<Self, Error> {
        let wrong =
            |reason: String, repair: &str| Error::Ciphertexts { file: file.into(), reason, repair: repair.into() };
        let label: Label = serde_json::from_value(label)
            .map_err(|e| wrong(format!("the file does not say what it holds: {e}"), "encrypt again with fhec"))?;
        let expected = hex(&plan.digest()?);
        if label.plan != expected {
            let reason = format!("made for plan {}, this is plan {}", short(&label.plan), short(&expected));
            return Err(wrong(reason, "use the plan that the input was encrypted for"));
        }
        let func = &plan.module().func;
        let per_run = match label.content {
            Content::Inputs => func.params().len(),
            Content::Outputs => func.results().len(),
        };
        let runs = label.images.div_ceil(plan.batch());
        if runs.checked_mul(per_run) != Some(ciphertexts.len()) {
            let reason = format!("{} ciphertexts for {} images in runs of {per_run}", ciphertexts.len(), label.images);
            return Err(wrong(reason, "copy the file again from where it was written"));
        }
        let mut rest = ciphertexts.into_iter();
        let runs = (0..runs).map(|_| rest.by_ref().take(per_run).collect()).collect();
        Ok(Self { content: label.content, runs, images: label.images })
    }

    /// Refuses ciphertexts that hold something else.
    pub(crate) fn expect(&self, content: Content) -> Result<(), Error> {
        if self.content == content {
            return Ok(());
        }
        let name = |content| match content {
            Content::Inputs => "inputs",
            Content::Outputs => "results",
        };
        Err(Error::Ciphertexts {
            file: "ciphertexts".into(),
            reason: format!("they hold {}, {} are needed", name(self.content), name(content)),
            repair: "`encrypt` writes inputs, `eval` reads inputs and writes results, `decrypt` reads results".into(),
        })
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
