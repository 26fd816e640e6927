//! Heads: what a network computes last and the client computes after decryption.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::consts::ConstPool;
use crate::dialect::{Dialect, TypeError};
use crate::io::Port;
use crate::nn::{Nn, NnOp, TensorTy, eval};
use crate::tensor::{Shape, Tensor};

/// One op of what is left to the client, on the tensor of one image.
///
/// ```
/// use fhec_ir::{Head, Tensor};
///
/// let logits = Tensor::new([1, 3], vec![0.5, 2.0, -1.0]);
/// let class = Head::ArgMax { axis: 1, keepdims: false }.apply(&logits)?;
/// assert_eq!((class.shape().to_string(), class.data()[0]), ("1".to_string(), 1.0));
/// # Ok::<(), fhec_ir::TypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// Softmax over one dimension.
    Softmax {
        /// The dimension.
        axis: usize,
    },
    /// The logarithm of the softmax over one dimension.
    LogSoftmax {
        /// The dimension.
        axis: usize,
    },
    /// The index of the first largest element along one dimension.
    ArgMax {
        /// The dimension.
        axis: usize,
        /// Whether the dimension remains, with one element.
        keepdims: bool,
    },
    /// The same elements in another shape, behind a head.
    Reshape {
        /// The shape.
        shape: Shape,
    },
    /// Dimensions in another order, behind a head.
    Transpose {
        /// Dimension of the operand that each dimension of the result is.
        perm: Vec<usize>,
    },
}

impl Head {
    /// The head that computes what `op` does, from an operand of shape `from` a result of shape `to`; none where no head does.
    pub fn of(op: &NnOp, from: &Shape, to: &Shape) -> Option<Self> {
        let dim = |axis: i64| {
            let rank = i64::try_from(from.rank()).ok()?;
            let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
            usize::try_from(axis).ok().filter(|&axis| axis < from.rank())
        };
        Some(match op {
            NnOp::Softmax { axis } => Self::Softmax { axis: dim(*axis)? },
            NnOp::LogSoftmax { axis } => Self::LogSoftmax { axis: dim(*axis)? },
            NnOp::ArgMax { axis, keepdims } => Self::ArgMax { axis: dim(*axis)?, keepdims: *keepdims },
            NnOp::Reshape { .. } => Self::Reshape { shape: to.clone() },
            NnOp::Transpose { perm } => {
                Self::Transpose { perm: perm.iter().map(|&p| dim(p)).collect::<Option<Vec<_>>>()? }
            }
            _ => return None,
        })
    }

    /// The same head for one of the `images` images along dimension 0 of its operand; none where it mixes them.
    pub fn of_image(&self, images: usize) -> Option<Self> {
        if images == 1 {
            return Some(self.clone());
        }
        match self {
            Self::Softmax { axis: 0 } | Self::LogSoftmax { axis: 0 } | Self::ArgMax { axis: 0, .. } => None,
            Self::Reshape { shape } => {
                let (first, rest) = shape.0.split_first()?;
                (*first == images).then(|| Self::Reshape { shape: Shape([&[1], rest].concat()) })
            }
            Self::Transpose { perm } if perm.first() != Some(&0) => None,
            head => Some(head.clone()),
        }
    }

    /// The shape of what it makes of a tensor of shape `from`.
    ///
    /// # Errors
    /// When it does not fit that shape.
    pub fn shape(&self, from: &Shape) -> Result<Shape, TypeError> {
        Nn::infer(&self.op()?, &[&TensorTy(from.clone())], &ConstPool::default()).map(|TensorTy(shape)| shape)
    }

    /// What it makes of a tensor, private if that is.
    ///
    /// # Errors
    /// When it does not fit the tensor's shape.
    pub fn apply(&self, tensor: &Tensor) -> Result<Tensor, TypeError> {
        eval::apply(&self.op()?, &[tensor], &ConstPool::default())
    }

