//! `quantise`: from real numbers to small integers.
//!
//! A scheme of look-up tables, such as TFHE, computes with integers of a few bits: cheap sums with integer weights, and tables.
//! This pass makes an integer program of a trained network that was not trained for it, by calibration:
//!
//! 1. `network` takes the `nn` module apart into linear maps, multiplied out as for packing, and the element-wise functions
//!    between them.
//! 2. `weights` finds the integer weights of each sum. Their bounds are exact: whatever the inputs, no sum leaves the message
//!    space. Among those that fit, weights are sought whose sum is correlated most with what the network computes there, over the
//!    values that calibration data have at this place (`statistics`), errors of earlier layers among them.
//! 3. `tables` finds the range of every channel whose values keep most, and merges the scale of the sum, the bias, the function
//!    and the requantisation into one table.
//! 4. `choose` decides how many values each tensor has, by what becomes of the results on held-back calibration inputs.
//!
//! A network that was trained with quantised weights goes the same way: weights that are multiples of one step come out as they are.

mod choose;
mod network;
mod statistics;
mod tables;
mod trial;
mod weights;

use fhec_integer::Program;
use fhec_ir::nn::eval::EvalError;
use fhec_ir::{Module, Nn, Tensor};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pass::PassError;

/// How large a sum may become.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// A sum lies between two integers that are at most 2^bits − 1 apart.
    pub bits: u32,
    /// Bound on the Euclidean norm of its weights, which is what it makes of the noise of its operands.
    pub norm: f64,
}

/// What sums a scheme can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// Sums that a table is applied to.
    pub lookups: Room,
    /// Of these, sums of inputs alone, whose noise is that of fresh ciphertexts.
    pub first: Room,
    /// Sums that are results, as alternatives: more bits for a smaller norm.
    pub results: Vec<Room>,
}

/// What became of a set of sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantisedLayer {
    /// The node of the model.
    pub node: String,
    /// Sums.
    pub sums: usize,
    /// Most products of one sum of the network.
    pub products: usize,
    /// Most of them that are left: those whose integer weight is not zero.
    pub kept: usize,
    /// Bits of the widest sum.
    pub sum_bits: u32,
    /// Largest weight.
    pub largest_weight: u32,
    /// Integers that stand for a value behind the table; none for results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<u32>,
    /// Mean square error of the sums over the variance of what the network computes there, on held-back inputs.
    pub error: f64,
}

/// A quantised network, and how far it is from the one it was made of.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The program.
    pub program: Program,
    /// Its layers and outputs.
    pub layers: Vec<QuantisedLayer>,
    /// Share of held-back inputs of which it finds the largest result at the same place.
    pub agreement: f64,
    /// Held-back inputs.
    pub held_back: usize,
    /// What is left to the client, and other remarks.
    pub notes: Vec<String>,
}

/// Why a network cannot be quantised.
#[derive(Debug, Error, Diagnostic)]
pub enum QuantiseError {
    /// Nodes that have no form as sums and tables.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pass(#[from] PassError),
    /// Inputs that do not fit the network.
    #[error(transparent)]
    #[diagnostic(help("give calibration data of the shape that the model's inputs have"))]
    Eval(#[from] EvalError),
    /// Too few inputs to calibrate with.
    #[error("{found} calibration inputs were given, quantisation needs {least} at least")]
    #[diagnostic(help("give some hundred inputs of the training set with `--calibration`"))]
    Samples {
        /// How many there are.
        found: usize,
        /// How many are needed.
        least: usize,
    },
    /// Values that no integer can stand for.
    #[error("node `{node}` has values on calibration data that are not finite")]
    #[diagnostic(help("check the calibration data, and the model with `onnxruntime` on them"))]
    NotFinite {
        /// The node.
        node: String,
    },
    /// A layer whose sums do not fit.
    #[error(
        "layer `{node}`: sums of {products} products do not fit {bits} bits: with weights as small as that needs, {lost:.0} % of \
         the variance of its sums is lost"
    )]
    #[diagnostic(help(
        "take a larger message space (`--message-bits`), or a network whose sums have fewer terms: grouped or smaller \
         kernels, pruned weights"
    ))]
    DoesNotFit {
        /// The node.
        node: String,
        /// Products of one sum.
        products: usize,
        /// Bits that sums at this place may have.
        bits: u32,
        /// What is lost of the variance, in per cent.
        lost: f64,
    },
}

/// Fewer calibration inputs than this say nothing of a channel's range.
const LEAST_SAMPLES: usize = 32;

/// Makes an integer program of `module`, which should be folded, for sums within `capacity`, by calibration on `samples` (one set
/// of input tensors each).
///
/// # Errors
/// Nodes without a form as sums and tables, calibration data that do not fit or are too few, and a layer whose sums do not fit.
pub fn quantise(module: &Module<Nn>, samples: &[Vec<Tensor>], capacity: &Capacity) -> Result<Quantised, QuantiseError> {
    let _span = tracing::debug_span!("quantise", bits = capacity.lookups.bits).entered();
    if samples.len() < LEAST_SAMPLES {
        return Err(QuantiseError::Samples { found: samples.len(), least: LEAST_SAMPLES });
    }
    let (network, notes) = network::Network::of(module)?;
    let observed = trial::Observed::of(&network, samples)?;
    let trial = choose::chosen(&network, &observed, capacity)?;
    // The first, whose error those after it have, too.
    if let Some(lost) = trial.layers.iter().find(|layer| layer.error > MOST_LOST) {
        let widest = capacity.results.iter().map(|room| room.bits).max().unwrap_or(0);
        return Err(QuantiseError::DoesNotFit {
            node: lost.node.clone(),
            products: lost.products,
            bits: if lost.values.is_some() { capacity.lookups.bits } else { widest },
            lost: lost.error.min(1.0) * 100.0,
        });
    }
    let ports = observed.result_ranges(&trial, network.ports);
    let mut program = trial.program;
    program.outputs.iter_mut().zip(ports).for_each(|(output, port)| output.port = port);
    Ok(Quantised { program, layers: trial.layers, agreement: trial.agreement, held_back: observed.held_back(), notes })
}

/// A layer that loses more of the variance of its sums than this has nothing left to pass on.
const MOST_LOST: f64 = 0.75;
