//! Channels brought to a common range, so that one polynomial suits all of them.
//!
//! A polynomial shared by channels of different range resolves the kink of the widest only: its error is the same in all.
//! Functions with f(s·x) = s·f(x) for s > 0 (ReLU, leaky ReLU, |x|) let a channel carry s times its value from the layer
//! that makes it to the layers that use it, where the factor goes into constant weights on both sides. This is the
//! cross-layer equalisation of quantisation (arXiv 1906.04721). The range of a channel is what it is expected to reach, from
//! the extremes of single calibration inputs: what was seen of a channel that seldom varies is too little, and the factor of
//! one too narrow drives it out of the interval on others. The network's results stay the same.

use std::collections::BTreeMap;

use fhec_ir::nn::eval::{self, EvalError};
use fhec_ir::nn::{Activation, NnOp, PadMode};
use fhec_ir::{Entity, Module, Nn, Node, Tensor, TypeError, Value};
use rayon::prelude::*;

use crate::activations::{ApproximateError, ill_typed};
use crate::approx::Tail;

/// Channels narrower than this share of the widest of their activation are widened as if they had it: a channel that
/// hardly varied on calibration data may do so elsewhere.
const NARROWEST: f64 = 1.0 / 64.0;

/// Sets of channels that must carry the same factor, as a union-find over the channels of all values; set 0 carries 1.
struct Channels {
    parents: Vec<usize>,
    /// The first channel of each value.
    starts: Vec<usize>,
}

impl Channels {
    fn new(module: &Module<Nn>) -> Self {
        let mut starts = Vec::with_capacity(module.func.len());
        let mut count = 1;
        for (_, node) in module.func.iter() {
            starts.push(count);
            count += channels(node);
        }
        Self { parents: (0..count).collect(), starts }
    }

    fn root(&self, mut at: usize) -> usize {
        while self.parents[at] != at {
            at = self.parents[at];
        }
        at
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The smaller one stays: set 0 keeps its number.
        self.parents[a.max(b)] = a.min(b);
    }

    fn at(&self, value: Value, channel: usize) -> usize {
        self.starts[value.index()] + channel
    }

    /// No channel of `value` may carry a factor.
    fn pin(&mut self, value: Value, channels: usize) {
        (0..channels).for_each(|c| self.tie(0, self.at(value, c)));
    }
}

/// Elements of dimension 1, which may carry factors.
fn channels(node: &Node<Nn>) -> usize {
    match node.ty.0.0.as_slice() {
        _ if matches!(node.op, NnOp::Const { .. }) => 0,
        [_, channels, ..] => *channels,
        _ => 0,
    }
}

/// A network whose channels are of common range.
#[derive(Clone, Debug)]
pub struct Equalised {
    /// The network, which computes what the given one does.
    pub module: Module<Nn>,
    /// Where each value of the given network went.
    pub moved: BTreeMap<Value, Value>,
}

