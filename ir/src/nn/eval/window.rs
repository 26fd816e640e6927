//! Sliding windows over the spatial dimensions: their geometry, and pooling.

use crate::tensor::{Shape, Tensor};

/// The geometry of windows: which input element each tap of each window reads.
pub(super) struct Window {
    input: Vec<usize>,
    output: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    begins: Vec<usize>,
    ends: Vec<usize>,
    dilations: Vec<usize>,
}

impl Window {
    /// Windows of extent `kernel` over x [N, C, d..], giving `out` [N, M, o..]; `pads` lists all begins, then all ends.
    pub(super) fn new(
        x: &Shape,
        kernel: &[usize],
        out: &Shape,
        strides: &[i64],
        pads: &[i64],
        dilations: &[i64],
    ) -> Self {
        let list = |l: &[i64]| l.iter().map(|&v| v as usize).collect::<Vec<_>>();
        let (begins, ends) = pads.split_at(kernel.len());
        Self {
            input: x.0[2..].to_vec(),
            output: out.0[2..].to_vec(),
            kernel: kernel.to_vec(),
            strides: list(strides),
            begins: list(begins),
            ends: list(ends),
            dilations: list(dilations),
        }
    }
    /// Elements of one window.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
    /// Elements of one input plane.
    pub(super) fn input_len(&self) -> usize {
        self.input.iter().product()
    }
    /// Windows per plane.
    pub(super) fn output_len(&self) -> usize {
        self.output.iter().product()
    }
    /// Position of tap `tap` of window `output` along dimension `d`; `None` in the padding.
    fn position(&self, d: usize, output: usize, tap: usize) -> Option<usize> {
        (output * self.strides[d] + tap * self.dilations[d]).checked_sub(self.begins[d]).filter(|&p| p < self.input[d])
    }
    /// The windows along dimension `d` whose tap `tap` lies inside the input: first and one past the last.
    fn inside(&self, d: usize, tap: usize) -> (usize, usize) {
        let at = tap * self.dilations[d];
        let first = self.begins[d].saturating_sub(at).div_ceil(self.strides[d]);
        let last = (self.input[d] + self.begins[d]).saturating_sub(at).div_ceil(self.strides[d]);
        (first.min(self.output[d]), last.min(self.output[d]).max(first.min(self.output[d])))
    }
    /// Row-major multi-index of `flat` under extents `dims`.
    fn unflatten(mut flat: usize, dims: &[usize]) -> Vec<usize> {
        let mut index = vec![0; dims.len()];
        for (i, &d) in index.iter_mut().zip(dims).rev() {
            *i = flat % d;
            flat /= d;
        }
        index
    }
    /// For every window, in row-major order, the element under tap number `tap`; zero in the padding.
    pub(super) fn gather_tap(&self, plane: &[f32], tap: usize, out: &mut [f32]) {
        let tap = Self::unflatten(tap, &self.kernel);
        let last = self.input.len() - 1;
        let (first, end) = self.inside(last, tap[last]);
        let width = self.output[last];
        let outer = &self.output[..last];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let index = Self::unflatten(row, outer);
            let line =
                (0..last).try_fold(0, |line, d| Some(line * self.input[d] + self.position(d, index[d], tap[d])?));
            let Some(line) = line.filter(|_| first < end) else {
                out.fill(0.0);
                continue;
            };
            out[..first].fill(0.0);
            out[end..].fill(0.0);
            let stride = self.strides[last];
            let start = line * self.input[last] + first * stride + tap[last] * self.dilations[last] - self.begins[last];
            if stride == 1 {
                out[first..end].copy_from_slice(&plane[start..start + end - first]);
            } else {
                out[first..end].iter_mut().zip(plane[start..].iter().step_by(stride)).for_each(|(o, &x)| *o = x);
            }
        }
    }
    /// How many taps of each window lie inside the input, or, with `padding`, inside the padded input (windows of a
    /// ceil-mode pool may reach beyond it).
    fn counts(&self, padding: bool) -> Vec<usize> {
        let count = |d: usize, output: usize| {
            (0..self.kernel[d])
                .filter(|&tap| {
                    if padding {
                        output * self.strides[d] + tap * self.dilations[d]
                            < self.input[d] + self.begins[d] + self.ends[d]
                    } else {
                        self.position(d, output, tap).is_some()
                    }
                })
                .count()
        };
        let per_dim: Vec<Vec<usize>> =
            (0..self.input.len()).map(|d| (0..self.output[d]).map(|o| count(d, o)).collect()).collect();
        (0..self.output_len())
            .map(|flat| {
                Self::unflatten(flat, &self.output).iter().zip(&per_dim).map(|(&o, counts)| counts[o]).product()
            })
            .collect()
    }
    /// Calls `visit` for every window of every plane with the flat input offsets of its taps inside the input.
    fn fold(&self, x: &Tensor, init: f64, step: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let (pixels_in, pixels) = (self.input_len(), self.output_len());
        let planes = x.shape().0[0] * x.shape().0[1];
        let last = self.input.len() - 1;
        let width = self.output[last];
        let mut out = vec![init; planes * pixels];
        if out.is_empty() {
            return out;
        }
        for tap in 0..self.taps() {
            let tap = Self::unflatten(tap, &self.kernel);
            let (first, end) = self.inside(last, tap[last]);
            if first >= end {
                continue;
            }
            for row in 0..pixels / width {
                let index = Self::unflatten(row, &self.output[..last]);
                let line =
                    (0..last).try_fold(0, |line, d| Some(line * self.input[d] + self.position(d, index[d], tap[d])?));
                let Some(line) = line else { continue };
                let stride = self.strides[last];
                let start =
                    line * self.input[last] + first * stride + tap[last] * self.dilations[last] - self.begins[last];
                for plane in 0..planes {
                    let source = x.data()[plane * pixels_in + start..].iter().step_by(stride);
                    let target = &mut out[plane * pixels + row * width..][first..end];
                    target.iter_mut().zip(source).for_each(|(o, &x)| *o = step(*o, f64::from(x)));
                }
            }
        }
        out
    }
}

/// Average of every window; the divisor counts the taps inside the input, or with `include_pad` those in the padding too.
pub(super) fn average(x: &Tensor, window: &Window, include_pad: bool, out: Shape) -> Tensor {
    let counts = window.counts(include_pad);
    let sums = window.fold(x, 0.0, |a, b| a + b);
    let data: Vec<f32> = sums.iter().zip(counts.iter().cycle()).map(|(s, &n)| (s / n as f64) as f32).collect();
    Tensor::new(out, data)
}

/// Maximum of every window.
pub(super) fn maximum(x: &Tensor, window: &Window, out: Shape) -> Tensor {
    let data: Vec<f32> = window
        .fold(x, f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a })
        .iter()
        .map(|&m| m as f32)
        .collect();
    Tensor::new(out, data)
}
