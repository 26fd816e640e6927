//! Elements picked and replaced one by one, at constant places: all are selections from one list of elements.

use fhec_ir::nn::NnOp;
use fhec_ir::{Shape, Tensor};

use super::compare;
use super::context::{Context, Operand};
use super::node::{NodeView, axis, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::{Ints, Known};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("GatherElements", gather_elements, "constant indices"),
    Operator::new("GatherND", gather_nd, "constant indices"),
    Operator::new("ScatterElements", scatter_elements, "constant indices; reduction none"),
    Operator::new("ScatterND", scatter_nd, "constant indices; reduction none"),
    Operator::new("Compress", compress, "constant condition"),
    Operator::new("Trilu", trilu, "constant diagonal"),
];

/// The elements of `x` at the flat `places`, in shape `to`.
fn picked(cx: &mut Context, x: &Operand, places: Vec<i64>, to: &[usize]) -> Result<Vec<Operand>> {
    let len = cx.shape(x).len();
    let flat = cx.moved(NnOp::Reshape { shape: signed(&[len]) }, &[x])?;
    cx.moved(NnOp::Gather { axis: 0, indices: places, shape: signed(to) }, &[&flat]).map(|y| vec![y])
}

fn indices<'a>(cx: &mut Context, node: &'a NodeView<'_>) -> Result<&'a Ints> {
    let indices = node.ints_input(1, "indices")?.ok_or_else(|| Refusal::invalid("its indices are missing"))?;
    cx.take_elements(&indices.shape)?;
    Ok(indices)
}

/// Index `i` along a dimension of `extent` elements, negative ones counted from the end.
fn within(i: i64, extent: usize) -> Result<usize> {
    let at = if i < 0 { i.saturating_add(extent as i64) } else { i };
    let found = usize::try_from(at).ok().filter(|&at| at < extent);
    found.ok_or_else(|| Refusal::invalid(format!("index {i} outside of {extent} elements")))
}

/// For every index of `at`, whose shape is within that of `x` but along `axis`, the flat place in `x` that it names.
fn along(x: &Shape, at: &Ints, axis: usize) -> Result<Vec<usize>> {
    let (strides, own) = (x.strides(), at.shape.strides());
    let fits = at.shape.rank() == x.rank() && (0..x.rank()).all(|d| d == axis || at.shape.0[d] <= x.0[d]);
    if !fits {
        return Err(Refusal::invalid(format!("indices of shape {} into {x}", at.shape)));
    }
    let place = |(i, &index): (usize, &i64)| -> Result<usize> {
        let at_dim = |d: usize| if d == axis { within(index, x.0[d]) } else { Ok(i / own[d] % at.shape.0[d]) };
        (0..x.rank()).try_fold(0, |sum, d| Ok(sum + at_dim(d)? * strides[d]))
    };
    at.data.iter().enumerate().map(place).collect()
}

fn gather_elements(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input_shape(cx, 0)?;
    let at = indices(cx, node)?;
    let axis = axis(node.int("axis")?.unwrap_or(0), x.rank())?;
    let places = along(&x, at, axis)?.into_iter().map(|p| p as i64).collect();
    picked(cx, node.input(0)?, places, &at.shape.0)
}

/// The flat places of the first elements of the slices that tuples of indices name, behind `batch` common dimensions, and
/// the shape of a slice.
fn slices(x: &Shape, at: &Ints, batch: usize) -> Result<(Vec<usize>, Vec<usize>)> {
    let mismatch = || Refusal::invalid(format!("tuples of indices of shape {} into {x}", at.shape));
    let depth = at.shape.0.last().copied().filter(|&n| n > 0 && batch + n <= x.rank()).ok_or_else(mismatch)?;
    if batch >= at.shape.rank() || at.shape.0[..batch] != x.0[..batch] {
        return Err(mismatch());
    }
    let strides = x.strides();
    let in_batch: usize = at.shape.0[batch..at.shape.rank() - 1].iter().product();
    let size: usize = x.0[batch..].iter().product();
    let place = |(t, tuple): (usize, &[i64])| -> Result<usize> {
        let start = t / in_batch.max(1) * size;
        let step = |sum: usize, k: usize| Ok(sum + within(tuple[k], x.0[batch + k])? * strides[batch + k]);
        (0..depth).try_fold(start, step)
    };
    let places = at.data.chunks(depth).enumerate().map(place).collect::<Result<Vec<_>>>()?;
    Ok((places, x.0[batch + depth..].to_vec()))
}