impl Equalised {
    /// Puts factors into the weights of `module`, from the ranges that its activations see on `samples`.
    ///
    /// # Errors
    /// When the network does not run on the samples.
    pub fn new(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<Self, ApproximateError> {
        let sets = tied(module);
        let factors = factors(&sets, &ranges(module, samples)?);
        let of = |value: Value| -> Vec<f64> {
            let count = channels(module.func.node(value));
            (0..count).map(|c| factors.get(&sets.root(sets.at(value, c))).copied().unwrap_or(1.0)).collect()
        };
        let mut moved = BTreeMap::new();
        let out = module.rebuild::<ApproximateError>(|out, value, node, mut operands| {
            let error = |e: TypeError| -> ApproximateError { ill_typed(&node.loc, &e.to_string()).into() };
            if absorbs(module, node) {
                let (from, to) = (of(node.operands[0]), of(value));
                let mut constant = |at: usize, scaled: Tensor| {
                    let value = out.consts.insert(&format!("{}.equalised{at}", node.loc.name()), scaled);
                    out.push(NnOp::Const { value }, [], node.loc.clone()).map_err(error)
                };
                if from.iter().chain(&to).any(|&s| s != 1.0) {
                    let weights = |at: usize| tensor(module, node.operands[at]);
                    if let Some(w) = weights(1) {
                        operands[1] = constant(1, scaled_weights(&node.op, w, &from, &to))?;
                    }
                    if let Some(b) = node.operands.get(2).and_then(|_| weights(2)) {
                        let data: Vec<f32> =
                            b.data().iter().zip(&to).map(|(b, s)| (f64::from(*b) * s) as f32).collect();
                        operands[2] = constant(2, Tensor::new(b.shape().clone(), data))?;
                    }
                }
            }
            let new = out.push(node.op.clone(), operands, node.loc.clone()).map_err(error)?;
            moved.insert(value, new);
            Ok(new)
        })?;
        Ok(Self { module: out, moved })
    }
}

fn tensor(module: &Module<Nn>, value: Value) -> Option<&Tensor> {
    match module.func.node(value).op {
        NnOp::Const { value } => Some(module.consts.tensor(value)),
        _ => None,
    }
}

/// Whether factors of the input end in constant weights; a convolution's weights may give new ones to its result.
fn absorbs(module: &Module<Nn>, node: &Node<Nn>) -> bool {
    let constant = node.operands.iter().skip(1).all(|&o| tensor(module, o).is_some());
    let rank = |o: usize| module.func.ty(node.operands[o]).0.rank();
    match node.op {
        NnOp::Conv { .. } => constant,
        NnOp::MatMul {} => constant && rank(0) == 2 && rank(1) == 2,
        _ => false,
    }
}

/// LayerWeights [outputs, inputs / groups, ..] of a convolution, or [inputs, outputs] of a matrix product.
fn scaled_weights(op: &NnOp, w: &Tensor, from: &[f64], to: &[f64]) -> Tensor {
    let dims = &w.shape().0;
    let taps: usize = dims[2..].iter().product();
    let factor = |i: usize| match op {
        NnOp::Conv { .. } => {
            let (output, input) = (i / (dims[1] * taps), i / taps % dims[1]);
            let group = output * (from.len() / dims[1]) / dims[0];
            to[output] / from[group * dims[1] + input]
        }
        _ => 1.0 / from[i / dims[1]],
    };
    let data: Vec<f32> = w.data().iter().enumerate().map(|(i, w)| (f64::from(*w) * factor(i)) as f32).collect();
    Tensor::new(w.shape().clone(), data)
}

/// Which channels must carry the same factor for the network to compute the same.
fn tied(module: &Module<Nn>) -> Channels {
    let func = &module.func;
    let mut sets = Channels::new(module);
    let live = func.live();
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        let count = channels(node);
        if absorbs(module, node) {
            if !matches!(node.op, NnOp::Conv { .. }) {
                sets.pin(value, count);
            }
            continue;
        }
        for (&operand, inputs) in node.operands.iter().zip(node.operands.iter().map(|&o| channels(func.node(o)))) {
            match passed(module, node, operand) {
                Some(pairs) => {
                    for (input, output) in pairs {
                        sets.tie(sets.at(operand, input), sets.at(value, output));
                    }
                }
                None => {
                    sets.pin(operand, inputs);
                    sets.pin(value, count);
                }
            }
        }
        if node.operands.is_empty() {
            sets.pin(value, count);
        }
    }
    func.results().iter().for_each(|&r| sets.pin(r, channels(func.node(r))));
    sets
}

