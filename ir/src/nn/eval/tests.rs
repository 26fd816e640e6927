//! The interpreter is compared with definitions computed another way: naive loops, closed forms, hand-worked cases.

use proptest::prelude::*;

use super::*;
use crate::attr::F64;
use crate::io::Port;
use crate::loc::Loc;
use crate::nn::{Activation, Basis, PadMode};

fn run(op: NnOp, operands: &[&Tensor]) -> Tensor {
    apply(&op, operands, &ConstPool::default()).unwrap()
}

fn iota(shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let data: Vec<f32> = (0..shape.len()).map(|i| i as f32).collect();
    Tensor::new(shape, data)
}

/// Deterministic values in [-1, 1) without structure.
fn noise(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let data: Vec<f32> = (0..shape.len())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect();
    Tensor::new(shape, data)
}

#[track_caller]
fn close(a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.shape(), b.shape());
    for (i, (x, y)) in a.data().iter().zip(b.data()).enumerate() {
        assert!((x - y).abs() <= tolerance * (1.0 + y.abs()), "element {i}: {x} against {y}");
    }
}

#[test]
fn activations_at_known_points() {
    let at = |f: Activation, x: f64| f.function(None, None).eval(x);
    for (function, x, y) in [
        (Activation::Relu, -2.0, 0.0),
        (Activation::LeakyRelu, -2.0, -0.02),
        (Activation::Sigmoid, 0.0, 0.5),
        (Activation::Sigmoid, -1000.0, 0.0),
        (Activation::Softplus, 0.0, std::f64::consts::LN_2),
        (Activation::Softplus, 1000.0, 1000.0),
        (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
        (Activation::GeluTanh, 1.0, 0.841_191_990_608_276_8),
        (Activation::Silu, 2.0, 1.761_594_155_955_764_9),
        (Activation::HardSwish, 1.0, 2.0 / 3.0),
        (Activation::HardSwish, -4.0, 0.0),
        (Activation::HardSigmoid, 1.0, 0.7),
        (Activation::Elu, -1.0, -0.632_120_558_828_557_7),
        (Activation::Selu, 1.0, 1.050_701_022_148_132_3),
        (Activation::Mish, 1.0, 0.865_098_388_267_310_3),
        (Activation::Abs, -3.0, 3.0),
        (Activation::Reciprocal, 4.0, 0.25),
        (Activation::Softsign, -3.0, -0.75),
        (Activation::ThresholdedRelu, 1.0, 0.0),
        (Activation::ThresholdedRelu, 1.5, 1.5),
        (Activation::Step, 0.0, 0.0),
        (Activation::Step, 0.5, 1.0),
        (Activation::Sin, 0.0, 0.0),
        (Activation::Cos, 0.0, 1.0),
    ] {
        assert!((at(function, x) - y).abs() < 1e-12, "{function}({x}) = {}", at(function, x));
    }
    assert_eq!(Activation::Clip.function(Some(0.0), Some(6.0)).eval(9.0), 6.0);
    assert_eq!(Activation::Pow.function(Some(3.0), None).eval(-2.0), -8.0);
    assert!(Activation::ALL.iter().all(|&f| at(f, f64::NAN).is_nan()), "every function lets NaN through");
}

#[test]
fn polynomials_in_both_bases() {
    // 1 + 2x + 3x² is 2.5·T0 + 2·T1 + 1.5·T2 on [-1, 1].
    let x = Tensor::new([1, 2, 2], vec![-0.5, 0.25, 1.0, 2.0]);
    let expected = x.map(|x| 1.0 + 2.0 * x + 3.0 * x * x);
    let op = |basis, coeffs: &[f64], rows| NnOp::Polynomial {
        basis,
        lo: F64(-1.0),
        hi: F64(1.0),
        rows,
        coeffs: coeffs.iter().map(|&c| F64(c)).collect(),
    };
    close(&run(op(Basis::Monomial, &[1.0, 2.0, 3.0], 1), &[&x]), &expected, 1e-6);
    close(&run(op(Basis::Chebyshev, &[2.5, 2.0, 1.5], 1), &[&x]), &expected, 1e-6);
    let per_channel = run(op(Basis::Monomial, &[0.0, 1.0, 5.0, 0.0], 2), &[&x]);
    assert_eq!(per_channel.data(), [-0.5, 0.25, 5.0, 5.0]);
}

/// Convolution by its definition.
fn naive_conv(x: &Tensor, w: &Tensor, b: &[f32], (s, p, d, groups): (usize, usize, usize, usize)) -> Tensor {
    let [n, c, h, wd] = x.shape().0[..] else { panic!() };
    let [m, cg, kh, kw] = w.shape().0[..] else { panic!() };
    let extent = |len: usize, k: usize| (len + 2 * p - (k - 1) * d - 1) / s + 1;
    let (oh, ow) = (extent(h, kh), extent(wd, kw));
    let mut out = Vec::new();
    for (b_i, f, oy, ox) in (0..n * m * oh * ow).map(|i| (i / (m * oh * ow), i / (oh * ow) % m, i / ow % oh, i % ow)) {
        let mut sum = f64::from(b[f]);
        for (ci, ky, kx) in (0..cg * kh * kw).map(|i| (i / (kh * kw), i / kw % kh, i % kw)) {
            let (y, xx) = ((oy * s + ky * d) as i64 - p as i64, (ox * s + kx * d) as i64 - p as i64);
            if (0..h as i64).contains(&y) && (0..wd as i64).contains(&xx) {
                let ch = f / (m / groups) * cg + ci;
                let at = ((b_i * c + ch) * h + y as usize) * wd + xx as usize;
                sum += f64::from(x.data()[at]) * f64::from(w.data()[((f * cg + ci) * kh + ky) * kw + kx]);
            }
        }
        out.push(sum as f32);
    }
    Tensor::new([n, m, oh, ow], out)
}

#[test]
fn pointwise_and_depthwise_convolutions_are_their_definition() {
    for (channels, filters, groups, k, p) in [(6, 5, 1, 1, 0), (6, 2, 1, 1, 0), (6, 6, 6, 3, 1), (6, 12, 3, 3, 1)] {
        let x = noise([2, channels, 5, 7], 3);
        let weights = noise([filters, channels / groups, k, k], 4);
        let bias = noise([filters], 5);
        let op =
            NnOp::Conv { strides: vec![1; 2], pads: vec![p as i64; 4], dilations: vec![1; 2], groups: groups as i64 };
        close(&run(op, &[&x, &weights, &bias]), &naive_conv(&x, &weights, bias.data(), (1, p, 1, groups)), 1e-5);
    }
}

#[test]
fn unfolded_rows_times_filters_are_the_convolution() {
    let x = noise([2, 4, 6, 5], 7);
    let weights = noise([6, 2, 3, 2], 8);
    let op = NnOp::Conv { strides: vec![2, 1], pads: vec![1, 0, 0, 2], dilations: vec![1, 2], groups: 2 };
    let y = run(op.clone(), &[&x, &weights]);
    let [_, filters, h, w] = y.shape().0[..] else { panic!() };
    let positions: Vec<usize> = (0..2 * h * w).rev().step_by(3).collect();
    let rows = unfold(&op, &x, weights.shape(), &positions).unwrap();
    for (row, &p) in rows.chunks_exact(4 * 6).zip(&positions) {
        for f in 0..filters {
            let group = f / (filters / 2);
            let filter = &weights.data()[f * 12..(f + 1) * 12];
            let sum: f32 = row[group * 12..(group + 1) * 12].iter().zip(filter).map(|(x, w)| x * w).sum();
            let at = (p / (h * w) * filters + f) * h * w + p % (h * w);
            assert!((sum - y.data()[at]).abs() < 1e-5, "filter {f} at {p}: {sum} against {}", y.data()[at]);
        }
    }
    assert!(unfold(&op, &x, weights.shape(), &[2 * h * w]).is_err());
    assert!(unfold(&NnOp::Add {}, &x, weights.shape(), &[]).is_err());
}

#[test]
fn polynomials_of_many_elements_are_those_of_one() {
    let x = noise([1, 3, 5, 7], 11);
    let coeffs: Vec<F64> = noise([3, 9], 12).data().iter().map(|&c| F64(f64::from(c))).collect();
    for basis in [Basis::Chebyshev, Basis::Monomial] {
        let (lo, hi, rows) = (F64(-1.5), F64(1.0), 3);
        let y = run(NnOp::Polynomial { basis, lo, hi, rows, coeffs: coeffs.clone() }, &[&x]);
        for (i, (&x, &y)) in x.data().iter().zip(y.data()).enumerate() {
            let row: Vec<f64> = coeffs[i / 35 * 9..][..9].iter().map(|c| c.0).collect();
            assert_eq!(basis.eval(&row, -1.5, 1.0, f64::from(x)) as f32, y);
        }
    }
}

proptest! {
    #[test]
    fn conv_is_its_definition(
        (n, cg, mg, groups) in (1usize..3, 1usize..4, 1usize..6, 1usize..4),
        (h, w, kh, kw) in (4usize..9, 4usize..12, 1usize..4, 1usize..4),
        (s, p, d) in (1usize..4, 0usize..3, 1usize..3),
        seed in any::<u64>(),
    ) {
        prop_assume!((kh - 1) * d < h + 2 * p && (kw - 1) * d < w + 2 * p);
        let x = noise([n, cg * groups, h, w], seed);
        let weights = noise([mg * groups, cg, kh, kw], seed ^ 1);
        let bias = noise([mg * groups], seed ^ 2);
        let (s64, p64, d64) = (s as i64, p as i64, d as i64);
        let op = NnOp::Conv { strides: vec![s64; 2], pads: vec![p64; 4], dilations: vec![d64; 2], groups: groups as i64 };
        close(&run(op, &[&x, &weights, &bias]), &naive_conv(&x, &weights, bias.data(), (s, p, d, groups)), 1e-5);
    }

    #[test]
    fn matmul_is_its_definition((b, m, k, n) in (1usize..4, 1usize..9, 0usize..20, 1usize..20), seed in any::<u64>()) {
        let (x, y) = (noise([b, m, k], seed), noise([k, n], seed ^ 1));
        let naive: Vec<f32> = (0..b * m * n)
            .map(|i| (0..k).map(|l| x.data()[i / n * k + l] * y.data()[l * n + i % n]).sum())
            .collect();
        close(&run(NnOp::MatMul {}, &[&x, &y]), &Tensor::new([b, m, n], naive), 1e-5);
    }

    #[test]
    fn broadcast_addition_is_addition_of_expansions(mask_a in 0usize..16, mask_b in 0usize..16) {
        let full = [2usize, 3, 4, 5];
        let dims = |mask: usize| (0..4).map(|i| if mask >> i & 1 == 1 { full[i] } else { 1 }).collect::<Vec<_>>();
        let (a, b) = (noise(dims(mask_a), 1), noise(dims(mask_b), 2));
        let shape: Vec<i64> = dims(mask_a | mask_b).iter().map(|&d| d as i64).collect();
        let expand = |t: &Tensor| run(NnOp::Expand { shape: shape.clone() }, &[t]);
        prop_assert_eq!(run(NnOp::Add {}, &[&a, &b]), run(NnOp::Add {}, &[&expand(&a), &expand(&b)]));
    }
}

#[test]
fn matmul_of_vectors_drops_the_added_dimension() {
    let (v, m) = (iota([3]), iota([3, 2]));
    assert_eq!(run(NnOp::MatMul {}, &[&v, &m]), Tensor::new([2], vec![10.0, 13.0]));
    assert_eq!(run(NnOp::MatMul {}, &[&v, &v]), Tensor::scalar(5.0));
}

#[test]
fn pools_count_what_onnx_counts() {
    let x = iota([1, 1, 4, 4]);
    let average = |include, ceil, pads: [i64; 4], strides: [i64; 2]| {
        let op = NnOp::AvgPool {
            kernel: vec![3, 3],
            strides: strides.to_vec(),
            pads: pads.to_vec(),
            dilations: vec![1, 1],
            count_include_pad: include,
            ceil,
        };
        run(op, &[&x])
    };
    // The corner window holds 0, 1, 4, 5 and five padding zeros.
    assert_eq!(average(false, false, [1; 4], [1, 1]).data()[0], 2.5);
    assert_eq!(average(true, false, [1; 4], [1, 1]).data()[0], 10.0 / 9.0);
    // Ceil mode adds windows that reach past the end; what lies beyond the padding is never counted.
    let ceil = average(true, true, [0; 4], [2, 2]);
    assert_eq!(ceil, Tensor::new([1, 1, 2, 2], vec![5.0, 6.5, 11.0, 12.5]));
    let max = NnOp::MaxPool {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        pads: vec![1, 1, 0, 0],
        dilations: vec![2, 2],
        ceil: false,
    };
    assert_eq!(run(max, &[&x]).data(), [5.0, 7.0, 13.0, 15.0]);
}

#[test]
fn normalisations_have_their_moments() {
    let x = noise([3, 4, 10], 5);
    let y = run(NnOp::LayerNorm { axis: -1, epsilon: F64(0.0) }, &[&x]);
    for row in y.data().chunks(10) {
        let mean: f32 = row.iter().sum::<f32>() / 10.0;
        let square: f32 = row.iter().map(|v| v * v).sum::<f32>() / 10.0;
        assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
    }
    let softmax = run(NnOp::Softmax { axis: 1 }, &[&x]);
    let sums = run(NnOp::ReduceSum { axes: vec![1], keepdims: false }, &[&softmax]);
    close(&sums, &Tensor::full([3, 10], 1.0), 1e-6);
    let log_ratio = (softmax.data()[0] / softmax.data()[10]).ln();
    assert!((log_ratio - (x.data()[0] - x.data()[10])).abs() < 1e-5);
    let param = |v: [f32; 4]| Tensor::new([4], v.to_vec());
    let (scale, bias) = (param([1.0, 2.0, 3.0, 4.0]), param([0.5; 4]));
    let (mean, variance) = (param([0.1, 0.2, 0.3, 0.4]), param([1.0, 4.0, 9.0, 16.0]));
    let y = run(NnOp::BatchNorm { epsilon: F64(0.0) }, &[&x, &scale, &bias, &mean, &variance]);
    // scale / sqrt(variance) is 1 in every channel.
    let shift = Tensor::new([4, 1], vec![0.4, 0.3, 0.2, 0.1]);
    close(&y, &run(NnOp::Add {}, &[&x, &shift]), 1e-6);
}

#[test]
fn reductions_over_any_axes() {
    let x = iota([2, 3, 4]);
    let sum = |axes: &[i64], keepdims| run(NnOp::ReduceSum { axes: axes.to_vec(), keepdims }, &[&x]);
    assert_eq!(sum(&[0, 2], false), Tensor::new([3], vec![60.0, 92.0, 124.0]));
    assert_eq!(sum(&[-2], true), Tensor::new([2, 1, 4], vec![12.0, 15.0, 18.0, 21.0, 48.0, 51.0, 54.0, 57.0]));
    assert_eq!(run(NnOp::ReduceMean { axes: vec![0, 1, 2], keepdims: false }, &[&x]), Tensor::scalar(11.5));
}

#[test]
fn ops_that_move_elements_put_them_where_onnx_does() {
    let x = iota([2, 3]);
    assert_eq!(run(NnOp::Transpose { perm: vec![1, 0] }, &[&x]).data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let slice = NnOp::Slice { starts: vec![0, 2], sizes: vec![2, 2], steps: vec![1, -2] };
    assert_eq!(run(slice, &[&x]).data(), [2.0, 0.0, 5.0, 3.0]);
    let pad = |mode, pads: [i64; 4]| run(NnOp::Pad { pads: pads.to_vec(), mode, value: F64(9.0) }, &[&x]);
    assert_eq!(pad(PadMode::Constant, [0, 1, 0, 0]).data(), [9.0, 0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0]);
    assert_eq!(pad(PadMode::Constant, [-1, 0, 0, -1]).data(), [3.0, 4.0]);
    assert_eq!(pad(PadMode::Reflect, [0, 2, 0, 1]).data()[..6], [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
    assert_eq!(pad(PadMode::Edge, [0, 2, 0, 1]).data()[..6], [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    assert_eq!(pad(PadMode::Wrap, [0, 2, 0, 1]).data()[..6], [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]);
    let concat = run(NnOp::Concat { axis: 1 }, &[&x, &x]);
    assert_eq!(concat.data(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
    let gather = NnOp::Gather { axis: 1, indices: vec![2, 2, 0, 1], shape: vec![2, 2] };
    assert_eq!(run(gather, &[&x]), Tensor::new([2, 2, 2], vec![2.0, 2.0, 0.0, 1.0, 5.0, 5.0, 3.0, 4.0]));
    let expand = NnOp::Expand { shape: vec![2, 2, 3] };
    assert_eq!(run(expand, &[&x]).data(), [x.data(), x.data()].concat());
}

/// `relu(x · w) + x`, and a node that nothing uses.
fn small_module() -> Module<Nn> {
    let mut m = Module::<Nn>::new("main");
    let shape = Shape(vec![1, 2]);
    let x = m.func.add_param(TensorTy(shape.clone()), Loc::onnx("x"));
    m.inputs.push(Port { name: "image".into(), shape, ..Default::default() });
    let w = m.consts.insert("w", Tensor::new([2, 2], vec![1.0, -1.0, 2.0, 0.5]));
    let w = m.push(NnOp::Const { value: w }, [], Loc::default()).unwrap();
    let y = m.push(NnOp::MatMul {}, [x, w], Loc::onnx("fc")).unwrap();
    m.push(NnOp::Neg {}, [y], Loc::onnx("dead")).unwrap();
    let relu = NnOp::Activation { function: Activation::Relu, alpha: None, beta: None };
    let y = m.push(relu, [y], Loc::onnx("relu")).unwrap();
    let y = m.push(NnOp::Add {}, [y, x], Loc::onnx("skip")).unwrap();
    m.func.set_results([y, x]);
    m
}

#[test]
fn modules_evaluate_with_observer_and_over_threads() {
    let m = small_module();
    let x = Tensor::new([1, 2], vec![1.0, -3.0]);
    let mut seen = Vec::new();
    let out = eval_observed(&m, std::slice::from_ref(&x), |v, t| seen.push((m.func.node(v).op.mnemonic(), t.clone())))
        .unwrap();
    assert_eq!(out[0].data(), [1.0, -3.0]);
    assert_eq!(out[1], x);
    let names: Vec<_> = seen.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, ["input", "const", "matmul", "activation", "add"]);
    assert_eq!(seen[2].1.data(), [-5.0, -2.5]);
    let images: Vec<Vec<Tensor>> = (0..5).map(|i| vec![noise([1, 2], i)]).collect();
    let one_by_one: Vec<_> = images.iter().map(|x| eval(&m, x).unwrap()).collect();
    assert_eq!(eval_many(&m, &images, 2).unwrap(), one_by_one);
}

#[test]
fn misfits_are_errors() {
    let m = small_module();
    assert_eq!(eval(&m, &[]), Err(EvalError::InputCount { expected: 1, found: 0 }));
    let wrong = eval(&m, &[Tensor::full([2, 2], 0.0)]).unwrap_err();
    assert_eq!(wrong.to_string(), "input 0 (`image`) has shape 1x2, a tensor of shape 2x2 was given");
    assert!(apply(&NnOp::Neg {}, &[], &ConstPool::default()).is_err());
    assert!(apply(&NnOp::Input { index: 0 }, &[], &ConstPool::default()).is_err());
    let (a, b) = (iota([2, 3]), iota([2, 3]));
    assert!(apply(&NnOp::MatMul {}, &[&a, &b], &ConstPool::default()).is_err());
}
