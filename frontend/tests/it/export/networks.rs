//! Networks to export: one of every op, and random ones.

use fhec_functions::Expression;
use fhec_ir::nn::{Activation, Basis, NnOp, PadMode, TensorTy};
use fhec_ir::{F64, Loc, Module, Nn, Port, Shape, Tensor, Value};

/// A network of one op of one operand.
pub fn unary(name: &str, shape: &[usize], op: NnOp) -> Module<Nn> {
    network(name, shape, &[], op)
}

/// A network of one op over an input of shape `shape` and constants of these shapes.
fn network(name: &str, shape: &[usize], constants: &[&[usize]], op: NnOp) -> Module<Nn> {
    let mut draw = Draw { choices: &[], module: Module::new(name), seed: 1 };
    let x = draw.module.func.add_param(TensorTy(Shape(shape.to_vec())), Loc::onnx("x"));
    let positive = matches!(op, NnOp::BatchNorm { .. } | NnOp::Div {});
    let constants: Vec<Value> = constants.iter().map(|s| draw.constant(s, positive)).collect();
    let y = draw.module.push(op, std::iter::once(x).chain(constants), Loc::onnx("node"));
    let y = y.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    draw.module.func.set_results([y]);
    finish(draw.module)
}

/// The module with ports.
fn finish(mut module: Module<Nn>) -> Module<Nn> {
    let port = |kind: &str, i: usize, v: &Value| Port {
        name: format!("{kind}{i}"),
        shape: module.func.ty(*v).0.clone(),
        ..Port::default()
    };
    let inputs = module.func.params().iter().enumerate().map(|(i, v)| port("x", i, v)).collect();
    let outputs = module.func.results().iter().enumerate().map(|(i, v)| port("y", i, v)).collect();
    (module.inputs, module.outputs) = (inputs, outputs);
    module
}

/// Operands of functions that are not defined below 0 are moved there.
fn of_function(function: Activation, alpha: Option<f64>, beta: Option<f64>) -> Module<Nn> {
    let mut draw = Draw { choices: &[], module: Module::new(function.to_string()), seed: 1 };
    let mut x = draw.module.func.add_param(TensorTy(Shape(vec![1, 2, 3])), Loc::onnx("x"));
    if matches!(function, Activation::Log | Activation::Sqrt | Activation::Reciprocal | Activation::Pow) {
        let two = draw.module.consts.insert("two", Tensor::scalar(2.0));
        let two = draw.module.push(NnOp::Const { value: two }, [], Loc::default()).unwrap();
        x = draw.module.push(NnOp::Add {}, [x, two], Loc::onnx("above")).unwrap();
    }
    let op = NnOp::Activation { function, alpha: alpha.map(F64), beta: beta.map(F64) };
    let y = draw.module.push(op, [x], Loc::onnx("node")).unwrap();
    draw.module.func.set_results([y]);
    finish(draw.module)
}

/// Coefficients of which all have another magnitude.
fn coefficients(count: usize) -> Vec<F64> {
    (0..count).map(|k| F64(((k * 7 + 3) % 11) as f64 / 11.0 - 0.4)).collect()
}

pub fn polynomials() -> Vec<(String, Module<Nn>)> {
    let mut out = Vec::new();
    for basis in Basis::ALL {
        for (rows, degree) in [(1, 0), (1, 1), (1, 2), (2, 2), (1, 3), (2, 7), (1, 15), (1, 27)] {
            let coeffs = coefficients((degree + 1) * rows as usize);
            let op = NnOp::Polynomial { basis: *basis, lo: F64(-1.5), hi: F64(1.25), rows, coeffs };
            let name = format!("polynomial {basis} {rows} {degree}");
            out.push((name.clone(), unary(&name, &[1, 2, 3, 3], op)));
        }
    }
    // A square, a cube and the identity, whose coefficients need no constants.
    for coeffs in [vec![0.0, 0.0, 1.0], vec![0.0, 0.0, 0.0, 2.0], vec![0.0, 1.0]] {
        let name = format!("powers {coeffs:?}");
        let coeffs = coeffs.into_iter().map(F64).collect();
        let op = NnOp::Polynomial { basis: Basis::Monomial, lo: F64(-1.0), hi: F64(1.0), rows: 1, coeffs };
        out.push((name.clone(), unary(&name, &[1, 4], op)));
    }
    out
}

