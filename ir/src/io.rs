//! Ports say what the inputs and outputs of a program stand for: names, shapes, and where their elements lie in slots.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::attr::F64;
use crate::head::Head;
use crate::tensor::{Shape, Tensor};

/// An input or output tensor of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name in the ONNX file.
    pub name: String,
    /// Shape, batch dimension included.
    pub shape: Shape,
    /// Where its elements lie; absent at the `nn` level.
    pub layout: Option<Layout>,
    /// What its elements were on calibration data; absent where there was none.
    pub range: Option<ValueRange>,
    /// What is left to the client to compute from the tensor of one image, first to last: of an output below `nn` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<Head>,
}

/// The least and the largest number that calibration data has shown somewhere.
///
/// ```
/// use fhec_ir::ValueRange;
///
/// let pixels = ValueRange::of((0..=100).map(|k| f64::from(k) / 100.0)).expect("enough finite numbers");
/// assert_eq!(pixels.excess(1.25), 0.25);
/// assert!(!pixels.is_far(1.25) && pixels.is_far(255.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueRange {
    /// The least.
    pub low: F64,
    /// The largest.
    pub high: F64,
}

impl ValueRange {
    /// Numbers further outside than this many widths of a range are nothing like those that made it. The commonest mistake
    /// that this must find, pixels scaled to [-1, 1] instead of [0, 1], lies a whole width outside. What it must pass is the
    /// next of many like numbers: half a width beyond the extremes of as few as 100 normally distributed ones begins five
    /// standard deviations from their mean: one in 25,000 lies there. Widths make the rule the same in all units and about
    /// all centres.
    pub const FAR: f64 = 0.5;
    /// Fewer numbers than this do not show a range: beyond the extremes of 32 normally distributed ones by half a width lies
    /// one in 1,700, of eight one in 32.
    pub const LEAST: usize = 32;

    /// The range of `values`; none where there are fewer than [`ValueRange::LEAST`], or one is not finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut count, mut low, mut high) = (0, f64::INFINITY, f64::NEG_INFINITY);
        for x in values {
            if !x.is_finite() {
                return None;
            }
            (count, low, high) = (count + 1, low.min(x), high.max(x));
        }
        (count >= Self::LEAST).then_some(Self { low: F64(low), high: F64(high) })
    }
    /// Whether it is two finite numbers in order, as a range from a file need not be.
    pub fn is_ordered(&self) -> bool {
        self.low.0.is_finite() && self.high.0.is_finite() && self.low.0 <= self.high.0
    }
    /// The range with room for errors of up to `error` on both sides.
    pub fn widened(self, error: f64) -> Self {
        Self { low: F64(self.low.0 - error), high: F64(self.high.0 + error) }
    }
    /// How far `x` lies outside, in widths of the range, or where that is a single number in magnitudes of it: 0 within,
    /// infinite for what is not finite.
    pub fn excess(&self, x: f64) -> f64 {
        let (low, high) = (self.low.0, self.high.0);
        if (low..=high).contains(&x) {
            return 0.0;
        }
        let unit = if high > low { high - low } else { high.abs() };
        let outside = if x < low { low - x } else { x - high };
        let excess = outside / unit;
        if excess.is_nan() { f64::INFINITY } else { excess }
    }
    /// Whether `x` lies so far outside that what it came from is unlike the calibration data; see [`ValueRange::FAR`].
    pub fn is_far(&self, x: f64) -> bool {
        self.excess(x) > Self::FAR
    }
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
///
/// ```
/// use fhec_ir::{Layout, Shape, Tensor};
///
/// let shape = Shape(vec![1, 6]);
/// let layout = Layout::row_major(&shape, 4);
/// assert_eq!(layout.ciphertexts, 2);
/// let tensor = Tensor::new([1, 6], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// let slots = layout.pack(&tensor)?;
/// assert_eq!(slots[1], [5.0, 6.0, 0.0, 0.0]);
/// assert_eq!(layout.unpack(&slots, &shape)?.data(), tensor.data());
/// # Ok::<(), fhec_ir::LayoutError>(())
/// ```
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
    /// A slot that holds 1 stands for an element of 2^exponent: large results are decrypted as a part of themselves.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exponent: i32,
}

