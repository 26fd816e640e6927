//! Gradients are compared with central differences of the interpreter itself.

use crate::attr::F64;
use crate::entity::Value;
use crate::func::Module;
use crate::loc::Loc;
use crate::nn::eval::{eval, gradients};
use crate::nn::{Activation, Basis, Nn, NnOp, PadMode, TensorTy};
use crate::tensor::{Shape, Tensor};

/// Distinct values in [-1, 1), no two closer than a step of the differences below.
fn spread(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect();
    Tensor::new(shape.to_vec(), data)
}

/// The gradient of Σ c·f(x), c fixed, agrees with differences in every element of x.
#[track_caller]
fn check(shape: &[usize], build: impl Fn(&mut Module<Nn>, Value) -> Value) {
    let mut m = Module::<Nn>::new("main");
    let x = m.func.add_param(TensorTy(Shape(shape.to_vec())), Loc::onnx("x"));
    let y = build(&mut m, x);
    m.func.set_results([y]);
    let at = spread(shape, 1);
    let c = spread(&m.func.ty(y).0.0, 2);
    let grad = gradients(&m, std::slice::from_ref(&at), y, |_| c.clone(), &[x]).unwrap().remove(0);
    assert_eq!(grad.shape(), at.shape());
    let loss = |x: Tensor| -> f64 {
        let y = eval(&m, &[x]).unwrap().remove(0);
        y.data().iter().zip(c.data()).map(|(&y, &c)| f64::from(y) * f64::from(c)).sum()
    };
    const H: f32 = 1.0 / 2048.0;
    for i in 0..at.data().len() {
        let moved = |by: f32| {
            let mut data = at.data().to_vec();
            data[i] += by;
            Tensor::new(shape.to_vec(), data)
        };
        let difference = (loss(moved(H)) - loss(moved(-H))) / (2.0 * f64::from(H));
        let g = f64::from(grad.data()[i]);
        assert!((g - difference).abs() <= 4e-3 * (1.0 + g.abs()), "element {i}: {g} against {difference}");
    }
}

fn constant(m: &mut Module<Nn>, shape: &[usize], seed: usize) -> Value {
    let value = m.consts.insert("c", spread(shape, seed));
    m.push(NnOp::Const { value }, [], Loc::onnx("c")).unwrap()
}

fn push(m: &mut Module<Nn>, op: NnOp, operands: &[Value]) -> Value {
    m.push(op, operands.iter().copied(), Loc::onnx("node")).unwrap()
}

#[test]
fn gradients_of_convolutions_agree_with_differences() {
    // (filters, groups, strides, pads)
    for (filters, groups, strides, pads) in [
        (3, 1, [1, 1], [1, 1, 1, 1]),
        (2, 1, [2, 2], [0, 0, 1, 1]),
        (4, 4, [1, 2], [1, 0, 1, 2]),
        (6, 2, [2, 1], [0; 4]),
    ] {
        check(&[2, 4, 5, 6], |m, x| {
            let w = constant(m, &[filters, 4 / groups, 3, 2], 3);
            let (strides, pads) = (strides.to_vec(), pads.to_vec());
            push(m, NnOp::Conv { strides, pads, dilations: vec![1, 1], groups: groups as i64 }, &[x, w])
        });
    }
}

#[test]
fn gradients_of_matrix_products_of_both_sides_agree_with_differences() {
    check(&[3, 4], |m, x| {
        let w = constant(m, &[4, 5], 3);
        push(m, NnOp::MatMul {}, &[x, w])
    });
    check(&[4, 5], |m, x| {
        let a = constant(m, &[2, 3, 4], 3);
        push(m, NnOp::MatMul {}, &[a, x])
    });
}

#[test]
fn gradients_of_normalisations_agree_with_differences() {
    check(&[2, 3, 2, 2], |m, x| {
        let [scale, bias, mean] = [3, 4, 5].map(|s| constant(m, &[3], s));
        let value = m.consts.insert("variance", Tensor::new([3], vec![0.5, 1.0, 2.0]));
        let variance = push(m, NnOp::Const { value }, &[]);
        push(m, NnOp::BatchNorm { epsilon: F64(1e-3) }, &[x, scale, bias, mean, variance])
    });
    check(&[2, 5], |m, x| push(m, NnOp::Softmax { axis: -1 }, &[x]));
}

#[test]
fn gradients_of_pools_and_reductions_agree_with_differences() {
    let (kernel, strides, dilations) = (vec![3, 2], vec![2, 1], vec![1, 1]);
    for include in [false, true] {
        check(&[1, 2, 5, 4], |m, x| {
            let (kernel, strides, dilations) = (kernel.clone(), strides.clone(), dilations.clone());
            let pads = vec![1, 0, 1, 1];
            let op = NnOp::AvgPool { kernel, strides, pads, dilations, count_include_pad: include, ceil: false };
            push(m, op, &[x])
        });
    }
    check(&[1, 2, 5, 4], |m, x| {
        let (kernel, strides, dilations) = (kernel.clone(), strides.clone(), dilations.clone());
        push(m, NnOp::MaxPool { kernel, strides, pads: vec![1, 0, 1, 1], dilations, ceil: false }, &[x])
    });
    check(&[2, 3, 4], |m, x| push(m, NnOp::ReduceMean { axes: vec![-1, 0], keepdims: false }, &[x]));
    check(&[2, 3, 4], |m, x| push(m, NnOp::ReduceSum { axes: vec![1], keepdims: true }, &[x]));
}

