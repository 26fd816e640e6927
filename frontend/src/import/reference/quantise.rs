//! Quantised weights: integers with a scale and a zero point, of the whole tensor, of each slice along an axis, or of blocks.

use fhec_ir::{Shape, Tensor};

use super::super::context::Context;
use super::super::node::{NodeView, axis};
use super::Rule;
use super::reduce::numbers;
use crate::error::{Refusal, Result};
use crate::known::{IntType, Ints, Known};
use crate::proto::data_type;

pub(super) const RULES: &[(&str, Rule)] = &[("DequantizeLinear", dequantise), ("QuantizeLinear", quantise)];

/// For every element of a tensor of shape `x` the place of its scale in a tensor of shape `scale`.
fn places(node: &NodeView<'_>, x: &Shape, scale: &Shape) -> Result<Vec<usize>> {
    if scale.len() == 1 {
        return Ok(vec![0; x.len()]);
    }
    let along = axis(node.int("axis")?.unwrap_or(1), x.rank())?;
    let block = node.int("block_size")?.unwrap_or(0);
    let inner: usize = x.0[along + 1..].iter().product();
    let mismatch = || Refusal::invalid(format!("scales of shape {scale} for a tensor of shape {x} along axis {along}"));
    if block == 0 {
        if scale.len() != x.0[along] {
            return Err(mismatch());
        }
        return Ok((0..x.len()).map(|i| i / inner % x.0[along]).collect());
    }
    let block = usize::try_from(block).map_err(|_| mismatch())?;
    let blocks = x.0[along].div_ceil(block);
    let mut expected = x.clone();
    expected.0[along] = blocks;
    if *scale != expected {
        return Err(mismatch());
    }
    let place = |i: usize| {
        let (outer, at, rest) = (i / inner / x.0[along], i / inner % x.0[along], i % inner);
        (outer * blocks + at / block) * inner + rest
    };
    Ok((0..x.len()).map(place).collect())
}

/// Operand, scales and zero points, which have the shape of the scales; and the type of the zero points.
type Parts<'a> = (&'a Known, Vec<f64>, Vec<f64>, Vec<usize>, Option<IntType>);

fn parts<'a>(cx: &mut Context, node: &'a NodeView<'_>) -> Result<Parts<'a>> {
    let known = node.known().unwrap_or_default();
    let missing = || Refusal::invalid("its operand or its scale is missing");
    let x = known.first().copied().flatten().ok_or_else(missing)?;
    let scale = known.get(1).copied().flatten().ok_or_else(missing)?;
    cx.take_elements(x.shape())?;
    let places = places(node, x.shape(), scale.shape())?;
    let zero = known.get(2).copied().flatten();
    let scales = numbers(scale);
    let zeros = zero.map_or_else(|| vec![0.0; scales.len()], numbers);
    if zeros.len() != scales.len() {
        return Err(Refusal::invalid("its scales and its zero points differ in number"));
    }
    let ty = match zero {
        Some(Known::Ints(t)) => Some(t.ty),
        _ => None,
    };
    Ok((x, scales, zeros, places, ty))
}

fn dequantise(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let (x, scales, zeros, places, _) = parts(cx, node)?;
    let data: Vec<f32> = numbers(x).iter().zip(places).map(|(x, p)| ((x - zeros[p]) * scales[p]) as f32).collect();
    Ok(vec![Known::Floats(Tensor::new(x.shape().clone(), data))])
}

fn quantise(cx: &mut Context, node: &NodeView<'_>) -> Result<Vec<Known>> {
    let (x, scales, zeros, places, ty) = parts(cx, node)?;
    let stated = node.int("output_dtype")?.and_then(|code| i32::try_from(code).ok()).and_then(IntType::of);
    let ty = ty.or(stated).or(IntType::of(data_type::UINT8)).unwrap_or(IntType::I64);
    let (lo, hi) = ty.range();
    let data: Vec<i64> = numbers(x)
        .iter()
        .zip(places)
        .map(|(x, p)| (((x / scales[p]).round_ties_even() + zeros[p]) as i64).clamp(lo, hi))
        .collect();
    Ok(vec![Known::Ints(Ints { shape: x.shape().clone(), data: data.into(), ty })])
}
