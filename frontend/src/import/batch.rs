//! Which dimension is the batch: the one along which nothing is mixed, so that one image is a network of its own.

use fhec_ir::nn::{NnOp, TensorTy};
use fhec_ir::{Entity, Issue, Loc, Module, Nn, Node, OpInfo, Operands, Port, Shape, Tensor, TypeError, Value, io};

use super::input;
use crate::proto;

/// Where the batch of an input lies in a value.
#[derive(Clone, Debug, PartialEq)]
enum Track {
    /// The value does not depend on the input.
    Free,
    /// In one of these dimensions; where extents of 1 lie side by side a reshape leaves open in which.
    At(Vec<usize>),
    /// A reshape has merged it with other dimensions.
    Lost,
}

/// A network of one image, of a model whose inputs hold several.
#[derive(Clone, Debug)]
pub struct FixedBatch {
    /// Images in the inputs of the model.
    pub extent: usize,
    /// The network of one of them.
    pub module: Module<Nn>,
}

/// Every place where a dimension without a fixed extent, which was taken for the batch, is something else.
pub(super) fn issues(module: &Module<Nn>, graph: &proto::Graph) -> Vec<Issue> {
    let symbols: Vec<_> = input::of(graph).map(|info| (info, input::symbolic(info))).collect();
    let Some((info, (d, symbol))) = symbols.iter().find_map(|(info, s)| s.map(|s| (*info, s))) else {
        return Vec::new();
    };
    let repair = "fix its extent: export with a fixed size, or use `onnxruntime.tools.make_dynamic_shape_fixed`";
    let what = format!("dimension {d}{} of input `{}`", input::quoted(symbol), info.name);
    let starts: Vec<Track> = symbols.iter().map(|(_, s)| s.map_or(Track::Free, |(d, _)| Track::At(vec![d]))).collect();
    match tracks(module, &starts, 1, |track| track) {
        Err((node, reason)) => {
            let node = module.func.node(node);
            let reason = format!("{what} has no fixed extent, and is no batch: the node {reason}");
            vec![Issue::new(&node.loc, node.op.mnemonic(), reason, repair)]
        }
        Ok(tracks) => {
            let followed = |v: &Value| !matches!(tracks[v.index()], Track::Lost);
            // The leading dimension is the batch unless something contradicts; any other one must prove it.
            let proven = symbols.iter().all(|(_, s)| s.is_none_or(|(d, _)| d == 0))
                || module.func.results().iter().all(followed);
            if proven {
                return Vec::new();
            }
            let reason = format!("{what} has no fixed extent; only the batch may be symbolic");
            vec![Issue::new(&Loc::onnx(&info.name), "input", reason, repair)]
        }
    }
}

/// The network of one image, if all inputs hold the same number of images, more than one, in their leading dimension and
/// nothing in the network mixes them.
pub fn without_batch(module: &Module<Nn>) -> Option<FixedBatch> {
    let leading =
        |v: &Value| module.func.ty(*v).0.0.split_first().filter(|(_, rest)| !rest.is_empty()).map(|(n, _)| *n);
    let params = module.func.params();
    let extent = params.first().and_then(leading).filter(|&n| n > 1)?;
    if params.iter().any(|p| leading(p) != Some(extent)) {
        return None;
    }
    let starts = vec![Track::At(vec![0]); params.len()];
    let tracks = tracks(module, &starts, extent, |track| track).ok()?;
    let at: Vec<Option<usize>> = tracks
        .iter()
        .map(|track| match track {
            Track::At(list) => list.first().copied(),
            _ => None,
        })
        .collect();
    if module.func.results().iter().any(|r| tracks[r.index()] == Track::Lost) {
        return None;
    }
    single(module, &at, extent).map(|module| FixedBatch { extent, module })
}

/// The dimension in which the batch lies in a value, if the value depends on an input.
pub(crate) type BatchPlace = Option<usize>;

/// Where the batch lies in every live value, if every input has an extent of 1 in its leading dimension, that is the batch, and the
/// network computes the images of one of any extent apart.
pub(crate) fn batch_places(module: &Module<Nn>) -> Option<Vec<BatchPlace>> {
    let params = module.func.params();
    if params.is_empty() || params.iter().any(|&p| module.func.ty(p).0.0.first() != Some(&1)) {
        return None;
    }
    // With an extent of 1 a reshape leaves open where the batch goes, but it must be written down: the first dimension
    // is the usual place.
    let first = |track| match track {
        Track::At(mut list) => {
            list.truncate(1);
            Track::At(list)
        }
        other => other,
    };
    let tracks = tracks(module, &vec![Track::At(vec![0]); params.len()], 1, first).ok()?;
    let place = |track: &Track| match track {
        Track::At(list) => list.first().copied(),
        Track::Free | Track::Lost => None,
    };
    let lost = module.func.results().iter().any(|r| tracks[r.index()] == Track::Lost);
    (!lost).then(|| tracks.iter().map(place).collect())
}

