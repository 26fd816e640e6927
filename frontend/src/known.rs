//! Some values are known at import: constants, and what is computed from constants alone.

use std::sync::Arc;

use fhec_ir::nn::NnOp;
use fhec_ir::nn::eval;
use fhec_ir::{ConstPool, Shape, Tensor};

use crate::error::{Refusal, Result};
use crate::proto::data_type as ty;

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    Floats(Tensor),
    Ints(Ints),
}

/// An integer tensor in row-major order; truth values are integers 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ints {
    pub(crate) shape: Shape,
    pub(crate) data: Arc<[i64]>,
    pub(crate) ty: IntType,
}

/// The element type of an integer tensor. What overflows it wraps, as in the reference implementation of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IntType {
    /// 1 for truth values.
    bits: u32,
    signed: bool,
}

impl IntType {
    pub(crate) const BOOL: Self = Self { bits: 1, signed: false };
    pub(crate) const I64: Self = Self { bits: 64, signed: true };

    /// The type of an ONNX code, if it is one of integers.
    pub(crate) fn of(code: i32) -> Option<Self> {
        let (bits, signed) = match code {
            ty::BOOL => (1, false),
            ty::UINT4 => (4, false),
            ty::INT4 => (4, true),
            ty::UINT8 => (8, false),
            ty::INT8 => (8, true),
            ty::UINT16 => (16, false),
            ty::INT16 => (16, true),
            ty::UINT32 => (32, false),
            ty::INT32 => (32, true),
            // Values of uint64 beyond the signed range are refused where they are read.
            ty::INT64 | ty::UINT64 => (64, true),
            _ => return None,
        };
        Some(Self { bits, signed })
    }
    /// `i` as a value of this type.
    pub(crate) fn wrap(self, i: i64) -> i64 {
        match self.bits {
            1 => i64::from(i != 0),
            64 => i,
            bits if self.signed => i << (64 - bits) >> (64 - bits),
            bits => i & ((1 << bits) - 1),
        }
    }
    /// The least and the greatest value.
    pub(crate) fn range(self) -> (i64, i64) {
        match (self.bits, self.signed) {
            (64, _) => (i64::MIN, i64::MAX),
            (bits, true) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            (bits, false) => (0, (1 << bits) - 1),
        }
    }
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
        Self::Ints(Ints { shape: Shape(vec![data.len()]), data: data.into(), ty: IntType::I64 })
    }
    /// One integer.
    pub(crate) fn int(i: i64) -> Self {
        Self::Ints(Ints { shape: Shape::default(), data: vec![i].into(), ty: IntType::I64 })
    }
    /// The elements as real numbers.
    pub(crate) fn to_floats(&self) -> Tensor {
        match self {
            Self::Floats(t) => t.clone(),
            Self::Ints(t) => Tensor::new(t.shape.clone(), t.data.iter().map(|&i| i as f32).collect::<Vec<_>>()),
        }
    }
    /// The elements as integers of type `ty`: numbers are rounded towards zero, to truth values by whether they are 0.
    pub(crate) fn to_ints(&self, ty: IntType) -> Ints {
        let data: Vec<i64> = match self {
            Self::Floats(t) if ty == IntType::BOOL => t.data().iter().map(|&x| i64::from(x != 0.0)).collect(),
            Self::Floats(t) => t.data().iter().map(|&x| ty.wrap(x as i64)).collect(),
            Self::Ints(t) if t.ty == ty => return t.clone(),
            Self::Ints(t) => t.data.iter().map(|&i| ty.wrap(i)).collect(),
        };
        Ints { shape: self.shape().clone(), data: data.into(), ty }
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
        Ok(Self { shape: moved.shape().clone(), data: data.into(), ty: operands[0].ty })
    }
}

/// `f` over the elements of operands that broadcast to `out`, in row-major order; `None` as soon as `f` gives none.
pub(crate) fn zip<T: Copy, U>(
    operands: &[(&Shape, &[T])],
    out: &Shape,
    f: impl Fn(&[T]) -> Option<U>,
) -> Option<Vec<U>> {
    let mut data = Vec::with_capacity(out.len());
    if out.is_empty() {
        return Some(data);
    }
    let steps: Vec<Vec<usize>> = operands
        .iter()
        .map(|(shape, _)| {
            let own = shape.strides();
            let added = out.rank() - shape.rank();
            (0..out.rank()).map(|d| if d < added || shape.0[d - added] == 1 { 0 } else { own[d - added] }).collect()
        })
        .collect();
    let mut index = vec![0; out.rank()];
    let mut at = vec![0; operands.len()];
    let mut picked: Vec<T> = Vec::with_capacity(operands.len());
    loop {
        picked.clear();
        picked.extend(operands.iter().zip(&at).map(|((_, data), &i)| data[i]));
        data.push(f(&picked)?);
        let Some(d) = (0..out.rank()).rev().find(|&d| index[d] + 1 < out.0[d]) else { return Some(data) };
        for later in d + 1..out.rank() {
            at.iter_mut().zip(&steps).for_each(|(at, steps)| *at -= steps[later] * index[later]);
            index[later] = 0;
        }
        at.iter_mut().zip(&steps).for_each(|(at, steps)| *at += steps[d]);
        index[d] += 1;
    }
}

/// The refusal of constants beyond all bounds.
pub(crate) fn too_large() -> Refusal {
    Refusal::new(
        "folding this constant would take too much memory or time",
        "such a constant is not part of any known network: check the node's shape and its constant operands",
    )
}
