//! Small networks for the tests: a builder, and networks drawn at random.

use fhec_ir::attr::F64;
use fhec_ir::nn::{self, Basis, Nn, NnOp, PadMode, TensorTy};
use fhec_ir::{Loc, Module, Port, Shape, Tensor, Value};
use proptest::prelude::*;

/// A generator of reproducible small numbers.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }
    /// Uniform in [-1, 1].
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }
    pub fn tensor(&mut self, shape: impl Into<Shape>, scale: f32) -> Tensor {
        let shape = shape.into();
        let data: Vec<f32> = (0..shape.len()).map(|_| self.next() * scale).collect();
        Tensor::new(shape, data)
    }
}

/// Kernel extent, strides, pads (begins, then ends) and dilations of a convolution.
#[derive(Clone, Debug)]
pub struct Window {
    pub k: [usize; 2],
    pub s: [i64; 2],
    pub pads: [i64; 4],
    pub d: [i64; 2],
}

/// Builds `nn` modules with random weights.
pub struct Net {
    pub module: Module<Nn>,
    pub numbers: Numbers,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self { module: Module::new("net"), numbers: Numbers::new(seed) }
    }
    pub fn input(&mut self, shape: impl Into<Shape>) -> Value {
        let shape = shape.into();
        let index = self.module.inputs.len();
        self.module.inputs.push(Port { name: format!("x{index}"), shape: shape.clone(), ..Default::default() });
        self.module.func.add_param(TensorTy(shape), Loc::onnx(&format!("x{index}")))
    }
    pub fn shape(&self, v: Value) -> Vec<usize> {
        self.module.func.ty(v).0.0.clone()
    }
    pub fn push(&mut self, op: NnOp, operands: &[Value]) -> Value {
        let name = format!("n{}", self.module.func.len());
        self.module.push(op, operands.iter().copied(), Loc::onnx(&name)).expect("the test builds well-typed nodes")
    }
    pub fn tensor(&mut self, tensor: Tensor) -> Value {
        let value = self.module.consts.insert("w", tensor);
        self.push(NnOp::Const { value }, &[])
    }
    pub fn weights(&mut self, shape: &[usize], scale: f32) -> Value {
        let t = self.numbers.tensor(shape.to_vec(), scale);
        self.tensor(t)
    }
    /// Convolution with bias.
    pub fn conv(&mut self, x: Value, filters: usize, window: &Window, groups: usize) -> Value {
        let Window { k, s, pads, d } = window;
        let per_group = self.shape(x)[1] / groups;
        let scale = 1.0 / ((per_group * k[0] * k[1]) as f32).sqrt();
        let w = self.weights(&[filters, per_group, k[0], k[1]], scale);
        let b = self.weights(&[filters], 0.2);
        let op = NnOp::Conv { strides: s.to_vec(), pads: pads.to_vec(), dilations: d.to_vec(), groups: groups as i64 };
        self.push(op, &[x, w, b])
    }
    /// 3 x 3 convolution that keeps the grid, or halves it.
    pub fn conv3(&mut self, x: Value, filters: usize, stride: i64) -> Value {
        self.conv(x, filters, &Window { k: [3, 3], s: [stride; 2], pads: [1; 4], d: [1, 1] }, 1)
    }
    pub fn avg_pool(&mut self, x: Value, k: i64, s: i64) -> Value {
        let op = NnOp::AvgPool {
            kernel: vec![k; 2],
            strides: vec![s; 2],
            pads: vec![0; 4],
            dilations: vec![1; 2],
            count_include_pad: false,
            ceil: false,
        };
        self.push(op, &[x])
    }
    pub fn global_mean(&mut self, x: Value) -> Value {
        self.push(NnOp::ReduceMean { axes: vec![2, 3], keepdims: true }, &[x])
    }
    pub fn flatten(&mut self, x: Value) -> Value {
        let len: usize = self.shape(x).iter().product();
        self.push(NnOp::Reshape { shape: vec![1, len as i64] }, &[x])
    }
    pub fn fully_connected(&mut self, x: Value, outputs: usize) -> Value {
        let inputs = self.shape(x)[1];
        let w = self.weights(&[inputs, outputs], 1.0 / (inputs as f32).sqrt());
        let b = self.weights(&[outputs], 0.2);
        let y = self.push(NnOp::MatMul {}, &[x, w]);
        self.push(NnOp::Add {}, &[y, b])
    }
    /// A Chebyshev polynomial with decreasing random coefficients, shared or per channel.
    pub fn polynomial(&mut self, x: Value, degree: usize, per_channel: bool) -> Value {
        let rows = if per_channel { self.shape(x)[1] } else { 1 };
        let coeffs = (0..rows * (degree + 1))
            .map(|i| {
                let k = i % (degree + 1);
                let c = f64::from(self.numbers.next()) / (1 + k) as f64;
                F64(if k == degree { c + 0.5f64.copysign(c) } else { c })
            })
            .collect();
        let op = NnOp::Polynomial { basis: Basis::Chebyshev, lo: F64(-3.0), hi: F64(4.0), rows: rows as i64, coeffs };
        self.push(op, &[x])
    }
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.push(NnOp::Add {}, &[a, b])
    }
    pub fn square(&mut self, x: Value) -> Value {
        self.push(NnOp::Mul {}, &[x, x])
    }
    pub fn finish(mut self, results: &[Value]) -> (Module<Nn>, Vec<Tensor>) {
        self.module.func.set_results(results.iter().copied());
        for (i, &r) in results.iter().enumerate() {
            let shape = self.module.func.ty(r).0.clone();
            self.module.outputs.push(Port { name: format!("y{i}"), shape, ..Default::default() });
        }
        let shapes: Vec<Shape> = self.module.inputs.iter().map(|p| p.shape.clone()).collect();
        let inputs = shapes.into_iter().map(|s| self.numbers.tensor(s, 1.0)).collect();
        (self.module, inputs)
    }
}

