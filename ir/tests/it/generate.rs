//! Random valid modules of every level, drawn from a list of choices so that proptest can shrink them.

use fhec_functions::Expression;
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::nn::{Activation, Basis, NnOp, PadMode, TensorTy};
use fhec_ir::slot::{SlotOp, SlotTy};
use fhec_ir::{
    Circuit, Ckks, ConstId, Dialect, Digit, F64, Head, Layout, Loc, Module, Nn, ParamSpec, Port, Shape, Slot, Tensor,
    Value, ValueRange,
};
use proptest::prelude::*;

pub struct Choices<'a>(pub &'a [u32]);

impl Choices<'_> {
    fn next(&mut self) -> u32 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n.max(1)
    }
    fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + i64::from(self.next()) % (hi - lo + 1)
    }
    fn flag(&mut self) -> bool {
        self.next() % 2 == 1
    }
    fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.below(items.len())]
    }
    fn float(&mut self) -> F64 {
        let x = self.next();
        F64(match x % 8 {
            0 => 0.0,
            1 => -0.0,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => f64::from(x) * 1e30,
            5 => 1.0 / f64::from(x),
            6 => f64::MIN_POSITIVE / 3.0,
            // Text has one NaN: the payload of others would not come back.
            _ => Some(f64::from(f32::from_bits(x))).filter(|x| !x.is_nan()).unwrap_or(f64::NAN),
        })
    }
    fn name(&mut self) -> String {
        let x = self.next();
        match x % 6 {
            0 => String::new(),
            1 => format!("/layer{x}/Conv"),
            2 => "with \"quotes\" and \\ and\nlines\t\u{7f}".to_string(),
            3 => "naïve ∘ 数".to_string(),
            _ => format!("n{x}"),
        }
    }
    fn loc(&mut self) -> Loc {
        if self.flag() { Loc::onnx(&self.name()) } else { Loc::default() }
    }
    fn tensor(&mut self, shape: Vec<usize>) -> Tensor {
        let len = shape.iter().product();
        let data: Vec<f32> = match self.below(4) {
            0 => vec![0.0; len],
            1 => vec![self.float().0 as f32; len],
            _ => (0..len).map(|_| f32::from_bits(self.next())).collect(),
        };
        Tensor::new(shape, data)
    }
}

pub fn choices() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 0..300)
}

/// Pushes `op` when it type-checks over randomly chosen operands.
fn push<D: Dialect>(module: &mut Module<D>, c: &mut Choices, op: D::Op, arity: usize) {
    let operands: Vec<Value> = (0..arity).map(|_| random_value(module, c)).collect();
    let loc = c.loc();
    let _ = module.push(op, operands, loc);
}

fn random_value<D: Dialect>(module: &Module<D>, c: &mut Choices) -> Value {
    let n = module.func.len();
    // Mostly recent values, so that graphs are deep.
    let back = if c.flag() { c.below(3) } else { c.below(n) };
    let index = n - 1 - back.min(n - 1);
    module.func.iter().nth(index).map(|(v, _)| v).expect("functions here have a parameter")
}

fn finish<D: Dialect>(module: &mut Module<D>, c: &mut Choices) {
    let results: Vec<Value> = (0..c.below(3)).map(|_| random_value(module, c)).collect();
    module.func.set_results(results);
    module.func.name = c.name();
    if c.flag() {
        let shape = Shape(vec![1, 4]);
        let digit = Digit { dim: 1, divisor: 2, size: 4, stride: 3 };
        let mut layout = Layout::row_major(&shape, 8);
        layout.digits.push(digit);
        let layout = c.flag().then_some(layout);
        let mut port = |shape, layout| {
            let range = c.flag().then(|| ValueRange { low: c.float(), high: c.float() });
            let heads = (0..c.below(3)).map(|_| head(c)).collect();
            Port { name: c.name(), shape, layout, range, heads }
        };
        module.inputs.push(port(shape, layout));
        module.outputs.push(port(Shape::default(), None));
    }
}

fn head(c: &mut Choices) -> Head {
    match c.below(5) {
        0 => Head::Softmax { axis: c.below(9) },
        1 => Head::LogSoftmax { axis: c.below(9) },
        2 => Head::ArgMax { axis: c.below(9), keepdims: c.flag() },
        3 => Head::Reshape { shape: Shape(dims(c)) },
        _ => Head::Transpose { perm: dims(c) },
    }
}

