//! Scaled dot-product attention, written out as products, masks and a softmax.

use fhec_ir::nn::{Activation, NnOp, PadMode};
use fhec_ir::{F64, Shape, Tensor};

use super::activation;
use super::context::{Context, Operand};
use super::node::{NodeView, signed};
use super::registry::Operator;
use crate::error::{Refusal, Result};
use crate::known::{self, Known, too_large};

pub(super) const OPERATORS: &[Operator] =
    &[Operator::new("Attention", attention, "all of opset 25; a boolean mask and nonpad_kv_seqlen must be constants")];

/// Extents of an attention.
struct Extents {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    /// Keys before the first of this call.
    past: usize,
}

fn attention(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Operand>> {
    let rank = node.input_shape(cx, 0)?.rank();
    let q = by_heads(cx, node, 0, "q_num_heads")?;
    let (k, v) = (by_heads(cx, node, 1, "kv_num_heads")?, by_heads(cx, node, 2, "kv_num_heads")?);
    let (k, past) = with_past(cx, k, node.optional(4))?;
    let (v, _) = with_past(cx, v, node.optional(5))?;
    let (query, key) = (cx.shape(&q).0.clone(), cx.shape(&k).0.clone());
    let extents = Extents { batch: query[0], heads: query[1], kv_heads: key[1], queries: query[2], keys: key[2], past };
    if extents.kv_heads == 0 || !extents.heads.is_multiple_of(extents.kv_heads) {
        return Err(Refusal::invalid(format!("{} heads of keys for {} of queries", extents.kv_heads, extents.heads)));
    }
    let (each_k, each_v) = (for_each_head(cx, &k, &extents)?, for_each_head(cx, &v, &extents)?);
    // Half of the scale on either side, as the specification has it, is one factor of the queries.
    let scale = node.float("scale")?.unwrap_or(1.0 / (query[3] as f32).sqrt());
    let scale = cx.scalar(scale);
    let scaled = cx.push(NnOp::Mul {}, &[&q, &scale])?;
    let turned = cx.push(NnOp::Transpose { perm: vec![0, 1, 3, 2] }, &[&each_k])?;
    let mut scores = cx.push(NnOp::MatMul {}, &[&scaled, &turned])?;
    if let Some(cap) = node.float("softcap")?.filter(|&cap| cap > 0.0) {
        let cap = cx.scalar(cap);
        let inner = cx.push(NnOp::Div {}, &[&scores, &cap])?;
        let bent = activation::apply(cx, &inner, Activation::Tanh, None, None)?;
        scores = cx.push(NnOp::Mul {}, &[&bent, &cap])?;
    }
    let capped = scores.clone();
    let Bias { mask, blind, added } = bias(cx, node, &extents)?;
    for term in [added, mask].into_iter().flatten() {
        scores = cx.push(NnOp::Add {}, &[&scores, &term])?;
    }
    let mut shares = cx.push(NnOp::Softmax { axis: 3 }, &[&scores])?;
    if let Some(seeing) = blind {
        shares = cx.push(NnOp::Mul {}, &[&shares, &seeing])?;
    }
    let mut y = cx.push(NnOp::MatMul {}, &[&shares, &each_v])?;
    if rank == 3 {
        let width = extents.heads * cx.shape(&y).0[3];
        y = cx.push(NnOp::Transpose { perm: vec![0, 2, 1, 3] }, &[&y])?;
        y = cx.push(NnOp::Reshape { shape: signed(&[extents.batch, extents.queries, width]) }, &[&y])?;
    }
    let shown = match node.int("qk_matmul_output_mode")?.unwrap_or(0) {
        // In the reference implementation both are shown behind the cap.
        0 | 1 => capped,
        2 => scores,
        3 => shares,
        other => return Err(Refusal::invalid(format!("qk_matmul_output_mode is {other}"))),
    };
    Ok(vec![y, k, v, shown])
}

/// Operand `i` as [batch, heads, length, width].
fn by_heads(cx: &mut Context, node: &NodeView<'_>, i: usize, attribute: &str) -> Result<Operand> {
    let x = node.input(i)?;
    let shape = cx.shape(x).clone();
    match shape.0[..] {
        [_, _, _, _] => Ok(x.clone()),
        [batch, length, width] => {
            let stated = node.int(attribute)?.and_then(|h| usize::try_from(h).ok()).filter(|&h| h > 0);
            let heads = stated.filter(|&h| width.is_multiple_of(h));
            let heads = heads.ok_or_else(|| Refusal::invalid(format!("its `{attribute}` does not divide {width}")))?;
            let split = NnOp::Reshape { shape: signed(&[batch, length, heads, width / heads]) };
            let x = cx.push(split, &[x])?;
            cx.push(NnOp::Transpose { perm: vec![0, 2, 1, 3] }, &[&x])
        }
        _ => Err(Refusal::invalid(format!("an operand of shape {shape}"))),
    }
}

/// Keys or values behind those of earlier calls, and how many these are.
fn with_past(cx: &mut Context, x: Operand, past: Option<&Operand>) -> Result<(Operand, usize)> {
    let Some(past) = past else { return Ok((x, 0)) };
    let shape = cx.shape(past).clone();
    let length = *shape.0.get(2).ok_or_else(|| Refusal::invalid(format!("a past of shape {shape}")))?;
    Ok((cx.push(NnOp::Concat { axis: 2 }, &[past, &x])?, length))
}

/// Every head of keys or values repeated for the heads of queries that share it.
fn for_each_head(cx: &mut Context, x: &Operand, extents: &Extents) -> Result<Operand> {
    if extents.heads == extents.kv_heads {
        return Ok(x.clone());
    }
    let group = extents.heads / extents.kv_heads;
    let indices: Vec<i64> = (0..extents.heads).map(|h| (h / group) as i64).collect();
    cx.push(NnOp::Gather { axis: 1, indices, shape: vec![extents.heads as i64] }, &[x])
}

/// What is added to the scores.
struct Bias {
    /// 0 and -∞, constant.
    mask: Option<Operand>,
    /// 1 for queries that see a key, 0 for those that see none, where there are any.
    blind: Option<Operand>,
    /// A mask of numbers, which may be encrypted.
    added: Option<Operand>,
}

fn bias(cx: &mut Context, node: &NodeView<'_>, extents: &Extents) -> Result<Bias> {
    let Extents { batch, heads, queries, keys, .. } = *extents;
    let lengths = node.ints_input(6, "nonpad_kv_seqlen")?.map(|t| t.data.to_vec());
    let (causal, left, right) = (
        node.flag("is_causal", false)?,
        node.int("left_window_size")?.unwrap_or(-1),
        node.int("right_window_size")?.unwrap_or(-1),
    );
    let (given, mut added) = match node.optional(3) {
        Some(Operand::Known(known)) => {
            let visible: Vec<f32> = match known {
                Known::Ints(t) => t.data.iter().map(|&t| if t != 0 { 0.0 } else { f32::NEG_INFINITY }).collect(),
                Known::Floats(t) => t.data().to_vec(),
            };
            (Some(Tensor::new(known.shape().clone(), visible)), None)
        }
        Some(value) => (None, Some(value.clone())),
        None => (None, None),
    };
    if let Some(mask) = &mut added {
        let shape = cx.shape(mask).clone();
        let short = shape.0.last().map_or(0, |&n| if n == 1 { 0 } else { keys.saturating_sub(n) });
        if short > 0 {
            // Keys beyond the end of the mask are hidden.
            let mut pads = vec![0; 2 * shape.rank()];
            pads[2 * shape.rank() - 1] = short as i64;
            let op = NnOp::Pad { pads, mode: PadMode::Constant, value: F64(f64::NEG_INFINITY) };
            *mask = cx.push(op, &[mask])?;
        }
    }
    if given.is_none() && lengths.is_none() && !causal && left < 0 && right < 0 {
        return Ok(Bias { mask: None, blind: None, added });
    }
    if lengths.as_ref().is_some_and(|l| l.len() != batch) {
        return Err(Refusal::invalid("its nonpad_kv_seqlen is not one length per batch"));
    }
    let shape = Shape(vec![batch, heads, queries, keys]);
    cx.take_elements(&shape)?;
    let given = given.map(|mask| padded(&mask, &shape)).transpose()?;
    let mut data = Vec::with_capacity(shape.len());
    for at in 0..shape.len() {
        let (b, i, j) = (at / (heads * queries * keys), at / keys % queries, (at % keys) as i64);
        let length = lengths.as_ref().map(|lengths| lengths[b]);
        let offset = length.map_or(extents.past as i64, |n| n.saturating_sub(queries as i64));
        let distance = (i as i64).saturating_add(offset).saturating_sub(j);
        let hidden = (causal && distance < 0)
            || (left >= 0 && distance > left)
            || (right >= 0 && distance < -right)
            || length.is_some_and(|n| j >= n);
        data.push(if hidden { f32::NEG_INFINITY } else { given.as_ref().map_or(0.0, |mask| mask[at]) });
    }
    let mut seeing = vec![1.0; batch * heads * queries];
    for (row, sees) in data.chunks_mut(keys.max(1)).zip(&mut seeing) {
        if row.iter().all(|&x| x == f32::NEG_INFINITY) {
            row.fill(0.0);
            *sees = 0.0;
        }
    }
    let blind = seeing.contains(&0.0).then(|| cx.constant([batch, heads, queries, 1], seeing)).transpose()?;
    Ok(Bias { mask: Some(cx.constant(shape, data)?), blind, added })
}

/// A mask broadcast to `shape`; keys beyond its end are hidden.
fn padded(mask: &Tensor, shape: &Shape) -> Result<Vec<f32>> {
    let keys = shape.0[3];
    let mismatch = || Refusal::invalid(format!("a mask of shape {} over scores of shape {shape}", mask.shape()));
    let own = mask.shape().0.last().copied().ok_or_else(mismatch)?;
    let mut extents = mask.shape().clone();
    let last = extents.rank() - 1;
    let mut data = mask.data().to_vec();
    if own != 1 && own < keys {
        extents.0[last] = keys;
        data = mask
            .data()
            .chunks(own.max(1))
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(f32::NEG_INFINITY, keys - own)))
            .collect();
    }
    if !extents.broadcasts_to(shape) {
        return Err(mismatch());
    }
    known::zip(&[(&extents, &data[..])], shape, |x| Some(x[0])).ok_or_else(too_large)
}
