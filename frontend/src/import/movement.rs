//! Imports operators that move elements. They are applied to integers too, because exporters compute shapes with them.

use fhec_ir::nn::{NnOp, PadMode};
use fhec_ir::{F64, Shape};

use super::context::{Context, Operand};
use super::node::{NodeView, axes, axis, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::Known;

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("Flatten", flatten, "negative axis from opset 11"),
    Operator::new("Reshape", reshape, "constant shape; allowzero from opset 14"),
    Operator::new("Transpose", transpose, ""),
    Operator::new("Squeeze", squeeze, "axes: attribute before opset 13, operand since"),
    Operator::new("Unsqueeze", unsqueeze, "axes: attribute before opset 13, operand since"),
    Operator::new("Concat", concat, ""),
    Operator::new("Split", split, "sizes: attribute before opset 13, operand since; num_outputs from 18"),
    Operator::new("Slice", slice, "constant bounds; attributes before opset 10, operands since"),
    Operator::new(
        "Pad",
        pad,
        "constant pads; constant, reflect, edge and wrap; attributes before opset 11, operands since",
    ),
    Operator::new("Gather", gather, "constant indices"),
    Operator::new("Tile", tile, "constant repeats"),
    Operator::new("CumSum", cumulative_sum, "constant axis; of encrypted values a product with a triangular matrix"),
];

fn reshaped(cx: &mut Context, x: &Operand, shape: &[usize]) -> Result<Vec<Operand>> {
    cx.moved(NnOp::Reshape { shape: signed(shape) }, &[x]).map(|y| vec![y])
}

fn flatten(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let stated = node.int("axis")?.unwrap_or(1);
    let at = if stated == shape.rank() as i64 { shape.rank() } else { axis(stated, shape.rank())? };
    let (rows, columns) = shape.0.split_at(at);
    reshaped(cx, x, &[rows.iter().product(), columns.iter().product()])
}

fn reshape(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let from = cx.shape(x).clone();
    let stated = &node.ints_input(1, "shape")?.ok_or_else(|| Refusal::invalid("its shape is missing"))?.data;
    let keep_zero = node.flag("allowzero", false)?;
    let mut to = Vec::with_capacity(stated.len());
    let mut open = None;
    for (d, &extent) in stated.iter().enumerate() {
        to.push(match extent {
            0 if !keep_zero => *from
                .0
                .get(d)
                .ok_or_else(|| Refusal::invalid(format!("extent 0 in place {d} copies no dimension of {from}")))?,
            -1 if open.is_none() => {
                open = Some(d);
                1
            }
            _ => usize::try_from(extent).map_err(|_| Refusal::invalid(format!("a shape of {stated:?}")))?,
        });
    }
    let rest = Some(Shape(to.clone())).filter(Shape::is_bounded).map(|s| s.len());
    let rest = rest.ok_or_else(|| Refusal::invalid(format!("a shape of {stated:?}")))?;
    if let Some(d) = open {
        if rest == 0 || !from.len().is_multiple_of(rest) {
            return Err(Refusal::invalid(format!("{from} does not fill a shape of {stated:?}")));
        }
        to[d] = from.len() / rest;
    }
    reshaped(cx, x, &to)
}

fn transpose(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let perm = node.ints("perm")?.map_or_else(|| signed(&(0..rank).rev().collect::<Vec<_>>()), <[i64]>::to_vec);
    cx.moved(NnOp::Transpose { perm }, &[x]).map(|y| vec![y])
}

fn squeeze(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let dropped = match node.ints_by_opset(13, 1, "axes")? {
        Some(list) => axes(&list, shape.rank())?,
        None => (0..shape.rank()).filter(|&d| shape.0[d] == 1).collect(),
    };
    if let Some(d) = dropped.iter().find(|&&d| shape.0[d] != 1) {
        return Err(Refusal::invalid(format!("dimension {d} of {shape} does not have extent 1")));
    }
    let kept: Vec<usize> = (0..shape.rank()).filter(|d| !dropped.contains(d)).map(|d| shape.0[d]).collect();
    reshaped(cx, x, &kept)
}

