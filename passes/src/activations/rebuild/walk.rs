//! The teacher's and the student's runs, side by side.

use std::collections::BTreeMap;

use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{ConstPool, Entity, Loc, Module, Nn, Node, OpInfo, Tensor, Value};
use rayon::prelude::*;

use super::layer::{LinearLayer, layers};
use super::regression::{LayerWeights, Regression, apply, node_error, rebuild};
use super::{LayerGain, ReconstructOptions, Reconstructed};
use crate::PassError;
use crate::activations::polynomial::{on_unit_interval, stage_ops};
use crate::activations::{ApproximateError, NAME, Polynomials, Replacement, gather, ill_typed, in_sequence, unfit};
use crate::approx::{Function, Seen, Site};

/// The values of a node: one tensor per sample, or a single one of a constant.
type Values = Vec<Tensor>;

pub(super) struct Walk<'a> {
    module: &'a Module<Nn>,
    samples: &'a [Vec<Tensor>],
    options: &'a ReconstructOptions,
    layers: BTreeMap<Value, LinearLayer>,
    teacher: Vec<Option<Values>>,
    student: Vec<Option<Values>>,
    /// New weights by the layer's convolution or matrix product.
    weights: BTreeMap<Value, LayerWeights>,
    /// The ops of every activation: polynomials, and at the end the product with the operand where there is one.
    polynomials: BTreeMap<Value, Vec<NnOp>>,
    activations: Vec<Replacement>,
    gains: Vec<LayerGain>,
    /// How many activations stand on the longest way through each value.
    in_sequence: Vec<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(module: &'a Module<Nn>, samples: &'a [Vec<Tensor>], options: &'a ReconstructOptions) -> Self {
        let none = || vec![None; module.func.len()];
        Self {
            module,
            samples,
            options,
            layers: layers(module),
            teacher: none(),
            student: none(),
            weights: BTreeMap::new(),
            polynomials: BTreeMap::new(),
            activations: Vec::new(),
            gains: Vec::new(),
            in_sequence: in_sequence(module),
        }
    }

    pub(super) fn run(
        mut self,
        progress: &mut dyn FnMut(&str, usize, usize),
    ) -> Result<Reconstructed, ApproximateError> {
        let func = &self.module.func;
        let live = func.live();
        let deferred: BTreeMap<Value, Value> =
            self.layers.values().flat_map(|l| l.inner().map(|v| (v, l.target))).collect();
        let dying = self.last_uses(&deferred);
        let is_step =
            |(v, n): &(Value, &Node<Nn>)| live[v.index()] && (self.layers.contains_key(v) || n.op.is_function());
        let (mut done, total) = (0, func.iter().filter(is_step).count());
        for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
            self.teacher[value.index()] = Some(self.evaluate(node, &self.teacher)?);
            let layer = self.layers.get(&value).copied();
            let student = match (layer, node.op.function()) {
                (Some(layer), _) => Some(self.layer(layer)?),
                (None, Some(function)) => Some(self.activation(value, node, function)?),
                _ if deferred.contains_key(&value) => None,
                _ => Some(self.evaluate(node, &self.student)?),
            };
            self.student[value.index()] = student;
            if layer.is_some() || node.op.is_function() {
                done += 1;
                progress(node.loc.name(), done, total);
            }
            for dead in dying.get(&value).into_iter().flatten() {
                self.teacher[dead.index()] = None;
                self.student[dead.index()] = None;
            }
        }
        let (module, polynomials) = self.rebuilt()?;
        Ok(Reconstructed { module, activations: self.activations, layers: self.gains, polynomials })
    }

    /// Per value those that no later one needs, where operands of deferred values are needed up to the layer's target.
    fn last_uses(&self, deferred: &BTreeMap<Value, Value>) -> BTreeMap<Value, Vec<Value>> {
        let func = &self.module.func;
        let mut last: BTreeMap<Value, Value> = BTreeMap::new();
        for (value, node) in func.iter() {
            let at = deferred.get(&value).copied().unwrap_or(value);
            for &o in &node.operands {
                let entry = last.entry(o).or_insert(at);
                *entry = (*entry).max(at);
            }
        }
        let mut dying: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
        for (value, at) in last {
            dying.entry(at).or_default().push(value);
        }
        dying
    }

    /// The values of `node` on operands from `of`.
    fn evaluate(&self, node: &Node<Nn>, of: &[Option<Values>]) -> Result<Values, ApproximateError> {
        if let Some(input) = node.op.as_input() {
            return self.samples.iter().map(|sample| self.input(node, sample, input as usize)).collect();
        }
        let operands: Vec<&Values> = node.operands.iter().filter_map(|o| of[o.index()].as_ref()).collect();
        // What depends on constants alone has one value.
        let constant = operands.iter().all(|values| values.len() == 1) && self.samples.len() > 1;
        let count = if constant || operands.is_empty() { 1 } else { self.samples.len() };
        (0..count)
            .into_par_iter()
            .map(|i| {
                let operands: Vec<&Tensor> = operands.iter().map(|values| &values[i % values.len()]).collect();
                eval::apply(&node.op, &operands, &self.module.consts).map_err(|reason| node_error(node, reason))
            })
            .collect()
    }

    fn input(&self, node: &Node<Nn>, sample: &[Tensor], index: usize) -> Result<Tensor, ApproximateError> {
        let expected = self.module.func.params().len();
        if sample.len() != expected {
            return Err(eval::EvalError::InputCount { expected, found: sample.len() }.into());
        }
        if *sample[index].shape() != node.ty.0 {
            let (name, found) = (node.loc.name().to_string(), sample[index].shape().clone());
            return Err(eval::EvalError::InputShape { index, name, expected: node.ty.0.clone(), found }.into());
        }
        Ok(sample[index].clone())
    }

    fn constant(&self, value: Value) -> Option<Tensor> {
        match self.module.func.node(value).op {
            NnOp::Const { value } => Some(self.module.consts.tensor(value).clone()),
            _ => None,
        }
    }

    /// The trained weights of a layer.
    fn trained(&self, layer: LinearLayer) -> Option<LayerWeights> {
        let operands = &self.module.func.node(layer.linear).operands;
        let bias = layer.bias.map(|(_, vector)| vector).or(operands.get(2).copied());
        Some(LayerWeights { w: self.constant(operands[1])?, b: bias.and_then(|b| self.constant(b)) })
    }

    /// Rebuilds a layer; the student's values at its target.
    fn layer(&mut self, layer: LinearLayer) -> Result<Values, ApproximateError> {
        let node = self.module.func.node(layer.linear);
        let Some(mut weights) = self.trained(layer) else { return Ok(Values::new()) };
        let at = |v: Value| self.student[v.index()].as_deref().unwrap_or_default();
        let inputs = at(node.operands[0]);
        let skips = layer.skip.map(at);
        // A skip that depends on constants alone is not worth a special case.
        if skips.is_none_or(|s| s.len() == inputs.len()) && inputs.len() == self.samples.len() {
            let options = self.options;
            let sight = Regression {
                node,
                inputs,
                targets: self.teacher[layer.target.index()].as_deref().unwrap_or_default(),
                skips,
                positions: options.positions,
                lambda: if layer.last { options.last_lambda } else { options.lambda },
                seed: options.seed ^ layer.linear.index() as u64,
            };
            if let Some((rebuilt, mse_before, mse_after)) = rebuild(&sight, &weights)? {
                weights = rebuilt;
                self.gains.push(LayerGain { node: node.loc.name().to_string(), mse_before, mse_after });
                self.weights.insert(layer.linear, weights.clone());
            }
        }
        let sum = self.module.func.node(layer.target);
        inputs
            .par_iter()
            .enumerate()
            .map(|(i, x)| {
                let own = apply(node, &weights, x)?;
                match skips {
                    None => Ok(own),
                    Some(skips) => {
                        let skip = &skips[i % skips.len()];
                        eval::apply(&NnOp::Add {}, &[&own, skip], &ConstPool::default())
                            .map_err(|reason| node_error(sum, reason))
                    }
                }
            })
            .collect()
    }

    /// Fits the polynomials of an activation; the student's values behind them.
    fn activation(&mut self, value: Value, node: &Node<Nn>, function: Function) -> Result<Values, ApproximateError> {
        let inputs = self.student[node.operands[0].index()].as_deref().unwrap_or_default();
        let seen = seen(inputs).ok_or_else(|| ApproximateError::NotFinite { node: node.loc.name().to_string() })?;
        let options = &self.options.approximate;
        let choice = options.choice(&self.options.choices, value);
        // The map of each channel to its interval goes into the layer before, where nothing else needs its result.
        let layer = self.layers.get(&node.operands[0]).copied();
        let foldable = layer.is_some_and(|l| l.skip.is_none() && l.bias.is_none() && self.foldable(l));
        let refuse = |e| ApproximateError::from(PassError { pass: NAME, issues: vec![unfit(node, &e)] });
        let site = Site::new(function, &seen, options.margin, options.fit).map_err(refuse)?;
        let site = Site { own_intervals: foldable, in_sequence: self.in_sequence[value.index()], ..site };
        let approximation = options.families.approximate(&site, choice).map_err(refuse)?;
        let per_channel = match approximation.stages.as_slice() {
            [polynomials] if approximation.is_per_channel() => Some(polynomials),
            _ => None,
        };
        let mapped: Values;
        let (inputs, ops) = match layer.filter(|_| foldable).zip(per_channel) {
            Some((layer, polynomials)) => {
                let (op, maps) = on_unit_interval(polynomials);
                let weights = self.weights.get(&layer.linear).cloned().or_else(|| self.trained(layer));
                self.weights.extend(weights.map(|w| (layer.linear, w.mapped(&maps))));
                mapped = self.mapped(node.operands[0], &maps);
                (mapped.as_slice(), vec![op])
            }
            None => (inputs, stage_ops(&approximation).map_err(refuse)?),
        };
        let apply = |op: &NnOp, operands: &[&Tensor]| {
            eval::apply(op, operands, &ConstPool::default()).map_err(|reason| node_error(node, reason))
        };
        let outputs = inputs
            .par_iter()
            .map(|x| {
                let mut y = x.clone();
                for op in &ops {
                    y = apply(op, &[&y])?;
                }
                if approximation.gated { apply(&NnOp::Mul {}, &[x, &y]) } else { Ok(y) }
            })
            .collect();
        self.activations.push(Replacement::new(node, &approximation, &options.families));
        let gate = approximation.gated.then_some(NnOp::Mul {});
        self.polynomials.insert(value, ops.into_iter().chain(gate).collect());
        outputs
    }

    /// Whether only one value uses the layer's result.
    fn foldable(&self, layer: LinearLayer) -> bool {
        let func = &self.module.func;
        let live = func.live();
        let users = func.iter().filter(|(v, n)| live[v.index()] && n.operands.contains(&layer.target)).count();
        users == 1 && !func.results().contains(&layer.target)
    }

    /// The student's values at `value` with each channel mapped.
    fn mapped(&self, value: Value, maps: &[(f64, f64)]) -> Values {
        let values = self.student[value.index()].as_deref().unwrap_or_default();
        let map = |x: &Tensor| {
            let plane: usize = x.shape().0[2..].iter().product();
            let mut data = x.data().to_vec();
            for (plane, (scale, shift)) in data.chunks_exact_mut(plane.max(1)).zip(maps.iter().cycle()) {
                plane.iter_mut().for_each(|x| *x = (f64::from(*x) * scale + shift) as f32);
            }
            Tensor::new(x.shape().clone(), data)
        };
        values.par_iter().map(map).collect()
    }

    /// The module with the new weights and polynomials, and where the polynomials of each activation are.
    fn rebuilt(&self) -> Result<(Module<Nn>, Polynomials), PassError> {
        let mut polynomials = Polynomials::new();
        let sums: BTreeMap<Value, Value> =
            self.layers.values().filter_map(|l| l.bias.map(|(sum, _)| (sum, l.linear))).collect();
        let biased: Vec<Value> = sums.values().copied().collect();
        let module = self.module.rebuild(|out, value, node, mut operands| {
            let push = |out: &mut Module<Nn>, op: NnOp, operands: Vec<Value>, loc: &Loc| {
                out.push(op, operands, loc.clone()).map_err(|e| ill_typed(loc, &e.to_string()))
            };
            let constant = |out: &mut Module<Nn>, tensor: &Tensor, what: &str| {
                let name = format!("{}.{what}", node.loc.name());
                let value = out.consts.insert(&name, tensor.clone());
                push(out, NnOp::Const { value }, Vec::new(), &node.loc)
            };
            if let Some(ops) = self.polynomials.get(&value) {
                let mut y = operands[0];
                for op in ops {
                    if matches!(op, NnOp::Mul {}) {
                        y = push(out, op.clone(), vec![operands[0], y], &node.loc)?;
                    } else {
                        y = push(out, op.clone(), vec![y], &node.loc)?;
                        polynomials.entry(value).or_default().push(y);
                    }
                }
                return Ok(y);
            }
            if let Some(weights) = self.weights.get(&value) {
                operands[1] = constant(out, &weights.w, "rebuilt")?;
                let Some(bias) = weights.b.as_ref().filter(|_| !biased.contains(&value)) else {
                    return push(out, node.op.clone(), operands.to_vec(), &node.loc);
                };
                let bias = constant(out, bias, "rebuilt_bias")?;
                operands.truncate(2);
                if matches!(node.op, NnOp::Conv { .. }) {
                    operands.push(bias);
                    return push(out, node.op.clone(), operands.to_vec(), &node.loc);
                }
                let product = push(out, node.op.clone(), operands.to_vec(), &node.loc)?;
                return push(out, NnOp::Add {}, vec![product, bias], &node.loc);
            }
            if let Some(bias) = sums.get(&value).and_then(|l| self.weights.get(l)).and_then(|w| w.b.as_ref()) {
                let vector = self.layers.values().find_map(|l| l.bias.filter(|(sum, _)| *sum == value)).map(|(_, v)| v);
                let at = node.operands.iter().position(|o| Some(*o) == vector).unwrap_or(1);
                operands[at] = constant(out, bias, "rebuilt_bias")?;
            }
            push(out, node.op.clone(), operands.to_vec(), &node.loc)
        })?;
        Ok((module, polynomials))
    }
}

