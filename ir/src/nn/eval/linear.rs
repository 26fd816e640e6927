//! Convolution and matrix product.
//!
//! Both come down to one general product of row-major matrices. Convolution unfolds its input (im2col): one row per
//! weight of a filter, one column per window.

use super::elementwise::for_each_broadcast;
use super::window::{Tap, Window};
use crate::matrix::{self, View};
use crate::tensor::{Shape, Tensor};

/// Filters of a group fewer than this are added up in place: unfolding would cost as much as the product.
const FEW_FILTERS: usize = 4;

/// The product of row-major `a` [m, k] and `b` [k, n], added to `out` [m, n]. Threads are spent on images, not inside of one.
fn multiply_add(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), out: &mut [f32]) {
    matrix::multiply_add(1.0, View::new(a, m, k), View::new(b, k, n), out, n);
}

/// Matrix product with numpy semantics.
pub(super) fn matmul(a: &Tensor, b: &Tensor, out: Shape) -> Tensor {
    let (da, db) = (&a.shape().0, &b.shape().0);
    let (batch_a, m, k) = match da.as_slice() {
        [k] => (&[][..], 1, *k),
        [batch @ .., m, k] => (batch, *m, *k),
        [] => (&[][..], 1, 1),
    };
    let (batch_b, n) = match db.as_slice() {
        [_] | [] => (&[][..], 1),
        [batch @ .., _, n] => (batch, *n),
    };
    let (batch_a, batch_b) = (Shape(batch_a.to_vec()), Shape(batch_b.to_vec()));
    let mut data = vec![0.0; out.len()];
    if !data.is_empty()
        && k > 0
        && let Some(batch) = batch_a.broadcast(&batch_b)
    {
        let mut results = data.chunks_exact_mut(m * n);
        for_each_broadcast(&batch, [&batch_a, &batch_b], |[i, j]| {
            if let Some(result) = results.next() {
                multiply_add(
                    &a.data()[i * m * k..(i + 1) * m * k],
                    &b.data()[j * k * n..(j + 1) * k * n],
                    (m, k, n),
                    result,
                );
            }
        });
    }
    Tensor::new(out, data)
}

/// Convolution of x [N, C, d..] with w [M, C/groups, k..].
pub(super) fn conv(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
    out: Shape,
) -> Tensor {
    let (batch, channels, filters) = (x.shape().0[0], x.shape().0[1], w.shape().0[0]);
    let (group_channels, group_filters) = (channels / groups, filters / groups);
    let inner = group_channels * window.taps();
    let (pixels_in, pixels) = (window.input_len(), window.output_len());
    let mut data = vec![0.0f32; out.len()];
    if data.is_empty() {
        return Tensor::new(out, data);
    }
    if let Some(bias) = bias {
        for (plane, &b) in data.chunks_exact_mut(pixels).zip(bias.data().iter().cycle()) {
            plane.fill(b);
        }
    }
    if inner == 0 || pixels_in == 0 {
        return Tensor::new(out, data);
    }
    let taps: Vec<Tap> = (0..window.taps()).map(|t| window.tap(t)).collect();
    let unfold = group_filters >= FEW_FILTERS && !window.is_pointwise();
    let mut patches = vec![0.0; if unfold { inner * pixels } else { 0 }];
    let group_weights = group_filters * inner;
    for n in 0..batch {
        for g in 0..groups {
            let at = (n * channels + g * group_channels) * pixels_in;
            let planes = &x.data()[at..at + group_channels * pixels_in];
            let weights = &w.data()[g * group_weights..(g + 1) * group_weights];
            let at = (n * filters + g * group_filters) * pixels;
            let out = &mut data[at..at + group_filters * pixels];
            let size = (group_filters, inner, pixels);
            if unfold {
                let mut rows = patches.chunks_exact_mut(pixels);
                for plane in planes.chunks_exact(pixels_in) {
                    taps.iter().zip(&mut rows).for_each(|(tap, row)| tap.gather(plane, row));
                }
                multiply_add(weights, &patches, size, out);
            } else if window.is_pointwise() {
                multiply_add(weights, planes, size, out);
            } else {
                for (out, weights) in out.chunks_exact_mut(pixels).zip(weights.chunks_exact(inner)) {
                    let taps = planes.chunks_exact(pixels_in).flat_map(|plane| taps.iter().map(move |t| (plane, t)));
                    taps.zip(weights).for_each(|((plane, tap), &w)| tap.for_each(plane, out, |o, x| *o += w * x));
                }
            }
        }
    }
    Tensor::new(out, data)
}

/// The elements of x [N, C, d..] under windows `positions` (flat over N and the output's spatial dimensions): one row per
/// window, in it the taps of channel 0, of channel 1 and so on; zero in the padding.
pub(super) fn unfold(x: &Tensor, window: &Window, positions: &[usize]) -> Vec<f32> {
    let (channels, pixels_in, pixels) = (x.shape().0[1], window.input_len(), window.output_len());
    let mut rows = Vec::with_capacity(positions.len() * channels * window.taps());
    for position in positions {
        let offsets = window.offsets(position % pixels);
        let image = position / pixels * channels * pixels_in;
        for c in 0..channels {
            let plane = &x.data()[image + c * pixels_in..][..pixels_in];
            rows.extend(offsets.iter().map(|at| at.map_or(0.0, |at| plane[at])));
        }
    }
    rows
}
