//! A reader gives the sections of a container: in place where they are raw, and checked before they are used.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytemuck::AnyBitPattern;
use serde::de::DeserializeOwned;

use crate::error::{ContainerError, Problem};
use crate::format::{ALIGN, Codec, HEADER_LEN, Header, SectionInfo, header_hash, stored_hash};
use crate::source::{AlignedBytes, ByteSource};

/// What any file may take in memory unless [`Reader::with_limit`] says otherwise: 64 MiB, or [`DEFAULT_INFLATION`] times its
/// length if that is more.
pub const DEFAULT_LIMIT: u64 = 64 << 20;

/// How many times its length a file may take in memory by default. Diagonals of convolutions repeat and are mostly zeros:
/// plans of residual networks take 140 times their file.
pub const DEFAULT_INFLATION: u64 = 256;

/// Frames of zstd that ask for a larger window than the writer's level has are refused: 8 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// An open container. Cloning shares it.
///
/// One budget covers the file: what compressed sections unpack to, and what its content takes elsewhere as far as readers say
/// so by [`Reader::spend`], is counted together and refused beyond the limit *before* it is allocated.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<OpenFile>,
    limit: u64,
}

struct OpenFile {
    file: String,
    source: ByteSource,
    header: Header,
    manifest: Range<usize>,
    sections: Vec<SectionInfo>,
    by_name: HashMap<String, usize>,
    /// Which sections matched their hash already.
    verified: Vec<AtomicBool>,
    /// Bytes of the budget that are used up.
    spent: AtomicU64,
}

