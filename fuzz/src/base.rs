//! A valid container, taken apart.

use fhec_container::{Codec, Dtype, Reader, Writer};
use serde_json::value::RawValue;

/// The manifest and sections of a valid file.
#[derive(Clone)]
pub struct Base {
    kind: String,
    version: u32,
    /// The manifest's JSON first, then the content of every section.
    parts: Vec<Vec<u8>>,
    sections: Vec<Section>,
}

#[derive(Clone)]
struct Section {
    name: String,
    dtype: Dtype,
    codec: Codec,
    present: bool,
}

/// Reads the fuzzer's bytes from the front; nothing is left after the last.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
    fn number(&mut self, bytes: usize) -> usize {
        self.bytes(bytes).iter().rev().fold(0, |n, &b| n << 8 | usize::from(b))
    }
}

impl Base {
    /// Takes apart the bytes of a valid file.
    pub fn of(bytes: &[u8]) -> Self {
        let reader = Reader::from_bytes("base", bytes).expect("a valid container");
        let manifest: Box<RawValue> = reader.manifest().expect("a manifest");
        let mut parts = vec![manifest.get().as_bytes().to_vec()];
        let mut sections = Vec::new();
        for s in reader.sections() {
            parts.push(reader.section(&s.name).expect("an intact section").to_vec());
            sections.push(Section { name: s.name.clone(), dtype: s.dtype, codec: s.codec, present: true });
        }
        Self { kind: reader.kind().into(), version: reader.version(), parts, sections }
    }

    /// Inputs of [`Base::edited`]: none, and one per part that puts the part in its own place, for the fuzzer to mutate.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let replace = |(i, part): (usize, &Vec<u8>)| {
            let len = part.len().min(usize::from(u16::MAX));
            [&[0, i as u8][..], &(len as u16).to_le_bytes(), &part[..len]].concat()
        };
        let number = |i: u8| vec![4, 0, i, 0, 255, 255, 255, 255, 0, 0, 0, 0];
        std::iter::once(vec![1]).chain(self.parts.iter().enumerate().map(replace)).chain((0..16).map(number)).collect()
    }

    /// The file with the edits that `data` spells, every hash right. None when the manifest is no JSON any more.
    pub fn edited(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut file = self.clone();
        let mut input = Input(data);
        while !input.0.is_empty() {
            file.edit(&mut input);
        }
        file.seal()
    }

    fn edit(&mut self, input: &mut Input<'_>) {
        let op = input.number(1) % 6;
        let index = input.number(1) % self.parts.len();
        let part = &mut self.parts[index];
        match op {
            0 => {
                let len = input.number(2);
                *part = input.bytes(len).to_vec();
            }
            1 => {
                let (at, len) = (input.number(2) % (part.len() + 1), input.number(1));
                let new = input.bytes(len.min(part.len() - at));
                part[at..at + new.len()].copy_from_slice(new);
            }
            2 => {
                let (at, len) = (input.number(2) % (part.len() + 1), input.number(1));
                part.splice(at..at, input.bytes(len).iter().copied());
            }
            3 => {
                let (at, len) = (input.number(2) % (part.len() + 1), input.number(2));
                part.drain(at..(at + len).min(part.len()));
            }
            4 => {
                let (which, value) = (input.number(2), input.number(8));
                set_number(part, which, value);
            }
            _ => {
                let what = input.number(1);
                if let Some(section) = index.checked_sub(1).map(|i| &mut self.sections[i]) {
                    match what % 4 {
                        0 => section.present = false,
                        1 => section.codec = if section.codec == Codec::Raw { Codec::Zstd } else { Codec::Raw },
                        2 => section.dtype = [Dtype::U8, Dtype::F32, Dtype::U64, Dtype::Text][what / 4 % 4],
                        _ => section.name = String::from_utf8_lossy(input.bytes(what / 4)).into_owned(),
                    }
                }
            }
        }
    }

    fn seal(&self) -> Option<Vec<u8>> {
        let mut writer = Writer::in_memory(&self.kind, self.version).ok()?;
        for (section, bytes) in self.sections.iter().zip(&self.parts[1..]) {
            if section.present {
                writer.section(&section.name, section.dtype, bytes, section.codec).ok()?;
            }
        }
        let manifest = RawValue::from_string(String::from_utf8(self.parts[0].clone()).ok()?).ok()?;
        writer.into_bytes(&manifest).ok()
    }
}

/// Writes `value` in place of a run of digits: hostile lengths and indices, without breaking the syntax around them.
fn set_number(part: &mut Vec<u8>, which: usize, value: usize) {
    let starts: Vec<usize> =
        (0..part.len()).filter(|&i| part[i].is_ascii_digit() && (i == 0 || !part[i - 1].is_ascii_digit())).collect();
    if let Some(&start) = starts.get(which % starts.len().max(1)) {
        let len = part[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        part.splice(start..start + len, value.to_string().into_bytes());
    }
}