fn is_zero(exponent: &i32) -> bool {
    *exponent == 0
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
        Self { slots, ciphertexts: shape.len().div_ceil(slots).max(1), period: slots, offset: 0, digits, exponent: 0 }
    }
    /// What a slot that holds 1 stands for.
    pub fn unit(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }
    /// Address of the element at `index`.
    pub fn address(&self, index: &[usize]) -> usize {
        self.offset + self.digits.iter().map(|d| (index[d.dim] / d.divisor % d.size) * d.stride).sum::<usize>()
    }
    /// The slots of every ciphertext that hold `tensor`; slots without an element are zero. Nothing else is left of a
    /// private tensor.
    ///
    /// # Errors
    /// When an element has no slot in this layout.
    pub fn pack(&self, tensor: &Tensor) -> Result<Vec<Vec<f64>>, LayoutError> {
        let (places, unit) = (self.places(tensor.shape())?, self.unit());
        let mut period = Zeroizing::new(vec![vec![0.0; self.period]; self.ciphertexts]);
        for ((ciphertext, slot), &x) in places.into_iter().zip(tensor.data()) {
            period[ciphertext][slot] = f64::from(x) / unit;
        }
        Ok(period.iter().map(|p| p.repeat(self.slots / self.period)).collect())
    }
    /// The tensor of `shape` that the slots of `ciphertexts` hold, a private one.
    ///
    /// # Errors
    /// When there are fewer ciphertexts or slots than the layout names, or an element has no slot in it.
    pub fn unpack(&self, ciphertexts: &[Vec<f64>], shape: &Shape) -> Result<Tensor, LayoutError> {
        if ciphertexts.len() != self.ciphertexts || ciphertexts.iter().any(|c| c.len() != self.slots) {
            return Err(LayoutError::Ciphertexts { expected: self.ciphertexts, slots: self.slots });
        }
        let (places, unit) = (self.places(shape)?, self.unit());
        let element = |(ciphertext, slot): (usize, usize)| (ciphertexts[ciphertext][slot] * unit) as f32;
        let data: Vec<f32> = places.into_iter().map(element).collect();
        Ok(Tensor::private(shape.clone(), data))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: f64, high: f64) -> ValueRange {
        ValueRange { low: F64(low), high: F64(high) }
    }

    #[test]
    fn a_range_takes_enough_finite_numbers() {
        let numbers = || (0..ValueRange::LEAST).map(|i| i as f64);
        assert_eq!(ValueRange::of(numbers()), Some(range(0.0, (ValueRange::LEAST - 1) as f64)));
        assert_eq!(ValueRange::of(numbers().skip(1)), None);
        assert_eq!(ValueRange::of(numbers().chain([f64::NAN])), None);
        assert_eq!(ValueRange::of(numbers().chain([f64::INFINITY])), None);
    }

    #[test]
    fn distance_is_measured_in_widths() {
        for (scale, centre) in [(1.0, 0.0), (1e-6, 0.0), (255.0, 40.0)] {
            let at = |x: f64| centre + scale * x;
            let range = range(at(-1.0), at(1.0));
            for (x, excess) in [(-1.0, 0.0), (0.3, 0.0), (1.0, 0.0), (2.0, 0.5), (-4.0, 1.5)] {
                assert!((range.excess(at(x)) - excess).abs() < 1e-9, "{x} of {range:?}");
            }
            assert!(!range.is_far(at(1.9)) && range.is_far(at(2.1)) && range.is_far(at(-2.1)));
        }
        for broken in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(range(0.0, 1.0).excess(broken), f64::INFINITY);
        }
        // Pixels up to 255 instead of 1, and in [-1, 1] instead of [0, 1].
        assert!(range(0.0, 1.0).is_far(255.0) && range(0.0, 1.0).is_far(-1.0));
    }

    #[test]
    fn a_single_number_is_measured_by_its_magnitude() {
        assert_eq!(range(2.0, 2.0).excess(3.0), 0.5);
        assert_eq!((range(0.0, 0.0).excess(0.0), range(0.0, 0.0).excess(1e-9)), (0.0, f64::INFINITY));
        assert_eq!(range(0.0, 0.0).widened(1.0), range(-1.0, 1.0));
    }
}
