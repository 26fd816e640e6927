//! Writing a container, section by section.

use std::collections::HashSet;
use std::io::{BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytemuck::NoUninit;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::error::{Error, Problem};
use crate::format::{ALIGN, Codec, Dtype, HEADER_LEN, Header, SectionInfo, valid_kind};

/// Compression level of zstd sections. Higher ones gain little on weights and text.
const ZSTD_LEVEL: i32 = 6;

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
pub struct FileWriter {
    writer: Writer<BufWriter<NamedTempFile>>,
    path: PathBuf,
}

impl Writer<()> {
    /// A writer into memory of a container of this kind and kind version.
    ///
    /// # Errors
    /// When `kind` is empty, longer than 24 bytes or not printable ASCII.
    pub fn in_memory(kind: &str, version: u32) -> Result<MemoryWriter, Error> {
        Writer::over(Cursor::new(Vec::new()), "<memory>".into(), kind, version)
    }

    /// A writer into the file `path`. The bytes go to a temporary file beside it, which [`FileWriter::finish`] renames,
    /// so that no reader ever sees half a file.
    ///
    /// # Errors
    /// When the directory cannot be written, or as [`Writer::in_memory`].
    pub fn create(path: impl AsRef<Path>, kind: &str, version: u32) -> Result<FileWriter, Error> {
        FileWriter::create(path.as_ref(), kind, version, 0o666)
    }

    /// As [`Writer::create`], readable by the owner only: for secrets.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create_private(path: impl AsRef<Path>, kind: &str, version: u32) -> Result<FileWriter, Error> {
        FileWriter::create(path.as_ref(), kind, version, 0o600)
    }
}

impl<W: Write + Seek> Writer<W> {
    fn over(mut out: W, file: String, kind: &str, version: u32) -> Result<Self, Error> {
        if !valid_kind(kind) {
            return Err(Error::malformed(&file, format!("`{kind}` cannot name a kind of container")));
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
            Err(source) => Err(Error::new(file, Problem::Io { action: "writing", source })),
        }
    }

    fn io<T>(&self, action: &'static str, result: std::io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::new(&self.file, Problem::Io { action, source }))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = self.out.write_all(bytes);
        self.io("writing", result)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), Error> {
        let gap = (ALIGN - self.at % ALIGN) % ALIGN;
        self.put(&[0; ALIGN as usize][..gap as usize])
    }

    /// Appends a section.
    ///
    /// # Errors
    /// When the name is taken, when `T` is not of the size of `dtype`, or when writing fails.
    pub fn section<T: NoUninit>(&mut self, name: &str, dtype: Dtype, data: &[T], codec: Codec) -> Result<(), Error> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if !bytes.len().is_multiple_of(dtype.size()) {
            return Err(Error::malformed(
                &self.file,
                format!("{} bytes are no whole number of {dtype:?}", bytes.len()),
            ));
        }
        if !self.names.insert(name.to_string()) {
            return Err(Error::new(&self.file, Problem::DuplicateSection(name.to_string())));
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

    /// Writes manifest, index and header; returns the sink and the digest of the content.
    fn end<M: Serialize>(mut self, manifest: &M) -> Result<(W, [u8; 32]), Error> {
        self.pad()?;
        let json = |file: &str, result: serde_json::Result<Vec<u8>>| {
            result.map_err(|e| Error::malformed(file, format!("the manifest cannot be written as JSON: {e}")))
        };
        let manifest = json(&self.file, serde_json::to_vec(manifest))?;
        let index = json(&self.file, serde_json::to_vec(&self.sections))?;
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
    pub fn into_bytes<M: Serialize>(self, manifest: &M) -> Result<Vec<u8>, Error> {
        self.end(manifest).map(|(out, _)| out.into_inner())
    }
}

impl FileWriter {
    fn create(path: &Path, kind: &str, version: u32, mode: u32) -> Result<Self, Error> {
        let name = path.display().to_string();
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".fhec-").suffix(".part");
        #[cfg(unix)]
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        #[cfg(unix)]
        builder.permissions(permissions);
        #[cfg(not(unix))]
        let _ = mode;
        let temp = builder
            .tempfile_in(dir)
            .map_err(|source| Error::new(&name, Problem::Io { action: "creating the file", source }))?;
        let writer = Writer::over(BufWriter::with_capacity(1 << 20, temp), name, kind, version)?;
        Ok(Self { writer, path: path.to_path_buf() })
    }

    /// Appends a section.
    ///
    /// # Errors
    /// As [`Writer::section`].
    pub fn section<T: NoUninit>(&mut self, name: &str, dtype: Dtype, data: &[T], codec: Codec) -> Result<(), Error> {
        self.writer.section(name, dtype, data, codec)
    }

    /// Completes the file, puts it in place of whatever had its name, and returns the digest of the content.
    ///
    /// # Errors
    /// When writing or renaming fails; then nothing is left behind.
    pub fn finish<M: Serialize>(self, manifest: &M) -> Result<[u8; 32], Error> {
        let file = self.writer.file.clone();
        let io = |action, source| Error::new(&file, Problem::Io { action, source });
        let (out, digest) = self.writer.end(manifest)?;
        let temp = out.into_inner().map_err(|e| io("writing", e.into_error()))?;
        temp.as_file().sync_all().map_err(|e| io("writing to disk", e))?;
        temp.persist(&self.path).map_err(|e| io("renaming the finished file", e.error))?;
        Ok(digest)
    }
}
