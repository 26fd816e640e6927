//! `fhec prepare`: what it writes can be trained, and says what training must respect.

use std::path::Path;

use fhec::Model;
use fhec::ir::nn::eval::eval;
use fhec::ir::{OpInfo, Tensor};
use fhec::prepare::Recipe;

use super::Place;
use super::model::{numbers, write_images, write_residual};

fn place() -> Place {
    let p = Place::new();
    write_residual(&p.path("model.onnx"));
    write_images(&p.path("calibration.npy"), 3, 32);
    p
}

fn recipe(path: &Path) -> Recipe {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

const PREPARE: [&str; 6] = ["prepare", "model.onnx", "-o", "student.onnx", "--recipe", "recipe.json"];

#[test]
fn without_options_the_student_is_the_model() {
    let p = place();
    p.ok(&PREPARE);
    let [model, student] = ["model.onnx", "student.onnx"].map(|name| Model::load(p.path(name)).unwrap());
    let x = [Tensor::new([1, 1, 8, 8], numbers(5, 64))];
    assert_eq!(eval(&model.module, &x).unwrap(), eval(&student.module, &x).unwrap());
    let recipe = recipe(&p.path("recipe.json"));
    assert_eq!((&recipe.teacher_digest, &recipe.student_digest), (&model.digest, &student.digest));
    assert_eq!((recipe.joins.len(), recipe.dirac.len(), recipe.activations.len()), (1, 0, 0));
    let nodes: Vec<&str> = recipe.matches.iter().map(|m| m.teacher_node.as_str()).collect();
    assert_eq!(nodes, ["stem_relu", "relu1", "relu2"]);
    // Nothing is replaced unasked.
    assert!(p.fails(&PREPARE).contains("student.onnx"));
    p.ok(&[&PREPARE[..], &["--force"]].concat());
}

#[test]
fn skips_go_into_kernels() {
    let p = place();
    let report = p.json(&[&PREPARE[..], &["--skips", "dirac"]].concat());
    assert_eq!((&report["joins"][0]["join"], &report["joins"][0]["form"]), (&"join".into(), &"dirac".into()));
    let student = Model::load(p.path("student.onnx")).unwrap();
    assert!(student.module.func.iter().all(|(_, node)| node.op.mnemonic() != "add"), "no join is left");
    let recipe = recipe(&p.path("recipe.json"));
    let convs: Vec<(&str, &str, usize)> =
        recipe.dirac.iter().map(|d| (d.node.as_str(), d.weight.as_str(), d.tap)).collect();
    assert_eq!(convs, [("conv1", "conv1.weight", 4), ("conv2", "conv2.weight", 4)]);
    assert!(recipe.dirac.iter().all(|d| d.a == [1.0, 1.0] && d.b.len() == 2));
}

#[test]
fn polynomials_start_at_fits() {
    let p = place();
    let quadratic = [&PREPARE[..], &["--activations", "quadratic"]].concat();
    p.ok(&quadratic);
    let activations = recipe(&p.path("recipe.json")).activations;
    assert!(activations.iter().all(|a| a.polynomial.start.is_none() && a.polynomial.degree == 2), "{activations:?}");
    p.ok(&[&quadratic[..], &["--calibration", "calibration.npy", "--force"]].concat());
    let activations = recipe(&p.path("recipe.json")).activations;
    let names: Vec<(&str, &str)> = activations.iter().map(|a| (a.node.as_str(), a.function.as_str())).collect();
    assert_eq!(names, [("stem_relu", "relu"), ("relu1", "relu"), ("relu2", "relu")]);
    for activation in &activations {
        let start = activation.polynomial.start.as_ref().unwrap();
        assert_eq!((activation.polynomial.axis, start.coefficients.len()), (Some(1), 2), "one per channel");
        assert!(start.coefficients.iter().all(|row| row.len() == 3) && start.interval[0] < start.interval[1]);
    }
}

#[test]
fn the_table_needs_no_student() {
    let p = place();
    let report = p.json(&["prepare", "model.onnx", "--table"]);
    let rows = report["table"].as_array().unwrap();
    let levels: Vec<_> = rows.iter().map(|row| row["activation_levels"].as_u64().unwrap()).collect();
    assert_eq!(levels, [1, 2, 3, 4]);
    let forms: Vec<_> = rows[0]["forms"].as_array().unwrap().iter().map(|f| f["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["residual", "dirac"], "the only block adds the first tensor of its stage already");
    assert!(p.ok(&["prepare", "model.onnx", "--table"]).contains("predicted seconds"));
}

#[test]
fn automatic_conversion_says_what_each_skip_costs() {
    let p = place();
    let report = p.json(&[&PREPARE[..], &["--skips", "auto", "--activations", "quadratic"]].concat());
    let decision = &report["decisions"][0];
    assert_eq!(
        (&decision["join"], &decision["form"]),
        (&"join".into(), &"residual".into()),
        "so shallow a network gains nothing"
    );
    assert!(decision["seconds"].is_number());
}

#[test]
fn options_that_nothing_reads_are_refused() {
    let p = place();
    for args in [
        &["prepare", "model.onnx", "--table", "--skips", "dirac"][..],
        &["prepare", "model.onnx", "--table", "--activations", "quadratic"],
        &["prepare", "model.onnx", "--table", "-o", "student.onnx"],
        &[&PREPARE[..], &["--calibration", "calibration.npy"]].concat(),
        &[&PREPARE[..], &["--latency", "calibration.npy"]].concat(),
    ] {
        let message = p.fails(args);
        assert!(
            message.contains("leave") && (message.contains("no effect") || message.contains("without")),
            "{message}"
        );
    }
    assert!(p.misread(&["prepare", "model.onnx"]).contains("--output"));
    assert!(p.misread(&[&PREPARE[..], &["--activations", "cubic"]].concat()).contains("quadratic"));
}
