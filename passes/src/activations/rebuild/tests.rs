//! Rebuilt networks come closer to the original, on inputs that they were not fitted to.

use super::*;
use crate::activations::ApproximateActivations;
use crate::approx::{Choice, Tail};
use fhec_ir::io::Port;
use fhec_ir::nn::{Activation, NnOp, TensorTy, eval};
use fhec_ir::{Loc, Shape, Value, largest_magnitude};

/// Deterministic values close to a normal density: sums of uniform ones.
fn noise(shape: impl Into<Shape>, seed: u64, deviation: f32) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let data: Vec<f32> = (0..shape.len()).map(|_| deviation * 2.0 * (0..3).map(|_| uniform()).sum::<f32>()).collect();
    Tensor::new(shape, data)
}

/// A network under construction over one input.
struct Net(Module<Nn>);

impl Net {
    fn new(shape: [usize; 4]) -> (Self, Value) {
        let mut m = Module::<Nn>::new("net");
        let x = m.func.add_param(TensorTy(Shape::from(shape)), Loc::onnx("x"));
        m.inputs.push(Port { name: "x".into(), shape: Shape::from(shape), ..Default::default() });
        (Self(m), x)
    }
    fn constant(&mut self, name: &str, tensor: Tensor) -> Value {
        let value = self.0.consts.insert(name, tensor);
        self.0.push(NnOp::Const { value }, [], Loc::onnx(name)).unwrap()
    }
    fn conv(&mut self, name: &str, x: Value, w: [usize; 4], (stride, pads, groups): (i64, [i64; 4], i64)) -> Value {
        let seed = name.bytes().map(u64::from).sum();
        let fan = (w[1] * w[2] * w[3]) as f32;
        let w = self.constant(&format!("{name}.w"), noise(w, seed, (2.0 / fan).sqrt()));
        let b = self.0.func.ty(w).0.0[0];
        let b = self.constant(&format!("{name}.b"), noise([b], seed + 1, 0.2));
        let op = NnOp::Conv { strides: vec![stride; 2], pads: pads.to_vec(), dilations: vec![1; 2], groups };
        self.0.push(op, [x, w, b], Loc::onnx(name)).unwrap()
    }
    fn act(&mut self, name: &str, function: Activation, x: Value) -> Value {
        self.0.push(NnOp::Activation { function, alpha: None, beta: None }, [x], Loc::onnx(name)).unwrap()
    }
    fn dense(&mut self, x: Value, inputs: usize, outputs: usize) -> Value {
        let w = self.constant("dense.w", noise([inputs, outputs], 5, 0.3));
        let b = self.constant("dense.b", noise([outputs], 6, 0.3));
        let product = self.0.push(NnOp::MatMul {}, [x, w], Loc::onnx("dense")).unwrap();
        self.0.push(NnOp::Add {}, [product, b], Loc::onnx("dense")).unwrap()
    }
    fn finish(mut self, y: Value) -> Module<Nn> {
        let shape = self.0.func.ty(y).0.clone();
        self.0.func.set_results([y]);
        self.0.outputs.push(Port { name: "y".into(), shape, ..Default::default() });
        self.0
    }
}

const SAME: [i64; 4] = [1, 1, 1, 1];

/// Two residual blocks, the second with stride 2, asymmetric pads and a 1×1 shortcut; pooling, a dense layer, softmax.
fn residual() -> Module<Nn> {
    let (mut net, x) = Net::new([1, 3, 8, 8]);
    let stem = net.conv("stem", x, [8, 3, 3, 3], (1, SAME, 1));
    let stem = net.act("relu0", Activation::Relu, stem);
    let a = net.conv("conv1", stem, [8, 8, 3, 3], (1, SAME, 1));
    let a = net.act("relu1", Activation::Relu, a);
    let a = net.conv("conv2", a, [8, 8, 3, 3], (1, SAME, 1));
    let a = net.0.push(NnOp::Add {}, [a, stem], Loc::onnx("add1")).unwrap();
    let a = net.act("relu2", Activation::Relu, a);
    let b = net.conv("conv3", a, [12, 8, 3, 3], (2, [0, 0, 1, 1], 1));
    let b = net.act("relu3", Activation::Relu, b);
    let b = net.conv("conv4", b, [12, 12, 3, 3], (1, SAME, 1));
    let short = net.conv("short", a, [12, 8, 1, 1], (2, [0; 4], 1));
    let b = net.0.push(NnOp::Add {}, [short, b], Loc::onnx("add2")).unwrap();
    let b = net.act("relu4", Activation::Relu, b);
    let axes = vec![2, 3];
    let pooled = net.0.push(NnOp::ReduceMean { axes, keepdims: false }, [b], Loc::onnx("pool")).unwrap();
    let logits = net.dense(pooled, 12, 5);
    let y = net.0.push(NnOp::Softmax { axis: 1 }, [logits], Loc::onnx("softmax")).unwrap();
    net.finish(y)
}

