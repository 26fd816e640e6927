//! The shape rules of `nn` compute the shape of every result from the shapes of its operands.

use super::{NnOp, PadMode};
use crate::consts::ConstPool;
use crate::tensor::Shape;

type Result<T> = std::result::Result<T, String>;

pub(super) fn infer(op: &NnOp, shapes: &[&Shape], consts: &ConstPool) -> Result<Shape> {
    let shape = shape_of(op, shapes, consts)?;
    if shape.is_bounded() {
        Ok(shape)
    } else {
        Err(format!("`{}` would make a tensor of shape {shape}", crate::dialect::OpInfo::mnemonic(op)))
    }
}

fn shape_of(op: &NnOp, shapes: &[&Shape], consts: &ConstPool) -> Result<Shape> {
    match op {
        NnOp::Input { .. } => Err("an input has a declared type".into()),
        NnOp::Const { value } => Ok(consts.tensor(*value).shape().clone()),
        NnOp::Conv { strides, pads, dilations, groups } => conv(shapes, strides, pads, dilations, *groups),
        NnOp::MatMul {} => matmul(shapes[0], shapes[1]),
        NnOp::BatchNorm { .. } => {
            let channels = channels(shapes[0])?;
            for s in &shapes[1..] {
                if s.len() != channels {
                    return Err(format!("batch-norm parameter {s} for {channels} channels"));
                }
            }
            Ok(shapes[0].clone())
        }
        NnOp::LayerNorm { axis, .. } => {
            let axis = dim(*axis, shapes[0])?;
            for s in &shapes[1..] {
                if !s.broadcasts_to(&Shape(shapes[0].0[axis..].to_vec())) && !s.broadcasts_to(shapes[0]) {
                    return Err(format!("layer-norm parameter {s} over {}", shapes[0]));
                }
            }
            Ok(shapes[0].clone())
        }
        NnOp::Softmax { axis } | NnOp::LogSoftmax { axis } => dim(*axis, shapes[0]).map(|_| shapes[0].clone()),
        NnOp::ArgMax { axis, keepdims } => {
            let axis = dim(*axis, shapes[0])?;
            if shapes[0].0[axis] == 0 {
                return Err(format!("{} has no largest element along dimension {axis}", shapes[0]));
            }
            let mut out = shapes[0].clone();
            if *keepdims {
                out.0[axis] = 1;
            } else {
                out.0.remove(axis);
            }
            Ok(out)
        }
        NnOp::Activation { .. } | NnOp::Composed { .. } | NnOp::Neg {} => Ok(shapes[0].clone()),
        NnOp::Polynomial { rows, coeffs, .. } => {
            let rows = usize::try_from(*rows).map_err(|_| "negative rows")?;
            if rows == 0 || coeffs.is_empty() || coeffs.len() % rows != 0 {
                return Err(format!("{} coefficients for {rows} rows", coeffs.len()));
            }
            if rows != 1 && rows != channels(shapes[0])? {
                return Err(format!("{rows} polynomials for input {}", shapes[0]));
            }
            Ok(shapes[0].clone())
        }
        NnOp::PRelu {} => {
            if shapes[1].broadcasts_to(shapes[0]) {
                Ok(shapes[0].clone())
            } else {
                Err(format!("slope {} does not broadcast to {}", shapes[1], shapes[0]))
            }
        }
        NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} | NnOp::Div {} | NnOp::Pow {} => shapes[0]
            .broadcast(shapes[1])
            .ok_or_else(|| format!("operands {} and {} do not broadcast", shapes[0], shapes[1])),
        NnOp::AvgPool { kernel, strides, pads, dilations, ceil, .. }
        | NnOp::MaxPool { kernel, strides, pads, dilations, ceil } => {
            let x = shapes[0];
            let spatial = spatial(x, kernel.len())?;
            let out = windows(&spatial, kernel, strides, pads, dilations, *ceil)?;
            Ok(Shape([&x.0[..2], &out].concat()))
        }
        NnOp::ReduceMean { axes, keepdims } | NnOp::ReduceSum { axes, keepdims } => {
            let x = shapes[0];
            let axes = axes.iter().map(|&a| dim(a, x)).collect::<Result<Vec<_>>>()?;
            let kept = (0..x.rank()).filter_map(|d| match (axes.contains(&d), keepdims) {
                (true, true) => Some(1),
                (true, false) => None,
                (false, _) => Some(x.0[d]),
            });
            Ok(Shape(kept.collect()))
        }
        NnOp::Reshape { shape } => {
            let to = dims(shape)?;
            if to.checked_len() == Some(shapes[0].len()) {
                Ok(to)
            } else {
                Err(format!("{} elements do not fill {to}", shapes[0].len()))
            }
        }
        NnOp::Transpose { perm } => {
            let x = shapes[0];
            let perm = perm.iter().map(|&p| dim(p, x)).collect::<Result<Vec<_>>>()?;
            let mut seen = perm.clone();
            seen.sort_unstable();
            if seen != (0..x.rank()).collect::<Vec<_>>() {
                return Err(format!("{perm:?} does not permute the dimensions of {x}"));
            }
            Ok(Shape(perm.iter().map(|&p| x.0[p]).collect()))
        }
        NnOp::Slice { starts, sizes, steps } => slice(shapes[0], starts, sizes, steps),
        NnOp::Pad { pads, mode, .. } => pad(shapes[0], pads, *mode),
        NnOp::Concat { axis } => {
            let axis = dim(*axis, shapes[0])?;
            let mut out = shapes[0].clone();
            for s in &shapes[1..] {
                let fits = s.rank() == out.rank() && (0..s.rank()).all(|d| d == axis || s.0[d] == out.0[d]);
                if !fits {
                    return Err(format!("{s} and {} do not concatenate along dimension {axis}", shapes[0]));
                }
                out.0[axis] += s.0[axis];
            }
            Ok(out)
        }
        NnOp::Gather { axis, indices, shape } => {
            let x = shapes[0];
            let axis = dim(*axis, x)?;
            let picked = dims(shape)?;
            if picked.checked_len() != Some(indices.len()) {
                return Err(format!("{} indices do not fill {picked}", indices.len()));
            }
            if let Some(i) = indices.iter().find(|&&i| i < 0 || i as usize >= x.0[axis]) {
                return Err(format!("index {i} outside dimension {axis} of {x}"));
            }
            Ok(Shape([&x.0[..axis], &picked.0, &x.0[axis + 1..]].concat()))
        }
        NnOp::Expand { shape } => {
            let to = dims(shape)?;
            if shapes[0].broadcasts_to(&to) { Ok(to) } else { Err(format!("{} does not expand to {to}", shapes[0])) }
        }
    }
}

