//! What an integer program consists of.

use fhec_ir::{F64, Port, Tensor};
use serde::{Deserialize, Serialize};

use crate::sums::Sums;

/// Integers that stand for real numbers: `k` from 0 to `top` stands for `zero + step · k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiser {
    /// What 0 stands for.
    pub zero: F64,
    /// The distance of what two neighbours stand for, positive.
    pub step: F64,
    /// The largest integer.
    pub top: u32,
}

impl Quantiser {
    /// The integer that stands for the number nearest to `x`. What lies outside is clipped; what is no number gives 0.
    pub fn quantise(&self, x: f64) -> u32 {
        // A cast saturates, and makes 0 of what is no number.
        (((x - self.zero.0) / self.step.0).round() as u32).min(self.top)
    }
    /// What `k` stands for.
    pub fn value(&self, k: u32) -> f64 {
        self.zero.0 + self.step.0 * f64::from(k)
    }
}

/// An input, which its owner quantises before it is encrypted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The model's input.
    pub port: Port,
    /// Which integers stand for its elements.
    pub quantiser: Quantiser,
}

/// A function of sums, as its values at all integers from `least` on that a sum can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The first sum that has an entry.
    pub least: i64,
    /// The values at `least`, `least + 1`, …
    pub entries: Vec<u32>,
}

impl Table {
    /// The value at `sum`.
    pub fn at(&self, sum: i64) -> Option<u32> {
        self.entries.get(usize::try_from(sum.checked_sub(self.least)?).ok()?).copied()
    }
    /// The largest value.
    pub fn top(&self) -> u32 {
        self.entries.iter().copied().max().unwrap_or(0)
    }
}

/// Tables for the rows of sums, which many rows share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The different tables.
    pub tables: Vec<Table>,
    /// The table of each row, by number.
    pub of: Vec<u32>,
}

/// Sums, each followed by a look-up: a linear layer of the network with the activation behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The node of the model whose sums they are.
    pub node: String,
    /// The sums.
    pub sums: Sums,
    /// What is looked up.
    pub tables: Tables,
}

impl Layer {
    /// The largest integer that the layer gives.
    pub fn top(&self) -> u32 {
        self.tables.tables.iter().map(Table::top).max().unwrap_or(0)
    }
}

/// Sums that are a result: element `r` is `shift[r] + scale[r] · sum[r]`, which the owner of the key computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The model's output.
    pub port: Port,
    /// The node of the model whose sums they are.
    pub node: String,
    /// The sums.
    pub sums: Sums,
    /// The factors.
    pub scale: Vec<f64>,
    /// What is added.
    pub shift: Vec<f64>,
}

impl Output {
    /// The tensor that these sums stand for.
    pub fn dequantise(&self, sums: &[i64]) -> Tensor {
        let element = |((&sum, scale), shift): ((&i64, &f64), &f64)| (shift + scale * sum as f64) as f32;
        let data: Vec<f32> = sums.iter().zip(&self.scale).zip(&self.shift).map(element).collect();
        Tensor::private(self.port.shape.clone(), data)
    }
}

/// A quantised network.
///
/// Its tensors are numbered: inputs first, then layers. A layer reads tensors before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The inputs.
    pub inputs: Vec<Input>,
    /// The layers, each after those it reads.
    pub layers: Vec<Layer>,
    /// The results.
    pub outputs: Vec<Output>,
}

impl Program {
    /// Number of tensors.
    pub fn tensors(&self) -> usize {
        self.inputs.len() + self.layers.len()
    }
    /// Elements and largest integer of every tensor.
    pub fn extents(&self) -> Vec<(usize, u32)> {
        let inputs = self.inputs.iter().map(|input| (input.port.shape.len(), input.quantiser.top));
        inputs.chain(self.layers.iter().map(|layer| (layer.sums.rows(), layer.top()))).collect()
    }
    /// The layer or output behind every set of sums, in order: its node and its sums.
    pub fn all_sums(&self) -> impl Iterator<Item = (&str, &Sums)> {
        let layers = self.layers.iter().map(|layer| (layer.node.as_str(), &layer.sums));
        layers.chain(self.outputs.iter().map(|output| (output.node.as_str(), &output.sums)))
    }
    /// Look-ups of one run.
    pub fn lookups(&self) -> usize {
        self.layers.iter().map(|layer| layer.sums.rows()).sum()
    }
    /// The largest integer that each column of `sums` holds.
    pub fn column_tops(&self, sums: &Sums) -> Vec<u32> {
        let extents = self.extents();
        sums.spread(|t| extents[t])
    }
}