/// A block of ConvNeXt's kind: depthwise, pointwise, activation, pointwise, skip.
fn depthwise(function: Activation) -> Module<Nn> {
    let (mut net, x) = Net::new([1, 3, 6, 6]);
    let stem = net.conv("stem", x, [6, 3, 1, 1], (1, [0; 4], 1));
    let stem = net.act("act0", function, stem);
    let a = net.conv("depthwise", stem, [6, 1, 3, 3], (1, SAME, 6));
    let a = net.conv("expand", a, [18, 6, 1, 1], (1, [0; 4], 1));
    let a = net.act("act1", function, a);
    let a = net.conv("project", a, [6, 18, 1, 1], (1, [0; 4], 1));
    let y = net.0.push(NnOp::Add {}, [a, stem], Loc::onnx("add")).unwrap();
    let y = net.conv("head", y, [4, 6, 6, 6], (1, [0; 4], 1));
    net.finish(y)
}

fn samples(module: &Module<Nn>, count: u64, seed: u64) -> Vec<Vec<Tensor>> {
    let shape = &module.func.ty(module.func.params()[0]).0;
    (0..count).map(|i| vec![noise(shape.clone(), seed + i, 1.0)]).collect()
}

/// Mean square distance of the results.
fn distance(a: &Module<Nn>, b: &Module<Nn>, samples: &[Vec<Tensor>]) -> f64 {
    let run = |m| eval::eval_many(m, samples, 2).unwrap();
    let (a, b) = (run(a), run(b));
    let pairs = a.iter().zip(&b).flat_map(|(a, b)| a[0].data().iter().zip(b[0].data()));
    let (sum, n) = pairs.fold((0.0, 0.0), |(sum, n), (a, b)| (sum + f64::from(a - b).powi(2), n + 1.0));
    sum / n
}

fn at_degree(degree: usize, per_channel: bool) -> ReconstructOptions {
    let choice = if per_channel { Choice::least_squares_per_channel } else { Choice::least_squares };
    let approximate = ApproximateOptions { default: choice(degree), ..ApproximateOptions::default() };
    ReconstructOptions { approximate, positions: 8192, ..ReconstructOptions::default() }
}

#[test]
fn the_network_comes_closer_to_the_original_on_data_not_seen() {
    for (module, degree, gain) in
        [(residual(), 3, 2.0), (depthwise(Activation::Gelu), 2, 1.3), (depthwise(Activation::Silu), 2, 1.5)]
    {
        let (seen, unseen) = (samples(&module, 384, 100), samples(&module, 64, 9000));
        let options = at_degree(degree, false);
        let approximate = options.approximate.clone();
        let plain = ApproximateActivations::calibrated(&module, &seen, approximate).unwrap().module;
        let out = reconstruct(&module, &seen, &options, &mut |_, _, _| ()).unwrap();
        fhec_ir::verify(&out.module).unwrap();
        let (before, after) = (distance(&module, &plain, &unseen), distance(&module, &out.module, &unseen));
        assert!(gain * after < before, "{before:.3e} became {after:.3e}");
        for layer in &out.layers {
            assert!(layer.mse_after <= layer.mse_before, "{layer:?}");
        }
        assert!(!out.module.func.iter().any(|(_, n)| matches!(n.op, NnOp::Activation { .. })));
    }
}

