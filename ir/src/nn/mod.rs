//! Values of the `nn` level are real tensors with ONNX semantics. Slots and levels do not exist here.

pub mod eval;
mod infer;
mod ops;

use std::fmt;

pub use ops::{Activation, Basis, NnOp, PadMode};

use crate::consts::ConstPool;
use crate::dialect::{Dialect, ParseTy, TypeError};
use crate::tensor::Shape;
use crate::text::TyText;

/// The `nn` level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nn;

/// The type of an `nn` value: a real tensor of static shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorTy(pub Shape);

impl fmt::Display for TensorTy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor<{}>", self.0)
    }
}

impl ParseTy for TensorTy {
    fn parse(text: &TyText<'_>) -> Result<Self, String> {
        let shape: Shape = text.only_arg("tensor")?.parse()?;
        if shape.is_bounded() { Ok(Self(shape)) } else { Err(format!("a tensor of shape {shape} is too large")) }
    }
}

impl Dialect for Nn {
    const NAME: &'static str = "nn";
    type Op = NnOp;
    type Ty = TensorTy;

    fn infer(op: &NnOp, operands: &[&TensorTy], consts: &ConstPool) -> Result<TensorTy, TypeError> {
        let shapes: Vec<&Shape> = operands.iter().map(|t| &t.0).collect();
        infer::infer(op, &shapes, consts).map(TensorTy).map_err(TypeError)
    }
}