/// The network with a leading dimension of 1 at all ports, if theirs have one extent in common, more than 1, which would pass for
/// images of one run: a network without a batch, or one that mixes its images.
///
/// # Errors
/// A module that is ill-typed.
pub fn as_one_image(module: &Module<Nn>) -> Result<Option<Module<Nn>>, TypeError> {
    if io::batch(module.inputs.iter().chain(&module.outputs)) < 2 {
        return Ok(None);
    }
    let lead = |shape: &Shape| Shape([&[1], &shape.0[..]].concat());
    let reshape = |shape: &Shape| NnOp::Reshape { shape: shape.0.iter().map(|&d| d as i64).collect() };
    let mut out = Module::<Nn>::new(module.func.name.clone());
    out.consts = module.consts.clone();
    let mut map: Vec<Value> = Vec::with_capacity(module.func.len());
    for (_, node) in module.func.iter() {
        let new = if node.op.as_input().is_some() {
            let param = out.func.add_param(TensorTy(lead(&node.ty.0)), node.loc.clone());
            out.push(reshape(&node.ty.0), [param], node.loc.clone())?
        } else {
            let operands: Operands = node.operands.iter().map(|o| map[o.index()]).collect();
            out.push(node.op.clone(), operands, node.loc.clone())?
        };
        map.push(new);
    }
    let mut results = Vec::with_capacity(module.outputs.len());
    for result in module.func.results() {
        let node = module.func.node(*result);
        results.push(out.push(reshape(&lead(&node.ty.0)), [map[result.index()]], node.loc.clone())?);
    }
    out.func.set_results(results);
    let port = |port: &Port| Port { shape: lead(&port.shape), ..port.clone() };
    out.inputs = module.inputs.iter().map(port).collect();
    out.outputs = module.outputs.iter().map(port).collect();
    Ok(Some(out))
}

/// `module` with an extent of 1 in place of `extent` where the batch lies.
fn single(module: &Module<Nn>, at: &[Option<usize>], extent: usize) -> Option<Module<Nn>> {
    let mut out = Module::<Nn>::new(module.func.name.clone());
    out.consts = module.consts.clone();
    let mut map: Vec<Option<Value>> = vec![None; module.func.len()];
    let live = module.func.live();
    for (v, node) in module.func.iter().filter(|(v, _)| live[v.index()]) {
        let batch = at[v.index()];
        let new = if let (Some(index), Some(batch)) = (node.op.as_input(), batch) {
            let mut shape = node.ty.0.clone();
            shape.0[batch] = 1;
            let port = &module.inputs[index as usize];
            out.inputs.push(Port { shape: shape.clone(), ..port.clone() });
            out.func.add_param(TensorTy(shape), node.loc.clone())
        } else {
            let mut operands = Operands::new();
            for o in &node.operands {
                let new = map[o.index()]?;
                let constant = module.func.node(*o);
                operands.push(match (&constant.op, batch) {
                    (NnOp::Const { value }, Some(batch)) if stretches(&node.op, &constant.ty.0) => {
                        let tensor = module.consts.tensor(*value);
                        match row(tensor, &node.ty.0, batch, extent)? {
                            None => new,
                            Some(row) => {
                                let value = out.consts.insert(constant.loc.name(), row);
                                out.push(NnOp::Const { value }, [], constant.loc.clone()).ok()?
                            }
                        }
                    }
                    _ => new,
                });
            }
            out.push(of_one(node, batch, at), operands, node.loc.clone()).ok()?
        };
        map[v.index()] = Some(new);
    }
    let results = module.func.results().iter().map(|r| map[r.index()]).collect::<Option<Vec<_>>>()?;
    for (port, result) in module.outputs.iter().zip(&results) {
        out.outputs.push(Port { shape: out.func.ty(*result).0.clone(), ..port.clone() });
    }
    out.func.set_results(results);
    Some(out)
}

/// Whether a constant operand of this shape is broadcast to the result.
fn stretches(op: &NnOp, constant: &Shape) -> bool {
    match op {
        NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} | NnOp::Div {} | NnOp::Pow {} | NnOp::PRelu {} => true,
        NnOp::LayerNorm { .. } | NnOp::Concat { .. } => true,
        NnOp::MatMul {} => constant.rank() > 2,
        _ => false,
    }
}

