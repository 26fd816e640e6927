//! Numbers that are the same on every machine, and constants that are made of them.

use std::collections::HashMap;

use fhec_ir::nn::NnOp;
use fhec_ir::{ConstPool, Module, Nn, Shape, Tensor};

/// A stream of numbers (splitmix64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// In [0, 1), of 24 bits.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(((z ^ (z >> 31)) >> 40) as u32) / f64::from(1u32 << 24)
    }

    /// Weights of a layer, or numbers in [-2, 2): a layer leaves its operand about as large as it is.
    fn tensor(&mut self, shape: &Shape) -> Tensor {
        let inputs = match shape.0.as_slice() {
            [inputs, _] => *inputs,
            [_, rest @ ..] if rest.len() > 2 => rest.iter().product(),
            _ => 1,
        };
        let scale = 2.0 / (inputs.max(1) as f32).sqrt();
        let element = |_| (self.uniform() as f32 * 2.0 - 1.0) * scale;
        Tensor::new(shape.clone(), (0..shape.len()).map(element).collect::<Vec<_>>())
    }
}

/// Puts weights into the constants whose names begin with `w`, and positive ones into those that begin with `pos`,
/// so that files stay short. Their contents in the file only need to differ, as equal constants are one.
pub fn filled(module: &Module<Nn>, seed: u64) -> Module<Nn> {
    let mut consts = ConstPool::default();
    let mut ids = HashMap::new();
    for (n, (id, c)) in module.consts.iter().enumerate() {
        let positive = c.name.starts_with("pos");
        let tensor = match c.name.starts_with('w') || positive {
            true => {
                let random = Numbers::new(seed.wrapping_mul(1 << 20) + n as u64).tensor(c.tensor.shape());
                random.map(|x| if positive { x.abs() + 0.25 } else { x })
            }
            false => c.tensor.clone(),
        };
        ids.insert(id, consts.insert(&c.name, tensor));
    }
    let source = Module { consts, ..module.clone() };
    let mapped = source.rebuild(|m, _, node, operands| {
        let op = match node.op {
            NnOp::Const { value } => NnOp::Const { value: ids[&value] },
            ref op => op.clone(),
        };
        m.push(op, operands, node.loc.clone())
    });
    mapped.expect("other elements change no type")
}
