//! Chains of linear layers: saturation takes time that is linear in their length, and they become what short ones
//! become.

use fhec_ir::nn::{NnOp, PadMode, TensorTy, eval};
use fhec_ir::text::print_module;
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

/// Every kind of chain: its name, the shape of its operand, and a link.
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

/// Ops that are neither inputs nor constants.
fn ops(module: &Module<Nn>) -> usize {
    module.func.iter().filter(|(_, n)| !matches!(n.op, NnOp::Input { .. } | NnOp::Const { .. })).count()
}

/// What 50 more links add is twice what 25 add, up to a tenth and to what the ends of a chain cost.
#[track_caller]
fn assert_linear(name: &str, what: &str, [short, middle, long]: [usize; 3]) {
    let (first, second) = (middle.saturating_sub(short), long.saturating_sub(middle));
    assert!(10 * second <= 22 * first + 500, "{name}: {what} of 25, 50 and 100 links: {short}, {middle}, {long}");
}

#[test]
fn chains_cost_what_is_linear_in_their_length() {
    for (name, shape, link) in KINDS {
        let fold =
            |links| Fold::default().saturate(&chain(shape, links, *link), &rules::all()).expect("saturates").cost;
        let costs = [25, 50, 100].map(fold);
        assert!(costs.iter().all(|cost| cost.bound.is_none()), "{name}: {costs:?}");
        assert_linear(name, "nodes", costs.each_ref().map(|cost| cost.nodes));
        assert_linear(name, "bytes", costs.each_ref().map(|cost| cost.bytes));
        for rule in costs[2].rules.keys() {
            let of = |cost: &FoldCost| cost.rules.get(rule).copied().unwrap_or_default();
            let costs = costs.each_ref().map(of);
            assert_linear(name, &format!("matches of {rule}"), costs.map(|cost| cost.matches));
            assert_linear(name, &format!("applications of {rule}"), costs.map(|cost| cost.applications));
            assert_linear(name, &format!("nodes of {rule}"), costs.map(|cost| cost.nodes));
            assert_linear(name, &format!("bytes of {rule}"), costs.map(|cost| cost.bytes));
        }
    }
}

#[test]
fn chains_fold_as_far_as_short_ones() {
    for (name, shape, link) in KINDS {
        let left = [2, 4, 40].map(|links| {
            let module = chain(shape, links, *link);
            let folded = Fold::default().fold(&module).expect("folds");
            assert_eq!(folded.warning(), None, "{name}");
            if links == 4 {
                let x = [Tensor::full(shape.to_vec(), 0.5)];
                let (a, b) = (eval::eval(&module, &x), eval::eval(&folded.module, &x));
                let (a, b) = (a.expect("runs"), b.expect("runs"));
                let largest = a[0].data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
                assert!(a[0].data().iter().zip(b[0].data()).all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "{name}");
            }
            ops(&folded.module)
        });
        // Two links are a round trip of what they transpose.
        let each = left[1] - left[0].min(left[1]);
        assert_eq!(left[2], left[1] + 18 * each, "{name}: ops left of 2, 4 and 40 links: {left:?}");
    }
}

/// So does the search for the cheapest term: what it looks at grows as the chain does, where all folds and where nothing does.
#[test]
fn searches_cost_what_is_linear_in_the_length_of_chains() {
    for (name, shape, link) in KINDS {
        let search = |links| Fold::default().fold(&chain(shape, links, *link)).expect("folds").cost.search;
        assert_linear(name, "nodes searched", [25, 50, 100].map(search));
    }
}

#[test]
fn a_bound_that_is_met_is_a_warning() {
    let module = chain(&[1, 6], 8, KINDS[0].2);
    for (fold, limit) in [
        (Fold { iterations: 1, ..Fold::default() }, "1 rounds"),
        (Fold { nodes: 40, ..Fold::default() }, "40 nodes"),
        (Fold { bytes: 300, ..Fold::default() }, "300 bytes of constants"),
    ] {
        let folded = fold.fold(&module).expect("folds");
        fhec_ir::verify(&folded.module).expect("verifies");
        let warning = folded.warning().expect("the limit is met");
        assert!(warning.contains(limit) && warning.contains("merge linear layers"), "{warning}");
        let (again, _) = fold.explain(&module).expect("folds");
        assert_eq!(print_module(&again), print_module(&folded.module), "{limit}");
    }
}
