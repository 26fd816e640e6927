use super::*;
use fhec_ir::io::Port;
use fhec_ir::nn::TensorTy;
use fhec_ir::{Loc, Shape};

fn one_activation(function: Activation) -> Module<Nn> {
    let mut m = Module::<Nn>::new("main");
    let shape = Shape::from([1, 4]);
    let x = m.func.add_param(TensorTy(shape.clone()), Loc::onnx("x"));
    m.inputs.push(Port { name: "x".into(), shape: shape.clone(), layout: None });
    let y = m.push(NnOp::Activation { function, alpha: None, beta: None }, [x], Loc::onnx("act")).unwrap();
    m.func.set_results([y]);
    m.outputs.push(Port { name: "y".into(), shape, layout: None });
    m
}

fn samples(from: f32, to: f32) -> Vec<Vec<Tensor>> {
    (0..64)
        .map(|i| {
            let at = |k: usize| from + (to - from) * ((i * 4 + k) as f32 / 255.0);
            vec![Tensor::new([1, 4], (0..4).map(at).collect::<Vec<_>>())]
        })
        .collect()
}

#[test]
fn relu_becomes_a_polynomial_close_to_it() {
    let module = one_activation(Activation::Relu);
    let options = ApproximateOptions { degree: 15, ..ApproximateOptions::default() };
    let (out, report) = ApproximateActivations::calibrated(&module, &samples(-3.0, 2.0), options).unwrap();
    let [r] = report.as_slice() else { panic!("one activation") };
    assert_eq!((r.node.as_str(), r.function.as_str(), r.degree), ("act", "relu", 15));
    assert_eq!(r.seen, (-3.0, 2.0));
    assert!((r.interval.1 - 3.9).abs() < 1e-9 && r.interval.0 == -r.interval.1);
    assert!(r.rms_error > 1e-4 && r.rms_error < 0.1 && r.max_error < 0.25, "{r:?}");
    let x = Tensor::new([1, 4], vec![-2.5, -1.0, 0.5, 1.9]);
    let y = eval::eval(&out, std::slice::from_ref(&x)).unwrap();
    for (x, y) in x.data().iter().zip(y[0].data()) {
        assert!((x.max(0.0) - y).abs() < 0.12, "relu({x}) came out as {y}");
    }
}

#[test]
fn lower_degrees_err_more() {
    let module = one_activation(Activation::Gelu);
    let rms = |degree| {
        let options = ApproximateOptions { degree, ..ApproximateOptions::default() };
        ApproximateActivations::calibrated(&module, &samples(-4.0, 4.0), options).unwrap().1[0].rms_error
    };
    assert!(rms(2) > rms(4) && rms(4) > 4.0 * rms(8), "{} {} {}", rms(2), rms(4), rms(8));
}

#[test]
fn poles_move_the_interval_or_are_reported() {
    let module = one_activation(Activation::Reciprocal);
    let options = ApproximateOptions { margin: 1.1, ..ApproximateOptions::default() };
    let (_, report) = ApproximateActivations::calibrated(&module, &samples(1.0, 3.0), options).unwrap();
    assert!(report[0].interval.0 > 0.0);
    let error = ApproximateActivations::calibrated(&module, &samples(-1.0, 3.0), options).unwrap_err();
    assert!(error.to_string().contains("not finite") || error.to_string().contains("in the way"), "{error}");
}

#[test]
fn an_activation_without_data_is_named() {
    let module = one_activation(Activation::Relu);
    let pass = ApproximateActivations::new(Calibration::default(), ApproximateOptions::default());
    let error = pass.run(&module).unwrap_err();
    assert_eq!(error.issues[0].node, "act");
    assert!(ApproximateActivations::calibrated(&module, &[], ApproximateOptions::default()).is_err());
}
