//! The fold on real models: before and after, and the same outputs.

use std::path::Path;

use fhec_ir::nn::eval;
use fhec_ir::text::print_module;
use fhec_ir::{Module, Nn, OpInfo, Tensor};
use fhec_passes::fold::Fold;

use crate::material::material;

/// One line per op: mnemonic, result shape, ONNX names. Weights do not show.
fn outline(module: &Module<Nn>) -> String {
    let lines = module.func.iter().filter(|(_, n)| !matches!(n.op.mnemonic(), "const" | "input"));
    lines.map(|(_, n)| format!("{} {} {}\n", n.op.mnemonic(), n.ty, n.loc.name())).collect()
}

#[track_caller]
fn check(model: &Path, snapshot: &str) {
    let module = fhec_frontend::import_file(model).expect("the model imports");
    let (folded, explanation) = Fold::default().explain(&module).expect("the model folds");
    fhec_ir::verify(&folded).expect("the folded model verifies");
    let shape = &module.func.ty(module.func.params()[0]).0;
    let pixels: Vec<f32> = (0..shape.len()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let x = [Tensor::new(shape.clone(), pixels)];
    let (a, b) = (eval::eval(&module, &x).expect("runs"), eval::eval(&folded, &x).expect("runs"));
    let largest = a[0].data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
    assert!(a[0].data().iter().zip(b[0].data()).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
    let again = Fold::default().explain(&module).expect("the model folds").0;
    assert_eq!(print_module(&again), print_module(&folded), "folding is deterministic");
    let text = format!("{}\n// fold\n\n{}\n// rules {:?}\n", outline(&module), outline(&folded), explanation.rules);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(snapshot, text) });
}

#[test]
fn mnist_cnn_folds_as_reviewed() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mnist_cnn.onnx"), "fold_mnist_cnn");
}

#[test]
fn resnet20_folds_as_reviewed() {
    let Some(dir) = material("fold of ResNet-20") else { return };
    check(&dir.join("models/resnet20_cifar10.onnx"), "fold_resnet20");
}

#[test]
fn an_mlp_with_batch_norm_folds_as_reviewed() {
    let Some(dir) = material("fold of the MLP with squares") else { return };
    check(&dir.join("models/dacapo_mlp_square_mnist.onnx"), "fold_mlp");
}
