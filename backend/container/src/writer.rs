//! A writer makes a container, section by section.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Cursor, Seek, SeekFrom, Write};

use bytemuck::NoUninit;
use fhec_files::{Destination, Output};
use serde::Serialize;

use crate::error::{ContainerError, Problem};
use crate::format::{ALIGN, Codec, Dtype, HEADER_LEN, Header, SectionInfo, check_lengths, valid_kind};
use crate::reader::{DEFAULT_INFLATION, DEFAULT_LIMIT, Reader};

/// Compression level of zstd sections. Higher ones gain little on weights and text.
const ZSTD_LEVEL: i32 = 6;

/// The section that only makes a file longer.
const FILLER: &str = "filler";

/// Writes a container to `W`. Sections are written as they come, so a file of keys never lies in memory as a whole.
pub struct Writer<W> {
    out: W,
    /// What to call the destination in errors.
    file: String,
    at: u64,
    kind: String,
    version: u32,
    sections: Vec<SectionInfo>,
    names: HashSet<String>,
}

/// A [`Writer`] into memory.
pub type MemoryWriter = Writer<Cursor<Vec<u8>>>;

/// A [`Writer`] into a file, which appears under its name when it is complete.
pub type FileWriter = Writer<Output>;

/// A [`Writer`] into a file without a name, which its reader alone can read and which vanishes with it.
pub type ScratchWriter = Writer<BufWriter<File>>;

impl Writer<()> {
    /// A writer into memory of a container of this kind and kind version.
    ///
    /// # Errors
    /// When `kind` is empty, longer than 24 bytes or not printable ASCII.
    pub fn in_memory(kind: &str, version: u32) -> Result<MemoryWriter, ContainerError> {
        Writer::over(Cursor::new(Vec::new()), "<memory>".into(), kind, version)
    }

    /// A writer into a file. It appears when [`FileWriter::finish`] completes it, so that no reader ever sees half a file.
    ///
    /// # Errors
    /// When the destination cannot be written or must not be, or as [`Writer::in_memory`].
    pub fn create(to: impl Into<Destination>, kind: &str, version: u32) -> Result<FileWriter, ContainerError> {
        let to = to.into();
        Writer::over(to.create()?, to.path().display().to_string(), kind, version)
    }

    /// A writer into a file without a name in the system's folder for temporary files.
    ///
    /// # Errors
    /// When that folder cannot be written, or as [`Writer::in_memory`].
    pub fn scratch(kind: &str, version: u32) -> Result<ScratchWriter, ContainerError> {
        let name = "<temporary file>";
        let file = tempfile::tempfile().map_err(ContainerError::io(name, "creating the file"))?;
        Writer::over(BufWriter::with_capacity(1 << 20, file), name.into(), kind, version)
    }
}

impl<W: Write + Seek> Writer<W> {
    fn over(mut out: W, file: String, kind: &str, version: u32) -> Result<Self, ContainerError> {
        if !valid_kind(kind) {
            return Err(ContainerError::malformed(&file, format!("`{kind}` cannot name a kind of container")));
        }
        // The header is known at the end only.
        match out.write_all(&[0; HEADER_LEN]) {
            Ok(()) => Ok(Self {
                out,
                file,
                at: HEADER_LEN as u64,
                kind: kind.to_string(),
                version,
                sections: Vec::new(),
                names: HashSet::new(),
            }),
            Err(source) => Err(ContainerError::io(file, "writing")(source)),
        }
    }

    fn io<T>(&self, action: &'static str, result: std::io::Result<T>) -> Result<T, ContainerError> {
        result.map_err(ContainerError::io(&self.file, action))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ContainerError> {
        let result = self.out.write_all(bytes);
        self.io("writing", result)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), ContainerError> {
        let gap = (ALIGN - self.at % ALIGN) % ALIGN;
        self.put(&[0; ALIGN as usize][..gap as usize])
    }

    /// Appends a section.
    ///
    /// # Errors
    /// When the name is taken, when `T` is not of the size of `dtype`, or when writing fails.
    pub fn section<T: NoUninit>(
        &mut self,
        name: &str,
        dtype: Dtype,
        data: &[T],
        codec: Codec,
    ) -> Result<(), ContainerError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if !bytes.len().is_multiple_of(dtype.size()) {
            return Err(ContainerError::malformed(
                &self.file,
                format!("{} bytes are no whole number of {dtype:?}", bytes.len()),
            ));
        }
        if !self.names.insert(name.to_string()) {
            return Err(ContainerError::new(&self.file, Problem::DuplicateSection(name.to_string())));
        }
        let compressed;
        let stored = match codec {
            Codec::Raw => bytes,
            Codec::Zstd => {
                compressed = self.io("compressing", zstd::bulk::compress(bytes, ZSTD_LEVEL))?;
                &compressed
            }
        };
        self.pad()?;
        self.sections.push(SectionInfo {
            name: name.to_string(),
            dtype,
            codec,
            offset: self.at,
            stored: stored.len() as u64,
            len: bytes.len() as u64,
            hash: blake3::hash(stored).to_hex().to_string(),
        });
        self.put(stored)
    }