impl Reader {
    /// Opens a file by mapping it into memory. What comes through a pipe is read to the end of the container.
    ///
    /// # Errors
    /// When it cannot be read, is no container, is truncated, or its index is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ContainerError> {
        let name = path.as_ref().display().to_string();
        let io = |source| ContainerError::io(&name, "opening")(source);
        let file = File::open(path.as_ref()).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if meta.is_dir() {
            return Err(ContainerError::new(&name, Problem::NotAContainer));
        }
        if !meta.is_file() {
            let source = ByteSource::gather(file).map_err(ContainerError::io(&name, "reading"))?;
            return Self::over(name, source);
        }
        Self::of_file(name, &file)
    }

    /// Maps an open file; `name` stands for it in errors.
    pub(crate) fn of_file(name: String, file: &File) -> Result<Self, ContainerError> {
        let io = |source| ContainerError::io(&name, "opening")(source);
        let meta = file.metadata().map_err(io)?;
        // Mapping an empty file is an error of its own on some systems.
        if meta.len() == 0 {
            return Err(ContainerError::new(&name, Problem::Truncated { have: 0, need: HEADER_LEN as u64 }));
        }
        let source = ByteSource::map(file).map_err(io)?;
        Self::over(name, source)
    }

    /// Reads a container from bytes (copied once, into aligned memory); `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ContainerError> {
        if bytes.is_empty() {
            return Err(ContainerError::new(name, Problem::Truncated { have: 0, need: HEADER_LEN as u64 }));
        }
        Self::over(name.to_string(), ByteSource::Buffer(AlignedBytes::copy_of(bytes)))
    }

    fn over(file: String, source: ByteSource) -> Result<Self, ContainerError> {
        let (header, manifest, sections) = parse(&source).map_err(|problem| ContainerError::new(&file, problem))?;
        let mut by_name = HashMap::with_capacity(sections.len());
        for (i, section) in sections.iter().enumerate() {
            if by_name.insert(section.name.clone(), i).is_some() {
                return Err(ContainerError::new(&file, Problem::DuplicateSection(section.name.clone())));
            }
        }
        let verified = sections.iter().map(|_| AtomicBool::new(false)).collect();
        let spent = AtomicU64::new(0);
        let inner = OpenFile { file, source, header, manifest, sections, by_name, verified, spent };
        let reader = Self { inner: Arc::new(inner), limit: 0 };
        let limit = reader.default_limit();
        Ok(reader.with_limit(limit))
    }

    /// [`Reader::open`] of a file that may take `limit` bytes of memory; without one, what files may by default.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_within(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, ContainerError> {
        let reader = Self::open(path)?;
        let limit = limit.unwrap_or(reader.limit);
        Ok(reader.with_limit(limit))
    }

    /// The same container, whose content may take `limit` bytes of memory altogether.
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Notes that `what` in this file is about to take so many bytes of memory.
    ///
    /// # Errors
    /// When the file then takes more than its limit.
    pub fn spend(&self, what: &str, bytes: u64) -> Result<(), ContainerError> {
        let spent = &self.inner.spent;
        let within = |spent: u64| spent.checked_add(bytes).filter(|&sum| sum <= self.limit);
        match spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => Ok(()),
            Err(before) => {
                let need = before.saturating_add(bytes);
                Err(self.error(Problem::TooLarge { what: what.into(), need, limit: self.limit }))
            }
        }
    }

    /// Bytes of memory that the file has taken so far.
    pub fn spent(&self) -> u64 {
        self.inner.spent.load(Ordering::Relaxed)
    }

    /// Bytes of memory that the file may take unless [`with_limit`](Self::with_limit) says otherwise.
    pub fn default_limit(&self) -> u64 {
        DEFAULT_LIMIT.max(self.inner.header.file_len.saturating_mul(DEFAULT_INFLATION))
    }

    /// Bytes of memory that the file may still take.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.spent())
    }

    /// The same container, if it holds a `kind` of format version `version`.
    ///
    /// # Errors
    /// When it holds something else or another version of it.
    pub fn expect(self, kind: &str, version: u32) -> Result<Self, ContainerError> {
        if self.kind() != kind {
            return Err(self.error(Problem::WrongKind { found: self.kind().into(), expected: kind.into() }));
        }
        if self.version() != version {
            let problem = Problem::Version { kind: kind.into(), found: self.version(), supported: version };
            return Err(self.error(problem));
        }
        Ok(self)
    }

    fn error(&self, problem: Problem) -> ContainerError {
        ContainerError::new(&self.inner.file, problem)
    }

    /// Path of the file, or the name of the bytes.
    pub fn file(&self) -> &str {
        &self.inner.file
    }
    /// What the file holds.
    pub fn kind(&self) -> &str {
        &self.inner.header.kind
    }
    /// The format version of what it holds.
    pub fn version(&self) -> u32 {
        self.inner.header.version
    }
    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.inner.header.file_len
    }
    /// Hash of the whole content: equal if and only if kind, manifest and all sections are equal.
    pub fn digest(&self) -> [u8; 32] {
        stored_hash(&self.inner.source).try_into().unwrap_or([0; 32])
    }
    /// What the index says of every section, in file order.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.inner.sections
    }

    /// The manifest.
    ///
    /// # Errors
    /// When it does not have the fields of `M`.
    pub fn manifest<M: DeserializeOwned>(&self) -> Result<M, ContainerError> {
        serde_json::from_slice(&self.inner.source[self.inner.manifest.clone()]).map_err(|e| {
            self.error(Problem::Malformed(format!("the manifest does not describe a {}: {e}", self.kind())))
        })
    }

    /// Whether there is a section of this name.
    pub fn has(&self, name: &str) -> bool {
        self.inner.by_name.contains_key(name)
    }
    /// What the index says of the section of this name.
    pub fn info(&self, name: &str) -> Option<&SectionInfo> {
        self.inner.by_name.get(name).map(|&i| &self.inner.sections[i])
    }

    /// The content of a section that must be of `len` bytes: nothing is hashed or unpacked before the index says so.
    ///
    /// # Errors
    /// As [`Reader::section`], or when the index states another length.
    pub fn section_of(&self, name: &str, len: u64) -> Result<Section, ContainerError> {
        match self.info(name) {
            Some(info) if info.len != len => {
                Err(self
                    .error(Problem::Malformed(format!("section `{name}` is of {} bytes, {len} are needed", info.len))))
            }
            _ => self.section(name),
        }
    }

    /// Checks that there is a section of this name that is not compressed and of `len` bytes, by the index alone.
    ///
    /// # Errors
    /// When it is missing, compressed or of another length.
    pub fn expect_raw(&self, name: &str, len: u64) -> Result<(), ContainerError> {
        let malformed = |what: String| Err(self.error(Problem::Malformed(format!("section `{name}` is {what}"))));
        match self.info(name) {
            None => Err(self.error(Problem::MissingSection(name.to_string()))),
            Some(info) if info.codec != Codec::Raw => malformed("compressed, which it must not be".into()),
            Some(info) if info.len != len => malformed(format!("of {} bytes, {len} are needed", info.len)),
            Some(_) => Ok(()),
        }
    }

    /// The content of a section, checked against its hash the first time.
    ///
    /// # Errors
    /// When it is missing, damaged, or larger than the limit.
    pub fn section(&self, name: &str) -> Result<Section, ContainerError> {
        let inner = &self.inner;
        let Some(&i) = inner.by_name.get(name) else {
            return Err(self.error(Problem::MissingSection(name.to_string())));
        };
        let info = &inner.sections[i];
        let range = info.offset as usize..(info.offset + info.stored) as usize;
        let stored = &inner.source[range.clone()];
        if !inner.verified[i].load(Ordering::Relaxed) {
            if blake3::hash(stored).to_hex().as_str() != info.hash {
                return Err(self.error(Problem::SectionHash(name.to_string())));
            }
            inner.verified[i].store(true, Ordering::Relaxed);
        }
        let bytes = match info.codec {
            Codec::Raw => SectionBytes::InPlace(inner.clone(), range),
            Codec::Zstd => SectionBytes::Unpacked(self.decompress(info, stored)?),
        };
        Ok(Section { file: inner.file.clone(), name: name.to_string(), bytes })
    }

    fn decompress(&self, info: &SectionInfo, stored: &[u8]) -> Result<AlignedBytes, ContainerError> {
        let (name, len) = (&info.name, info.len);
        self.spend(&format!("section `{name}`"), len)?;
        let malformed = |what: String| self.error(Problem::Malformed(format!("section `{name}` {what}")));
        let unpack = |e: std::io::Error| malformed(format!("cannot be decompressed: {e}"));
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(unpack)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(unpack)?;
        let mut out = AlignedBytes::with_room(len as usize);
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let n = decoder.read(&mut chunk).map_err(unpack)?;
            if n == 0 {
                break;
            }
            if (out.len() + n) as u64 > len {
                return Err(malformed(format!("decompresses to more than its {len} bytes")));
            }
            out.extend(&chunk[..n]);
        }
        if out.len() as u64 != len {
            return Err(malformed(format!("decompresses to {} bytes instead of {len}", out.len())));
        }
        Ok(out)
    }

    /// Checks every section against its hash.
    ///
    /// # Errors
    /// At the first that does not match.
    pub fn verify(&self) -> Result<(), ContainerError> {
        self.inner.sections.iter().try_for_each(|s| self.section(&s.name).map(drop))
    }
}