/// The part of a constant for one image, `Some(None)` where it has no extent for the batch, `None` where images differ.
fn row(tensor: &Tensor, out: &Shape, batch: usize, extent: usize) -> Option<Option<Tensor>> {
    let shape = tensor.shape();
    let Some(d) = (batch + shape.rank()).checked_sub(out.rank()).filter(|&d| shape.0[d] == extent) else {
        return Some(None);
    };
    let inner: usize = shape.0[d + 1..].iter().product();
    let mut data = Vec::with_capacity(tensor.data().len() / extent);
    for block in tensor.data().chunks((inner * extent).max(1)) {
        let first = &block[..inner];
        if block.chunks(inner.max(1)).any(|row| row != first) {
            return None;
        }
        data.extend_from_slice(first);
    }
    let mut one = shape.clone();
    one.0[d] = 1;
    Some(Some(Tensor::new(one, data)))
}

/// The op of a node for one image.
fn of_one(node: &Node<Nn>, batch: Option<usize>, at: &[Option<usize>]) -> NnOp {
    let mut op = node.op.clone();
    match (&mut op, batch) {
        (NnOp::Reshape { shape } | NnOp::Expand { shape }, Some(batch)) => shape[batch] = 1,
        (NnOp::Slice { sizes, .. }, Some(_)) => {
            if let Some(p) = at[node.operands[0].index()] {
                sizes[p] = 1;
            }
        }
        _ => {}
    }
    op
}

/// Where the batch lies in every live value, from where it lies in the inputs; or the first node that mixes images, and what
/// it does.
/// `narrow` may choose among the dimensions that a value leaves open.
fn tracks(
    module: &Module<Nn>,
    inputs: &[Track],
    extent: usize,
    narrow: impl Fn(Track) -> Track,
) -> Result<Vec<Track>, (Value, String)> {
    let func = &module.func;
    let live = func.live();
    let mut tracks: Vec<Track> = vec![Track::Free; func.len()];
    for (v, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        tracks[v.index()] = match node.op.as_input() {
            Some(index) => inputs.get(index as usize).cloned().unwrap_or(Track::Free),
            None => {
                let operands: Vec<(&Shape, &Track)> =
                    node.operands.iter().map(|o| (&func.ty(*o).0, &tracks[o.index()])).collect();
                narrow(follow(&node.op, &operands, &node.ty.0, extent).map_err(|reason| (v, reason))?)
            }
        };
    }
    Ok(tracks)
}

/// Where the batch lies in the result of an op.
fn follow(op: &NnOp, operands: &[(&Shape, &Track)], out: &Shape, extent: usize) -> Result<Track, String> {
    if operands.iter().all(|(_, track)| **track == Track::Free) {
        return Ok(Track::Free);
    }
    if operands.iter().any(|(_, track)| **track == Track::Lost) {
        return Ok(Track::Lost);
    }
    let x = operands[0].0;
    let own: &[usize] = match operands[0].1 {
        Track::At(list) => list,
        _ => &[],
    };
    let dim = |axis: i64| if axis < 0 { (axis + x.rank() as i64) as usize } else { axis as usize };
    let keep = |test: &dyn Fn(usize) -> bool, reason: &str| -> Result<Vec<usize>, String> {
        let kept: Vec<usize> = own.iter().copied().filter(|&p| test(p)).collect();
        if kept.is_empty() { Err(reason.to_string()) } else { Ok(kept) }
    };
    let without = |list: Vec<usize>, removed: &[usize]| {
        list.into_iter().map(|p| p - removed.iter().filter(|&&r| r < p).count()).collect::<Vec<_>>()
    };
    Ok(Track::At(match op {
        NnOp::Activation { .. } | NnOp::Composed { .. } | NnOp::Neg {} | NnOp::Polynomial { .. } => own.to_vec(),
        NnOp::Add {} | NnOp::Sub {} | NnOp::Mul {} | NnOp::Div {} | NnOp::Pow {} | NnOp::PRelu {} => {
            return broadcast(operands, out, extent);
        }
        NnOp::BatchNorm { .. } => keep(&|p| p != 1, "has parameters for each of its elements")?,
        NnOp::LayerNorm { axis, .. } => keep(&|p| p < dim(*axis), "normalises over it")?,
        NnOp::Softmax { axis } | NnOp::LogSoftmax { axis } => keep(&|p| p != dim(*axis), "divides by a sum over it")?,
        NnOp::ArgMax { axis, keepdims } => {
            let kept = keep(&|p| p != dim(*axis), "takes the largest along it")?;
            if *keepdims { kept } else { without(kept, &[dim(*axis)]) }
        }
        NnOp::MatMul {} => return product(operands, out, extent),
        NnOp::Conv { .. } => keep(&|p| p == 0, "convolves along it, or has it in its weights")?,
        NnOp::AvgPool { .. } | NnOp::MaxPool { .. } => keep(&|p| p < 2, "pools over it")?,
        NnOp::ReduceMean { axes, keepdims } | NnOp::ReduceSum { axes, keepdims } => {
            let axes: Vec<usize> = axes.iter().map(|&a| dim(a)).collect();
            let kept = keep(&|p| !axes.contains(&p), "sums over it")?;
            if *keepdims { kept } else { without(kept, &axes) }
        }
        NnOp::Reshape { .. } => {
            let before = |shape: &Shape, d: usize| shape.0[..d].iter().product::<usize>();
            let places = (0..out.rank())
                .filter(|&q| out.0[q] == extent && own.iter().any(|&p| before(x, p) == before(out, q)))
                .collect::<Vec<_>>();
            if places.is_empty() {
                return Ok(Track::Lost);
            }
            places
        }
        NnOp::Transpose { perm } => (0..perm.len()).filter(|&q| own.contains(&dim(perm[q]))).collect(),
        NnOp::Slice { starts, sizes, steps } => {
            let whole = |p: usize| sizes[p] == extent as i64 && starts[p] == 0 && (steps[p] == 1 || extent == 1);
            keep(&whole, "takes part of it")?
        }
        NnOp::Pad { pads, .. } => keep(&|p| pads[p] == 0 && pads[x.rank() + p] == 0, "pads it")?,
        NnOp::Concat { axis } => {
            let axis = dim(*axis);
            let fits = |p: &usize| {
                *p != axis
                    && operands.iter().all(|(shape, track)| match track {
                        Track::At(list) => list.contains(p),
                        _ => shape.0[*p] == extent,
                    })
            };
            let kept: Vec<usize> = (0..out.rank()).filter(fits).collect();
            if kept.is_empty() {
                return Err("joins tensors along it".into());
            }
            kept
        }
        NnOp::Gather { axis, shape, .. } => {
            let axis = dim(*axis);
            let kept = keep(&|p| p != axis, "picks elements along it")?;
            kept.into_iter().map(|p| if p > axis { p + shape.len() - 1 } else { p }).collect()
        }
        NnOp::Expand { .. } => return broadcast(operands, out, extent),
        NnOp::Input { .. } | NnOp::Const { .. } => return Ok(Track::Free),
    }))
}