/// One step of a random network; what does not fit the current shape is left out.
#[derive(Clone, Debug)]
pub enum Layer {
    Conv { filters: usize, window: Window, groups: bool },
    AvgPool { k: i64, s: i64, pad: i64, include: bool, ceil: bool },
    Polynomial { degree: usize, per_channel: bool },
    Square,
    Gate,
    SkipConv,
    Concat,
    Slice { dim: usize, step: i64 },
    PadConstant { pads: [i64; 2] },
    Reflect,
    SwapSpace,
    Scale,
    Reduce { sum: bool },
    Gather,
    Sub,
}

pub fn layer() -> impl Strategy<Value = Layer> {
    let two = |range: std::ops::RangeInclusive<i64>| [range.clone(), range];
    prop_oneof![
        6 => (1usize..5, [1usize..=3, 1usize..=3], two(1..=2), [0i64..=2, 0i64..=2, 0i64..=2, 0i64..=2], two(1..=2), any::<bool>())
            .prop_map(|(filters, k, s, pads, d, groups)| Layer::Conv { filters, window: Window { k, s, pads, d }, groups }),
        2 => (1i64..=3, 1i64..=3, 0i64..=1, any::<bool>(), any::<bool>())
            .prop_map(|(k, s, pad, include, ceil)| Layer::AvgPool { k, s, pad, include, ceil }),
        3 => (0usize..=7, any::<bool>()).prop_map(|(degree, per_channel)| Layer::Polynomial { degree, per_channel }),
        1 => Just(Layer::Square),
        1 => Just(Layer::Gate),
        2 => Just(Layer::SkipConv),
        1 => Just(Layer::Concat),
        1 => (1usize..=3, 1i64..=2).prop_map(|(dim, step)| Layer::Slice { dim, step }),
        1 => [0i64..=2, 0i64..=2].prop_map(|pads| Layer::PadConstant { pads }),
        1 => Just(Layer::Reflect),
        1 => Just(Layer::SwapSpace),
        1 => Just(Layer::Scale),
        1 => any::<bool>().prop_map(|sum| Layer::Reduce { sum }),
        1 => Just(Layer::Gather),
        1 => Just(Layer::Sub),
    ]
}

/// A network of the layers, with a fully connected end when `head`.
pub fn network(seed: u64, shape: [usize; 3], layers: &[Layer], head: bool) -> (Module<Nn>, Vec<Tensor>) {
    let mut net = Net::new(seed);
    let mut x = net.input([1, shape[0], shape[1], shape[2]]);
    for l in layers {
        x = step(&mut net, x, l);
    }
    if head {
        let flat = net.flatten(x);
        x = net.fully_connected(flat, 3);
    }
    net.finish(&[x])
}

/// Whether the results stay within f32: beyond it, where polynomials of polynomials lead, there is nothing to compare.
pub fn in_range(module: &Module<Nn>, inputs: &[Tensor]) -> bool {
    let results = nn::eval::eval(module, inputs).expect("the nn module runs");
    results.iter().flat_map(|y| y.data()).all(|y| y.abs() < 1e30)
}

