//! The bytes of an open container come from a mapped file or an aligned buffer.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::{Deref, Range};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use tempfile::{SpooledData, SpooledTempFile};

use crate::format::{HEADER_LEN, Header};

/// Bytes of a pipe that are held in memory; more of them are held in a file without a name and mapped.
const HELD: usize = 64 << 20;

/// 64 bytes at an address that is a multiple of 64.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct AlignedBlock([u8; 64]);

/// Bytes that start at a multiple of 64, so that sections can be read in place as numbers.
pub(crate) struct AlignedBytes {
    blocks: Vec<AlignedBlock>,
    len: usize,
}

impl AlignedBytes {
    /// Empty, with room for `len` bytes, so that growing never holds two copies.
    pub fn with_room(len: usize) -> Self {
        let mut blocks = Vec::new();
        // Where there is no such room, appending fails or not, as what is really there demands.
        let _ = blocks.try_reserve_exact(len.div_ceil(64));
        Self { blocks, len: 0 }
    }
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut out = Self::with_room(bytes.len());
        out.extend(bytes);
        out
    }
    /// Appends. Memory that was only made room for is not touched.
    pub fn extend(&mut self, bytes: &[u8]) {
        let len = self.len + bytes.len();
        self.blocks.resize(len.div_ceil(64), AlignedBlock::zeroed());
        bytemuck::cast_slice_mut::<_, u8>(&mut self.blocks)[self.len..len].copy_from_slice(bytes);
        self.len = len;
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.len]
    }
}

pub(crate) enum ByteSource {
    Mapped(Mmap),
    Buffer(AlignedBytes),
}

impl ByteSource {
    /// Maps a whole file for reading.
    #[allow(unsafe_code)]
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private to this process and read only. The bytes behind it change only if another program
        // rewrites the file in place while it is open. fhec itself never does that (files are written under a temporary
        // name and renamed), and every section is checked against its hash on first use. A file truncated by someone
        // else while mapped ends the process with SIGBUS; it cannot make the evaluator use wrong memory.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(map))
    }

    /// Reads a container from a stream that cannot be mapped, no further than it says it goes, plus one byte that shows
    /// whether something follows.
    pub fn gather(mut stream: impl Read) -> io::Result<Self> {
        let mut header = Vec::new();
        stream.by_ref().take(HEADER_LEN as u64).read_to_end(&mut header)?;
        let rest = Header::stated_len(&header).map_or(0, |len| len.saturating_sub(HEADER_LEN as u64).saturating_add(1));
        let mut held = SpooledTempFile::new(HELD);
        io::copy(&mut header.chain(stream.take(rest)), &mut held)?;
        held.rewind()?;
        match held.into_inner() {
            SpooledData::InMemory(bytes) => Ok(Self::Buffer(AlignedBytes::copy_of(bytes.get_ref()))),
            SpooledData::OnDisk(file) => Self::map(&file),
        }
    }

    /// Lets the system take the pages of `range` of a mapped file out of this process; reading them again reads the file.
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            // SAFETY: what DONTNEED may destroy are changes that are only in memory. The map is read only and shows a file,
            // so there are none: a page that is touched again has the bytes of the file, as on its first use.
            // Only advice: where it is refused the pages stay.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for ByteSource {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Buffer(buffer) => buffer,
        }
    }
}
