//! The real models: imported, their shape checked, and their float accuracy on a slice of test data asserted exactly.

use std::path::Path;

use fhec_frontend::import_file;
use fhec_ir::nn::eval::eval_many;
use fhec_ir::{Module, Nn, OpInfo, Tensor};

use crate::material::{Labelled, cifar10_test_first1000, material, mnist_test};

/// Image `i` as the model takes it.
fn inputs(data: &Labelled, i: usize, pixel: fn(usize, f32) -> f32) -> Vec<Tensor> {
    let [c, h, w] = data.shape;
    let x: Vec<f32> = data.image(i).iter().enumerate().map(|(j, &p)| pixel(j / (h * w), f32::from(p))).collect();
    vec![Tensor::new([1, c, h, w], x)]
}

/// How many of the first `n` images the model labels correctly.
fn correct(model: &Module<Nn>, data: &Labelled, n: usize, pixel: fn(usize, f32) -> f32) -> usize {
    let images: Vec<Vec<Tensor>> = (0..n).map(|i| inputs(data, i, pixel)).collect();
    let logits = eval_many(model, &images, 2).unwrap();
    let top = |t: &Tensor| t.data().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    logits.iter().zip(&data.labels).filter(|(out, label)| top(&out[0]) == usize::from(**label)).count()
}

/// Imports `name` and checks its logits on the first image against those of onnxruntime 1.31 and its hits on the first
/// `n` against the count of the same program.
fn check(
    material: &Path,
    name: &str,
    data: &Labelled,
    (n, hits): (usize, usize),
    pixel: fn(usize, f32) -> f32,
    expected: [f32; 10],
) -> Module<Nn> {
    let model = import_file(material.join("models").join(name)).unwrap();
    let out = eval_many(&model, &[inputs(data, 0, pixel)], 1).unwrap();
    for (x, y) in out[0][0].data().iter().zip(expected) {
        assert!((x - y).abs() <= 2e-5 * (1.0 + y.abs()), "{name}: logits {:?}", out[0][0].data());
    }
    assert_eq!(correct(&model, data, n, pixel), hits, "{name}");
    model
}

/// The normalisation of the CIFAR ResNets.
fn normalised(channel: usize, x: f32) -> f32 {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    (x / 255.0 - mean[channel]) / std[channel]
}

#[test]
fn resnet20_has_the_logits_of_onnxruntime() {
    let Some(dir) = material("resnet20") else { return };
    let logits = [
        -5.309684,
        -0.495_771_6,
        0.87725,
        23.730516,
        -4.10504,
        4.4637375,
        -0.234_349_04,
        -5.417927,
        -3.7117915,
        -9.882182,
    ];
    let data = cifar10_test_first1000(&dir);
    let model = check(&dir, "resnet20_cifar10.onnx", &data, (200, 182), normalised, logits);
    let count = |mnemonic| model.func.iter().filter(|(_, n)| n.op.mnemonic() == mnemonic).count();
    // The tenth sum is the bias of the fully connected layer.
    assert_eq!(["conv", "batch_norm", "activation", "add"].map(count), [19, 19, 19, 10]);
    assert_eq!(model.inputs[0].shape.to_string(), "1x3x32x32");
    assert_eq!(model.outputs[0].shape.to_string(), "1x10");
    assert!(model.func.iter().any(|(_, n)| n.loc.name() == "layer2.0.shortcut.pad"), "ONNX names are kept");
}

#[test]
fn resnet32_has_the_logits_of_onnxruntime() {
    let Some(dir) = material("resnet32") else { return };
    let logits = [
        -0.368_997_22,
        1.3432779,
        -1.0558636,
        18.441013,
        -6.100888,
        0.6110716,
        -1.8880835,
        -2.462684,
        -3.8274064,
        -4.6605225,
    ];
    check(&dir, "resnet32_cifar10.onnx", &cifar10_test_first1000(&dir), (200, 185), normalised, logits);
}

#[test]
fn mlperftiny_resnet8_has_the_logits_of_onnxruntime() {
    let Some(dir) = material("mlperftiny_resnet8") else { return };
    let logits = [
        -10.583718, -7.389513, -8.65341, 1.1350563, -14.37699, -5.7429867, -7.841036, -11.118044, -10.028325,
        -15.367745,
    ];
    check(&dir, "mlperftiny_resnet8_cifar10.onnx", &cifar10_test_first1000(&dir), (200, 178), |_, x| x, logits);
}

#[test]
fn cryptonets_has_the_logits_of_onnxruntime() {
    let Some(dir) = material("cryptonets") else { return };
    let logits = [
        -39.1925, -43.867485, -69.66201, -33.857277, -43.13353, -40.268356, -32.81005, 47.635376, -52.592495,
        -33.222416,
    ];
    check(&dir, "cryptonets_mnist.onnx", &mnist_test(&dir), (1000, 987), |_, x| x / 255.0, logits);
}

#[test]
fn dacapo_mlp_has_the_logits_of_onnxruntime() {
    let Some(dir) = material("dacapo_mlp") else { return };
    let logits = [
        -1.0094372,
        -0.8602525,
        -0.887_746_7,
        0.248_147_37,
        -0.948_986_77,
        -1.0955019,
        -0.606_007_93,
        6.6349015,
        -0.222_200_51,
        -0.995_064_74,
    ];
    let pixel = |_, x| (x / 255.0 - 0.1307) / 0.3081;
    check(&dir, "dacapo_mlp_square_mnist.onnx", &mnist_test(&dir), (1000, 970), pixel, logits);
}