pub fn functions() -> Vec<(String, Module<Nn>)> {
    let all = Activation::ALL.iter().map(|&f| (f, None, None));
    let stated = [
        (Activation::LeakyRelu, Some(0.25), None),
        (Activation::Clip, Some(-0.5), Some(0.25)),
        (Activation::Clip, None, Some(0.25)),
        (Activation::HardSigmoid, Some(0.5), Some(0.25)),
        (Activation::Elu, Some(0.5), None),
        (Activation::Selu, Some(1.5), Some(2.0)),
        (Activation::Pow, Some(-0.5), None),
        (Activation::ThresholdedRelu, Some(0.25), None),
    ];
    all.chain(stated).map(|(f, a, b)| (format!("{f} {a:?} {b:?}"), of_function(f, a, b))).collect()
}

pub fn of_every_op() -> Vec<(String, Module<Nn>)> {
    let mut out = [polynomials(), functions()].concat();
    let mut add = |name: &str, shape: &[usize], constants: &[&[usize]], op: NnOp| {
        out.push((name.to_string(), network(name, shape, constants, op)));
    };
    let conv = |strides: [i64; 2], pads: [i64; 4], dilations: [i64; 2], groups| NnOp::Conv {
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: dilations.to_vec(),
        groups,
    };
    add("conv", &[1, 2, 5, 5], &[&[3, 2, 3, 3], &[3]], conv([2, 1], [1, 0, 0, 1], [1, 1], 1));
    add("grouped conv", &[1, 2, 5, 5], &[&[4, 1, 2, 2]], conv([1, 1], [0; 4], [2, 1], 2));
    add(
        "conv with a bias of two dimensions",
        &[1, 2, 5, 5],
        &[&[3, 2, 1, 1], &[1, 3]],
        conv([1, 1], [0; 4], [1, 1], 1),
    );
    add("matmul", &[1, 4], &[&[4, 3]], NnOp::MatMul {});
    for text in ["x/(1 + abs(x))", "2 - x*sigmoid(1.5*x)", "-exp(-x*x)", "x"] {
        add(text, &[1, 2, 3], &[], NnOp::Composed { function: Expression::parse(text).unwrap() });
    }
    add("matmul of batches", &[1, 2, 3, 4], &[&[2, 4, 3]], NnOp::MatMul {});
    let epsilon = F64(f64::from(1e-3f32));
    add("batch norm", &[1, 3, 2, 2], &[&[3], &[3], &[3], &[1, 3, 1]], NnOp::BatchNorm { epsilon });
    let layer_norm = |axis| NnOp::LayerNorm { axis, epsilon };
    add("layer norm", &[1, 2, 4], &[], layer_norm(-1));
    add("layer norm with scale", &[1, 2, 4], &[&[4]], layer_norm(2));
    add("layer norm with scale and bias", &[1, 2, 4], &[&[2, 4], &[2, 4]], layer_norm(1));
    add("layer norm with others", &[1, 2, 4], &[&[4], &[2, 1]], layer_norm(1));
    add("softmax", &[1, 2, 4], &[], NnOp::Softmax { axis: 1 });
    add("log softmax", &[1, 2, 4], &[], NnOp::LogSoftmax { axis: -1 });
    add("arg max", &[1, 2, 4], &[], NnOp::ArgMax { axis: -1, keepdims: false });
    add("arg max that keeps", &[1, 2, 4], &[], NnOp::ArgMax { axis: 1, keepdims: true });
    add("prelu", &[1, 2, 4], &[&[2, 1]], NnOp::PRelu {});
    for (name, op) in [("add", NnOp::Add {}), ("sub", NnOp::Sub {}), ("mul", NnOp::Mul {}), ("div", NnOp::Div {})] {
        add(name, &[1, 2, 4], &[&[2, 1]], op);
    }
    add("neg", &[1, 4], &[], NnOp::Neg {});
    let window = |ceil| NnOp::MaxPool {
        kernel: vec![3, 2],
        strides: vec![2, 2],
        pads: vec![1, 0, 0, 1],
        dilations: vec![1, 2],
        ceil,
    };
    add("max pool", &[1, 2, 6, 6], &[], window(false));
    add("max pool up", &[1, 2, 6, 6], &[], window(true));
    for count_include_pad in [false, true] {
        let (kernel, strides, pads, dilations) = (vec![3, 2], vec![2, 2], vec![1, 0, 0, 1], vec![1, 2]);
        let op = NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad, ceil: !count_include_pad };
        add("average pool", &[1, 2, 6, 6], &[], op);
    }
    add("mean", &[1, 2, 3, 3], &[], NnOp::ReduceMean { axes: vec![-1, 2, 3], keepdims: true });
    add("sum", &[1, 2, 3, 3], &[], NnOp::ReduceSum { axes: vec![1], keepdims: false });
    add("mean of nothing", &[1, 2], &[], NnOp::ReduceMean { axes: vec![], keepdims: true });
    movements(&mut add);
    // A power of an input that may be negative has no value: the base is a constant.
    let mut draw = Draw { choices: &[], module: Module::new("pow"), seed: 1 };
    let x = draw.module.func.add_param(TensorTy(Shape(vec![1, 2])), Loc::onnx("x"));
    let base = draw.constant(&[1, 2], true);
    let y = draw.module.push(NnOp::Pow {}, [base, x], Loc::onnx("node")).unwrap();
    draw.module.func.set_results([y]);
    out.push(("pow".into(), finish(draw.module)));
    out
}

