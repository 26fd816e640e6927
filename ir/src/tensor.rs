//! Dense constant tensors.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A tensor shape: the extent of every dimension, outermost first. The empty shape is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// No tensor of a network compiled here has more elements; the bound keeps a hostile file from asking for all memory.
    pub const MAX_ELEMENTS: usize = 1 << 30;

    /// Whether the extents, zero ones counted as one, multiply to at most [`Shape::MAX_ELEMENTS`]: then no product of
    /// extents overflows, not even where a zero hides large ones.
    pub fn is_bounded(&self) -> bool {
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).is_some_and(|n| n <= Self::MAX_ELEMENTS)
    }
    /// Number of elements; `None` when it overflows `usize`.
    pub fn checked_len(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }
    /// Whether some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.0.contains(&0)
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i] * self.0[i];
        }
        strides
    }
    /// Whether the shape stretches to `to` under ONNX (numpy) multidirectional broadcasting.
    pub fn broadcasts_to(&self, to: &Self) -> bool {
        self.rank() <= to.rank() && self.0.iter().rev().zip(to.0.iter().rev()).all(|(&a, &b)| a == b || a == 1)
    }
    /// The common shape of two operands under numpy broadcasting.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.rank().max(other.rank());
        let dim = |s: &Self, i: usize| {
            let pad = rank - s.rank();
            if i < pad { 1 } else { s.0[i - pad] }
        };
        (0..rank)
            .map(|i| match (dim(self, i), dim(other, i)) {
                (a, b) if a == b || b == 1 => Some(a),
                (1, b) => Some(b),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}
impl fmt::Display for Shape {
    /// `1x16x32x32`; a scalar prints as `scalar`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("x")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}
impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "scalar" {
            return Ok(Self::default());
        }
        let extent = |d: &str| d.parse().map_err(|_| format!("`{d}` in `{text}` is not an extent"));
        text.split('x').map(extent).collect::<Result<Vec<_>, _>>().map(Self)
    }
}
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A dense row-major `f32` tensor; cloning shares the data.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

/// Elements.
#[derive(Clone)]
enum Data {
    Plain(Arc<[f32]>),
    /// Of somebody's: wiped when the last tensor that shares them is dropped.
    Private(Arc<Zeroizing<Vec<f32>>>),
}

impl std::ops::Deref for Data {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Self::Plain(data) => data,
            Self::Private(data) => data,
        }
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Tensor {
    /// A tensor over `data` in row-major order.
    ///
    /// # Panics
    /// When `data` does not have as many elements as `shape`: callers check sizes of foreign data first.
    pub fn new(shape: impl Into<Shape>, data: impl Into<Arc<[f32]>>) -> Self {
        Self::over(shape.into(), Data::Plain(data.into()))
    }
    /// A tensor of somebody's data, inputs and results: its elements, and those of tensors made from it here, are wiped when
    /// the last that shares them is dropped. The vector is kept as it is and should not have left copies where it grew.
    ///
    /// # Panics
    /// As [`Tensor::new`].
    pub fn private(shape: impl Into<Shape>, data: Vec<f32>) -> Self {
        Self::over(shape.into(), Data::Private(Arc::new(Zeroizing::new(data))))
    }
    fn over(shape: Shape, data: Data) -> Self {
        assert_eq!(shape.len(), data.len(), "tensor of shape {shape} over {} elements", data.len());
        Self { shape, data }
    }
    /// A tensor over `data`, private if this one is. The vector should not have left copies where it grew.
    pub(crate) fn with_data(&self, shape: Shape, data: Vec<f32>) -> Self {
        match self.data {
            Data::Plain(_) => Self::new(shape, data),
            Data::Private(_) => Self::private(shape, data),
        }
    }
    /// A tensor of these elements, private if this one is.
    fn like(&self, shape: Shape, elements: impl Iterator<Item = f32>) -> Self {
        match self.data {
            Data::Plain(_) => Self::new(shape, elements.collect::<Vec<_>>()),
            Data::Private(_) => {
                // All the room at once: a vector that grows leaves copies behind.
                let mut data = Vec::with_capacity(shape.len());
                data.extend(elements);
                Self::private(shape, data)
            }
        }
    }
    /// A scalar.
    pub fn scalar(x: f32) -> Self {
        Self::new(Shape::default(), vec![x])
    }
    /// A tensor of one value.
    pub fn full(shape: impl Into<Shape>, x: f32) -> Self {
        let shape = shape.into();
        let data = vec![x; shape.len()];
        Self::new(shape, data)
    }
    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
    /// The elements in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }
    /// The same elements under another shape of equal size.
    ///
    /// # Panics
    /// When the sizes differ.
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Self {
        Self::over(shape.into(), self.data.clone())
    }
    /// Tensors of one shape, one after the other along dimension 0.
    ///
    /// # Panics
    /// When there are none, or their shapes differ or have no dimension.
    pub fn stack(tensors: &[&Self]) -> Self {
        let mut shape = tensors[0].shape.clone();
        assert!(tensors.iter().all(|t| t.shape == shape), "tensors of different shapes");
        shape.0[0] *= tensors.len();
        let private = tensors.iter().find(|t| matches!(t.data, Data::Private(_)));
        private.unwrap_or(&tensors[0]).like(shape, tensors.iter().flat_map(|t| t.data()).copied())
    }
    /// The `parts` equal parts along dimension 0: the inverse of [`Tensor::stack`].
    ///
    /// # Panics
    /// When dimension 0 does not divide so.
    pub fn unstack(&self, parts: usize) -> Vec<Self> {
        let mut shape = self.shape.clone();
        assert!(shape.0[0].is_multiple_of(parts), "{} does not divide into {parts}", self.shape);
        shape.0[0] /= parts;
        self.data.chunks(shape.len().max(1)).map(|part| self.like(shape.clone(), part.iter().copied())).collect()
    }
    /// The tensor with `f` applied to every element.
    pub fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        self.like(self.shape.clone(), self.data.iter().map(|&x| f(x)))
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor<{}>", self.shape)
    }
}

/// The largest magnitude of `values`, 0 if there are none; NaN as soon as one is NaN, which `f64::max` would pass over.
pub fn largest_magnitude(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |m: f64, x| if m.is_nan() || x.is_nan() { f64::NAN } else { m.max(x.abs()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_private_tensors_is_private() {
        let private = |t: &Tensor| matches!(t.data, Data::Private(_));
        let (own, plain) = (Tensor::private([2, 2], vec![1.0, 2.0, 3.0, 4.0]), Tensor::full([2, 2], 7.0));
        assert!(private(&own) && !private(&plain));
        let made = [own.clone(), own.reshaped([4]), own.map(|x| -x), Tensor::stack(&[&plain, &own])];
        assert!(made.iter().chain(&own.unstack(2)).all(private));
        assert!(!private(&plain.map(|x| -x)) && !private(&Tensor::stack(&[&plain, &plain])));
        assert_eq!(made[3].data(), [7.0, 7.0, 7.0, 7.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(own == Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0]), "only the elements count");
    }
}