impl LayerWeights {
    /// The convolution's weights with each output channel c taken to scale·c + shift.
    fn mapped(&self, maps: &[(f64, f64)]) -> Self {
        let inputs = self.w.shape().len() / maps.len();
        let mut w = self.w.data().to_vec();
        for (filter, (scale, _)) in w.chunks_exact_mut(inputs).zip(maps) {
            filter.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
        }
        let old = |c: usize| self.b.as_ref().map_or(0.0, |b| f64::from(b.data()[c]));
        let b: Vec<f32> = maps.iter().enumerate().map(|(c, (scale, shift))| (old(c) * scale + shift) as f32).collect();
        Self { w: Tensor::new(self.w.shape().clone(), w), b: Some(Tensor::new([maps.len()], b)) }
    }
}

/// What an activation sees on all inputs; `None` where a value is not finite.
fn seen(values: &[Tensor]) -> Option<Seen> {
    let share = values.len().div_ceil(rayon::current_num_threads()).max(1);
    let part = |part: &[Tensor]| {
        let mut seen = Seen::default();
        gather(&mut seen, part).is_ok().then_some(seen)
    };
    let parts: Vec<Option<Seen>> = values.par_chunks(share).map(part).collect();
    let mut all = Seen::default();
    for part in parts {
        all.merge(part?);
    }
    Some(all)
}
