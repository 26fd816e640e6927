//! Element-wise functions of two variables, with broadcasting.

use crate::tensor::{Shape, Tensor};

/// `f` over the elements of `a` and `b`, both broadcast to `out`.
pub(super) fn binary(a: &Tensor, b: &Tensor, out: Shape, f: impl Fn(f32, f32) -> f32) -> Tensor {
    let (x, y) = (a.data(), b.data());
    let data: Vec<f32> = if a.shape() == b.shape() {
        x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
    } else if y.len() == 1 && *a.shape() == out {
        x.iter().map(|&x| f(x, y[0])).collect()
    } else if x.len() == 1 && *b.shape() == out {
        y.iter().map(|&y| f(x[0], y)).collect()
    } else {
        let mut data = Vec::with_capacity(out.len());
        for_each_broadcast(&out, [a.shape(), b.shape()], |[i, j]| data.push(f(x[i], y[j])));
        data
    };
    Tensor::new(out, data)
}

/// `x` repeated to shape `out`.
pub(super) fn expand(x: &Tensor, out: Shape) -> Tensor {
    let mut data = Vec::with_capacity(out.len());
    for_each_broadcast(&out, [x.shape()], |[i]| data.push(x.data()[i]));
    Tensor::new(out, data)
}

/// Calls `visit` for every element of `out` in row-major order with the offsets of the operands' elements that broadcast
/// to it.
pub(super) fn for_each_broadcast<const N: usize>(out: &Shape, operands: [&Shape; N], visit: impl FnMut([usize; N])) {
    let strides = operands.map(|s| {
        let pad = out.rank() - s.rank();
        let own = s.strides();
        (0..out.rank())
            .map(|d| if d < pad || s.0[d - pad] == 1 { 0 } else { own[d - pad] as isize })
            .collect::<Vec<_>>()
    });
    for_each_strided(out, [0; N], &strides, visit);
}

/// Calls `visit` for every index of `shape` in row-major order with `base + index · strides` of each operand.
pub(super) fn for_each_strided<const N: usize>(
    shape: &Shape,
    base: [usize; N],
    strides: &[Vec<isize>; N],
    mut visit: impl FnMut([usize; N]),
) {
    if shape.is_empty() {
        return;
    }
    let rank = shape.rank();
    let mut index = vec![0usize; rank];
    let mut at = base.map(|b| b as isize);
    loop {
        visit(at.map(|o| o as usize));
        let mut d = rank;
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            if index[d] < shape.0[d] {
                (0..N).for_each(|n| at[n] += strides[n][d]);
                break;
            }
            (0..N).for_each(|n| at[n] -= strides[n][d] * (shape.0[d] as isize - 1));
            index[d] = 0;
        }
    }
}