fn dims(c: &mut Choices) -> Vec<usize> {
    (0..c.below(5)).map(|_| 1 + c.below(4)).collect()
}

pub fn nn(choices: &[u32]) -> Module<Nn> {
    let c = &mut Choices(choices);
    let mut m = Module::new("main");
    m.func.add_param(TensorTy(Shape(vec![1, 2, 4, 4])), c.loc());
    while !c.0.is_empty() {
        nn_node(&mut m, c);
    }
    finish(&mut m, c);
    m
}

fn nn_node(m: &mut Module<Nn>, c: &mut Choices) {
    let ints = |c: &mut Choices, n: usize, lo: i64, hi: i64| (0..n).map(|_| c.int(lo, hi)).collect::<Vec<_>>();
    let (op, arity) = match c.below(21) {
        0 => {
            let shape = dims(c);
            let loc = c.loc();
            m.func.add_param(TensorTy(Shape(shape)), loc);
            return;
        }
        1..=3 => {
            let shape = if c.flag() { vec![2, 2, 3, 3] } else { dims(c) };
            let hint = c.name();
            let value = m.consts.insert(&hint, c.tensor(shape));
            (NnOp::Const { value }, 0)
        }
        4 => {
            let op = NnOp::Conv {
                strides: ints(c, 2, 1, 2),
                pads: ints(c, 4, 0, 2),
                dilations: vec![1, 1],
                groups: c.int(1, 2),
            };
            (op, 2)
        }
        5 => (NnOp::MatMul {}, 2),
        6 => (NnOp::Softmax { axis: c.int(-2, 2) }, 1),
        7 => {
            let function = *c.pick(Activation::ALL);
            let alpha = c.flag().then(|| c.float());
            (NnOp::Activation { function, alpha, beta: None }, 1)
        }
        8 => {
            let coeffs = (0..c.below(5)).map(|_| c.float()).collect();
            let basis = *c.pick(Basis::ALL);
            (NnOp::Polynomial { basis, lo: c.float(), hi: c.float(), rows: c.int(1, 2), coeffs }, 1)
        }
        9 => (NnOp::Add {}, 2),
        10 => (NnOp::Sub {}, 2),
        11 => (NnOp::Mul {}, 2),
        12 => (NnOp::Neg {}, 1),
        13 => {
            let op = NnOp::AvgPool {
                kernel: ints(c, 2, 1, 2),
                strides: ints(c, 2, 1, 2),
                pads: ints(c, 4, 0, 1),
                dilations: vec![1, 1],
                count_include_pad: c.flag(),
                ceil: c.flag(),
            };
            (op, 1)
        }
        14 => (NnOp::ReduceMean { axes: ints(c, 2, -4, 3), keepdims: c.flag() }, 1),
        15 => (NnOp::Reshape { shape: vec![32 / c.int(1, 4), 4] }, 1),
        16 => (NnOp::Transpose { perm: c.pick(&[vec![1, 0], vec![0, 2, 1, 3], vec![]]).clone() }, 1),
        17 => (NnOp::Pad { pads: ints(c, 8, -1, 2), mode: *c.pick(PadMode::ALL), value: c.float() }, 1),
        18 => (NnOp::Concat { axis: c.int(0, 3) }, 1 + c.below(3)),
        19 => (NnOp::Gather { axis: c.int(0, 3), indices: vec![0, 1], shape: vec![1, 2] }, 1),
        _ => {
            let texts = ["x/(1 + abs(x))", "-x*sigmoid(1.702*x)", "clip(x, -inf, 6)^2 - (-0.5)", "1e-300"];
            let function = Expression::parse(c.pick::<&str>(&texts)).expect("an expression");
            (NnOp::Composed { function }, 1)
        }
    };
    push(m, c, op, arity);
}

/// The name of one random vector constant, or of `rows` of them.
fn vectors<D: Dialect>(m: &mut Module<D>, c: &mut Choices, rows: Option<usize>, n: usize) -> ConstId {
    let shape = rows.map_or(vec![n], |rows| vec![rows, n]);
    let hint = c.name();
    let tensor = c.tensor(shape);
    m.consts.insert(&hint, tensor)
}

