//! The text form of a module (`.fhir`) has one syntax for the three levels.
//!
//! ```text
//! // Comments run to the end of the line.
//! params {log_n = 14, first_bits = 50, scale_bits = 40, levels = 3, special_bits = 50, special = 2, insecure = false}
//! const @bias : tensor<2> = [0.5, -1.0]
//! const @weights : tensor<2x1x3x3> = blob "9f0c…64 hexadecimal digits"
//! const @mask : tensor<1024> = zeros                  // or full(0.25)
//! input "image" : tensor<1x1x28x28>
//! output "logits" : tensor<1x2x28x28>
//!
//! func @main(%0: tensor<1x1x28x28> loc("image")) -> tensor<1x2x28x28> {
//!   %1 = nn.const {value = @weights} : tensor<2x1x3x3>
//!   %2 = nn.const {value = @bias} : tensor<2>
//!   %3 = nn.conv %0, %1, %2 {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x28x28> loc("/conv1/Conv")
//!   return %3
//! }
//! ```
//! `params`, `const`, `input` and `output` are optional; below `nn` a port also says where its elements lie:
//! `input "x" : tensor<1x4> layout {slots = 8, ciphertexts = 1, period = 8, offset = 0, digits = [{dim = 1, divisor = 1, size = 4, stride = 1}]}`.
//! An output there also says which heads are left to the client: `heads [{op = "softmax", axis = 1}]`.
//! Constants of more than [`INLINE_LIMIT`] elements are written as blobs named by their [`digest`](crate::digest()); a
//! [`BlobSource`] supplies their elements again.
//!
//! [`print_module`] and [`parse_module`] are inverse up to the numbering of values: printing what was parsed from printed
//! text gives the same bytes.

#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
mod grammar {
    include!(concat!(env!("OUT_DIR"), "/text/grammar.rs"));
}

/// Elements that `zeros` and `full` constants of one file may have together, so that a short file cannot ask for all
/// memory. What would go beyond is written as a blob.
const MAX_FILLED: usize = 1 << 26;

mod any;
mod blob;
mod error;
mod parse;
mod print;
mod raw;
mod tree;

pub use any::{AnyModule, Level};
pub use blob::{BlobSource, Blobs, from_hex, to_hex};
pub use error::{ParseError, TextError};
pub(crate) use parse::read_op;
pub use parse::{parse_any, parse_module};
pub(crate) use print::op_text;
pub use print::{INLINE_LIMIT, node_line, print_module, print_with_blobs};
pub use raw::{Ty as TyText, TyArg};