fn step(net: &mut Net, x: Value, layer: &Layer) -> Value {
    let [_, c, h, w] = net.shape(x).try_into().expect("layers keep four dimensions");
    let fits = |extent: usize, k: usize, d: i64, pads: i64| extent as i64 + pads > (k as i64 - 1) * d;
    match layer {
        Layer::Conv { filters, window, groups } => {
            let Window { k, pads, d, .. } = window;
            if !fits(h, k[0], d[0], pads[0] + pads[2]) || !fits(w, k[1], d[1], pads[1] + pads[3]) {
                return x;
            }
            let groups = if *groups && c > 1 { c } else { 1 };
            net.conv(x, filters * groups, window, groups)
        }
        Layer::AvgPool { k, s, pad, include, ceil } => {
            let pad = if *k > 1 { *pad } else { 0 };
            if !fits(h, *k as usize, 1, 2 * pad) || !fits(w, *k as usize, 1, 2 * pad) {
                return x;
            }
            let op = NnOp::AvgPool {
                kernel: vec![*k; 2],
                strides: vec![*s; 2],
                pads: vec![pad; 4],
                dilations: vec![1; 2],
                count_include_pad: *include,
                ceil: *ceil,
            };
            net.push(op, &[x])
        }
        Layer::Polynomial { degree, per_channel } => net.polynomial(x, *degree, *per_channel),
        Layer::Square => net.square(x),
        Layer::Gate => {
            let p = net.polynomial(x, 3, false);
            net.push(NnOp::Mul {}, &[x, p])
        }
        Layer::SkipConv => {
            let p = net.polynomial(x, 4, false);
            let y = net.conv3(p, c, 1);
            net.add(y, x)
        }
        Layer::Concat => {
            let y = net.conv3(x, 2, 1);
            net.push(NnOp::Concat { axis: 1 }, &[x, y])
        }
        Layer::Slice { dim, step } => {
            let shape = [1, c, h, w];
            let (mut starts, mut sizes, mut steps) = (vec![0; 4], shape.map(|d| d as i64).to_vec(), vec![1; 4]);
            if shape[*dim] > 2 {
                starts[*dim] = 1;
                steps[*dim] = *step;
                sizes[*dim] = (shape[*dim] as i64 - 2) / step + 1;
            }
            net.push(NnOp::Slice { starts, sizes, steps }, &[x])
        }
        Layer::PadConstant { pads: [before, after] } => {
            let pads = vec![0, *before, 0, *after, 0, 1, 0, 1];
            net.push(NnOp::Pad { pads, mode: PadMode::Constant, value: F64(0.25) }, &[x])
        }
        Layer::Reflect if h > 1 && w > 1 => {
            let pads = vec![0, 0, 1, 1, 0, 0, 1, 0];
            net.push(NnOp::Pad { pads, mode: PadMode::Reflect, value: F64(0.0) }, &[x])
        }
        Layer::Reflect => x,
        Layer::SwapSpace => net.push(NnOp::Transpose { perm: vec![0, 1, 3, 2] }, &[x]),
        Layer::Scale => {
            let s = net.weights(&[c, 1, 1], 1.0);
            net.push(NnOp::Mul {}, &[s, x])
        }
        Layer::Reduce { sum } => {
            if *sum {
                net.push(NnOp::ReduceSum { axes: vec![3], keepdims: true }, &[x])
            } else {
                net.push(NnOp::ReduceMean { axes: vec![-2], keepdims: true }, &[x])
            }
        }
        Layer::Gather => {
            let indices = vec![c as i64 - 1, 0, (c / 2) as i64];
            net.push(NnOp::Gather { axis: 1, indices, shape: vec![3] }, &[x])
        }
        Layer::Sub => {
            let y = net.avg_pool(x, 1, 1);
            let two = net.tensor(Tensor::scalar(2.0));
            let y = net.push(NnOp::Div {}, &[y, two]);
            net.push(NnOp::Sub {}, &[y, x])
        }
    }
}

/// Inputs like images, the same on every machine.
pub(crate) fn samples(module: &Module<Nn>) -> Vec<Vec<Tensor>> {
    let shape = &module.func.ty(module.func.params()[0]).0;
    let pixel = |image: usize, i: usize| (((i * 31 + image * 7919) * 2_654_435_761) >> 7 & 1023) as f32 / 1023.0;
    (0..16)
        .map(|k| vec![Tensor::new(shape.clone(), (0..shape.len()).map(|i| pixel(k, i)).collect::<Vec<_>>())])
        .collect()
}