fn dims(list: &[i64]) -> Result<Shape> {
    list.iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("negative extent in {list:?}")))
        .collect::<Result<Vec<_>>>()
        .map(Shape)
}

/// Dimension `axis`, negative ones counted from the end.
fn dim(axis: i64, shape: &Shape) -> Result<usize> {
    let rank = shape.rank() as i64;
    let d = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&d) { Ok(d as usize) } else { Err(format!("{shape} has no dimension {axis}")) }
}

fn channels(shape: &Shape) -> Result<usize> {
    shape.0.get(1).copied().ok_or_else(|| format!("{shape} has no channel dimension"))
}

fn spatial(shape: &Shape, rank: usize) -> Result<Vec<usize>> {
    if rank > 0 && shape.rank() == rank + 2 {
        Ok(shape.0[2..].to_vec())
    } else {
        Err(format!("{rank}-dimensional windows over {shape}"))
    }
}

/// Output extents of sliding windows.
fn windows(
    spatial: &[usize],
    kernel: &[i64],
    strides: &[i64],
    pads: &[i64],
    dilations: &[i64],
    ceil: bool,
) -> Result<Vec<usize>> {
    let rank = spatial.len();
    if kernel.len() != rank || strides.len() != rank || dilations.len() != rank || pads.len() != 2 * rank {
        return Err(format!("window attributes do not have {rank} (pads: {}) entries", 2 * rank));
    }
    const LIMIT: i64 = 1 << 24;
    let in_range = |list: &[i64], lo: i64| list.iter().all(|&x| (lo..LIMIT).contains(&x));
    if !in_range(kernel, 1) || !in_range(strides, 1) || !in_range(dilations, 1) || !in_range(pads, 0) {
        return Err("window attributes out of range".into());
    }
    (0..rank)
        .map(|d| {
            let input = spatial[d] as i64;
            let padded = input + pads[d] + pads[rank + d];
            let extent = (kernel[d] - 1) * dilations[d] + 1;
            if padded < extent {
                return Err(format!("window of extent {extent} over {padded} elements"));
            }
            let span = padded - extent;
            let mut out = if ceil { (span + strides[d] - 1) / strides[d] } else { span / strides[d] } + 1;
            // A window that would start in the end padding is dropped (ONNX, ceil_mode).
            if ceil && (out - 1) * strides[d] >= input + pads[d] {
                out -= 1;
            }
            Ok(out as usize)
        })
        .collect()
}