fn movements(add: &mut impl FnMut(&str, &[usize], &[&[usize]], NnOp)) {
    add("reshape", &[1, 2, 4], &[], NnOp::Reshape { shape: vec![1, 8] });
    add("reshape that merges the batch", &[1, 2, 4], &[], NnOp::Reshape { shape: vec![8] });
    add("transpose", &[1, 2, 4], &[], NnOp::Transpose { perm: vec![-1, 0, 1] });
    let slice = |starts: [i64; 3], sizes: [i64; 3], steps: [i64; 3]| NnOp::Slice {
        starts: starts.to_vec(),
        sizes: sizes.to_vec(),
        steps: steps.to_vec(),
    };
    add("slice", &[1, 5, 4], &[], slice([0, 1, 0], [1, 2, 4], [1, 2, 1]));
    add("slice backwards", &[1, 5, 4], &[], slice([0, 4, 3], [1, 5, 2], [1, -1, -2]));
    add("slice of all", &[1, 5, 4], &[], slice([0, 0, 0], [1, 5, 4], [-3, 1, 1]));
    for mode in PadMode::ALL {
        let op = NnOp::Pad { pads: vec![0, 0, 1, 0, 0, 2], mode: *mode, value: F64(0.5) };
        add(&format!("pad {mode}"), &[1, 2, 4], &[], op);
    }
    let crop = NnOp::Pad { pads: vec![0, -1, 1, 0, 0, -2], mode: PadMode::Constant, value: F64(0.5) };
    add("pad that crops", &[1, 2, 4], &[], crop);
    add("concat with a constant", &[1, 2, 4], &[&[1, 1, 4]], NnOp::Concat { axis: -2 });
    add("concat of one", &[1, 2, 4], &[], NnOp::Concat { axis: 1 });
    add("gather", &[1, 3, 2], &[], NnOp::Gather { axis: 1, indices: vec![2, 0, 0, 1], shape: vec![2, 2] });
    add("gather of one", &[1, 3, 2], &[], NnOp::Gather { axis: -2, indices: vec![2], shape: vec![] });
    add("expand", &[1, 2, 1], &[], NnOp::Expand { shape: vec![1, 2, 3] });
    add("expand of the batch", &[1, 2], &[], NnOp::Expand { shape: vec![3, 2] });
}

/// A network under construction from a list of choices, so that proptest can shrink it.
struct Draw<'a> {
    choices: &'a [u32],
    module: Module<Nn>,
    seed: u32,
}

