//! Compares inputs and results with the calibration data, by the ranges that a plan's ports carry.

use fhec_ir::{Port, Tensor, ValueRange};
use serde::Serialize;

use crate::error::Error;

/// The elements of one port, over all images, beside the range that calibration data showed. The ports of a
/// [`Plan`](crate::Plan) or a [`ClientPlan`](crate::ClientPlan) carry these ranges.
///
/// ```
/// use fhec::ir::{F64, Port, Shape, ValueRange};
/// use fhec::{RangeCheck, Tensor};
///
/// // Pixels were from 0 to 1 in calibration; these go up to 255.
/// let range = Some(ValueRange { low: F64(0.0), high: F64(1.0) });
/// let port = Port { name: "image".into(), shape: Shape(vec![1, 3]), range, ..Default::default() };
/// let image = vec![Tensor::new([1, 3], vec![0.0, 0.5, 255.0])];
/// let check = &RangeCheck::of(&[port], &[image])[0];
/// assert_eq!((check.outside, check.far), (1, 1));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeCheck {
    /// Name of the port.
    pub port: String,
    /// The least and the largest element on calibration data; absent where the plan does not say.
    pub range: Option<[f64; 2]>,
    /// Elements.
    pub elements: usize,
    /// Elements outside the range, those that are not finite among them.
    pub outside: usize,
    /// Elements that are not finite, or so far outside that they are unlike the calibration data; see [`ValueRange::FAR`].
    pub far: usize,
    /// Images with an element outside.
    pub images: usize,
    /// The element furthest outside, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Outside>,
}

/// An element outside the range of its port.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outside {
    /// The image, from 0.
    pub image: usize,
    /// The element; null in JSON where it is not finite.
    pub value: f32,
    /// How far outside it lies, in widths of the range; null in JSON where it is infinite.
    pub excess: f64,
}

impl std::fmt::Display for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, value, excess } = self;
        match excess.is_finite() {
            true => write!(f, "image {image} has {value}, {excess:.2} times the width of that range outside"),
            false => write!(f, "image {image} has {value}"),
        }
    }
}

impl RangeCheck {
    /// Compares the tensors of every image with the ports they belong to.
    pub fn of(ports: &[Port], images: &[Vec<Tensor>]) -> Vec<Self> {
        ports
            .iter()
            .enumerate()
            .map(|(at, port)| Self::of_port(port, images.iter().map(|image| image.get(at))))
            .collect()
    }

    /// What the owner of inputs should know: that some of the elements in `file` lie outside, or that no range is known.
    pub fn warning(&self, file: &str, images: usize) -> Option<String> {
        let Self { port, elements, outside, .. } = self;
        match (self.range, self.worst) {
            (Some([low, high]), Some(worst)) => Some(format!(
                "{file}: {outside} of {elements} elements of input `{port}`, in {} of {images} images, lie outside {low} to {high}, \
                 the range of the calibration data: {worst}",
                self.images
            )),
            (None, _) => Some(format!(
                "the plan does not say what input `{port}` is like, as it was compiled without calibration data: results \
                 of inputs that do not fit its ranges are wrong"
            )),
            (Some(_), None) => None,
        }
    }

    /// Refuses inputs in `file` with elements far outside: their results would be wrong.
    ///
    /// # Errors
    /// [`Error::Inputs`] of the first input that has such elements.
    pub fn admit_inputs(checks: &[Self], file: &str) -> Result<(), Error> {
        let Some((check, worst)) = Self::far_of(checks) else { return Ok(()) };
        Err(Error::Inputs {
            file: file.into(),
            reason: format!("input `{}` is far outside the range of the calibration data: {worst}", check.port),
            repair:
                "scale and normalise the input as the calibration data was; `--force` takes it as it is, for results \
                     that are most likely wrong"
                    .into(),
        })
    }

    /// Why results are not to be trusted, if one is not finite or far outside.
    pub fn distrust(checks: &[Self]) -> Option<String> {
        let (check, worst) = Self::far_of(checks)?;
        let range = check.range.map(|[low, high]| format!("; calibration data gave {low:.3} to {high:.3}"));
        Some(format!("output `{}` is not to be trusted: {worst}{}", check.port, range.unwrap_or_default()))
    }

    /// The first port with an element far outside, and its furthest one.
    fn far_of(checks: &[Self]) -> Option<(&Self, Outside)> {
        checks.iter().find_map(|check| Some((check, check.worst.filter(|_| check.far > 0)?)))
    }

    fn of_port<'a>(port: &Port, images: impl Iterator<Item = Option<&'a Tensor>>) -> Self {
        let mut check = Self {
            port: port.name.clone(),
            range: port.range.map(|r| [r.low.0, r.high.0]),
            elements: 0,
            outside: 0,
            far: 0,
            images: 0,
            worst: None,
        };
        for (image, tensor) in images.enumerate() {
            let before = check.outside;
            for &value in tensor.into_iter().flat_map(|t| t.data()) {
                check.add(port.range.as_ref(), image, value);
            }
            check.images += usize::from(check.outside > before);
        }
        check
    }

    fn add(&mut self, range: Option<&ValueRange>, image: usize, value: f32) {
        self.elements += 1;
        let excess = match range {
            Some(range) => range.excess(value.into()),
            None if value.is_finite() => 0.0,
            None => f64::INFINITY,
        };
        if excess > 0.0 {
            self.outside += 1;
            self.far += usize::from(excess > ValueRange::FAR);
            if self.worst.is_none_or(|worst| excess > worst.excess) {
                self.worst = Some(Outside { image, value, excess });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fhec_ir::{F64, Shape};

    use super::*;

    fn check(range: Option<(f64, f64)>, images: &[&[f32]]) -> RangeCheck {
        let range = range.map(|(low, high)| ValueRange { low: F64(low), high: F64(high) });
        let port = Port { name: "x".into(), shape: Shape(vec![1, images[0].len()]), range, ..Default::default() };
        let tensor = |data: &&[f32]| vec![Tensor::new([1, data.len()], *data)];
        RangeCheck::of(&[port], &images.iter().map(tensor).collect::<Vec<_>>()).remove(0)
    }

    #[test]
    fn elements_outside_are_counted_and_the_furthest_is_named() {
        let found = check(Some((0.0, 2.0)), &[&[0.0, 2.0], &[2.5, -0.5], &[1.0, 9.0]]);
        assert_eq!((found.elements, found.outside, found.far, found.images), (6, 3, 1, 2));
        assert_eq!(found.worst, Some(Outside { image: 2, value: 9.0, excess: 3.5 }));
        assert_eq!(check(Some((0.0, 2.0)), &[&[0.0, 1.0]]).worst, None);
    }

    #[test]
    fn what_is_not_finite_is_far_even_where_no_range_is_known() {
        for range in [None, Some((0.0, 1.0))] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let found = check(range, &[&[0.5, value, 0.5]]);
                assert_eq!((found.outside, found.far, found.images), (1, 1, 1), "{value} {range:?}");
            }
        }
        assert_eq!(check(None, &[&[1e30]]).outside, 0);
    }
}
