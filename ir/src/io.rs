//! What the inputs and outputs of a program stand for: names, shapes, and where their elements lie in slots.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tensor::{Shape, Tensor};

/// An input or output tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name in the ONNX file.
    pub name: String,
    /// Shape, batch dimension included.
    pub shape: Shape,
    /// Where its elements lie; absent at the `nn` level.
    pub layout: Option<Layout>,
}

impl Port {
    /// The same port for one of the `images` images that it has along dimension 0.
    pub fn image(&self, images: usize) -> Self {
        let mut port = self.clone();
        if images > 1 {
            port.shape.0[0] /= images;
        }
        port
    }
}

/// Images of one run: the extent of dimension 0 if all ports have the same one, else 1.
pub fn batch<'a>(ports: impl IntoIterator<Item = &'a Port>) -> usize {
    let mut extents = ports.into_iter().map(|port| port.shape.0.first().copied().unwrap_or(1));
    let first = extents.next().unwrap_or(1);
    if extents.all(|extent| extent == first) { first.max(1) } else { 1 }
}

/// Images in groups of `size`, the tensors of a group stacked along dimension 0. The last image fills up the last group:
/// what it computes stays within the ranges of real inputs.
pub fn batches(images: &[Vec<Tensor>], size: usize) -> Vec<Vec<Tensor>> {
    if size <= 1 {
        return images.to_vec();
    }
    let stack = |group: &[Vec<Tensor>]| -> Vec<Tensor> {
        let image = |i: usize| &group[i.min(group.len() - 1)];
        (0..group[0].len()).map(|port| Tensor::stack(&(0..size).map(|i| &image(i)[port]).collect::<Vec<_>>())).collect()
    };
    images.chunks(size).map(stack).collect()
}

/// The first `count` images of groups of `size`: the inverse of [`batches`].
pub fn images(groups: &[Vec<Tensor>], size: usize, count: usize) -> Vec<Vec<Tensor>> {
    if size <= 1 {
        return groups.iter().take(count).cloned().collect();
    }
    let unstack = |group: &Vec<Tensor>| -> Vec<Vec<Tensor>> {
        let ports: Vec<Vec<Tensor>> = group.iter().map(|t| t.unstack(size)).collect();
        (0..size).map(|i| ports.iter().map(|parts| parts[i].clone()).collect()).collect()
    };
    groups.iter().flat_map(unstack).take(count).collect()
}

/// Where the elements of a tensor lie in the slots of one or more ciphertexts.
///
/// The address of the element at index `i` is `offset + Σ ((i[dim] / divisor) mod size) · stride` over the digits; address
/// `a` is slot `a mod slots` of ciphertext `a / slots`. The multiplexed packing of a strided convolution (Lee et al.,
/// ICML 2022, section 3) is one choice of digits, the row-major one another. When `period < slots` the content of the
/// first `period` slots repeats through each ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layout {
    /// Slots of one ciphertext, a power of two.
    pub slots: usize,
    /// Ciphertexts the tensor spans.
    pub ciphertexts: usize,
    /// The content repeats every `period` slots; a power of two dividing `slots`.
    pub period: usize,
    /// Address of the element at index zero.
    pub offset: usize,
    /// The terms of the address.
    pub digits: Vec<Digit>,
}

/// Why a tensor cannot be packed or unpacked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// The layout is of another shape.
    #[error("a tensor of shape {0} does not fit this layout")]
    Shape(Shape),
    /// Too few or too many ciphertexts, or of another size.
    #[error("the layout takes {expected} ciphertexts of {slots} slots")]
    Ciphertexts {
        /// How many the layout spans.
        expected: usize,
        /// Slots of each.
        slots: usize,
    },
}

/// One term of an address: `((index[dim] / divisor) mod size) · stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digit {
    /// Tensor dimension.
    pub dim: usize,
    /// Divides the index.
    pub divisor: usize,
    /// Reduces the quotient.
    pub size: usize,
    /// Slots between neighbours.
    pub stride: usize,
}