fn gather_nd(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input_shape(cx, 0)?;
    let at = indices(cx, node)?;
    let batch = node.int("batch_dims")?.unwrap_or(0);
    let batch = usize::try_from(batch).map_err(|_| Refusal::invalid(format!("batch_dims is {batch}")))?;
    let (starts, slice) = slices(&x, at, batch)?;
    let inner: usize = slice.iter().product();
    cx.take_elements(&Shape(vec![starts.len(), inner]))?;
    let places = starts.iter().flat_map(|s| (*s..s + inner).map(|p| p as i64)).collect();
    let to = [&at.shape.0[..at.shape.rank() - 1], &slice].concat();
    picked(cx, node.input(0)?, places, &to)
}

/// `x` with its elements at the flat `places` replaced by those of the third operand, in order.
fn scattered(cx: &mut Context, node: &NodeView<'_>, places: Vec<usize>) -> Result<Vec<Operand>> {
    if node.text("reduction")?.unwrap_or("none") != "none" {
        return Err(Refusal::new("it combines elements with what they replace", "write it as Add, Mul, Max or Min"));
    }
    let (x, updates) = (node.input(0)?, node.input(2)?);
    let (shape, given) = (cx.shape(x).clone(), cx.shape(updates).len());
    if given != places.len() {
        return Err(Refusal::invalid(format!("{given} elements for {} places", places.len())));
    }
    cx.take_elements(&shape)?;
    let mut sources: Vec<i64> = (0..shape.len() as i64).collect();
    for (i, p) in places.into_iter().enumerate() {
        sources[p] = (shape.len() + i) as i64;
    }
    let old = cx.moved(NnOp::Reshape { shape: signed(&[shape.len()]) }, &[x])?;
    let new = cx.moved(NnOp::Reshape { shape: signed(&[given]) }, &[updates])?;
    let all = cx.moved(NnOp::Concat { axis: 0 }, &[&old, &new])?;
    cx.moved(NnOp::Gather { axis: 0, indices: sources, shape: signed(&shape.0) }, &[&all]).map(|y| vec![y])
}

fn scatter_elements(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input_shape(cx, 0)?;
    let at = indices(cx, node)?;
    let axis = axis(node.int("axis")?.unwrap_or(0), x.rank())?;
    let places = along(&x, at, axis)?;
    scattered(cx, node, places)
}

fn scatter_nd(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input_shape(cx, 0)?;
    let at = indices(cx, node)?;
    let (starts, slice) = slices(&x, at, 0)?;
    let inner: usize = slice.iter().product();
    cx.take_elements(&Shape(vec![starts.len(), inner]))?;
    let places = starts.iter().flat_map(|s| *s..s + inner).collect();
    scattered(cx, node, places)
}

fn compress(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let mask = node.ints_input(1, "condition")?.ok_or_else(|| Refusal::invalid("its condition is missing"))?;
    let chosen = |extent: usize| -> Result<Vec<i64>> {
        if mask.data.len() > extent {
            return Err(Refusal::invalid(format!("a condition of {} for {extent} elements", mask.data.len())));
        }
        Ok(mask.data.iter().enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| i as i64).collect())
    };
    let shape = cx.shape(x).clone();
    match node.int("axis")? {
        None => {
            let places = chosen(shape.len())?;
            let to = [places.len()];
            picked(cx, x, places, &to)
        }
        Some(a) => {
            let a = axis(a, shape.rank())?;
            let indices = chosen(shape.0[a])?;
            let to = vec![indices.len() as i64];
            cx.moved(NnOp::Gather { axis: a as i64, indices, shape: to }, &[x]).map(|y| vec![y])
        }
    }
}

fn trilu(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let [.., rows, columns] = shape.0[..] else { return Err(Refusal::invalid(format!("{shape} is no matrix"))) };
    let k = node.ints_input(1, "k")?.map_or(Ok(0), |t| match t.data[..] {
        [k] => Ok(k),
        _ => Err(Refusal::invalid("its diagonal is not one integer")),
    })?;
    let upper = node.flag("upper", true)?;
    let keeps = |row: usize, column: usize| {
        let diagonal = (row as i64).saturating_add(k);
        if upper { column as i64 >= diagonal } else { column as i64 <= diagonal }
    };
    cx.take_elements(&Shape(vec![rows, columns]))?;
    let mask: Vec<f32> = (0..rows * columns).map(|i| f32::from(u8::from(keeps(i / columns, i % columns)))).collect();
    let mask = Tensor::new([rows, columns], mask);
    let zero = cx.scalar(0.0);
    match x {
        Operand::Known(Known::Ints(t)) => {
            let numbers = Operand::Known(Known::Floats(Known::Ints(t.clone()).to_floats()));
            match compare::masked(cx, &mask, &numbers, &zero)? {
                Operand::Known(y) => Ok(vec![Operand::Known(Known::Ints(y.to_ints(t.ty)))]),
                Operand::Value(_) => Err(Refusal::invalid("its operand is not constant")),
            }
        }
        x => compare::masked(cx, &mask, x, &zero).map(|y| vec![y]),
    }
}