#[test]
fn every_layer_is_rebuilt_once_and_progress_counts_to_the_end() {
    let module = residual();
    let mut heard = Vec::new();
    let mut hear = |name: &str, done: usize, total: usize| heard.push((name.to_string(), done, total));
    let out = reconstruct(&module, &samples(&module, 112, 1), &at_degree(7, false), &mut hear).unwrap();
    let mut names: Vec<&str> = out.layers.iter().map(|l| l.node.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["conv1", "conv2", "conv3", "conv4", "dense", "short", "stem"]);
    let activations: Vec<&str> = out.activations.iter().map(|a| a.node.as_str()).collect();
    assert_eq!(activations, ["relu0", "relu1", "relu2", "relu3", "relu4"]);
    assert!(heard.iter().enumerate().all(|(i, (_, done, total))| (*done, *total) == (i + 1, 12)), "{heard:?}");
}

#[test]
fn without_activations_weights_stay() {
    let (mut net, x) = Net::new([1, 3, 6, 6]);
    let a = net.conv("first", x, [5, 3, 3, 3], (1, SAME, 1));
    let b = net.conv("second", a, [3, 5, 3, 3], (1, SAME, 1));
    let y = net.0.push(NnOp::Add {}, [b, x], Loc::onnx("add")).unwrap();
    let module = net.finish(y);
    let out = reconstruct(&module, &samples(&module, 32, 1), &at_degree(7, false), &mut |_, _, _| ()).unwrap();
    let weights = |m: &Module<Nn>| -> Vec<Tensor> {
        let convs = m.func.iter().filter(|(_, n)| matches!(n.op, NnOp::Conv { .. }));
        let constant = |v: Value| match m.func.node(v).op {
            NnOp::Const { value } => m.consts.tensor(value).clone(),
            _ => panic!("weights are constant"),
        };
        convs.flat_map(|(_, n)| n.operands[1..].iter().map(|&o| constant(o)).collect::<Vec<_>>()).collect()
    };
    for (old, new) in weights(&module).iter().zip(weights(&out.module)) {
        for (a, b) in old.data().iter().zip(new.data()) {
            assert!((a - b).abs() < 1e-5, "{a} became {b}");
        }
    }
    assert!(out.layers.iter().all(|l| l.mse_before < 1e-10), "{:?}", out.layers);
}

#[test]
fn channels_of_their_own_are_closer_and_fold_into_the_layer_before() {
    let module = residual();
    let seen = samples(&module, 96, 100);
    let shared = reconstruct(&module, &seen, &at_degree(5, false), &mut |_, _, _| ()).unwrap();
    let own = reconstruct(&module, &seen, &at_degree(5, true), &mut |_, _, _| ()).unwrap();
    let unseen = samples(&module, 48, 9000);
    let (a, b) = (distance(&module, &shared.module, &unseen), distance(&module, &own.module, &unseen));
    assert!(b < a, "shared {a:.3e}, own {b:.3e}");
    let polynomial = |m: &Module<Nn>, name: &str| -> (f64, i64) {
        let node = m.func.iter().find(|(_, n)| n.loc.name() == name).unwrap().1;
        let NnOp::Polynomial { hi, rows, .. } = &node.op else { panic!("{name} is a polynomial") };
        (hi.0, *rows)
    };
    // Behind a convolution every channel has the unit interval; behind a sum they share the widest.
    assert_eq!(polynomial(&own.module, "relu1"), (1.0, 8));
    assert!(polynomial(&own.module, "relu2").0 > 1.0 && polynomial(&own.module, "relu2").1 == 8);
}