/// The channels of `operand` and of the result that carry the same factor through `node`; `None` where it lets none through.
fn passed(module: &Module<Nn>, node: &Node<Nn>, operand: Value) -> Option<Vec<(usize, usize)>> {
    let (from, to) = (&module.func.ty(operand).0.0, &node.ty.0.0);
    let same = || (0..from[1]).map(|c| (c, c)).collect();
    if from.len() < 2 || to.len() < 2 {
        return None;
    }
    match &node.op {
        NnOp::Activation { function, .. } => {
            matches!(function, Activation::Relu | Activation::LeakyRelu | Activation::Abs).then(same)
        }
        NnOp::Add {} | NnOp::Sub {} => (from == to && tensor(module, operand).is_none()).then(same),
        NnOp::Neg {} | NnOp::AvgPool { .. } | NnOp::MaxPool { .. } => Some(same()),
        NnOp::ReduceMean { axes, .. } | NnOp::ReduceSum { axes, .. } => axes.iter().all(|&a| a > 1).then(same),
        NnOp::Reshape { .. } => (from[..2] == to[..2]).then(same),
        NnOp::Slice { starts, sizes, steps } => {
            let at = |k: i64| (starts[1] + k * steps[1]) as usize;
            Some((0..sizes[1]).map(|k| (at(k), k as usize)).collect())
        }
        NnOp::Pad { pads, mode: PadMode::Constant, value } if value.0 == 0.0 => {
            // Channels that are padding are zero whatever they carry.
            let places = (0..from[1]).map(|c| (c, c as i64 + pads[1]));
            Some(places.filter(|(_, to_c)| (0..to[1] as i64).contains(to_c)).map(|(c, k)| (c, k as usize)).collect())
        }
        _ => None,
    }
}

/// Factors other than 1 by the root of their set: what takes the widest channel of a set to the range of the widest
/// channel of the activations it is in.
fn factors(sets: &Channels, ranges: &BTreeMap<Value, Vec<f64>>) -> BTreeMap<usize, f64> {
    let mut seen: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (&input, ranges) in ranges {
        let widest = ranges.iter().fold(0.0f64, |m, r| m.max(*r));
        for (c, range) in ranges.iter().enumerate() {
            let (own, all) = seen.entry(sets.root(sets.at(input, c))).or_default();
            *own = own.max(*range);
            *all = all.max(widest);
        }
    }
    let factor = |(own, all): (f64, f64)| if own > 0.0 { all / own.max(NARROWEST * all) } else { 1.0 };
    seen.into_iter().filter(|(set, _)| *set != 0).map(|(set, s)| (set, factor(s))).collect()
}

/// The magnitude that each channel of the activations' inputs is expected to reach, by input.
fn ranges(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<BTreeMap<Value, Vec<f64>>, EvalError> {
    let activations = module.func.iter().filter(|(_, n)| n.op.is_function());
    let none: BTreeMap<Value, Vec<Tail>> = activations
        .map(|(_, n)| n.operands[0])
        .map(|v| (v, vec![Tail::default(); channels(module.func.node(v))]))
        .collect();
    let share = samples.len().div_ceil(rayon::current_num_threads()).max(1);
    let part = |part: &[Vec<Tensor>]| {
        let mut tails = none.clone();
        for sample in part {
            eval::eval_observed(module, sample, |value, tensor| {
                let Some(tails) = tails.get_mut(&value).filter(|tails| !tails.is_empty()) else { return };
                let plane: usize = tensor.shape().0[2..].iter().product();
                let channels = tails.len();
                for (i, plane) in tensor.data().chunks_exact(plane.max(1)).enumerate() {
                    tails[i % channels].add(plane.iter().fold(0.0, |m, x| m.max(f64::from(x.abs()))));
                }
            })?;
        }
        Ok(tails)
    };
    let mut all = none.clone();
    for part in samples.par_chunks(share).map(part).collect::<Result<Vec<_>, EvalError>>()? {
        for (value, tails) in part {
            all.entry(value).or_default().iter_mut().zip(tails).for_each(|(a, b)| a.merge(b));
        }
    }
    let range = |tail: &Tail| tail.within(1, tail.largest()).unwrap_or(tail.largest());
    Ok(all.into_iter().map(|(value, tails)| (value, tails.iter().map(range).collect())).collect())
}