/// Header, place of the manifest, and index, with the hash checked and every length within the file.
fn parse(source: &[u8]) -> Result<(Header, Range<usize>, Vec<SectionInfo>), Problem> {
    let header = Header::decode(&source[..source.len().min(HEADER_LEN)], source.len() as u64)?;
    let manifest = header.manifest_at as usize..(header.manifest_at + header.manifest_len) as usize;
    let index = &source[manifest.end..];
    let hash = header_hash(&source[..HEADER_LEN], &source[manifest.clone()], index);
    if hash.as_bytes() != stored_hash(source) {
        return Err(Problem::IndexHash);
    }
    let malformed = |what: String| Problem::Malformed(format!("the index is malformed: {what}"));
    let sections: Vec<SectionInfo> = serde_json::from_slice(index).map_err(|e| malformed(e.to_string()))?;
    // Sections lie one after another with nothing but zero padding between, so no byte of the file is without a check.
    let mut at = HEADER_LEN as u64;
    for s in &sections {
        let end = s.offset.checked_add(s.stored).filter(|&end| end <= header.manifest_at);
        let (true, Some(end)) = (s.offset == at.next_multiple_of(ALIGN), end) else {
            return Err(malformed(format!("section `{}` is not where it should be", s.name)));
        };
        if s.codec == Codec::Raw && s.stored != s.len || !s.len.is_multiple_of(s.dtype.size() as u64) {
            return Err(malformed(format!("section `{}` has an impossible length", s.name)));
        }
        padding(source, at, s.offset)?;
        at = end;
    }
    if header.manifest_at != at.next_multiple_of(ALIGN) {
        return Err(malformed("bytes between the last section and the manifest".into()));
    }
    padding(source, at, header.manifest_at)?;
    Ok((header, manifest, sections))
}

fn padding(source: &[u8], from: u64, to: u64) -> Result<(), Problem> {
    if source[from as usize..to as usize].iter().all(|&b| b == 0) {
        Ok(())
    } else {
        Err(Problem::Malformed("the padding between sections is not zero".into()))
    }
}

/// The content of a section; keeps the file open.
pub struct Section {
    file: String,
    name: String,
    bytes: SectionBytes,
}

enum SectionBytes {
    InPlace(Arc<OpenFile>, Range<usize>),
    Unpacked(AlignedBytes),
}

impl Section {
    /// The bytes as elements of type `T`, in place.
    ///
    /// # Errors
    /// When the length is no whole number of elements.
    pub fn as_slice<T: AnyBitPattern>(&self) -> Result<&[T], ContainerError> {
        bytemuck::try_cast_slice(self)
            .map_err(|e| ContainerError::malformed(&self.file, format!("section `{}` cannot be read: {e}", self.name)))
    }
    /// The bytes as text.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn as_str(&self) -> Result<&str, ContainerError> {
        std::str::from_utf8(self)
            .map_err(|e| ContainerError::malformed(&self.file, format!("section `{}` is not text: {e}", self.name)))
    }
    /// Ends the use of a section: the pages of a mapped file no longer count as this process's memory, until they are
    /// read again.
    pub fn release(self) {
        if let SectionBytes::InPlace(inner, range) = &self.bytes {
            inner.source.release(range.clone());
        }
    }
}

impl Deref for Section {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            SectionBytes::InPlace(inner, range) => &inner.source[range.clone()],
            SectionBytes::Unpacked(bytes) => bytes,
        }
    }
}