#[test]
fn channels_get_a_common_range_and_results_stay() {
    let module = residual();
    let seen = samples(&module, 32, 100);
    let Equalised { module: equal, moved } = Equalised::new(&module, &seen).unwrap();
    fhec_ir::verify(&equal).unwrap();
    assert!(distance(&module, &equal, &samples(&module, 16, 9000)) < 1e-12);
    // The magnitude that each channel behind a ReLU is expected to reach.
    let ranges = |m: &Module<Nn>, name: &str| -> Vec<f64> {
        let (value, node) = m.func.iter().find(|(_, n)| n.loc.name() == name).unwrap();
        assert!(matches!(node.op, NnOp::Activation { .. }), "{value:?}");
        let mut ranges = vec![Tail::default(); m.func.ty(value).0.0[1]];
        for sample in &seen {
            let see = |v: Value, t: &Tensor| {
                if v == node.operands[0] {
                    let planes = t.data().chunks_exact(t.data().len() / ranges.len());
                    ranges
                        .iter_mut()
                        .zip(planes)
                        .for_each(|(r, p)| r.add(largest_magnitude(p.iter().map(|&x| x.into()))));
                }
            };
            eval::eval_observed(m, sample, see).unwrap();
        }
        let range = |t: &Tail| t.within(1, t.largest()).unwrap();
        ranges.iter().map(range).collect()
    };
    for name in ["relu1", "relu3"] {
        let (old, new) = (ranges(&module, name), ranges(&equal, name));
        let widest = old.iter().fold(0.0f64, |m, r| m.max(*r));
        assert!(old.iter().any(|r| *r < 0.9 * widest));
        assert!(new.iter().all(|r| (r / widest - 1.0).abs() < 1e-4), "{name}: {new:?}");
    }
    let relu1 = module.func.iter().find(|(_, n)| n.loc.name() == "relu1").unwrap().0;
    assert_eq!(equal.func.node(moved[&relu1]).loc.name(), "relu1");
}

#[test]
fn functions_that_are_not_homogeneous_keep_their_channels() {
    let module = depthwise(Activation::Gelu);
    let Equalised { module: equal, .. } = Equalised::new(&module, &samples(&module, 8, 1)).unwrap();
    assert_eq!(fhec_ir::text::print_module(&module), fhec_ir::text::print_module(&equal));
    let module = depthwise(Activation::LeakyRelu);
    let Equalised { module: equal, .. } = Equalised::new(&module, &samples(&module, 8, 1)).unwrap();
    assert_ne!(fhec_ir::text::print_module(&module), fhec_ir::text::print_module(&equal));
    assert!(distance(&module, &equal, &samples(&module, 8, 50)) < 1e-11);
}

#[test]
fn choices_are_followed_and_threads_change_no_bit() {
    let module = residual();
    let seen = samples(&module, 24, 5);
    let relu1 = module.func.iter().find(|(_, n)| n.loc.name() == "relu1").unwrap().0;
    let choices = Choices::from([(relu1, Choice::least_squares_per_channel(4))]);
    let options = ReconstructOptions { choices, ..at_degree(7, false) };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| reconstruct(&module, &seen, &options, &mut |_, _, _| ()).unwrap())
    };
    let (one, three) = (on(1), on(3));
    let shapes: Vec<(usize, usize)> = one.activations.iter().map(|a| (a.degree, a.channels)).collect();
    assert_eq!(shapes, [(7, 1), (4, 8), (7, 1), (7, 1), (7, 1)]);
    // The same bits whatever the number of threads.
    assert_eq!(fhec_ir::text::print_module(&one.module), fhec_ir::text::print_module(&three.module));
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let module = residual();
    let none = reconstruct(&module, &[], &ReconstructOptions::default(), &mut |_, _, _| ());
    assert!(matches!(none, Err(ApproximateError::NoSamples)));
    let wrong = vec![vec![noise([1, 3, 8, 7], 1, 1.0)]];
    let error = reconstruct(&module, &wrong, &ReconstructOptions::default(), &mut |_, _, _| ()).unwrap_err();
    assert!(matches!(error, ApproximateError::Eval(eval::EvalError::InputShape { .. })), "{error}");
    let hot = vec![vec![Tensor::full([1, 3, 8, 8], f32::NAN)]];
    let error = reconstruct(&module, &hot, &ReconstructOptions::default(), &mut |_, _, _| ()).unwrap_err();
    assert!(matches!(&error, ApproximateError::NotFinite { node } if node == "relu0"), "{error}");
}
