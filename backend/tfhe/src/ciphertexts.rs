//! Encrypted inputs or results, of many images, are one file.

use std::path::Path;

use fhec_container::{Codec, ContainerError, Destination, Dtype, Reader, Writer};
use fhec_ir::text::{from_hex, to_hex};
use fhec_ir::{Digest, Port};
use serde::{Deserialize, Serialize};
use std::io::{Seek, Write};

use crate::client_plan::ClientPlan;
use crate::error::TfheError;
use crate::seeded::{Seeded, id_from_hex, id_to_hex, words};

/// Kind of a file of ciphertexts.
pub const CIPHERTEXTS_KIND: &str = "tfhe-ciphertexts";
/// Version of its format.
const VERSION: u32 = 1;

/// What ciphertexts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Inputs of a plan.
    Inputs,
    /// Its results.
    Outputs,
}

/// LWE ciphertexts of the elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Elements {
    /// As a client encrypts them.
    Seeded(Seeded),
    /// Masks and bodies, ciphertext by ciphertext.
    Whole(Vec<u64>),
}

/// Encrypted inputs or results of images, for each image a tensor per port.
#[derive(Clone, Debug, PartialEq)]
pub struct Encrypted {
    pub(crate) plan: Digest,
    pub(crate) content: Content,
    /// Identifies the key that they are under.
    pub(crate) key: u128,
    /// Drawn for the inputs of a request; its results carry it too.
    pub(crate) request: u128,
    pub(crate) images: Vec<Vec<Elements>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CiphertextsManifest {
    /// Digest of the plan, in hexadecimal.
    plan: String,
    content: Content,
    /// In hexadecimal, as the request.
    key: String,
    request: String,
    images: usize,
}

impl Encrypted {
    /// What the ciphertexts hold.
    pub fn content(&self) -> Content {
        self.content
    }
    /// Number of images.
    pub fn images(&self) -> usize {
        self.images.len()
    }
    /// The request that they are, or that they answer.
    pub fn request(&self) -> u128 {
        self.request
    }
    /// Bytes of the ciphertexts.
    pub fn bytes(&self) -> u64 {
        let words = |elements: &Elements| match elements {
            Elements::Seeded(seeded) => seeded.bodies.len() + 2,
            Elements::Whole(words) => words.len(),
        };
        self.images.iter().flatten().map(|e| (words(e) * size_of::<u64>()) as u64).sum()
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), TfheError> {
        let mut writer = Writer::create(to, CIPHERTEXTS_KIND, VERSION)?;
        self.write(&mut writer)?;
        writer.finish(&self.manifest())?;
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// None today; kept for what cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TfheError> {
        let mut writer = Writer::in_memory(CIPHERTEXTS_KIND, VERSION)?;
        self.write(&mut writer)?;
        Ok(writer.into_bytes(&self.manifest())?)
    }

    fn manifest(&self) -> CiphertextsManifest {
        CiphertextsManifest {
            plan: to_hex(&self.plan),
            content: self.content,
            key: id_to_hex(self.key),
            request: id_to_hex(self.request),
            images: self.images.len(),
        }
    }

    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), ContainerError> {
        for (image, tensors) in self.images.iter().enumerate() {
            for (port, elements) in tensors.iter().enumerate() {
                let name = section(image, port);
                match elements {
                    Elements::Seeded(seeded) => seeded.write(writer, &name)?,
                    Elements::Whole(words) => writer.section(&name, Dtype::U64, words, Codec::Raw)?,
                }
            }
        }
        Ok(())
    }

    /// Reads a file of `content` of a plan, which may take `limit` bytes of memory; without one, what files may by default.
    ///
    /// # Errors
    /// A damaged file, and one of other content or of another plan.
    pub fn load(
        plan: &ClientPlan,
        content: Content,
        path: impl AsRef<Path>,
        limit: Option<u64>,
    ) -> Result<Self, TfheError> {
        Self::read(plan, content, &Reader::open_within(path, limit)?.expect(CIPHERTEXTS_KIND, VERSION)?)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Encrypted::load`].
    pub fn from_bytes(plan: &ClientPlan, content: Content, name: &str, bytes: &[u8]) -> Result<Self, TfheError> {
        Self::read(plan, content, &Reader::from_bytes(name, bytes)?.expect(CIPHERTEXTS_KIND, VERSION)?)
    }

    fn read(plan: &ClientPlan, content: Content, reader: &Reader) -> Result<Self, TfheError> {
        let manifest: CiphertextsManifest = reader.manifest()?;
        let mismatch = |reason: &str, repair: &str| TfheError::Mismatch {
            what: reader.file().into(),
            reason: reason.into(),
            repair: repair.into(),
        };
        if from_hex(&manifest.plan) != Some(plan.plan) {
            return Err(mismatch(
                "it was made for another plan",
                "give the plan, or its client plan, that it was made for",
            ));
        }
        if manifest.content != content {
            let (reason, repair) = match content {
                Content::Inputs => ("it holds results, not inputs", "give what `fhec encrypt` wrote"),
                Content::Outputs => ("it holds inputs, not results", "give what `fhec eval` wrote"),
            };
            return Err(mismatch(reason, repair));
        }
        let (Some(key), Some(request)) = (id_from_hex(&manifest.key), id_from_hex(&manifest.request)) else {
            return Err(ContainerError::malformed(reader.file(), "it names no key or no request").into());
        };
        let ports = match content {
            Content::Inputs => plan.inputs(),
            Content::Outputs => plan.outputs(),
        };
        let most = reader.sections().len();
        if manifest.images == 0 || manifest.images > most {
            let reason = format!("{} images are not in {most} sections", manifest.images);
            return Err(ContainerError::malformed(reader.file(), reason).into());
        }
        let read =
            |image| ports.iter().enumerate().map(move |(at, port)| elements(plan, content, reader, (image, at), port));
        let images = (0..manifest.images).map(|image| read(image).collect()).collect::<Result<_, TfheError>>()?;
        Ok(Self { plan: plan.plan, content, key, request, images })
    }
}

fn section(image: usize, port: usize) -> String {
    format!("image/{image}/{port}")
}

fn elements(
    plan: &ClientPlan,
    content: Content,
    reader: &Reader,
    (image, at): (usize, usize),
    port: &Port,
) -> Result<Elements, TfheError> {
    let name = section(image, at);
    Ok(match content {
        Content::Inputs => Elements::Seeded(Seeded::read(reader, &name, port.shape.len())?),
        Content::Outputs => Elements::Whole(words(reader, &name, port.shape.len() * plan.set.ciphertext_words())?),
    })
}
