//! Transposed convolution: a convolution of the input with zeros between its pixels, by the mirrored filters.

use fhec_ir::nn::{NnOp, PadMode};
use fhec_ir::{F64, Shape};

use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[Operator::new(
    "ConvTranspose",
    conv_transpose,
    "1, 2 and 3 spatial dimensions; groups, dilations, strides, any pads, auto_pad, output_padding, output_shape",
)];

/// Extents and offsets per spatial dimension.
struct TransposedGeometry {
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Extent of the dilated filter.
    extents: Vec<i64>,
    /// What is cut off in front of the full result, per dimension (negative: added).
    begins: Vec<i64>,
    /// What is cut off behind it.
    ends: Vec<i64>,
}

/// Bound on attributes, so that no sum of their products overflows.
const LIMIT: i64 = 1 << 24;

impl TransposedGeometry {
    fn read(node: &NodeView<'_>, spatial: &[usize], kernel: &[usize]) -> Result<Self> {
        let rank = kernel.len();
        let list = |name: &str, default: i64, least: i64, length: usize| -> Result<Vec<i64>> {
            let list = node.ints(name)?.map_or_else(|| vec![default; length], <[i64]>::to_vec);
            if list.len() == length && list.iter().all(|x| (least..LIMIT).contains(x)) {
                return Ok(list);
            }
            Err(Refusal::invalid(format!("its attribute `{name}` is {list:?} for {rank} dimensions")))
        };
        let (strides, dilations) = (list("strides", 1, 1, rank)?, list("dilations", 1, 1, rank)?);
        let output_padding = list("output_padding", 0, 0, rank)?;
        let pads = list("pads", 0, 0, 2 * rank)?;
        let extents: Vec<i64> = (0..rank).map(|d| (kernel[d] as i64 - 1) * dilations[d] + 1).collect();
        if !spatial.iter().chain(kernel).all(|&n| (1..LIMIT as usize).contains(&n)) {
            return Err(Refusal::invalid(format!("filters of extents {kernel:?} over {spatial:?}")));
        }
        let auto_pad = node.text("auto_pad")?.unwrap_or("NOTSET");
        let same = match auto_pad {
            "SAME_UPPER" | "SAME_LOWER" => true,
            "NOTSET" | "VALID" | "" => false,
            other => return Err(Refusal::invalid(format!("auto_pad is `{other}`"))),
        };
        let stated = match node.ints("output_shape")? {
            // Early exporters state batch and channels too.
            Some(shape) if shape.len() == rank + 2 => Some(shape[2..].to_vec()),
            Some(shape) => Some(shape.to_vec()),
            None => same.then(|| (0..rank).map(|d| spatial[d] as i64 * strides[d]).collect()),
        };
        if stated.as_ref().is_some_and(|s| s.len() != rank || !s.iter().all(|x| (1..LIMIT).contains(x))) {
            return Err(Refusal::invalid(format!("output_shape is {stated:?} for {rank} dimensions")));
        }
        let (mut begins, mut ends) = (pads[..rank].to_vec(), pads[rank..].to_vec());
        if auto_pad == "VALID" {
            (begins, ends) = (vec![0; rank], vec![0; rank]);
        }
        for d in 0..rank {
            if let Some(shape) = &stated {
                let full = strides[d] * (spatial[d] as i64 - 1) + output_padding[d] + extents[d];
                let total = full - shape[d];
                let less = total.div_euclid(2);
                (begins[d], ends[d]) =
                    if auto_pad == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
            }
            ends[d] -= output_padding[d];
        }
        Ok(Self { strides, dilations, extents, begins, ends })
    }
}

fn conv_transpose(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let (x, w) = (node.input_shape(cx, 0)?, node.input_shape(cx, 1)?);
    if x.rank() < 3 || w.rank() != x.rank() || w.0[0] != x.0[1] {
        return Err(Refusal::invalid(format!("weights of shape {w} over an input of shape {x}")));
    }
    let groups = usize::try_from(node.int("group")?.unwrap_or(1)).ok().filter(|&g| g > 0 && w.0[0].is_multiple_of(g));
    let groups = groups.ok_or_else(|| Refusal::invalid(format!("its groups do not divide {} channels", w.0[0])))?;
    let geometry = TransposedGeometry::read(node, &x.0[2..], &w.0[2..])?;
    let spread = spread(cx, node.input(0)?, &x, &geometry)?;
    let filters = filters(cx, node.input(1)?, &w, groups)?;
    let rank = x.rank() - 2;
    let op = NnOp::Conv {
        strides: vec![1; rank],
        pads: vec![0; 2 * rank],
        dilations: geometry.dilations,
        groups: groups as i64,
    };
    let mut operands = vec![&spread, &filters];
    operands.extend(node.optional(2));
    cx.push(op, &operands).map(|y| vec![y])
}

/// x with zeros between its pixels, and around them as many as the filter reaches beyond what is cut off.
fn spread(cx: &mut Context, x: &Operand, shape: &Shape, geometry: &TransposedGeometry) -> Result<Operand> {
    let TransposedGeometry { strides, extents, begins, ends, .. } = geometry;
    let rank = strides.len();
    let mut x = x.clone();
    let zero = |pads: Vec<i64>| NnOp::Pad { pads, mode: PadMode::Constant, value: F64(0.0) };
    if strides.iter().any(|&s| s > 1) {
        // A dimension of extent 1 behind each is padded to the stride, and the two become one.
        let mut split = shape.0[..2].to_vec();
        let mut joined = shape.0[..2].to_vec();
        let mut pads = vec![0; 2 * (2 + 2 * rank)];
        for d in 0..rank {
            split.extend([shape.0[2 + d], 1]);
            joined.push(shape.0[2 + d] * strides[d] as usize);
            pads[2 + 2 * rank + 2 + 2 * d + 1] = strides[d] - 1;
        }
        x = cx.push(NnOp::Reshape { shape: signed(&split) }, &[&x])?;
        x = cx.push(zero(pads), &[&x])?;
        x = cx.push(NnOp::Reshape { shape: signed(&joined) }, &[&x])?;
    }
    let mut pads = vec![0; 2 * (2 + rank)];
    for d in 0..rank {
        pads[2 + d] = extents[d] - 1 - begins[d];
        pads[2 + rank + 2 + d] = extents[d] - 1 - ends[d] - (strides[d] - 1);
    }
    if pads.iter().all(|&p| p == 0) { Ok(x) } else { cx.push(zero(pads), &[&x]) }
}

/// Weights [C, M/groups, k..] as those of a convolution, [M, C/groups, k..] with every filter mirrored.
fn filters(cx: &mut Context, w: &Operand, shape: &Shape, groups: usize) -> Result<Operand> {
    let (c, m, kernel) = (shape.0[0], shape.0[1], &shape.0[2..]);
    let rank = kernel.len();
    let grouped = [&[groups, c / groups, m], kernel].concat();
    let w = cx.push(NnOp::Reshape { shape: signed(&grouped) }, &[w])?;
    let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..3 + rank).collect();
    let w = cx.push(NnOp::Transpose { perm: signed(&perm) }, &[&w])?;
    let turned = [&[groups * m, c / groups], kernel].concat();
    let w = cx.push(NnOp::Reshape { shape: signed(&turned) }, &[&w])?;
    let mut starts = vec![0; 2];
    starts.extend(kernel.iter().map(|&k| k as i64 - 1));
    let steps = [vec![1; 2], vec![-1; rank]].concat();
    cx.push(NnOp::Slice { starts, sizes: signed(&turned), steps }, &[&w])
}
