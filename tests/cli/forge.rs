//! Forges containers whose hashes are right and whose content is whatever an attacker wants.

use fhec_container::Reader;
use serde_json::{Value, json};

/// A container taken apart.
pub struct Forge {
    kind: String,
    version: u32,
    /// The manifest's JSON.
    pub manifest: Value,
    /// Text that stands in the file instead of the manifest.
    pub manifest_text: Option<String>,
    pub sections: Vec<Section>,
}

/// A section as its index entry describes it, true or not.
pub struct Section {
    pub name: String,
    pub dtype: &'static str,
    pub codec: &'static str,
    pub stored: Vec<u8>,
    pub len: u64,
}

impl Section {
    /// A raw section.
    pub fn raw(name: &str, dtype: &'static str, bytes: &[u8]) -> Self {
        Self { name: name.into(), dtype, codec: "raw", stored: bytes.to_vec(), len: bytes.len() as u64 }
    }
    /// A compressed section of `len` equal bytes, which takes four bytes of the file for 128 KiB of memory.
    pub fn bomb(name: &str, dtype: &'static str, byte: u8, len: u64) -> Self {
        Self { name: name.into(), dtype, codec: "zstd", stored: repeated(byte, len, 0x68), len }
    }
}

/// A frame of zstd (RFC 8878) in blocks that repeat one byte. `window` is the descriptor of the window: 0x68 for 8 MiB.
pub fn repeated(byte: u8, len: u64, window: u8) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    let mut left = len;
    loop {
        let size = left.min(128 << 10) as u32;
        left -= u64::from(size);
        let header = size << 3 | 1 << 1 | u32::from(left == 0);
        out.extend(&header.to_le_bytes()[..3]);
        out.push(byte);
        if left == 0 {
            return out;
        }
    }
}

impl Forge {
    /// An empty container.
    pub fn new(kind: &str, version: u32, manifest: Value) -> Self {
        Self { kind: kind.into(), version, manifest, manifest_text: None, sections: Vec::new() }
    }
    /// A valid container; its sections raw.
    pub fn of(bytes: &[u8]) -> Self {
        let reader = Reader::from_bytes("base", bytes).unwrap();
        let mut forge = Self::new(reader.kind(), reader.version(), reader.manifest().unwrap());
        for info in reader.sections() {
            let dtype = if info.name == "program" {
                "text"
            } else if info.name.starts_with("constant/") {
                "f32"
            } else {
                "u8"
            };
            forge.sections.push(Section::raw(&info.name, dtype, &reader.section(&info.name).unwrap()));
        }
        forge
    }
    /// The section of this name.
    pub fn section(&mut self, name: &str) -> &mut Section {
        self.sections.iter_mut().find(|s| s.name == name).unwrap()
    }
    /// Replaces or adds a section.
    pub fn put(&mut self, section: Section) {
        self.sections.retain(|s| s.name != section.name);
        self.sections.push(section);
    }
    /// Puts another program into a plan.
    pub fn set_program(&mut self, text: &str) {
        self.put(Section::raw("program", "text", text.as_bytes()));
    }

    /// The file, every hash right.
    pub fn seal(&self) -> Vec<u8> {
        let mut out = vec![0; 128];
        let mut index = Vec::new();
        for s in &self.sections {
            out.resize(out.len().next_multiple_of(64), 0);
            index.push(json!({
                "name": s.name, "dtype": s.dtype, "codec": s.codec, "offset": out.len(), "stored": s.stored.len(),
                "len": s.len, "hash": blake3::hash(&s.stored).to_hex().as_str(),
            }));
            out.extend(&s.stored);
        }
        out.resize(out.len().next_multiple_of(64), 0);
        let at = out.len();
        let manifest = self.manifest_text.clone().unwrap_or_else(|| self.manifest.to_string()).into_bytes();
        let index = serde_json::to_vec(&index).unwrap();
        out.extend(&manifest);
        out.extend(&index);
        out[..8].copy_from_slice(b"FHEC\r\n\x1a\n");
        out[8..12].copy_from_slice(&1u32.to_le_bytes());
        out[12..16].copy_from_slice(&self.version.to_le_bytes());
        out[16..16 + self.kind.len()].copy_from_slice(self.kind.as_bytes());
        for (i, n) in [out.len(), at, manifest.len(), index.len()].into_iter().enumerate() {
            out[40 + 8 * i..48 + 8 * i].copy_from_slice(&(n as u64).to_le_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&out[..96]).update(&out[at..]);
        out[96..128].copy_from_slice(hasher.finalize().as_bytes());
        out
    }
}
