//! Exports ops that only move elements.

use fhec_ir::nn::{NnOp, PadMode};

use super::builder::{Site, signed};
use crate::proto::Attribute;

pub(super) fn write(site: &mut Site<'_, '_>, op: &NnOp) {
    match op {
        NnOp::Reshape { .. } => reshape(site),
        NnOp::Transpose { perm } => transpose(site, perm),
        NnOp::Slice { starts, sizes, steps } => slice(site, starts, sizes, steps),
        NnOp::Pad { pads, mode, value } => pad(site, pads, *mode, value.0),
        NnOp::Concat { axis } => concat(site, *axis),
        NnOp::Gather { axis, indices, shape } => {
            let x = site.x();
            let indices = site.shaped_ints("indices", shape, indices);
            site.last("Gather", &[&x, &indices], vec![Attribute::int("axis", *axis)]);
        }
        NnOp::Expand { .. } => {
            let x = site.x();
            let mut to = signed(site.out_shape());
            if let Some(d) = site.out_batch() {
                // An extent of 1 leaves that of the operand.
                to[d] = 1;
            }
            let to = site.ints("shape", &to);
            site.last("Expand", &[&x, &to], vec![]);
        }
        _ => {}
    }
}

/// Dimensions of a tensor of rank `rank`, negative ones counted from the end.
pub(super) fn dims(axes: &[i64], rank: usize) -> Vec<usize> {
    axes.iter().map(|&a| (if a < 0 { a + rank as i64 } else { a }) as usize).collect()
}

fn reshape(site: &mut Site<'_, '_>) {
    let x = site.x();
    let mut to = signed(site.out_shape());
    // Without the attribute an extent of 0 is that of the operand.
    let empty = to.contains(&0);
    if let Some(d) = site.out_batch() {
        to[d] = -1;
    }
    let to = site.ints("shape", &to);
    let attributes = if empty { vec![Attribute::int("allowzero", 1)] } else { vec![] };
    site.last("Reshape", &[&x, &to], attributes);
}

fn transpose(site: &mut Site<'_, '_>, perm: &[i64]) {
    let x = site.x();
    let perm: Vec<i64> = dims(perm, perm.len()).into_iter().map(|p| p as i64).collect();
    if perm.is_empty() {
        return site.last("Identity", &[&x], vec![]);
    }
    site.last("Transpose", &[&x], vec![Attribute::ints("perm", &perm)]);
}

/// Dimensions that stay whole are left out.
fn slice(site: &mut Site<'_, '_>, starts: &[i64], sizes: &[i64], steps: &[i64]) {
    let x = site.x();
    let extents = signed(site.shape(0));
    let cut = |d: &usize| !(sizes[*d] == extents[*d] && (steps[*d] == 1 || sizes[*d] <= 1));
    let axes: Vec<usize> = (0..extents.len()).filter(cut).collect();
    if axes.is_empty() {
        return site.last("Identity", &[&x], vec![]);
    }
    let end = |d: usize| match starts[d] + sizes[d] * steps[d] {
        _ if sizes[d] == 0 => 0,
        // A negative end would count from the end of the dimension.
        end if end < 0 => i64::MIN,
        end => end,
    };
    let of = |list: &dyn Fn(usize) -> i64| axes.iter().map(|&d| list(d)).collect::<Vec<i64>>();
    let starts = site.ints("starts", &of(&|d| if sizes[d] == 0 { 0 } else { starts[d] }));
    let ends = site.ints("ends", &of(&end));
    let steps = site.ints("steps", &of(&|d| if sizes[d] == 0 { 1 } else { steps[d] }));
    let axes = site.ints("axes", &of(&|d| d as i64));
    site.last("Slice", &[&x, &starts, &ends, &axes, &steps], vec![]);
}

fn pad(site: &mut Site<'_, '_>, pads: &[i64], mode: PadMode, value: f64) {
    let x = site.x();
    let pads = site.ints("pads", pads);
    let mode = match mode {
        PadMode::Constant => {
            let value = site.scalar("value", value as f32);
            return site.last("Pad", &[&x, &pads, &value], vec![Attribute::text("mode", "constant")]);
        }
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Wrap => "wrap",
    };
    site.last("Pad", &[&x, &pads], vec![Attribute::text("mode", mode)]);
}

/// A constant among batches of open extent is repeated to as many images as they have.
fn concat(site: &mut Site<'_, '_>, axis: i64) {
    let batched = (0..site.arity()).find_map(|k| site.batch(k).map(|d| (k, d)));
    let mut inputs: Vec<String> = (0..site.arity()).map(|k| site.operand(k, "part")).collect();
    if let Some((k, d)) = batched {
        let range = vec![Attribute::int("start", d as i64), Attribute::int("end", d as i64 + 1)];
        let mut images = None;
        for constant in (0..site.arity()).filter(|&k| site.batch(k).is_none()).collect::<Vec<_>>() {
            let images = images.get_or_insert_with(|| site.step("Shape", &[&inputs[k]], range.clone())).clone();
            let extents = signed(site.shape(constant));
            let (before, after) = (site.ints("before", &extents[..d]), site.ints("after", &extents[d + 1..]));
            let shape = site.step("Concat", &[&before, &images, &after], vec![Attribute::int("axis", 0)]);
            inputs[constant] = site.step("Expand", &[&inputs[constant], &shape], vec![]);
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    site.last("Concat", &inputs, vec![Attribute::int("axis", axis)]);
}