#[test]
fn gradients_of_broadcast_arithmetic_and_of_a_value_used_twice_agree_with_differences() {
    for op in [NnOp::Add {}, NnOp::Sub {}, NnOp::Mul {}, NnOp::Div {}] {
        check(&[2, 3], |m, x| {
            let value = m.consts.insert("c", Tensor::new([3], vec![1.5, -2.0, 0.75]));
            let c = push(m, NnOp::Const { value }, &[]);
            push(m, op.clone(), &[x, c])
        });
        check(&[1, 3], |m, x| {
            let c = constant(m, &[4, 3], 3);
            let two = m.consts.insert("two", Tensor::scalar(2.0));
            let two = push(m, NnOp::Const { value: two }, &[]);
            let x = push(m, NnOp::Add {}, &[x, two]);
            push(m, op.clone(), &[c, x])
        });
        check(&[2, 2], |m, x| {
            let two = m.consts.insert("two", Tensor::scalar(2.0));
            let two = push(m, NnOp::Const { value: two }, &[]);
            let y = push(m, NnOp::Add {}, &[x, two]);
            push(m, op.clone(), &[x, y])
        });
    }
    check(&[2, 3], |m, x| push(m, NnOp::Neg {}, &[x]));
    check(&[2, 3], |m, x| {
        let slope = constant(m, &[3], 3);
        push(m, NnOp::PRelu {}, &[x, slope])
    });
}

#[test]
fn gradients_of_moved_elements_agree_with_differences() {
    check(&[2, 3, 4], |m, x| push(m, NnOp::Reshape { shape: vec![4, 6] }, &[x]));
    check(&[2, 3, 4], |m, x| push(m, NnOp::Transpose { perm: vec![2, 0, 1] }, &[x]));
    check(&[2, 5], |m, x| push(m, NnOp::Slice { starts: vec![0, 4], sizes: vec![2, 2], steps: vec![1, -2] }, &[x]));
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge] {
        let value = F64(3.0);
        check(&[2, 4], |m, x| push(m, NnOp::Pad { pads: vec![0, 2, 0, 1], mode, value }, &[x]));
    }
    check(&[2, 3], |m, x| {
        let c = constant(m, &[2, 1], 3);
        push(m, NnOp::Concat { axis: 1 }, &[c, x, x])
    });
    check(&[2, 3], |m, x| push(m, NnOp::Gather { axis: 1, indices: vec![2, 0, 2], shape: vec![3] }, &[x]));
    check(&[3, 1], |m, x| push(m, NnOp::Expand { shape: vec![2, 3, 4] }, &[x]));
}

#[test]
fn gradients_of_polynomials_agree_with_differences() {
    for (basis, rows) in [(Basis::Chebyshev, 1), (Basis::Chebyshev, 3), (Basis::Monomial, 3)] {
        let coeffs: Vec<F64> = spread(&[rows * 5], 4).data().iter().map(|&c| F64(f64::from(c))).collect();
        check(&[2, 3, 2], |m, x| {
            let (lo, hi, coeffs) = (F64(-1.5), F64(2.0), coeffs.clone());
            push(m, NnOp::Polynomial { basis, lo, hi, rows: rows as i64, coeffs }, &[x])
        });
    }
}

#[test]
fn derivatives_of_activations_are_those_of_their_values() {
    use Activation::*;
    let everywhere = [
        Relu,
        LeakyRelu,
        Sigmoid,
        Tanh,
        Softplus,
        Erf,
        Gelu,
        GeluTanh,
        Silu,
        HardSwish,
        HardSigmoid,
        Elu,
        Selu,
        Mish,
        Exp,
        Abs,
    ];
    let positive = [Log, Sqrt, Reciprocal];
    let (h, step) = (1e-5, 0.37);
    let test = |f: Activation, x: f64, alpha, beta| {
        let function = f.function(alpha, beta);
        let difference = (function.eval(x + h) - function.eval(x - h)) / (2.0 * h);
        let derivative = function.derivative(x);
        assert!((derivative - difference).abs() < 1e-6 * (1.0 + derivative.abs()), "{} at {x}", f.name());
    };
    for i in 0..24 {
        let x = f64::from(i) * step - 4.3;
        everywhere.iter().for_each(|&f| test(f, x, None, None));
        test(Clip, x, Some(-1.0), Some(2.0));
    }
    for i in 1..20 {
        let x = f64::from(i) * step;
        positive.iter().for_each(|&f| test(f, x, None, None));
        test(Pow, x, Some(2.5), None);
    }
    assert_eq!(Relu.function(None, None).derivative(0.0), 1.0);
}

#[test]
fn what_has_no_gradient_is_an_error_and_what_does_not_matter_is_zero() {
    let mut m = Module::<Nn>::new("main");
    let x = m.func.add_param(TensorTy(Shape::from([2, 3])), Loc::onnx("x"));
    let y = push(&mut m, NnOp::Pow {}, &[x, x]);
    let z = push(&mut m, NnOp::Neg {}, &[x]);
    m.func.set_results([y, z]);
    let at = [Tensor::full([2, 3], 1.0)];
    let ones = |t: &Tensor| t.map(|_| 1.0);
    assert!(gradients(&m, &at, y, ones, &[x]).is_err());
    assert!(gradients(&m, &at, z, |_| Tensor::scalar(1.0), &[x]).is_err());
    let grads = gradients(&m, &at, z, ones, &[y, x]).unwrap();
    assert_eq!((grads[0].data(), grads[1].data()), (&[0.0; 6][..], &[-1.0; 6][..]));
}
