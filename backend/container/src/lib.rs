//! Plans, keys and ciphertexts have one file format: named sections behind one hashed index.
//!
//! ```text
//! offset 0    header, 128 bytes: magic, container version, kind, kind version, file length, place of the index, hash
//! offset 128  sections, each at a multiple of 64 bytes, zero padded
//! then        manifest (JSON) and index (JSON: name, dtype, codec, offset, lengths and blake3 hash of every section)
//! ```
//! The hash in the header covers the header, the manifest and the index, and the index holds the hash of every section,
//! so that one 32-byte value ([`Reader::digest`]) stands for the whole content. Opening checks that hash; a section is
//! checked when it is first read. Equal content gives equal bytes. Numbers are little-endian.
//!
//! ```
//! use fhec_container::{Codec, Dtype, Reader, Writer};
//!
//! let mut writer = Writer::in_memory("example", 1)?;
//! writer.section("residues", Dtype::U64, &[1u64, 2, 3], Codec::Raw)?;
//! let bytes = writer.into_bytes(&serde_json::json!({ "limbs": 1 }))?;
//!
//! let reader = Reader::from_bytes("x.ct", &bytes)?.expect("example", 1)?;
//! assert_eq!(reader.section("residues")?.as_slice::<u64>()?, &[1, 2, 3]);
//! # Ok::<(), fhec_container::ContainerError>(())
//! ```

#[cfg(not(target_endian = "little"))]
compile_error!("sections are read in place as little-endian numbers");

mod error;
mod format;
mod reader;
mod source;
mod writer;

pub use error::{ContainerError, Problem};
/// Where a container goes.
pub use fhec_files::{Destination, Output};
pub use format::{Codec, Dtype, SectionInfo};
pub use reader::{DEFAULT_INFLATION, DEFAULT_LIMIT, Reader, Section};
pub use writer::{FileWriter, MemoryWriter, ScratchWriter, Writer};
