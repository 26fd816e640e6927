//! Chains of linear layers: saturation takes time that is linear in their length, and they become what short ones become.

use fhec_ir::nn::{NnOp, PadMode, TensorTy};
use fhec_ir::{Loc, Module, Nn, Shape, Tensor, Value};

use super::tests::fill::Numbers;
use super::*;

/// Puts one link of a chain behind a value.
type Link = fn(&mut Chain, Value) -> Value;

struct Chain {
    module: Module<Nn>,
    numbers: Numbers,
}

impl Chain {
    fn op(&mut self, op: NnOp, operands: &[Value]) -> Value {
        self.module.push(op, operands.iter().copied(), Loc::default()).expect("well typed")
    }
    /// A constant of numbers of magnitude `size` or less about `mean`.
    fn constant(&mut self, shape: &[usize], mean: f32, size: f32) -> Value {
        let shape = Shape(shape.to_vec());
        let mut number = || mean + (self.numbers.uniform() as f32 * 2.0 - 1.0) * size;
        let data: Vec<f32> = (0..shape.len()).map(|_| number()).collect();
        let value = self.module.consts.insert("c", Tensor::new(shape, data));
        self.op(NnOp::Const { value }, &[])
    }
    fn shape(&self, x: Value) -> Vec<usize> {
        self.module.func.ty(x).0.0.clone()
    }
    fn matmul(&mut self, x: Value) -> Value {
        let n = self.shape(x)[1];
        let w = self.constant(&[n, n], 0.0, 1.7 / (n as f32).sqrt());
        self.op(NnOp::MatMul {}, &[x, w])
    }
    fn add(&mut self, x: Value, shape: &[usize]) -> Value {
        let b = self.constant(shape, 0.0, 1.0);
        self.op(NnOp::Add {}, &[x, b])
    }
    fn mul(&mut self, x: Value, shape: &[usize]) -> Value {
        let a = self.constant(shape, 1.0, 0.5);
        self.op(NnOp::Mul {}, &[x, a])
    }
    fn conv(&mut self, x: Value, kernel: usize, bias: bool) -> Value {
        let channels = self.shape(x)[1];
        let w = self.constant(&[channels, channels, kernel, kernel], 0.0, 1.7 / (channels * kernel * kernel) as f32);
        let mut operands = vec![x, w];
        if bias {
            operands.push(self.constant(&[channels], 0.0, 1.0));
        }
        let op =
            NnOp::Conv { strides: vec![1, 1], pads: vec![(kernel / 2) as i64; 4], dilations: vec![1, 1], groups: 1 };
        self.op(op, &operands)
    }
    fn batch_norm(&mut self, x: Value) -> Value {
        let c = [self.shape(x)[1]];
        let operands = [
            x,
            self.constant(&c, 1.0, 0.5),
            self.constant(&c, 0.0, 1.0),
            self.constant(&c, 0.0, 1.0),
            self.constant(&c, 1.0, 0.5),
        ];
        self.op(NnOp::BatchNorm { epsilon: 1e-5.into() }, &operands)
    }
    fn transpose(&mut self, x: Value, perm: &[i64]) -> Value {
        self.op(NnOp::Transpose { perm: perm.to_vec() }, &[x])
    }
    fn reshape(&mut self, x: Value, shape: &[i64]) -> Value {
        self.op(NnOp::Reshape { shape: shape.to_vec() }, &[x])
    }
    fn sum(&mut self, x: Value, y: Value) -> Value {
        self.op(NnOp::Add {}, &[x, y])
    }
    fn relu(&mut self, x: Value) -> Value {
        self.op(NnOp::Activation { function: fhec_ir::nn::Activation::Relu, alpha: None, beta: None }, &[x])
    }
}

fn chain(shape: &[usize], links: usize, link: Link) -> Module<Nn> {
    let mut chain = Chain { module: Module::new("chain"), numbers: Numbers::new(1) };
    let mut last = chain.module.func.add_param(TensorTy(Shape(shape.to_vec())), Loc::default());
    for _ in 0..links {
        last = link(&mut chain, last);
    }
    chain.module.func.set_results([last]);
    chain.module
}

