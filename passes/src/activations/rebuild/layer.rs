//! Which affine layers can be rebuilt, and against which value of the teacher.

use std::collections::BTreeMap;

use fhec_ir::nn::NnOp;
use fhec_ir::{Entity, Module, Nn, Value};

/// A convolution or matrix product with constant weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinearLayer {
    /// The convolution or matrix product.
    pub(super) linear: Value,
    /// The sum that adds a constant vector to a matrix product, and that vector.
    pub(super) bias: Option<(Value, Value)>,
    /// The value compared with the teacher's: the layer's result, or the sum of it and a skip connection.
    pub(super) target: Value,
    /// The other operand of that sum.
    pub(super) skip: Option<Value>,
    /// Whether no activation follows.
    pub(super) last: bool,
}

impl LinearLayer {
    /// The layer's result.
    fn end(&self) -> Value {
        self.bias.map_or(self.linear, |(sum, _)| sum)
    }

    /// Its values that only it uses and that are computed together with the target.
    pub(super) fn inner(&self) -> impl Iterator<Item = Value> + use<> {
        let target = self.target;
        [self.linear, self.end()].into_iter().filter(move |v| *v != target)
    }
}

/// The layers of `module` by their targets.
pub(super) fn layers(module: &Module<Nn>) -> BTreeMap<Value, LinearLayer> {
    let func = &module.func;
    let live = func.live();
    let mut users: Vec<Vec<Value>> = vec![Vec::new(); func.len()];
    for (value, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        node.operands.iter().for_each(|o| users[o.index()].push(value));
    }
    // A result is used by the caller too.
    let sole_user = |v: Value| match users[v.index()].as_slice() {
        [user] if !func.results().contains(&v) => Some(*user),
        _ => None,
    };
    let constant = |v: Value| matches!(func.node(v).op, NnOp::Const { .. });
    // The other operand, where `v` is added to something of the same shape.
    let addend = |sum: Value, v: Value| {
        let node = func.node(sum);
        let is_sum = matches!(node.op, NnOp::Add {}) && node.ty == *func.ty(v);
        node.operands.iter().copied().find(|&o| is_sum && o != v)
    };
    let mut activation_follows = vec![false; func.len()];
    for (value, node) in func.iter().rev() {
        let here = activation_follows[value.index()] || node.op.is_function();
        node.operands.iter().for_each(|o| activation_follows[o.index()] |= here);
    }

    let inputs = |layer: &LinearLayer| func.ty(func.node(layer.linear).operands[1]).0.len();
    let mut found: BTreeMap<Value, LinearLayer> = BTreeMap::new();
    for (linear, node) in func.iter().filter(|(v, _)| live[v.index()]) {
        let weights_constant = node.operands.iter().skip(1).all(|&o| constant(o));
        let bias = match node.op {
            NnOp::Conv { .. } if weights_constant => None,
            NnOp::MatMul {} if weights_constant && func.ty(node.operands[1]).0.rank() == 2 && node.ty.0.rank() > 1 => {
                let n = func.ty(node.operands[1]).0.0[1];
                sole_user(linear).and_then(|sum| {
                    let vector = addend(sum, linear).filter(|&o| constant(o))?;
                    (func.ty(vector).0.len() == n && func.ty(vector).0.0.last() == Some(&n)).then_some((sum, vector))
                })
            }
            _ => continue,
        };
        let mut layer = LinearLayer { linear, bias, target: linear, skip: None, last: false };
        layer.target = layer.end();
        let own = layer;
        if let Some(sum) = sole_user(layer.target)
            && let Some(skip) = addend(sum, layer.target).filter(|&o| !constant(o) && func.ty(o) == func.ty(sum))
        {
            layer = LinearLayer { target: sum, skip: Some(skip), ..layer };
        }
        // Where two layers meet in a sum, the one with more weights is compared there, the other by itself.
        if let Some(other) = found.get(&layer.target).copied() {
            if inputs(&other) >= inputs(&layer) {
                layer = own;
            } else {
                let alone = LinearLayer { target: other.end(), skip: None, ..other };
                found.insert(alone.target, alone);
            }
        }
        found.insert(layer.target, layer);
    }
    for layer in found.values_mut() {
        layer.last = !activation_follows[layer.target.index()];
    }
    found
}
