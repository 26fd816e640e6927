//! What passes make of a network can be exported and comes back.

use std::path::{Path, PathBuf};

use fhec_frontend::{ImportOptions, export, import, import_file};
use fhec_ir::nn::{NnOp, eval};
use fhec_ir::{Module, Nn, OpInfo, Tensor};
use fhec_passes::Pass;
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions};
use fhec_passes::approx::Choice;
use fhec_passes::fold::Fold;

use crate::material::material;
use crate::nets::samples;

/// As a share of the largest result: coefficients are rounded to float32, and polynomials evaluated in it.
const CLOSE: f32 = 1e-5;

/// What comes back of `module`, which must compute what `module` does on `x`.
#[track_caller]
fn again(module: &Module<Nn>, x: &[Tensor]) -> Module<Nn> {
    let bytes = export(module).expect("the module is exported");
    let back = import(&bytes, &ImportOptions::default()).expect("what is exported is imported");
    let (a, b) = (eval::eval(module, x).expect("runs"), eval::eval(&back, x).expect("runs"));
    let largest = a[0].data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
    let difference = a[0].data().iter().zip(b[0].data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
    assert!(difference <= CLOSE, "{difference:e}");
    back
}

fn polynomials(module: &Module<Nn>) -> Vec<NnOp> {
    module.func.iter().map(|(_, n)| &n.op).filter(|op| matches!(op, NnOp::Polynomial { .. })).cloned().collect()
}

fn count(module: &Module<Nn>, mnemonic: &str) -> usize {
    module.func.iter().filter(|(_, n)| n.op.mnemonic() == mnemonic).count()
}

/// Exports the network folded, and with polynomials of these degrees.
#[track_caller]
fn check(model: &Path, degrees: &[usize]) {
    let module = import_file(model).expect("the model imports");
    let samples = samples(&module);
    let folded = Fold::default().run(&module).expect("the model folds");
    let back = Fold::default().run(&again(&folded, &samples[0])).expect("what comes back folds");
    let ops = ["conv", "matmul", "add", "activation", "polynomial"];
    assert_eq!(ops.map(|op| count(&back, op)), ops.map(|op| count(&folded, op)));
    for &degree in degrees {
        let options = ApproximateOptions { default: Choice::least_squares(degree), ..ApproximateOptions::default() };
        let approximated = ApproximateActivations::calibrated(&folded, &samples, options);
        again(&approximated.expect("activations are approximated").module, &samples[0]);
    }
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

#[test]
fn digit_networks_come_back_from_onnx() {
    for model in ["mnist_cnn.onnx", "mnist_mlp.onnx", "mnist_resnet.onnx"] {
        check(&models().join(model), &[2, 7, 15]);
    }
}

#[test]
fn resnet20_comes_back_from_onnx() {
    let Some(dir) = material("exporting ResNet-20") else { return };
    check(&dir.join("models/resnet20_cifar10.onnx"), &[7, 27]);
}

/// Quadratics of a network are written as such, and recognised when they come back.
#[test]
fn quadratics_come_back_as_they_were() {
    let Some(dir) = material("exporting the quadratics of ResNet-20") else { return };
    let module = import_file(dir.join("models/resnet20_quadratic_cifar10.onnx")).expect("the model imports");
    let folded = Fold::default().run(&module).expect("the model folds");
    let back = again(&folded, &samples(&module)[0]);
    let (given, found) = (polynomials(&folded), polynomials(&Fold::default().run(&back).expect("folds")));
    assert_eq!(given.len(), 19);
    assert_eq!(found, given);
}
