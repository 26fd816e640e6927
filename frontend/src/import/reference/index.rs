//! Sequences, positions, and what is counted along one dimension.

use fhec_ir::{Shape, Tensor};

use super::super::context::Context;
use super::super::node::{NodeView, axis};
use super::Rule;
use super::reduce::numbers;
use crate::error::{Refusal, Result};
use crate::known::{IntType, Ints, Known, too_large};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Range", range),
    ("NonZero", non_zero),
    ("OneHot", one_hot),
    ("ArgMax", |cx, node| arg(cx, node, |x, best| x > best)),
    ("ArgMin", |cx, node| arg(cx, node, |x, best| x < best)),
    ("CumSum", cumulative_sum),
    ("EyeLike", eye_like),
];

fn input<'a>(node: &'a NodeView<'_>, i: usize) -> Result<&'a Known> {
    let known = node.known().and_then(|known| known.get(i).copied().flatten());
    known.ok_or_else(|| Refusal::invalid(format!("its input number {} is missing", i + 1)))
}

fn range(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let bound = |i: usize| -> Result<&Known> {
        let known = input(node, i)?;
        if known.shape().len() == 1 { Ok(known) } else { Err(Refusal::invalid("its bounds are not single numbers")) }
    };
    let (start, limit, delta) = (bound(0)?, bound(1)?, bound(2)?);
    if let (Known::Ints(a), Known::Ints(b), Known::Ints(by)) = (start, limit, delta) {
        let (a, b, by, ty) = (i128::from(a.data[0]), i128::from(b.data[0]), i128::from(by.data[0]), a.ty);
        if by == 0 {
            return Err(Refusal::invalid("a step of 0"));
        }
        // Rounded up.
        let count = ((b - a + by - by.signum()) / by).max(0);
        let count = usize::try_from(count).map_err(|_| too_large())?;
        cx.take_elements(&Shape(vec![count]))?;
        let data: Vec<i64> = (0..count as i128).map(|i| (a + i * by) as i64).collect();
        return Ok(vec![Known::Ints(Ints { shape: Shape(vec![count]), data: data.into(), ty })]);
    }
    let number = |known: &Known| numbers(known)[0];
    let (a, b, by) = (number(start), number(limit), number(delta));
    let count = ((b - a) / by).ceil();
    if !count.is_finite() {
        return Err(Refusal::invalid(format!("a range from {a} to {b} by {by}")));
    }
    let shape = Shape(vec![count.max(0.0) as usize]);
    cx.take_elements(&shape)?;
    let data: Vec<f32> = (0..shape.len()).map(|i| (a + i as f64 * by) as f32).collect();
    Ok(vec![Known::Floats(Tensor::new(shape, data))])
}

/// The index of every element of `shape` in row-major order.
fn indices(shape: &Shape) -> impl Iterator<Item = Vec<usize>> {
    let strides = shape.strides();
    let dims = shape.0.clone();
    (0..shape.len()).map(move |at| dims.iter().zip(&strides).map(|(n, stride)| at / stride % n).collect())
}

fn non_zero(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let x = input(node, 0)?;
    let rank = x.shape().rank();
    cx.take_elements(&Shape(vec![rank, x.shape().len()]))?;
    let found: Vec<Vec<usize>> =
        indices(x.shape()).zip(numbers(x)).filter(|(_, x)| *x != 0.0).map(|(index, _)| index).collect();
    let data: Vec<i64> = (0..rank).flat_map(|d| found.iter().map(move |index| index[d] as i64)).collect();
    Ok(vec![Known::Ints(Ints { shape: Shape(vec![rank, found.len()]), data: data.into(), ty: IntType::I64 })])
}

fn one_hot(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let (picked, depth, values) = (input(node, 0)?, numbers(input(node, 1)?), input(node, 2)?);
    let (&[depth], true) = (&depth[..], values.shape().len() == 2) else {
        return Err(Refusal::invalid("its depth and values are not one and two numbers"));
    };
    let depth = depth as i64;
    let places = usize::try_from(depth).map_err(|_| Refusal::invalid(format!("a depth of {depth}")))?;
    let rank = picked.shape().rank() + 1;
    let at = axis(node.int("axis")?.unwrap_or(-1), rank)?;
    let mut dims = picked.shape().0.clone();
    dims.insert(at, places);
    let shape = Shape(dims);
    cx.take_elements(&shape)?;
    let inner: usize = picked.shape().0[at..].iter().product();
    let picked: Vec<i64> =
        picked.to_ints(IntType::I64).data.iter().map(|&i| if i < 0 { i + depth } else { i }).collect();
    let hot = |place: usize| {
        let (outer, rest) = (place / (places * inner).max(1), place % (places * inner).max(1));
        usize::from(picked[outer * inner + rest % inner] == (rest / inner) as i64)
    };
    Ok(vec![match values {
        Known::Floats(t) => {
            let data: Vec<f32> = (0..shape.len()).map(|i| t.data()[hot(i)]).collect();
            Known::Floats(Tensor::new(shape, data))
        }
        Known::Ints(t) => {
            let data: Vec<i64> = (0..shape.len()).map(|i| t.data[hot(i)]).collect();
            Known::Ints(Ints { shape, data: data.into(), ty: t.ty })
        }
    }])
}

