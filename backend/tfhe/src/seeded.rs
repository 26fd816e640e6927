//! Ciphertexts whose masks are drawn from a seed, so that files hold their bodies alone.

use std::io::{Seek, Write};

use fhec_container::{Codec, ContainerError, Dtype, Reader, Writer};

/// Bodies of ciphertexts, and the seed that their masks are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seeded {
    pub(crate) seed: u128,
    pub(crate) bodies: Vec<u64>,
}

impl Seeded {
    /// Writes the bodies to the section `name`, and the seed to one beside it.
    pub(crate) fn write<W: Write + Seek>(&self, writer: &mut Writer<W>, name: &str) -> Result<(), ContainerError> {
        writer.section(&seed_section(name), Dtype::U8, &self.seed.to_le_bytes(), Codec::Raw)?;
        writer.section(name, Dtype::U64, &self.bodies, Codec::Raw)
    }

    /// Reads what [`write`](Self::write) wrote, of so many bodies.
    pub(crate) fn read(reader: &Reader, name: &str, bodies: usize) -> Result<Self, ContainerError> {
        let bodies = words(reader, name, bodies)?;
        let name = seed_section(name);
        reader.expect_raw(&name, size_of::<u128>() as u64)?;
        let seed = reader.section(&name)?;
        let seed = seed[..].try_into().map_err(|_| ContainerError::malformed(reader.file(), "a seed has 16 bytes"))?;
        Ok(Self { seed: u128::from_le_bytes(seed), bodies })
    }
}

fn seed_section(name: &str) -> String {
    format!("{name}/seed")
}

/// A section of so many words.
pub(crate) fn words(reader: &Reader, name: &str, count: usize) -> Result<Vec<u64>, ContainerError> {
    let bytes = (count * size_of::<u64>()) as u64;
    reader.expect_raw(name, bytes)?;
    reader.spend(name, bytes)?;
    Ok(reader.section(name)?.as_slice::<u64>()?.to_vec())
}

/// Keys and requests are named by 128 random bits, which files have in hexadecimal.
pub(crate) fn id_to_hex(id: u128) -> String {
    format!("{id:032x}")
}

/// The name that [`id_to_hex`] wrote.
pub(crate) fn id_from_hex(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)
}
