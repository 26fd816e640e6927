//! The file of a plan: a manifest, and a section per array of numbers.

use std::io::{Seek, Write};
use std::path::Path;

use fhec_container::{Codec, ContainerError, Destination, Dtype, Reader, Writer};
use fhec_integer::{Input, Layer, Output, Program, Sums, Table, Tables};
use fhec_ir::Port;
use serde::{Deserialize, Serialize};

use crate::error::TfheError;
use crate::plan::Plan;

/// Kind of a plan file.
pub const PLAN_KIND: &str = "tfhe-plan";
/// Version of its format.
const VERSION: u32 = 1;

/// What the file says besides its numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanManifest {
    model: String,
    /// Bits of the message space, which name the parameter set.
    message_bits: u32,
    inputs: Vec<Input>,
    layers: Vec<LayerManifest>,
    outputs: Vec<OutputManifest>,
    provenance: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerManifest {
    node: String,
    operands: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputManifest {
    port: Port,
    node: String,
    operands: Vec<usize>,
}

impl Plan {
    /// The bytes of a file.
    ///
    /// # Errors
    /// When a name in the plan cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TfheError> {
        let mut writer = Writer::in_memory(PLAN_KIND, VERSION)?;
        let manifest = self.write(&mut writer)?;
        Ok(writer.into_bytes(&manifest)?)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, to: impl Into<Destination>) -> Result<(), TfheError> {
        let mut writer = Writer::create(to, PLAN_KIND, VERSION)?;
        let manifest = self.write(&mut writer)?;
        writer.finish(&manifest)?;
        Ok(())
    }

    /// Reads a file that may take `limit` bytes of memory; without one, what files may by default.
    ///
    /// # Errors
    /// A damaged file, one of something else, and a program that does not fit its parameters.
    pub fn load(path: impl AsRef<Path>, limit: Option<u64>) -> Result<Self, TfheError> {
        Self::read(&Reader::open_within(path, limit)?.expect(PLAN_KIND, VERSION)?)
    }

    /// Reads the bytes of a file; `name` stands for them in errors.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, TfheError> {
        Self::read(&Reader::from_bytes(name, bytes)?.expect(PLAN_KIND, VERSION)?)
    }

    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<PlanManifest, TfheError> {
        let program = self.program();
        for (i, layer) in program.layers.iter().enumerate() {
            let of = format!("layer/{i}");
            write_sums(writer, &of, &layer.sums)?;
            let tables = &layer.tables.tables;
            let mut starts = vec![0u32];
            tables.iter().for_each(|table| starts.push(starts[starts.len() - 1] + table.entries.len() as u32));
            let least: Vec<i64> = tables.iter().map(|table| table.least).collect();
            let entries: Vec<u32> = tables.iter().flat_map(|table| table.entries.iter().copied()).collect();
            writer.section(&format!("{of}/table-of"), Dtype::U32, &layer.tables.of, Codec::Zstd)?;
            writer.section(&format!("{of}/table-starts"), Dtype::U32, &starts, Codec::Zstd)?;
            writer.section(&format!("{of}/table-least"), Dtype::I64, &least, Codec::Zstd)?;
            writer.section(&format!("{of}/table-entries"), Dtype::U32, &entries, Codec::Zstd)?;
        }
        for (i, output) in program.outputs.iter().enumerate() {
            let of = format!("output/{i}");
            write_sums(writer, &of, &output.sums)?;
            writer.section(&format!("{of}/scale"), Dtype::F64, &output.scale, Codec::Zstd)?;
            writer.section(&format!("{of}/shift"), Dtype::F64, &output.shift, Codec::Zstd)?;
        }
        let layer = |l: &Layer| LayerManifest { node: l.node.clone(), operands: l.sums.operands.clone() };
        let output = |o: &Output| OutputManifest {
            port: o.port.clone(),
            node: o.node.clone(),
            operands: o.sums.operands.clone(),
        };
        Ok(PlanManifest {
            model: self.model().into(),
            message_bits: self.parameters().bits,
            inputs: program.inputs.clone(),
            layers: program.layers.iter().map(layer).collect(),
            outputs: program.outputs.iter().map(output).collect(),
            provenance: self.provenance().clone(),
        })
    }

    fn read(reader: &Reader) -> Result<Self, TfheError> {
        let manifest: PlanManifest = reader.manifest()?;
        let mut program = Program { inputs: manifest.inputs, ..Program::default() };
        for (i, layer) in manifest.layers.into_iter().enumerate() {
            let of = format!("layer/{i}");
            let sums = read_sums(reader, &of, layer.operands)?;
            let tables = read_tables(reader, &of)?;
            program.layers.push(Layer { node: layer.node, sums, tables });
        }
        for (i, output) in manifest.outputs.into_iter().enumerate() {
            let of = format!("output/{i}");
            let sums = read_sums(reader, &of, output.operands)?;
            let scale = numbers(reader, &format!("{of}/scale"))?;
            let shift = numbers(reader, &format!("{of}/shift"))?;
            program.outputs.push(Output { port: output.port, node: output.node, sums, scale, shift });
        }
        let plan = Self::new(&manifest.model, program, manifest.message_bits)?;
        Ok(plan.with_provenance(manifest.provenance))
    }
}

fn write_sums<W: Write + Seek>(writer: &mut Writer<W>, of: &str, sums: &Sums) -> Result<(), ContainerError> {
    writer.section(&format!("{of}/starts"), Dtype::U32, &sums.starts, Codec::Zstd)?;
    writer.section(&format!("{of}/columns"), Dtype::U32, &sums.columns, Codec::Zstd)?;
    writer.section(&format!("{of}/weights"), Dtype::I32, &sums.weights, Codec::Zstd)
}

fn read_sums(reader: &Reader, of: &str, operands: Vec<usize>) -> Result<Sums, ContainerError> {
    Ok(Sums {
        operands,
        starts: numbers(reader, &format!("{of}/starts"))?,
        columns: numbers(reader, &format!("{of}/columns"))?,
        weights: numbers(reader, &format!("{of}/weights"))?,
    })
}

fn read_tables(reader: &Reader, of: &str) -> Result<Tables, ContainerError> {
    let starts: Vec<u32> = numbers(reader, &format!("{of}/table-starts"))?;
    let least: Vec<i64> = numbers(reader, &format!("{of}/table-least"))?;
    let entries: Vec<u32> = numbers(reader, &format!("{of}/table-entries"))?;
    let whole = starts.is_sorted() && starts.first() == Some(&0) && starts.last() == Some(&(entries.len() as u32));
    if !whole || starts.len() != least.len() + 1 {
        return Err(ContainerError::malformed(
            reader.file(),
            format!("the tables of {of} are not divided by their starts"),
        ));
    }
    let table =
        |(ends, least): (&[u32], i64)| Table { least, entries: entries[ends[0] as usize..ends[1] as usize].to_vec() };
    let tables = starts.windows(2).zip(least).map(table).collect();
    Ok(Tables { tables, of: numbers(reader, &format!("{of}/table-of"))? })
}

/// The numbers of a section.
pub(crate) fn numbers<T: bytemuck::AnyBitPattern>(reader: &Reader, name: &str) -> Result<Vec<T>, ContainerError> {
    let section = reader.section(name)?;
    reader.spend(name, section.len() as u64)?;
    Ok(section.as_slice::<T>()?.to_vec())
}
