//! This crate defines the IRs of fhec, that is, what programs are. It does no I/O and knows neither cryptography nor
//! ONNX.
//!
//! Three levels share one container, [`Func`]: [`nn`] (real tensors), [`slot`] (vectors of slots) and [`ckks`]
//! (ciphertexts with levels and scales). Each is a [`Dialect`]: a closed enum of ops declared from one table, a type, and
//! typing rules.

pub mod attr;
pub mod ckks;
mod consts;
pub mod cost;
pub mod dialect;
pub mod egraph;
mod entity;
mod func;
mod head;
pub mod io;
mod issue;
mod loc;
pub mod matrix;
pub mod nn;
pub mod slot;
mod tensor;
pub mod text;
pub mod verify;

pub use attr::F64;
pub use ckks::Ckks;
pub use consts::{Const, ConstPool, Digest, Hashed, digest, digest_of};
pub use dialect::{Dialect, OpError, OpInfo, ParseTy, TypeError};
pub use entity::{ConstId, Entity, Value};
pub use fhec_parameters::{BootstrapSpec, Circuit, ParamSpec};
pub use func::{Func, Module, Node, Operands};
pub use head::Head;
pub use io::{Digit, Layout, LayoutError, Port, ValueRange, batches, images};
pub use issue::{Issue, IssueNode};
pub use loc::Loc;
pub use nn::Nn;
pub use slot::Slot;
pub use tensor::{Shape, Tensor, largest_magnitude};
pub use verify::{Verify, VerifyError, verify};