/// Operands that are broadcast to `out`: the batch lies in the same dimension of all that have it, and no other stretches it.
fn broadcast(operands: &[(&Shape, &Track)], out: &Shape, extent: usize) -> Result<Track, String> {
    let fits = |q: &usize| {
        out.0[*q] == extent
            && operands.iter().all(|(shape, track)| {
                let place = (q + shape.rank()).checked_sub(out.rank());
                match track {
                    Track::At(list) => place.is_some_and(|p| list.contains(&p)),
                    _ => place.is_none_or(|p| shape.0[p] == 1 || shape.0[p] == extent),
                }
            })
    };
    let places: Vec<usize> = (0..out.rank()).filter(fits).collect();
    if places.is_empty() { Err("pairs its elements with others".into()) } else { Ok(Track::At(places)) }
}

/// A matrix product: rows of the left operand, columns of the right one, or dimensions in front of both.
fn product(operands: &[(&Shape, &Track)], out: &Shape, extent: usize) -> Result<Track, String> {
    let (a, b) = (operands[0].0, operands[1].0);
    let added = |shape: &Shape| usize::from(shape.rank() == 1);
    // Dimensions of the result before the vectors' own fell away.
    let full = out.rank() + added(a) + added(b);
    let fits = |q: &usize| {
        let of = |(shape, track): &(&Shape, &Track), left: bool| {
            let rank = shape.rank();
            let inner = if left { rank - 1 } else { rank.saturating_sub(2) };
            let place = if rank == 1 { None } else { (q + rank).checked_sub(full) };
            let outer = *q + 2 < full;
            let place = place.filter(|&p| p != inner);
            // The left operand has no columns of the result, the right one no rows.
            let own = outer || (left && *q + 2 == full) || (!left && *q + 1 == full);
            match track {
                Track::At(list) => own && place.is_some_and(|p| list.contains(&p)),
                _ => !own || !outer || place.is_none_or(|p| shape.0[p] == 1 || shape.0[p] == extent),
            }
        };
        of(&operands[0], true) && of(&operands[1], false)
    };
    let places: Vec<usize> = (0..full).filter(fits).collect();
    if places.is_empty() {
        return Err("multiplies along it".into());
    }
    let dropped = |q: usize| if added(a) == 1 && q + 1 == full { q - 1 } else { q };
    Ok(Track::At(places.into_iter().map(dropped).collect()))
}
