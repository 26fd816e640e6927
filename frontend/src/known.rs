//! Some values are known at import: constants, and what is computed from constants alone.

use std::sync::Arc;

use fhec_ir::nn::NnOp;
use fhec_ir::nn::eval;
use fhec_ir::{ConstPool, Shape, Tensor};

use crate::error::{Refusal, Result};

/// A constant tensor. Truth values are integers 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    Floats(Tensor),
    Ints(Ints),
}

/// An integer tensor in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ints {
    pub(crate) shape: Shape,
    pub(crate) data: Arc<[i64]>,
}

/// Integer tensors describe shapes and indices; positions in them must be exact in `f32` for [`Ints::moved`].
const MAX_INTS: usize = 1 << 24;

impl Known {
    pub(crate) fn shape(&self) -> &Shape {
        match self {
            Self::Floats(t) => t.shape(),
            Self::Ints(t) => &t.shape,
        }
    }
    /// A list of integers.
    pub(crate) fn ints(data: Vec<i64>) -> Self {
        Self::Ints(Ints { shape: Shape(vec![data.len()]), data: data.into() })
    }
    /// The elements as real numbers.
    pub(crate) fn to_floats(&self) -> Tensor {
        match self {
            Self::Floats(t) => t.clone(),
            Self::Ints(t) => Tensor::new(t.shape.clone(), t.data.iter().map(|&i| i as f32).collect::<Vec<_>>()),
        }
    }
    /// The elements rounded towards zero.
    pub(crate) fn to_ints(&self) -> Ints {
        match self {
            Self::Floats(t) => {
                Ints { shape: t.shape().clone(), data: t.data().iter().map(|&x| x as i64).collect::<Vec<_>>().into() }
            }
            Self::Ints(t) => t.clone(),
        }
    }
}

impl Ints {
    /// The result of an op that only moves elements. It is carried out on the positions of the elements.
    pub(crate) fn moved(op: &NnOp, operands: &[&Self]) -> Result<Self> {
        let total: usize = operands.iter().map(|t| t.data.len()).sum();
        if total > MAX_INTS {
            return Err(too_large());
        }
        let mut start = 0;
        let positions: Vec<Tensor> = operands
            .iter()
            .map(|t| {
                let range = start..start + t.data.len();
                start = range.end;
                Tensor::new(t.shape.clone(), range.map(|i| i as f32).collect::<Vec<_>>())
            })
            .collect();
        let all: Vec<i64> = operands.iter().flat_map(|t| t.data.iter().copied()).collect();
        let moved = eval::apply(op, &positions.iter().collect::<Vec<_>>(), &ConstPool::default())
            .map_err(|e| Refusal::invalid(e.0))?;
        let data: Vec<i64> = moved.data().iter().filter_map(|&p| all.get(p as usize).copied()).collect();
        Ok(Self { shape: moved.shape().clone(), data: data.into() })
    }
    /// `f` over the elements of two operands that broadcast; `None` from `f` (overflow, division by zero) is refused.
    pub(crate) fn binary(a: &Self, b: &Self, f: impl Fn(i64, i64) -> Option<i64>) -> Result<Self> {
        let shape = a
            .shape
            .broadcast(&b.shape)
            .filter(|s| s.is_bounded() && s.len() <= MAX_INTS)
            .ok_or_else(|| Refusal::invalid(format!("operands {} and {} do not broadcast", a.shape, b.shape)))?;
        let expand = NnOp::Expand { shape: shape.0.iter().map(|&d| d as i64).collect() };
        let (a, b) = (Self::moved(&expand, &[a])?, Self::moved(&expand, &[b])?);
        let data: Option<Vec<i64>> = a.data.iter().zip(b.data.iter()).map(|(&a, &b)| f(a, b)).collect();
        let data = data.ok_or_else(|| Refusal::invalid("integer overflow or division by zero in constants"))?;
        Ok(Self { shape, data: data.into() })
    }
}

/// The refusal of constants beyond all bounds.
pub(crate) fn too_large() -> Refusal {
    Refusal::new(
        "folding this constant would take too much memory or time",
        "such a constant is not part of any known network: check the node's shape and its constant operands",
    )
}