    /// Lengthens the file with a section of zeros, where its content, `elsewhere` bytes of memory beside the compressed sections,
    /// takes more than a file of its length may by default: what was written can be read again without a word.
    ///
    /// # Errors
    /// When writing fails.
    pub fn lengthen(&mut self, elsewhere: u64) -> Result<(), ContainerError> {
        let unpacked = self.sections.iter().filter(|s| s.codec == Codec::Zstd).map(|s| s.len);
        let taken = unpacked.fold(elsewhere, u64::saturating_add);
        let missing = taken.div_ceil(DEFAULT_INFLATION).saturating_sub(self.at);
        if taken <= DEFAULT_LIMIT || missing == 0 {
            return Ok(());
        }
        self.section(FILLER, Dtype::U8, &vec![0u8; missing as usize], Codec::Raw)
    }

    /// Writes manifest, index and header; returns the sink and the digest of the content.
    fn end<M: Serialize>(mut self, manifest: &M) -> Result<(W, [u8; 32]), ContainerError> {
        self.pad()?;
        let json = |file: &str, result: serde_json::Result<Vec<u8>>| {
            result.map_err(|e| ContainerError::malformed(file, format!("the manifest cannot be written as JSON: {e}")))
        };
        let manifest = json(&self.file, serde_json::to_vec(manifest))?;
        let index = json(&self.file, serde_json::to_vec(&self.sections))?;
        check_lengths(manifest.len() as u64, index.len() as u64)
            .map_err(|problem| ContainerError::new(&self.file, problem))?;
        let manifest_at = self.at;
        let header = Header {
            kind: self.kind.clone(),
            version: self.version,
            file_len: manifest_at + (manifest.len() + index.len()) as u64,
            manifest_at,
            manifest_len: manifest.len() as u64,
            index_len: index.len() as u64,
        };
        let header = header.encode(&manifest, &index);
        self.put(&manifest)?;
        self.put(&index)?;
        let result = self.out.seek(SeekFrom::Start(0)).and_then(|_| self.out.write_all(&header));
        self.io("writing", result)?;
        let result = self.out.flush();
        self.io("writing", result)?;
        let digest = crate::format::stored_hash(&header).try_into().unwrap_or([0; 32]);
        Ok((self.out, digest))
    }
}

impl MemoryWriter {
    /// The finished container.
    ///
    /// # Errors
    /// When the manifest cannot be written as JSON.
    pub fn into_bytes<M: Serialize>(self, manifest: &M) -> Result<Vec<u8>, ContainerError> {
        self.end(manifest).map(|(out, _)| out.into_inner())
    }
}

impl ScratchWriter {
    /// Completes the file and maps it.
    ///
    /// # Errors
    /// When writing or mapping fails.
    pub fn into_reader<M: Serialize>(self, manifest: &M) -> Result<Reader, ContainerError> {
        let name = self.file.clone();
        let io = ContainerError::io(&name, "writing");
        let file = self.end(manifest)?.0.into_inner().map_err(|e| io(e.into_error()))?;
        Reader::of_file(name.clone(), &file)
    }
}

impl FileWriter {
    /// Completes the file, gives it its name, and returns the digest of the content.
    ///
    /// # Errors
    /// When writing fails, or what has the name by now must be kept; then nothing is left behind.
    pub fn finish<M: Serialize>(self, manifest: &M) -> Result<[u8; 32], ContainerError> {
        let (output, digest) = self.end(manifest)?;
        output.commit()?;
        Ok(digest)
    }
}