/// Every kind of chain: its name, the shape of its operand, a link, and the ops that any number of links becomes.
const KINDS: &[(&str, &[usize], Link)] = &[
    ("dense with bias", &[1, 6], |c, x| {
        let y = c.matmul(x);
        c.add(y, &[6])
    }),
    ("dense", &[1, 6], |c, x| c.matmul(x)),
    ("conv and batch norm", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 3, false);
        c.batch_norm(y)
    }),
    ("conv with bias", &[1, 3, 4, 4], |c, x| c.conv(x, 3, true)),
    ("pointwise conv and batch norm", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 1, true);
        c.batch_norm(y)
    }),
    ("batch norm", &[1, 3, 4, 4], |c, x| c.batch_norm(x)),
    ("mul and add", &[1, 6], |c, x| {
        let y = c.mul(x, &[6]);
        c.add(y, &[1])
    }),
    ("mul", &[1, 6], |c, x| c.mul(x, &[1, 6])),
    ("add", &[1, 6], |c, x| c.add(x, &[6])),
    ("transpose and mul", &[1, 4, 4], |c, x| {
        let y = c.transpose(x, &[0, 2, 1]);
        c.mul(y, &[4, 4])
    }),
    ("transpose, mul and add", &[1, 4, 4], |c, x| {
        let y = c.transpose(x, &[0, 2, 1]);
        let z = c.mul(y, &[4, 4]);
        c.add(z, &[4])
    }),
    ("reshape and transpose", &[2, 6], |c, x| {
        let y = c.reshape(x, &[3, 4]);
        let z = c.transpose(y, &[1, 0]);
        c.reshape(z, &[2, 6])
    }),
    ("reshape, mul, transpose and add", &[2, 6], |c, x| {
        let y = c.reshape(x, &[3, 4]);
        let y = c.mul(y, &[4]);
        let z = c.transpose(y, &[1, 0]);
        let z = c.add(z, &[3]);
        c.reshape(z, &[2, 6])
    }),
    ("residual dense", &[1, 6], |c, x| {
        let y = c.matmul(x);
        let y = c.add(y, &[6]);
        c.sum(x, y)
    }),
    ("residual mul", &[1, 6], |c, x| {
        let y = c.mul(x, &[6]);
        c.sum(y, x)
    }),
    ("residual conv", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 3, true);
        c.sum(x, y)
    }),
    ("residual of conv and batch norm twice", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 3, false);
        let y = c.batch_norm(y);
        let y = c.conv(y, 3, false);
        let y = c.batch_norm(y);
        c.sum(y, x)
    }),
    ("parallel conv", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 3, true);
        let z = c.conv(x, 1, true);
        c.sum(y, z)
    }),
    ("dense, batch norm, mul and sub", &[1, 6], |c, x| {
        let y = c.matmul(x);
        let y = c.batch_norm(y);
        let y = c.mul(y, &[6]);
        let b = c.constant(&[6], 0.0, 1.0);
        c.op(NnOp::Sub {}, &[b, y])
    }),
    ("conv, mul, transpose, relu", &[1, 4, 4, 4], |c, x| {
        let y = c.conv(x, 3, true);
        let y = c.mul(y, &[4]);
        let y = c.transpose(y, &[0, 1, 3, 2]);
        let y = c.add(y, &[4]);
        let y = c.mul(y, &[1, 4, 1, 1]);
        c.relu(y)
    }),
    ("conv, pad, pool, mul and add", &[1, 3, 4, 4], |c, x| {
        let y = c.conv(x, 3, true);
        let y =
            c.op(NnOp::Pad { pads: vec![0, 0, 1, 1, 0, 0, 1, 1], mode: PadMode::Constant, value: 0.0.into() }, &[y]);
        let y = c.op(
            NnOp::AvgPool {
                kernel: vec![3, 3],
                strides: vec![1, 1],
                pads: vec![0; 4],
                dilations: vec![1, 1],
                count_include_pad: true,
                ceil: false,
            },
            &[y],
        );
        let y = c.mul(y, &[3, 1, 1]);
        c.add(y, &[3, 1, 1])
    }),
    ("div, neg and add", &[1, 6], |c, x| {
        let d = c.constant(&[6], 1.0, 0.5);
        let y = c.op(NnOp::Div {}, &[x, d]);
        let y = c.op(NnOp::Neg {}, &[y]);
        c.add(y, &[6])
    }),
];

#[test]
fn chains_grow_linearly() {
    let only = std::env::var("CHAIN").ok();
    for (name, shape, link) in KINDS {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        for links in [2usize, 4, 6, 8, 12, 16, 25, 50, 100] {
            let module = chain(shape, links, *link);
            let clock = std::time::Instant::now();
            let fold = Fold { nodes: 60_000, ..Fold::default() };
            let (egraph, _, cost) = fold.saturate(&module, &rules::all()).expect("saturates");
            let saturated = clock.elapsed();
            drop(egraph);
            eprintln!(
                "{name} {links}: {} nodes {} bytes {} rounds {:?} {:?}",
                cost.nodes, cost.bytes, cost.rounds, cost.bound, saturated
            );
            if cost.bound.is_some() || links == 6 && only.is_some() {
                if only.is_some() {
                    eprintln!("{cost}");
                }
            }
            if cost.bound.is_some() || cost.nodes > 20_000 {
                break;
            }
            if links == 100 {
                let clock = std::time::Instant::now();
                let (folded, _) = fold.explain(&module).expect("folds");
                eprintln!("   all: {:?}, {} nodes left", clock.elapsed(), folded.func.len());
            }
        }
    }
}
