//! Programs that a compilation leaves in files are whole: from each of them `fhec opt` makes the plan that the compilation made.
//!
//! Plans are compared byte by byte without their provenance. That says who made a plan from what: the model's file and what
//! the passes reported on the way, which a program in a file does not hold and should not, as whoever edits it makes another
//! program.

use std::path::Path;

use fhec::passes::program::Program;
use fhec::program::{Written, data_beside, read};
use fhec::runtime::Provenance;
use fhec::{CompileOptions, Compiler, Destination, Model, Plan, Tensor};

use super::material::material;
use super::networks::inputs;
use super::products::network;

/// A plan as bytes, without where it comes from.
fn bytes(plan: Plan) -> Vec<u8> {
    plan.with_provenance(Provenance::default()).to_bytes().unwrap()
}

/// Inputs like images, the same on every machine.
fn images(model: &Model, count: usize) -> Vec<Vec<Tensor>> {
    let shape = &model.module.inputs[0].shape;
    let pixel = |image: usize, i: usize| (((i * 31 + image * 7919) * 2_654_435_761) >> 7 & 1023) as f32 / 1023.0;
    (0..count)
        .map(|k| vec![Tensor::new(shape.clone(), (0..shape.len()).map(|i| pixel(k, i)).collect::<Vec<_>>())])
        .collect()
}

/// Compiles a model, writes the program after every pass to a file, reads it back and makes a plan of it.
#[track_caller]
fn check(model: &Path, options: CompileOptions, samples: usize, passes: &[&str]) {
    let model = Model::load(model).unwrap();
    let compiler = match samples {
        0 => Compiler::with_options(options),
        _ => Compiler::with_options(options).calibration(images(&model, samples)),
    };
    check_of(&model, &compiler, passes);
}

/// As [`check`], of what `compiler` makes of a model.
#[track_caller]
fn check_of(model: &Model, compiler: &Compiler, passes: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut dumped = Vec::new();
    let compiled = compiler
        .compile_observed(model, &mut |pass, snapshot, facts| {
            let program = Program { module: snapshot.module(), facts: facts.clone() };
            let path = folder.path().join(format!("{pass}.fhir"));
            let written = Written::of(&program);
            std::fs::write(&path, &written.text).unwrap();
            written.write_data(Destination::new(data_beside(&path))).unwrap();
            dumped.push((pass.to_string(), path));
        })
        .unwrap();
    let names: Vec<&str> = dumped.iter().map(|(pass, _)| pass.as_str()).collect();
    assert_eq!(names, passes);
    let expected = bytes(compiled.plan);
    for (pass, path) in &dumped {
        let (program, warning) = read(path, None).unwrap();
        assert_eq!(warning, None);
        let started = std::time::Instant::now();
        let found = bytes(compiler.resume(program).unwrap().plan);
        println!("{}: {pass} {:.1} s", model.module.func.name, started.elapsed().as_secs_f64());
        assert!(found == expected, "the plan made after `{pass}` is another one");
    }
}

const LEVELED: &[&str] = &["import", "fold", "approximate-activations", "pack", "lower"];

fn repository(model: &str) -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("models").join(model)
}

fn degree(degree: usize) -> CompileOptions {
    let mut options = CompileOptions { uniform: true, ..CompileOptions::default() };
    options.approximate.default.degree = degree;
    options
}

#[test]
fn dumps_of_mnist_mlp_give_its_plan() {
    check(&repository("mnist_mlp.onnx"), CompileOptions { guess_ranges: true, ..Default::default() }, 0, LEVELED);
}

#[test]
fn dumps_of_mnist_cnn_give_its_plan() {
    let mut options = degree(7);
    options.plan.batch = 2;
    check(&repository("mnist_cnn.onnx"), options, 40, LEVELED);
}

#[test]
fn dumps_of_cryptonets_give_its_plan() {
    let Some(dir) = material("dumps of CryptoNets") else { return };
    let passes = ["import", "fold", "measure-ranges", "approximate-activations", "pack", "lower"];
    check(&dir.join("models/cryptonets_mnist.onnx"), CompileOptions::default(), 40, &passes);
}

#[test]
fn dumps_of_resnet8_give_its_plan() {
    let Some(dir) = material("dumps of ResNet-8") else { return };
    let passes = ["import", "fold", "approximate-activations", "pack", "place-bootstraps", "lower"];
    check(&dir.join("models/mlperftiny_resnet8_cifar10.onnx"), degree(15), 16, &passes);
}

#[test]
fn bootstraps_of_measured_values() {
    let passes = ["import", "fold", "approximate-activations", "pack", "place-bootstraps", "lower"];
    check_of(&network(22), &Compiler::new().calibration(inputs(64, 6, 2.0)), &passes);
}

#[test]
fn facts_of_a_text_that_was_edited_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.fhir");
    let text = "func @f(%0: tensor<1x4>) -> tensor<1x4> {\n  %1 = nn.neg %0 : tensor<1x4>\n  return %1\n}\n";
    let module = fhec_ir::text::parse_any("f.fhir", text, &fhec_ir::text::Blobs::default()).unwrap();
    let mut program = Program::new(module);
    program.facts.passes.push("fold".into());
    let written = Written::of(&program);
    std::fs::write(&path, &written.text).unwrap();
    written.write_data(Destination::new(data_beside(&path))).unwrap();
    assert_eq!(read(&path, None).unwrap().0.facts, program.facts);
    std::fs::write(&path, written.text.replace("nn.neg %0", "nn.neg  %0")).unwrap();
    let (edited, warning) = read(&path, None).unwrap();
    assert_eq!(edited.facts, Default::default());
    assert!(warning.unwrap().contains("was changed since its passes ran"));
}