fn unsqueeze(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let list = node.ints_by_opset(13, 1, "axes")?.ok_or_else(|| Refusal::invalid("its axes are missing"))?;
    let own = cx.shape(x).0.clone();
    let rank = own.len() + list.len();
    let added = axes(&list, rank)?;
    let mut rest = own.into_iter();
    let shape: Vec<usize> =
        (0..rank).map(|d| if added.binary_search(&d).is_ok() { 1 } else { rest.next().unwrap_or(1) }).collect();
    reshaped(cx, x, &shape)
}

fn concat(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let axis = node.int("axis")?.ok_or_else(|| Refusal::invalid("its attribute `axis` is missing"))?;
    let inputs = node.all_inputs()?;
    cx.moved(NnOp::Concat { axis }, &inputs).map(|y| vec![y])
}

fn split(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let axis = axis(node.int("axis")?.unwrap_or(0), shape.rank())?;
    let extent = shape.0[axis];
    let outputs = node.proto.output.len();
    let sizes = match node.ints_by_opset(13, 1, "split")? {
        Some(sizes) => sizes,
        None => {
            // Equal parts, of which from opset 18 on the last may be smaller.
            let part = extent.div_ceil(outputs.max(1));
            let sizes = (0..outputs).map(|i| part.min(extent.saturating_sub(i * part))).collect::<Vec<_>>();
            if node.opset < 18 && extent != part * outputs {
                return Err(Refusal::invalid(format!("{extent} elements do not split into {outputs} equal parts")));
            }
            signed(&sizes)
        }
    };
    let total = sizes.iter().try_fold(0i64, |sum, &s| if s < 0 { None } else { sum.checked_add(s) });
    if sizes.len() != outputs || total != Some(extent as i64) {
        return Err(Refusal::invalid(format!("{extent} elements split as {sizes:?} for {outputs} outputs")));
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(outputs);
    for size in sizes {
        let mut window = signed(&shape.0);
        window[axis] = size;
        let mut starts = vec![0; shape.rank()];
        starts[axis] = start;
        start += size;
        let op = NnOp::Slice { starts, sizes: window, steps: vec![1; shape.rank()] };
        parts.push(cx.moved(op, &[x])?);
    }
    Ok(parts)
}

fn slice(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let rank = shape.rank();
    let list = |i: usize, name: &str| node.ints_by_opset(10, i, name);
    let missing = || Refusal::invalid("its bounds are missing");
    let (from, to) = (list(1, "starts")?.ok_or_else(missing)?, list(2, "ends")?.ok_or_else(missing)?);
    let along = list(3, "axes")?.unwrap_or_else(|| signed(&(0..from.len()).collect::<Vec<_>>()));
    let by = if node.opset >= 10 { list(4, "steps")? } else { None }.unwrap_or_else(|| vec![1; from.len()]);
    if [to.len(), along.len(), by.len()] != [from.len(); 3] {
        return Err(Refusal::invalid("its starts, ends, axes and steps differ in number"));
    }
    axes(&along, rank)?;
    let (mut starts, mut sizes, mut steps) = (vec![0; rank], signed(&shape.0), vec![1; rank]);
    for (i, &a) in along.iter().enumerate() {
        let d = axis(a, rank)?;
        let extent = shape.0[d] as i64;
        // Beyond the extent a longer step changes nothing.
        let step = by[i].clamp(-(extent + 1), extent + 1);
        let at = |bound: i64| if bound < 0 { bound.saturating_add(extent) } else { bound };
        (starts[d], sizes[d], steps[d]) = if extent == 0 {
            (0, 0, 1)
        } else if step > 0 {
            let (start, end) = (at(from[i]).clamp(0, extent), at(to[i]).clamp(0, extent));
            (start, div_ceil((end - start).max(0), step), step)
        } else if step < 0 {
            let (start, end) = (at(from[i]).clamp(0, extent - 1), at(to[i]).clamp(-1, extent - 1));
            (start, div_ceil((start - end).max(0), -step), step)
        } else {
            return Err(Refusal::invalid("a step of 0"));
        };
    }
    cx.moved(NnOp::Slice { starts, sizes, steps }, &[x]).map(|y| vec![y])
}

/// Division of a non-negative by a positive number, rounded up.
fn div_ceil(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}

fn pad(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let rank = cx.shape(x).rank();
    let stated = node.ints_by_opset(11, 1, "pads")?.ok_or_else(|| Refusal::invalid("its pads are missing"))?;
    let value = if node.opset >= 11 { node.scalar_input(2, "constant_value")? } else { node.float("value")? };
    let along: Vec<usize> = match node.ints_input(3, "axes")? {
        Some(list) => list.data.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    if stated.len() != 2 * along.len() {
        return Err(Refusal::invalid(format!("{} pads for {} dimensions", stated.len(), along.len())));
    }
    let mut pads = vec![0; 2 * rank];
    for (i, &d) in along.iter().enumerate() {
        pads[d] = stated[i];
        pads[rank + d] = stated[along.len() + i];
    }
    let mode = match node.text("mode")?.unwrap_or("constant") {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(Refusal::invalid(format!("mode is `{other}`"))),
    };
    let op = NnOp::Pad { pads, mode, value: F64(f64::from(value.unwrap_or(0.0))) };
    match x {
        // Integers that exporters pad are few and small: numbers hold them exactly.
        Operand::Known(known @ Known::Ints(t)) => {
            let padded = cx.push(op, &[&Operand::Known(Known::Floats(known.to_floats()))])?;
            match padded {
                Operand::Known(y) => Ok(vec![Operand::Known(Known::Ints(y.to_ints(t.ty)))]),
                Operand::Value(_) => Err(Refusal::invalid("its operand is not constant")),
            }
        }
        x => cx.push(op, &[x]).map(|y| vec![y]),
    }
}

fn gather(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let axis = axis(node.int("axis")?.unwrap_or(0), shape.rank())?;
    let extent = shape.0[axis] as i64;
    let picked = node.ints_input(1, "indices")?.ok_or_else(|| Refusal::invalid("its indices are missing"))?;
    let indices = picked.data.iter().map(|&i| if i < 0 { i.saturating_add(extent) } else { i }).collect();
    let op = NnOp::Gather { axis: axis as i64, indices, shape: signed(&picked.shape.0) };
    cx.moved(op, &[x]).map(|y| vec![y])
}

fn tile(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let mut x = node.input(0)?.clone();
    let repeats = node.ints_input(1, "repeats")?.ok_or_else(|| Refusal::invalid("its repeats are missing"))?;
    let shape = cx.shape(&x).clone();
    if repeats.data.len() != shape.rank() {
        return Err(Refusal::invalid(format!("{} repeats for {shape}", repeats.data.len())));
    }
    for (d, &times) in repeats.data.iter().enumerate().filter(|(_, times)| **times != 1) {
        let times = usize::try_from(times).map_err(|_| Refusal::invalid(format!("{times} repeats")))?;
        let to = Shape(vec![times, shape.0[d]]);
        cx.take_elements(&to)?;
        let indices: Vec<i64> = (0..to.len()).map(|i| (i % shape.0[d]) as i64).collect();
        x = cx.moved(NnOp::Gather { axis: d as i64, indices, shape: vec![to.len() as i64] }, &[&x])?;
    }
    Ok(vec![x])
}

fn cumulative_sum(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let x = node.input(0)?;
    let shape = cx.shape(x).clone();
    let along = node.ints_input(1, "axis")?.filter(|t| t.data.len() == 1);
    let along = along.ok_or_else(|| Refusal::invalid("its axis is not one integer"))?;
    let d = axis(along.data[0], shape.rank())?;
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    let n = shape.0[d];
    cx.take_elements(&Shape(vec![n, n]))?;
    // Column j sums the elements i up to it.
    let counts = |i: usize, j: usize| {
        let (i, j) = if reverse { (j, i) } else { (i, j) };
        i < j || (i == j && !exclusive)
    };
    let triangle = (0..n * n).map(|at| f32::from(u8::from(counts(at / n, at % n)))).collect();
    let triangle = cx.constant([n, n], triangle)?;
    let mut perm: Vec<usize> = (0..shape.rank()).collect();
    perm.swap(d, shape.rank() - 1);
    let turn = NnOp::Transpose { perm: signed(&perm) };
    let turned = cx.push(turn.clone(), &[x])?;
    let sums = cx.push(NnOp::MatMul {}, &[&turned, &triangle])?;
    cx.push(turn, &[&sums]).map(|y| vec![y])
}