impl Draw<'_> {
    fn next(&mut self) -> u32 {
        let (first, rest) = self.choices.split_first().unwrap_or((&0, &[]));
        self.choices = rest;
        *first
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
    /// A constant of numbers below 1, all of them at least 1/2 where they must be positive.
    fn constant(&mut self, shape: &[usize], positive: bool) -> Value {
        let shape = Shape(shape.to_vec());
        let mut number = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
            if positive { 0.75 + x / 4.0 } else { x }
        };
        let data: Vec<f32> = (0..shape.len()).map(|_| number()).collect();
        let value = self.module.consts.insert("c", Tensor::new(shape, data));
        self.module.push(NnOp::Const { value }, [], Loc::default()).unwrap()
    }
    fn value(&mut self) -> Value {
        let values: Vec<Value> = self.module.func.iter().map(|(v, _)| v).collect();
        let back = if self.flag() { self.below(2) } else { self.below(values.len()) };
        values[values.len() - 1 - back.min(values.len() - 1)]
    }
    fn shape(&self, v: Value) -> Vec<usize> {
        self.module.func.ty(v).0.0.clone()
    }
    /// Appends an op that keeps values within a few units, if it fits the operands drawn.
    fn node(&mut self) {
        let x = self.value();
        let shape = self.shape(x);
        let ints = |list: &[usize]| list.iter().map(|&d| d as i64).collect::<Vec<i64>>();
        let axis = self.below(shape.len().max(1)) as i64;
        let (op, operands) = match self.below(16) {
            0 if shape.len() == 4 => {
                let w = self.constant(&[1 + axis as usize, shape[1], 2, 2], false);
                let pads = vec![1, 0, 0, 1];
                (NnOp::Conv { strides: vec![1, 1], pads, dilations: vec![1, 1], groups: 1 }, vec![x, w])
            }
            1 if !shape.is_empty() => {
                let w = self.constant(&[shape[shape.len() - 1], 3], false);
                (NnOp::MatMul {}, vec![x, w])
            }
            2 => (NnOp::Add {}, vec![x, self.value()]),
            3 => (NnOp::Sub {}, vec![x, self.value()]),
            4 => {
                let c = self.constant(&shape[shape.len().min(1)..], false);
                (NnOp::Mul {}, vec![x, c])
            }
            5 => {
                let all = [Activation::Relu, Activation::Tanh, Activation::Gelu, Activation::Silu, Activation::Clip];
                (NnOp::Activation { function: all[self.below(5)], alpha: None, beta: None }, vec![x])
            }
            6 => (NnOp::Softmax { axis }, vec![x]),
            7 => (NnOp::LayerNorm { axis, epsilon: F64(0.5) }, vec![x]),
            8 => (NnOp::ReduceMean { axes: vec![axis], keepdims: self.flag() }, vec![x]),
            9 => {
                let mut to = ints(&shape);
                let last = to.pop().unwrap_or(1);
                let flat = to.pop().unwrap_or(1) * last;
                to.push(flat);
                (NnOp::Reshape { shape: to }, vec![x])
            }
            10 => {
                let mut perm = ints(&(0..shape.len()).collect::<Vec<_>>());
                perm.rotate_left(axis as usize);
                (NnOp::Transpose { perm }, vec![x])
            }
            11 => {
                let (mut starts, mut sizes) = (vec![0; shape.len()], ints(&shape));
                if let Some(size) = sizes.get_mut(axis as usize) {
                    starts[axis as usize] = *size - 1;
                    *size = (*size + 1) / 2;
                }
                let steps = starts.iter().map(|&s| if s > 0 { -1 } else { 1 }).collect();
                (NnOp::Slice { starts, sizes, steps }, vec![x])
            }
            12 => {
                let mut pads = vec![0; 2 * shape.len()];
                pads.iter_mut().skip(axis as usize).step_by(3).for_each(|p| *p = 1);
                (NnOp::Pad { pads, mode: PadMode::Constant, value: F64(0.25) }, vec![x])
            }
            13 => (NnOp::Concat { axis }, vec![x, self.value()]),
            14 => (NnOp::Gather { axis, indices: vec![0, 0], shape: vec![2] }, vec![x]),
            _ => {
                let basis = Basis::ALL[self.below(2)];
                let coeffs = [0.1, 0.5, -0.1].map(F64).to_vec();
                (NnOp::Polynomial { basis, lo: F64(-4.0), hi: F64(4.0), rows: 1, coeffs }, vec![x])
            }
        };
        // Small enough that sums of a few thousand nodes stay small too.
        let len = |m: &Module<Nn>, v: Value| m.func.ty(v).0.len();
        let loc = Loc::onnx(["a", "b", "", "a/b"][self.below(4)]);
        if operands.iter().all(|&o| len(&self.module, o) <= 512) {
            // One that does not fit is left out.
            let _ = self.module.push(op, operands, loc);
        }
    }
}

/// A network that the choices draw.
pub fn random(choices: &[u32]) -> Module<Nn> {
    let mut draw = Draw { choices, module: Module::new("random"), seed: 7 };
    draw.module.func.add_param(TensorTy(Shape(vec![1, 2, 4, 4])), Loc::onnx("x"));
    draw.module.func.add_param(TensorTy(Shape(vec![1, 4])), Loc::onnx("z"));
    while !draw.choices.is_empty() {
        draw.node();
    }
    let (a, b) = (draw.value(), draw.value());
    draw.module.func.set_results([a, b]);
    finish(draw.module)
}