/// The lines of a tensor along dimension `axis`: for each the place of its first element; and the distance to the next.
fn lines(shape: &Shape, axis: usize) -> (Vec<usize>, usize) {
    let inner: usize = shape.0[axis + 1..].iter().product();
    let outer: usize = shape.0[..axis].iter().product();
    let block = shape.0[axis] * inner;
    ((0..outer).flat_map(|o| (0..inner).map(move |i| o * block + i)).collect(), inner)
}

fn arg(cx: &mut Context, node: &NodeView<'_>, better: fn(f64, f64) -> bool) -> Result<Vec<Known>> {
    let x = input(node, 0)?;
    let axis = axis(node.int("axis")?.unwrap_or(0), x.shape().rank())?;
    let last = node.flag("select_last_index", false)?;
    let mut shape = x.shape().clone();
    cx.take_elements(&shape)?;
    let extent = shape.0[axis];
    if extent == 0 {
        return Err(Refusal::invalid("there is no largest of no elements"));
    }
    let data = numbers(x);
    let (starts, stride) = lines(&shape, axis);
    let best = starts.iter().map(|start| {
        (1..extent).fold(0, |best, i| {
            let (x, b) = (data[start + i * stride], data[start + best * stride]);
            if better(x, b) || (last && x == b) { i } else { best }
        }) as i64
    });
    let best: Vec<i64> = best.collect();
    if node.flag("keepdims", true)? {
        shape.0[axis] = 1;
    } else {
        shape.0.remove(axis);
    }
    Ok(vec![Known::Ints(Ints { shape, data: best.into(), ty: IntType::I64 })])
}

fn cumulative_sum(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let (x, along) = (input(node, 0)?, input(node, 1)?.to_ints(IntType::I64));
    let [along] = along.data[..] else { return Err(Refusal::invalid("its axis is not one integer")) };
    let axis = axis(along, x.shape().rank())?;
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    cx.take_elements(x.shape())?;
    let extent = x.shape().0[axis];
    let mut data = numbers(x);
    let (starts, stride) = lines(x.shape(), axis);
    for start in starts {
        let mut sum = 0.0;
        for i in 0..extent {
            let at = start + if reverse { extent - 1 - i } else { i } * stride;
            let x = data[at];
            data[at] = if exclusive { sum } else { sum + x };
            sum += x;
        }
    }
    Ok(vec![match x {
        Known::Floats(t) => {
            Known::Floats(Tensor::new(t.shape().clone(), data.iter().map(|&x| x as f32).collect::<Vec<_>>()))
        }
        Known::Ints(t) => {
            let data: Vec<i64> = data.iter().map(|&x| t.ty.wrap(x as i64)).collect();
            Known::Ints(Ints { shape: t.shape.clone(), data: data.into(), ty: t.ty })
        }
    }])
}

fn eye_like(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let x = input(node, 0)?;
    let k = node.int("k")?.unwrap_or(0);
    let [rows, columns] = x.shape().0[..] else { return Err(Refusal::invalid("its operand is not a matrix")) };
    cx.take_elements(x.shape())?;
    let one = |i: usize| (i % columns) as i64 == ((i / columns) as i64).saturating_add(k);
    let shape = Shape(vec![rows, columns]);
    let code = node.int("dtype")?.and_then(|code| i32::try_from(code).ok());
    let ty = match x {
        Known::Ints(t) => Some(t.ty),
        Known::Floats(_) => None,
    };
    Ok(vec![match code.map_or(ty, IntType::of) {
        None => {
            let data: Vec<f32> = (0..shape.len()).map(|i| f32::from(u8::from(one(i)))).collect();
            Known::Floats(Tensor::new(shape, data))
        }
        Some(ty) => {
            let data: Vec<i64> = (0..shape.len()).map(|i| i64::from(one(i))).collect();
            Known::Ints(Ints { shape, data: data.into(), ty })
        }
    }])
}