impl Layout {
    /// Row-major from slot 0, in ciphertexts of `slots` slots.
    pub fn row_major(shape: &Shape, slots: usize) -> Self {
        let digits = shape
            .0
            .iter()
            .zip(shape.strides())
            .enumerate()
            .filter(|(_, (d, _))| **d > 1)
            .map(|(dim, (&size, stride))| Digit { dim, divisor: 1, size, stride })
            .collect();
        Self { slots, ciphertexts: shape.len().div_ceil(slots).max(1), period: slots, offset: 0, digits }
    }
    /// Address of the element at `index`.
    pub fn address(&self, index: &[usize]) -> usize {
        self.offset + self.digits.iter().map(|d| (index[d.dim] / d.divisor % d.size) * d.stride).sum::<usize>()
    }
    /// The slots of every ciphertext that hold `tensor`; slots without an element are zero.
    ///
    /// # Errors
    /// When an element has no slot in this layout.
    pub fn pack(&self, tensor: &Tensor) -> Result<Vec<Vec<f64>>, LayoutError> {
        let places = self.places(tensor.shape())?;
        let mut period = vec![vec![0.0; self.period]; self.ciphertexts];
        for ((ciphertext, slot), &x) in places.into_iter().zip(tensor.data()) {
            period[ciphertext][slot] = f64::from(x);
        }
        Ok(period.into_iter().map(|p| p.repeat(self.slots / self.period)).collect())
    }
    /// The tensor of `shape` that the slots of `ciphertexts` hold.
    ///
    /// # Errors
    /// When there are fewer ciphertexts or slots than the layout names, or an element has no slot in it.
    pub fn unpack(&self, ciphertexts: &[Vec<f64>], shape: &Shape) -> Result<Tensor, LayoutError> {
        if ciphertexts.len() != self.ciphertexts || ciphertexts.iter().any(|c| c.len() != self.slots) {
            return Err(LayoutError::Ciphertexts { expected: self.ciphertexts, slots: self.slots });
        }
        let places = self.places(shape)?;
        let data: Vec<f32> =
            places.into_iter().map(|(ciphertext, slot)| ciphertexts[ciphertext][slot] as f32).collect();
        Ok(Tensor::new(shape.clone(), data))
    }
    /// A bound on the addresses of the elements of a tensor of `shape`; none when a digit does not fit the shape or the
    /// bound overflows.
    pub fn reach(&self, shape: &Shape) -> Option<usize> {
        self.digits.iter().try_fold(self.offset, |reach, d| {
            let extent = shape.0.get(d.dim)?;
            let top = extent.saturating_sub(1).checked_div(d.divisor)?.min(d.size.checked_sub(1)?);
            reach.checked_add(top.checked_mul(d.stride)?)
        })
    }
    /// Ciphertext and slot, within the first period, of every element of a tensor of `shape`.
    fn places(&self, shape: &Shape) -> Result<Vec<(usize, usize)>, LayoutError> {
        if self.reach(shape).is_none() || self.period == 0 || !self.slots.is_multiple_of(self.period) {
            return Err(LayoutError::Shape(shape.clone()));
        }
        let place = |a: usize| (a / self.slots, a % self.slots);
        let places: Vec<_> = self.addresses(shape).map(place).collect();
        match places.iter().all(|&(c, s)| c < self.ciphertexts && s < self.period) {
            true => Ok(places),
            false => Err(LayoutError::Shape(shape.clone())),
        }
    }
    /// The addresses of all elements of a tensor of `shape`, in row-major order.
    pub fn addresses(&self, shape: &Shape) -> impl Iterator<Item = usize> {
        let mut index = vec![0; shape.rank()];
        (0..shape.len()).map(move |_| {
            let address = self.address(&index);
            for (i, &extent) in index.iter_mut().zip(&shape.0).rev() {
                *i += 1;
                if *i < extent {
                    break;
                }
                *i = 0;
            }
            address
        })
    }
}