    /// The op whose meaning it has.
    fn op(&self) -> Result<NnOp, TypeError> {
        // A number from a file may be larger than an attribute can be.
        let int = |x: usize| i64::try_from(x).map_err(|_| TypeError(format!("{x} is too large a number")));
        let ints = |xs: &[usize]| xs.iter().map(|&x| int(x)).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Softmax { axis } => NnOp::Softmax { axis: int(*axis)? },
            Self::LogSoftmax { axis } => NnOp::LogSoftmax { axis: int(*axis)? },
            Self::ArgMax { axis, keepdims } => NnOp::ArgMax { axis: int(*axis)?, keepdims: *keepdims },
            Self::Reshape { shape } => NnOp::Reshape { shape: ints(&shape.0)? },
            Self::Transpose { perm } => NnOp::Transpose { perm: ints(perm)? },
        })
    }
}

/// For messages: the op and what it works along.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Softmax { axis } => write!(f, "softmax over dimension {axis}"),
            Self::LogSoftmax { axis } => write!(f, "log_softmax over dimension {axis}"),
            Self::ArgMax { axis, .. } => write!(f, "arg_max over dimension {axis}"),
            Self::Reshape { shape } => write!(f, "reshape to {shape}"),
            Self::Transpose { perm } => write!(f, "transpose by {perm:?}"),
        }
    }
}

impl Port {
    /// The port of what the heads make of a tensor of this one, of one image; the port itself where there are none.
    ///
    /// # Errors
    /// When a head does not fit, which the verifier refuses.
    pub fn headed(&self) -> Result<Self, TypeError> {
        if self.heads.is_empty() {
            return Ok(self.clone());
        }
        let shape = self.heads.iter().try_fold(self.shape.clone(), |shape, head| head.shape(&shape))?;
        Ok(Self { name: self.name.clone(), shape, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape(dims.to_vec())
    }

    #[test]
    fn heads_compute_what_the_ops_do() {
        let x = Tensor::private([1, 2, 3], vec![1.0, 5.0, 2.0, 9.0, 0.0, 3.0]);
        let ops = [
            NnOp::Softmax { axis: -1 },
            NnOp::LogSoftmax { axis: 1 },
            NnOp::ArgMax { axis: 2, keepdims: false },
            NnOp::ArgMax { axis: -2, keepdims: true },
            NnOp::Reshape { shape: vec![6] },
            NnOp::Transpose { perm: vec![0, 2, 1] },
        ];
        for op in ops {
            let expected = eval::apply(&op, &[&x], &ConstPool::default()).unwrap();
            let head = Head::of(&op, x.shape(), expected.shape()).unwrap();
            assert_eq!((head.shape(x.shape()).as_ref(), head.apply(&x)), (Ok(expected.shape()), Ok(expected.clone())));
            let json = serde_json::to_string(&head).unwrap();
            assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head, "{json}");
        }
        assert_eq!(Head::of(&NnOp::Neg {}, x.shape(), x.shape()), None);
        assert_eq!(Head::of(&NnOp::Softmax { axis: 3 }, x.shape(), x.shape()), None);
    }

    #[test]
    fn a_head_of_one_image_mixes_no_images() {
        assert_eq!(Head::Softmax { axis: 0 }.of_image(2), None);
        assert_eq!(Head::Softmax { axis: 0 }.of_image(1), Some(Head::Softmax { axis: 0 }));
        assert_eq!(Head::Softmax { axis: 1 }.of_image(2), Some(Head::Softmax { axis: 1 }));
        let reshape = |dims| Head::Reshape { shape: shape(dims) };
        assert_eq!(reshape(&[2, 3]).of_image(2), Some(reshape(&[1, 3])));
        assert_eq!(reshape(&[6]).of_image(2), None);
        assert_eq!(Head::Transpose { perm: vec![1, 0] }.of_image(2), None);
    }

    #[test]
    fn numbers_too_large_are_errors() {
        let huge = Head::Softmax { axis: usize::MAX };
        assert!(huge.shape(&shape(&[1, 2])).is_err() && huge.apply(&Tensor::new([1, 2], vec![0.0, 1.0])).is_err());
    }

    #[test]
    fn a_port_with_heads_becomes_what_they_make() {
        let heads = vec![Head::Softmax { axis: 1 }, Head::ArgMax { axis: 1, keepdims: false }];
        let port = Port { name: "y".into(), shape: shape(&[1, 4]), heads, ..Default::default() };
        let headed = port.headed().unwrap();
        assert_eq!((headed.shape.clone(), headed.heads.len()), (shape(&[1]), 0));
        assert_eq!(headed.headed().unwrap(), headed);
    }
}
