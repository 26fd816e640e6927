//! Networks whose ops are composed to functions compute what they did.

use fhec_ir::nn::{Activation, NnOp, TensorTy, eval};
use fhec_ir::text::print_module;
use fhec_ir::{F64, Loc, Module, Nn, Shape, Tensor, Value};

use super::*;

/// Numbers of a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A random network of element-wise ops over two inputs, with matrix products here and there; several values are results.
fn random(seed: u64) -> Module<Nn> {
    let mut numbers = Numbers(seed);
    let mut module: Module<Nn> = Module::new("random");
    let shape = || TensorTy(Shape(vec![2, 3]));
    let mut values: Vec<Value> = (0..2).map(|_| module.func.add_param(shape(), Loc::default())).collect();
    let number = module.consts.insert("c", Tensor::scalar(0.75));
    let number = module.push(NnOp::Const { value: number }, [], Loc::default()).expect("a constant");
    let weights = module.consts.insert("w", Tensor::new([3, 3], vec![0.5, -0.25, 0.1, 0.3, 0.5, 0.0, -0.2, 0.1, 0.4]));
    let weights = module.push(NnOp::Const { value: weights }, [], Loc::default()).expect("a constant");
    let activation = |function, alpha: Option<f64>| NnOp::Activation { function, alpha: alpha.map(F64), beta: None };
    for k in 0..4 + numbers.below(24) {
        // Mostly of what was made last, so that clusters grow.
        let mut pick = |values: &[Value]| values[values.len() - 1 - numbers.below(values.len().min(4))];
        let (a, b) = (pick(&values), pick(&values));
        let (op, operands) = match numbers.below(14) {
            0 => (activation(Activation::Tanh, None), vec![a]),
            1 => (activation(Activation::Sigmoid, None), vec![a]),
            2 => (activation(Activation::Abs, None), vec![a]),
            3 => (activation(Activation::LeakyRelu, Some(0.125)), vec![a]),
            4 => (activation(Activation::Sin, None), vec![a]),
            5 => (NnOp::Neg {}, vec![a]),
            6 => (NnOp::Add {}, vec![a, number]),
            7 => (NnOp::Mul {}, vec![number, a]),
            8 => (NnOp::Sub {}, vec![number, a]),
            9 => (NnOp::Add {}, vec![a, b]),
            10 => (NnOp::Sub {}, vec![a, b]),
            11 | 12 => (NnOp::Mul {}, vec![a, b]),
            _ => (NnOp::MatMul {}, vec![a, weights]),
        };
        values.push(module.push(op, operands, Loc::onnx(&format!("n{k}"))).expect("well typed"));
    }
    let more = values[2 + numbers.below(values.len() - 2)];
    module.func.set_results([values[values.len() - 1], more]);
    module
}

#[test]
fn composed_networks_compute_what_they_did() {
    let mut found = 0;
    for seed in 0..400 {
        let module = random(seed);
        let Composed { module: composed, functions } = ComposeFunctions.compose(&module).expect("composes");
        fhec_ir::verify(&composed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        found += functions.len();
        let mut numbers = Numbers(seed + 1000);
        let mut tensor =
            || Tensor::new([2, 3], (0..6).map(|_| numbers.below(2000) as f32 / 500.0 - 2.0).collect::<Vec<_>>());
        let inputs = [tensor(), tensor()];
        let (a, b) = (eval::eval(&module, &inputs).expect("runs"), eval::eval(&composed, &inputs).expect("runs"));
        for (a, b) in a.iter().zip(&b) {
            let largest = a.data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
            let close = a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() <= 1e-4 * largest);
            assert!(close, "seed {seed}: {a:?} and {b:?}\n{}\n{}", print_module(&module), print_module(&composed));
        }
        // What is composed stays as it is.
        let again = ComposeFunctions.compose(&composed).expect("composes");
        assert!(again.functions.is_empty(), "seed {seed}: {}", print_module(&again.module));
    }
    assert!(found > 200, "{found} clusters");
}

/// A chain of functions longer than an expression may be becomes several expressions.
#[test]
fn long_chains_are_several_functions() {
    let mut module: Module<Nn> = Module::new("chain");
    let x = module.func.add_param(TensorTy(Shape(vec![1, 4])), Loc::onnx("x"));
    let mut last = x;
    for k in 0..500 {
        let function = if k % 2 == 0 { Activation::Sin } else { Activation::Cos };
        let op = NnOp::Activation { function, alpha: None, beta: None };
        last = module.push(op, [last], Loc::onnx(&format!("n{k}"))).expect("well typed");
    }
    module.func.set_results([last]);
    let Composed { module: composed, functions } = ComposeFunctions.compose(&module).expect("composes");
    assert_eq!(functions.len(), 4, "{}", print_module(&composed));
    let x = [Tensor::new([1, 4], vec![0.0, 0.5, 1.0, 2.0])];
    let (a, b) = (eval::eval(&module, &x).expect("runs"), eval::eval(&composed, &x).expect("runs"));
    assert!(a[0].data().iter().zip(b[0].data()).all(|(a, b)| (a - b).abs() < 1e-5));
}
