//! Ops that move elements.

use super::elementwise::for_each_strided;
use crate::nn::PadMode;
use crate::tensor::{Shape, Tensor};

fn signed_strides(shape: &Shape) -> Vec<isize> {
    shape.strides().into_iter().map(|s| s as isize).collect()
}

/// The elements of `x` at `base + index · strides` for every index of `out`.
fn strided(x: &Tensor, base: usize, strides: Vec<isize>, out: Shape) -> Tensor {
    let mut data = Vec::with_capacity(out.len());
    for_each_strided(&out, [base], &[strides], |[at]| data.push(x.data()[at]));
    x.with_data(out, data)
}

/// Dimensions permuted: dimension i of the result is dimension `perm[i]` of x.
pub(super) fn transpose(x: &Tensor, perm: &[usize], out: Shape) -> Tensor {
    let own = signed_strides(x.shape());
    strided(x, 0, perm.iter().map(|&p| own[p]).collect(), out)
}

/// Elements from `starts` by `steps`.
pub(super) fn slice(x: &Tensor, starts: &[i64], steps: &[i64], out: Shape) -> Tensor {
    if out.is_empty() {
        return Tensor::new(out, Vec::new());
    }
    let own = signed_strides(x.shape());
    let base: isize = starts.iter().zip(&own).map(|(&start, stride)| start as isize * stride).sum();
    strided(x, base as usize, own.iter().zip(steps).map(|(stride, &step)| stride * step as isize).collect(), out)
}

/// Padding; `pads` lists all begins, then all ends, negative ones crop.
pub(super) fn pad(x: &Tensor, pads: &[i64], mode: PadMode, value: f32, out: Shape) -> Tensor {
    let rank = out.rank();
    let own = x.shape().strides();
    // Per dimension and output index, the offset of the element it shows; `None` shows `value`.
    let sources: Vec<Vec<Option<usize>>> = (0..rank)
        .map(|d| {
            let extent = x.shape().0[d] as i64;
            let source = |i: usize| -> Option<i64> {
                let at = i as i64 - pads[d];
                match mode {
                    _ if (0..extent).contains(&at) => Some(at),
                    PadMode::Constant => None,
                    PadMode::Edge => Some(at.clamp(0, extent - 1)),
                    PadMode::Reflect => Some(if at < 0 { -at } else { 2 * (extent - 1) - at }),
                    PadMode::Wrap => Some(at.rem_euclid(extent)),
                }
            };
            (0..out.0[d]).map(|i| source(i).map(|at| at as usize * own[d])).collect()
        })
        .collect();
    let mut data = Vec::with_capacity(out.len());
    let mut index = vec![0usize; rank];
    for _ in 0..out.len() {
        let at = (0..rank).try_fold(0, |at, d| Some(at + sources[d][index[d]]?));
        data.push(at.map_or(value, |at| x.data()[at]));
        for d in (0..rank).rev() {
            index[d] += 1;
            if index[d] < out.0[d] {
                break;
            }
            index[d] = 0;
        }
    }
    Tensor::new(out, data)
}

/// Operands one after another along dimension `axis`.
pub(super) fn concat(operands: &[&Tensor], axis: usize, out: Shape) -> Tensor {
    let outer: usize = out.0[..axis].iter().product();
    let block = |t: &Tensor| t.shape().0[axis..].iter().product::<usize>();
    let mut data = Vec::with_capacity(out.len());
    for i in 0..outer {
        for t in operands {
            let n = block(t);
            data.extend_from_slice(&t.data()[i * n..(i + 1) * n]);
        }
    }
    Tensor::new(out, data)
}

/// The elements `indices` along dimension `axis`.
pub(super) fn gather(x: &Tensor, axis: usize, indices: &[i64], out: Shape) -> Tensor {
    let dims = &x.shape().0;
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let mut data = Vec::with_capacity(out.len());
    for o in 0..outer {
        for &i in indices {
            let at = (o * dims[axis] + i as usize) * inner;
            data.extend_from_slice(&x.data()[at..at + inner]);
        }
    }
    Tensor::new(out, data)
}