fn conv(shapes: &[&Shape], strides: &[i64], pads: &[i64], dilations: &[i64], groups: i64) -> Result<Shape> {
    let (x, w) = (shapes[0], shapes[1]);
    if w.rank() < 3 {
        return Err(format!("convolution weights of shape {w}"));
    }
    let spatial = spatial(x, w.rank() - 2)?;
    let kernel: Vec<i64> = w.0[2..].iter().map(|&k| k as i64).collect();
    let out = windows(&spatial, &kernel, strides, pads, dilations, false)?;
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0).ok_or("groups must be positive")?;
    if w.0[1].checked_mul(groups) != Some(x.0[1]) || !w.0[0].is_multiple_of(groups) {
        return Err(format!("weights {w} in {groups} groups over input {x}"));
    }
    if let Some(b) = shapes.get(2)
        && b.len() != w.0[0]
    {
        return Err(format!("bias {b} for {} filters", w.0[0]));
    }
    Ok(Shape([&[x.0[0], w.0[0]], out.as_slice()].concat()))
}

fn matmul(a: &Shape, b: &Shape) -> Result<Shape> {
    let mismatch = || format!("{a} and {b} do not multiply");
    if a.rank() == 0 || b.rank() == 0 {
        return Err(mismatch());
    }
    // numpy: a vector on the left is a row, one on the right a column, and the dimension added falls away again.
    let left = if a.rank() == 1 { Shape(vec![1, a.0[0]]) } else { a.clone() };
    let right = if b.rank() == 1 { Shape(vec![b.0[0], 1]) } else { b.clone() };
    let (la, lb) = (left.rank(), right.rank());
    if left.0[la - 1] != right.0[lb - 2] {
        return Err(mismatch());
    }
    let batch = Shape(left.0[..la - 2].to_vec()).broadcast(&Shape(right.0[..lb - 2].to_vec())).ok_or_else(mismatch)?;
    let mut out = batch.0;
    if a.rank() > 1 {
        out.push(left.0[la - 2]);
    }
    if b.rank() > 1 {
        out.push(right.0[lb - 1]);
    }
    Ok(Shape(out))
}

fn slice(x: &Shape, starts: &[i64], sizes: &[i64], steps: &[i64]) -> Result<Shape> {
    if [starts, sizes, steps].iter().any(|l| l.len() != x.rank()) {
        return Err(format!("slice attributes do not cover the {} dimensions of {x}", x.rank()));
    }
    for d in 0..x.rank() {
        let (extent, start, size, step) = (x.0[d] as i64, starts[d], sizes[d], steps[d]);
        let last = size.checked_sub(1).and_then(|n| n.checked_mul(step)).and_then(|n| n.checked_add(start));
        let fits = step != 0
            && (size == 0
                || (size > 0 && (0..extent).contains(&start) && last.is_some_and(|last| (0..extent).contains(&last))));
        if !fits {
            return Err(format!("slice of {size} from {start} by {step} outside dimension {d} of {x}"));
        }
    }
    dims(sizes)
}

fn pad(x: &Shape, pads: &[i64], mode: PadMode) -> Result<Shape> {
    let rank = x.rank();
    if pads.len() != 2 * rank {
        return Err(format!("{} pads for {x}", pads.len()));
    }
    (0..rank)
        .map(|d| {
            let (extent, before, after) = (x.0[d] as i64, pads[d], pads[rank + d]);
            let limit = match mode {
                PadMode::Constant => 1 << 24,
                PadMode::Reflect => extent - 1,
                PadMode::Edge => {
                    if extent > 0 {
                        1 << 24
                    } else {
                        0
                    }
                }
                PadMode::Wrap => extent,
            };
            let out = before.checked_add(after).and_then(|p| p.checked_add(extent));
            match out {
                Some(out) if out >= 0 && before <= limit && after <= limit && before >= -extent && after >= -extent => {
                    Ok(out as usize)
                }
                _ => Err(format!("pads {before} and {after} ({mode}) on dimension {d} of {x}")),
            }
        })
        .collect::<Result<Vec<_>>>()
        .map(Shape)
}