pub fn slot(choices: &[u32]) -> Module<Slot> {
    let c = &mut Choices(choices);
    let mut m = Module::new("main");
    let n = 1 << c.below(6);
    m.func.add_param(SlotTy(n), c.loc());
    while !c.0.is_empty() {
        let (op, arity) = match c.below(13) {
            0 => {
                let loc = c.loc();
                m.func.add_param(SlotTy(n), loc);
                continue;
            }
            1 => (SlotOp::Add {}, 2),
            2 => (SlotOp::Sub {}, 2),
            3 => (SlotOp::Neg {}, 1),
            4 => (SlotOp::Mul {}, 2),
            5 => (SlotOp::AddPlain { value: vectors(&mut m, c, None, n) }, 1),
            6 => (SlotOp::MulPlain { value: vectors(&mut m, c, Some(1), n) }, 1),
            7 => (SlotOp::AddScalar { value: c.float() }, 1),
            8 => (SlotOp::MulScalar { value: c.float() }, 1),
            9 => (SlotOp::Rotate { by: c.int(-40, 40) }, 1),
            11 => (SlotOp::Refresh {}, 1),
            10 => {
                let diagonals = vectors(&mut m, c, Some(3), n);
                (SlotOp::Linear { rotations: vec![0, 1, -3], giants: vec![0, 0, -2], diagonals }, 1)
            }
            _ => {
                let vectors = c.flag().then(|| vectors(&mut m, c, Some(3), n));
                let coeffs = if vectors.is_some() { vec![] } else { vec![c.float(), c.float()] };
                let basis = *c.pick(Basis::ALL);
                (SlotOp::Polynomial { basis, lo: c.float(), hi: c.float(), coeffs, vectors }, 1)
            }
        };
        push(&mut m, c, op, arity);
    }
    finish(&mut m, c);
    m
}

pub fn ckks(choices: &[u32]) -> Module<Ckks> {
    let c = &mut Choices(choices);
    let mut m = Module::new("main");
    let top = 6;
    m.params = c.flag().then(|| ParamSpec {
        log_n: 13,
        first_bits: 50,
        scale_bits: 40,
        levels: top,
        special_bits: 50,
        special: 2,
        bootstrap: c.flag().then(|| Circuit { stc_levels: 2, ..Circuit::compact(40) }.into()),
        // Levels for bootstrapping do not fit this ring.
        insecure: c.flag(),
    });
    if let Some(spec) = &mut m.params {
        spec.insecure |= spec.bootstrap.is_some();
    }
    let bootstraps = m.params.as_ref().is_none_or(|spec| spec.bootstrap.is_some());
    m.func.add_param(CtTy::at(top), c.loc());
    while !c.0.is_empty() {
        let (op, arity) = match c.below(18) {
            0 => {
                let (level, loc) = (c.int(0, 6) as u32, c.loc());
                m.func.add_param(CtTy::at(level), loc);
                continue;
            }
            1 => (CkksOp::Add {}, 2),
            2 => (CkksOp::Sub {}, 2),
            3 => (CkksOp::Neg {}, 1),
            4 => (CkksOp::AddPlain { value: vectors(&mut m, c, None, 8) }, 1),
            5 => (CkksOp::AddScalar { value: c.float() }, 1),
            6 => (CkksOp::MulPlain { value: vectors(&mut m, c, None, 8), at: c.int(1, 6) as u32 }, 1),
            7 => (CkksOp::MulScalar { value: c.float(), at: c.int(1, 6) as u32 }, 1),
            8 => (CkksOp::MulInt { by: c.int(-9, 9) }, 1),
            9 => (CkksOp::Relinearize {}, 1),
            10 => (CkksOp::Rescale {}, 1),
            11 => (CkksOp::LevelDrop { to: c.int(0, 5) as u32 }, 1),
            12 => (CkksOp::Rotate { by: c.int(-8, 8) }, 1),
            13 => (CkksOp::Conjugate {}, 1),
            14 => {
                let (diagonals, at) = (vectors(&mut m, c, Some(2), 8), c.int(1, 6) as u32);
                (CkksOp::Linear { rotations: vec![0, 3], giants: vec![0, 2], diagonals, at }, 1)
            }
            15 if bootstraps => (CkksOp::Bootstrap { to: c.int(0, 6) as u32 }, 1),
            _ => {
                let x = random_value(&m, c);
                let loc = c.loc();
                let _ = m.push(CkksOp::Mul {}, [x, x], loc);
                continue;
            }
        };
        push(&mut m, c, op, arity);
    }
    finish(&mut m, c);
    m
}
