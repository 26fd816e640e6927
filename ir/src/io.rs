//! What the inputs and outputs of a program stand for: names, shapes, and where their elements lie in slots.

use serde::{Deserialize, Serialize};

use crate::tensor::Shape;

/// An input or output tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the ONNX file.
    pub name: String,
    /// Shape, batch dimension included.
    pub shape: Shape,
    /// Where its elements lie; absent at the `nn` level.
    pub layout: Option<Layout>,
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
    /// The addresses of all elements of a tensor of `shape`, in row-major order.
    pub fn addresses(&self, shape: &Shape) -> Vec<usize> {
        let mut index = vec![0; shape.rank()];
        let mut out = Vec::with_capacity(shape.len());
        for _ in 0..shape.len() {
            out.push(self.address(&index));
            for dim in (0..index.len()).rev() {
                index[dim] += 1;
                if index[dim] < shape.0[dim] {
                    break;
                }
                index[dim] = 0;
            }
        }
        out
    }
}
