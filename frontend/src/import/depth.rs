//! Blocks of pixels as channels, and channels as blocks of pixels.

use fhec_ir::nn::NnOp;

use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};

pub(super) const OPERATORS: &[Operator] = &[
    Operator::new("DepthToSpace", depth_to_space, "modes DCR and CRD"),
    Operator::new("SpaceToDepth", space_to_depth, "modes DCR and CRD"),
];

/// The extents of x [N, C, H, W], the edge of a block, and whether the channels of a block lie together (CRD).
fn read(cx: &Context, node: &NodeView<'_>) -> Result<([usize; 4], usize, bool)> {
    let shape = node.input_shape(cx, 0)?;
    let dims: [usize; 4] =
        shape.0[..].try_into().map_err(|_| Refusal::invalid(format!("an input of shape {shape}")))?;
    let block = node.int("blocksize")?.unwrap_or(0);
    let block = usize::try_from(block).ok().filter(|b| (1..1 << 12).contains(b));
    let block = block.ok_or_else(|| Refusal::invalid("its attribute `blocksize` is missing or not positive"))?;
    let together = match node.text("mode")?.unwrap_or("DCR") {
        "DCR" => false,
        "CRD" => true,
        other => return Err(Refusal::invalid(format!("mode is `{other}`"))),
    };
    Ok((dims, block, together))
}

fn permuted(cx: &mut Context, x: &Operand, split: &[usize], perm: &[usize], to: &[usize]) -> Result<Vec<Operand>> {
    let x = cx.moved(NnOp::Reshape { shape: signed(split) }, &[x])?;
    let x = cx.moved(NnOp::Transpose { perm: signed(perm) }, &[&x])?;
    cx.moved(NnOp::Reshape { shape: signed(to) }, &[&x]).map(|y| vec![y])
}

fn depth_to_space(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let ([n, c, h, w], b, together) = read(cx, node)?;
    if !c.is_multiple_of(b * b) {
        return Err(Refusal::invalid(format!("{c} channels do not fill blocks of {b}x{b}")));
    }
    let rest = c / (b * b);
    let (split, perm) = if together {
        ([n, rest, b, b, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, b, b, rest, h, w], [0, 3, 4, 1, 5, 2])
    };
    permuted(cx, node.input(0)?, &split, &perm, &[n, rest, h * b, w * b])
}

fn space_to_depth(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let ([n, c, h, w], b, together) = read(cx, node)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(Refusal::invalid(format!("{h}x{w} pixels do not divide into blocks of {b}x{b}")));
    }
    let perm = if together { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    permuted(cx, node.input(0)?, &[n, c, h / b, b, w / b, b], &perm, &[n, c * b * b, h / b, w / b])
}
