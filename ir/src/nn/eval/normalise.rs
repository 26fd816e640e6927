//! Reductions, and the normalisations built on them. All sums run in `f64`.

use zeroize::Zeroizing;

use super::elementwise::for_each_strided;
use crate::tensor::{Shape, Tensor};

/// Sum, or mean, over `axes`; `out` is the result's shape with or without the reduced dimensions.
pub(super) fn reduce(x: &Tensor, axes: &[usize], out: Shape, mean: bool) -> Tensor {
    let kept = Shape(x.shape().0.iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n }).collect());
    let own = kept.strides();
    let strides = (0..kept.rank()).map(|d| if axes.contains(&d) { 0 } else { own[d] as isize }).collect();
    let mut sums = vec![0.0f64; out.len()];
    let mut elements = x.data().iter();
    for_each_strided(x.shape(), [0], &[strides], |[at]| {
        if let Some(&x) = elements.next() {
            sums[at] += f64::from(x);
        }
    });
    let count = (0..x.shape().rank()).filter(|d| axes.contains(d)).map(|d| x.shape().0[d]).product::<usize>() as f64;
    let divisor = if mean { count } else { 1.0 };
    Tensor::new(out, sums.iter().map(|s| (s / divisor) as f32).collect::<Vec<_>>())
}

/// `scale · (x - mean) / sqrt(variance + epsilon) + bias` per channel; `params` are scale, bias, mean, variance.
pub(super) fn batch_norm(x: &Tensor, params: &[&Tensor], epsilon: f64) -> Tensor {
    let channels = x.shape().0[1];
    let inner: usize = x.shape().0[2..].iter().product();
    let param = |p: usize, c: usize| f64::from(params[p].data()[c]);
    let mut data = x.data().to_vec();
    if inner > 0 {
        for (plane, values) in data.chunks_exact_mut(inner).enumerate() {
            let c = plane % channels;
            let scale = param(0, c) / (param(3, c) + epsilon).sqrt();
            let (mean, bias) = (param(2, c), param(1, c));
            values.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale + bias) as f32);
        }
    }
    Tensor::new(x.shape().clone(), data)
}

/// Zero mean and unit variance over dimensions `axis..`, then scale and bias, which broadcast to x.
pub(super) fn layer_norm(
    x: &Tensor,
    scale: Option<&Tensor>,
    bias: Option<&Tensor>,
    axis: usize,
    epsilon: f64,
) -> Tensor {
    let inner: usize = x.shape().0[axis..].iter().product();
    let mut data = Vec::with_capacity(x.data().len());
    for group in x.data().chunks(inner.max(1)) {
        let n = group.len() as f64;
        let mean = group.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = group.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let factor = 1.0 / (variance + epsilon).sqrt();
        data.extend(group.iter().map(|&x| ((f64::from(x) - mean) * factor) as f32));
    }
    let shape = x.shape();
    let mut y = Tensor::new(shape.clone(), data);
    if let Some(scale) = scale {
        y = super::elementwise::binary(&y, scale, shape.clone(), |y, s| y * s);
    }
    if let Some(bias) = bias {
        y = super::elementwise::binary(&y, bias, shape.clone(), |y, b| y + b);
    }
    y
}

/// Replaces every line along dimension `axis`: `f` gets its elements and their largest.
fn by_lines(x: &Tensor, axis: usize, f: impl Fn(&mut [f64], f64)) -> Tensor {
    let dims = &x.shape().0;
    let (n, inner): (usize, usize) = (dims[axis], dims[axis + 1..].iter().product());
    let mut data = x.data().to_vec();
    let mut line = Zeroizing::new(vec![0.0f64; n]);
    if !data.is_empty() {
        for block in data.chunks_exact_mut(n * inner) {
            for i in 0..inner {
                line.iter_mut().enumerate().for_each(|(k, e)| *e = f64::from(block[k * inner + i]));
                let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                f(&mut line, max);
                line.iter().enumerate().for_each(|(k, e)| block[k * inner + i] = *e as f32);
            }
        }
    }
    x.with_data(x.shape().clone(), data)
}

/// Softmax over dimension `axis`.
pub(super) fn softmax(x: &Tensor, axis: usize) -> Tensor {
    by_lines(x, axis, |line, max| {
        line.iter_mut().for_each(|e| *e = (*e - max).exp());
        let sum: f64 = line.iter().sum();
        line.iter_mut().for_each(|e| *e /= sum);
    })
}

/// The logarithm of the softmax over dimension `axis`.
pub(super) fn log_softmax(x: &Tensor, axis: usize) -> Tensor {
    by_lines(x, axis, |line, max| {
        let shift = max + line.iter().map(|e| (*e - max).exp()).sum::<f64>().ln();
        line.iter_mut().for_each(|e| *e -= shift);
    })
}

/// The index of the first largest element along dimension `axis`.
pub(super) fn arg_max(x: &Tensor, axis: usize, out: Shape) -> Tensor {
    let dims = &x.shape().0;
    let (n, inner): (usize, usize) = (dims[axis], dims[axis + 1..].iter().product());
    let at = |place: usize, k: usize| x.data()[(place / inner * n + k) * inner + place % inner];
    let best = |place: usize| (1..n).fold(0, |best, k| if at(place, k) > at(place, best) { k } else { best });
    let data: Vec<f32> = (0..out.len()).map(|place| best(place) as f32).collect();
    x.with_data(out, data)
}
