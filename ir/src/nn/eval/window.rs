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
    /// Whether every window is one element, in order: unfolding then changes nothing.
    pub(super) fn is_pointwise(&self) -> bool {
        let all = |list: &[usize], v: usize| list.iter().all(|&x| x == v);
        all(&self.kernel, 1) && all(&self.strides, 1) && all(&self.begins, 0) && all(&self.ends, 0)
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
    /// The offsets in the input plane of the taps of window `output`; `None` in the padding.
    pub(super) fn offsets(&self, output: usize) -> Vec<Option<usize>> {
        let output = Self::unflatten(output, &self.output);
        let offset = |tap: usize| {
            let tap = Self::unflatten(tap, &self.kernel);
            (0..tap.len()).try_fold(0, |at, d| Some(at * self.input[d] + self.position(d, output[d], tap[d])?))
        };
        (0..self.taps()).map(offset).collect()
    }
    /// What tap number `tap` of every window reads.
    pub(super) fn tap(&self, tap: usize) -> Tap {
        let tap = Self::unflatten(tap, &self.kernel);
        let last = self.input.len() - 1;
        let (first, end) = self.inside(last, tap[last]);
        let mut lines = Vec::new();
        if first < end {
            let offset = first * self.strides[last] + tap[last] * self.dilations[last] - self.begins[last];
            let outer = &self.output[..last];
            for row in 0..outer.iter().product() {
                let index = Self::unflatten(row, outer);
                let line =
                    (0..last).try_fold(0, |line, d| Some(line * self.input[d] + self.position(d, index[d], tap[d])?));
                lines.extend(line.map(|line| (row, line * self.input[last] + offset)));
            }
        }
        Tap { first, end, width: self.output[last], stride: self.strides[last], lines }
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
    /// For every window of every plane, `step` over the elements under its taps inside the input.
    fn fold(&self, x: &Tensor, init: f64, step: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let planes = x.shape().0[0] * x.shape().0[1];
        let mut out = vec![init; planes * self.output_len()];
        if out.is_empty() || x.data().is_empty() {
            return out;
        }
        for tap in 0..self.taps() {
            let tap = self.tap(tap);
            for (input, out) in x.data().chunks_exact(self.input_len()).zip(out.chunks_exact_mut(self.output_len())) {
                tap.for_each(input, out, |o, x| *o = step(*o, f64::from(x)));
            }
        }
        out
    }
}

/// One tap of all windows: line by line of the last dimension, the windows `first..end` of output line `lines[i].0` read
/// from `lines[i].1` on by `stride`; all others read padding.
pub(super) struct Tap {
    first: usize,
    end: usize,
    width: usize,
    stride: usize,
    lines: Vec<(usize, usize)>,
}

impl Tap {
    /// The elements of `plane` under the tap, one per window; zero in the padding.
    pub(super) fn gather(&self, plane: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        self.for_each(plane, out, |o, x| *o = x);
    }
    /// Adds `from`, one element per window, to the elements of `plane` under the tap: the adjoint of [`Tap::gather`].
    pub(super) fn scatter(&self, from: &[f32], plane: &mut [f32]) {
        let n = self.end - self.first;
        for &(row, start) in &self.lines {
            let from = &from[row * self.width + self.first..][..n];
            plane[start..].iter_mut().step_by(self.stride).zip(from).for_each(|(to, &x)| *to += x);
        }
    }
    /// Calls `f` with the entry of `out` and the element under the tap, for every window whose tap is not in the padding.
    pub(super) fn for_each<T>(&self, plane: &[f32], out: &mut [T], f: impl Fn(&mut T, f32)) {
        let n = self.end - self.first;
        for &(row, start) in &self.lines {
            let out = &mut out[row * self.width + self.first..][..n];
            if self.stride == 1 {
                out.iter_mut().zip(&plane[start..start + n]).for_each(|(o, &x)| f(o, x));
            } else {
                out.iter_mut().zip(plane[start..].iter().step_by(self.stride)).for_each(|(o, &x)| f(o, x));
            }
        }
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

/// The adjoint of [`average`]: the gradient with respect to x, of shape `x`, from that of the result.
pub(super) fn average_adjoint(x: &Shape, window: &Window, include_pad: bool, grad: &Tensor) -> Tensor {
    let counts = window.counts(include_pad);
    let mut data = vec![0.0; x.len()];
    let shares: Vec<f32> = grad.data().iter().zip(counts.iter().cycle()).map(|(g, &n)| g / n as f32).collect();
    if !data.is_empty() && !shares.is_empty() {
        for tap in (0..window.taps()).map(|t| window.tap(t)) {
            let planes = data.chunks_exact_mut(window.input_len()).zip(shares.chunks_exact(window.output_len()));
            planes.for_each(|(plane, shares)| tap.scatter(shares, plane));
        }
    }
    Tensor::new(x.clone(), data)
}

/// The gradient of [`maximum`] with result `y`: each window's goes to its first element that reaches the maximum.
pub(super) fn maximum_adjoint(x: &Tensor, window: &Window, y: &Tensor, grad: &Tensor) -> Tensor {
    let mut data = vec![0.0; x.shape().len()];
    let mut rest = grad.data().to_vec();
    let (inputs, outputs) = (window.input_len(), window.output_len());
    if !data.is_empty() && !rest.is_empty() {
        let mut seen = vec![0.0; outputs];
        for tap in (0..window.taps()).map(|t| window.tap(t)) {
            let planes = data.chunks_exact_mut(inputs).zip(x.data().chunks_exact(inputs));
            let windows = rest.chunks_exact_mut(outputs).zip(y.data().chunks_exact(outputs));
            for ((plane, x), (rest, y)) in planes.zip(windows) {
                seen.fill(f32::NAN);
                tap.for_each(x, &mut seen, |o, x| *o = x);
                let taken: Vec<f32> =
                    (0..outputs).map(|i| if seen[i] == y[i] { std::mem::take(&mut rest[i]) } else { 0.0 }).collect();
                tap.scatter(&taken, plane);
            }
        }
    }
    Tensor::new(x.shape().clone(), data)
}
