//! `fhec prepare`: what it writes can be trained, and says what training must respect.

use std::path::Path;

use fhec::Model;
use fhec::ir::nn::eval::eval;
use fhec::ir::{OpInfo, Tensor};
use fhec::prepare::{Recipe, RecipeGroup};

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
fn activations_that_are_named_stay() {
    let p = place();
    let keep = |names| [&PREPARE[..], &["--activations", "quadratic", "--keep", names, "--force"]].concat();
    p.ok(&keep("stem_relu,relu2"));
    let activations = recipe(&p.path("recipe.json")).activations;
    assert_eq!(activations.iter().map(|a| a.node.as_str()).collect::<Vec<_>>(), ["relu1"]);
    let message = p.fails(&keep("relu1,relu3"));
    assert!(message.contains("`relu3`") && message.contains("stem_relu, relu1, relu2"), "{message}");
    let message = p.fails(&[&PREPARE[..], &["--keep", "relu1", "--force"]].concat());
    assert!(message.contains("--keep has no effect here: all activations stay"), "{message}");
}

#[test]
fn polynomials_of_powers_of_two_are_those_of_the_least_error() {
    let p = place();
    let power = [&PREPARE[..], &["--activations", "power-of-two"]].concat();
    p.ok(&power);
    for activation in recipe(&p.path("recipe.json")).activations {
        let polynomial = activation.polynomial;
        assert_eq!((polynomial.trained, polynomial.degree, polynomial.axis), (false, 2, None));
        let start = polynomial.start.unwrap();
        // Faster CryptoNets: x²/8 + x/2 + 1/4 on [-4, 4].
        assert_eq!((start.basis.as_str(), start.interval), ("monomial", [-4.0, 4.0]));
        assert_eq!(start.coefficients, [[0.25, 0.5, 0.125]]);
    }
    p.ok(&[&power[..], &["--calibration", "calibration.npy", "--force"]].concat());
    for activation in recipe(&p.path("recipe.json")).activations {
        let start = activation.polynomial.start.unwrap();
        assert!(start.interval != [-4.0, 4.0]);
        assert!(start.coefficients[0].iter().all(|c| *c == 0.0 || c.abs().log2().fract() == 0.0));
    }
}

#[test]
fn pruned_weights_save_the_time_that_was_asked_for() {
    let p = place();
    let report = p.json(&[&PREPARE[..], &["--activations", "quadratic", "--prune", "0.4"]].concat());
    let [before, after] = ["before", "after"].map(|when| &report["pruned"][when]);
    for what in ["rotations", "plain_products", "seconds"] {
        assert!(after[what].as_f64() < before[what].as_f64(), "{what}: {report}");
    }
    let recipe = recipe(&p.path("recipe.json"));
    assert_eq!(recipe.version, 2);
    let masked: Vec<&RecipeGroup> = recipe.masks.iter().flat_map(|m| &m.groups).filter(|g| g.masked).collect();
    assert!(!masked.is_empty() && masked.iter().all(|g| g.seconds > 0.0 && g.elements.is_sorted()));
    // The student computes with all of its weights: training may take masked ones back.
    let [model, student] = ["model.onnx", "student.onnx"].map(|name| Model::load(p.path(name)).unwrap());
    let x = [Tensor::new([1, 1, 8, 8], numbers(5, 64))];
    assert_eq!(eval(&model.module, &x).unwrap(), eval(&student.module, &x).unwrap());
    let more = p.json(&[&PREPARE[..], &["--activations", "quadratic", "--prune", "0.7", "--force"]].concat());
    assert!(more["pruned"]["zeros"].as_u64() > report["pruned"]["zeros"].as_u64(), "{more}");
}

#[test]
fn weights_and_biases_get_exponents() {
    let p = place();
    p.ok(&[&PREPARE[..], &["--powers-of-two", "5"]].concat());
    let recipe = recipe(&p.path("recipe.json"));
    let student = std::fs::read(p.path("student.onnx")).unwrap();
    assert!(recipe.powers_of_two.len() >= 4, "{:?}", recipe.powers_of_two);
    for powers in &recipe.powers_of_two {
        assert_eq!(powers.highest - powers.lowest, 4);
        let name = powers.weight.as_bytes();
        assert!(student.windows(name.len()).any(|part| part == name), "{powers:?} is no tensor of the student");
    }
}

#[test]
fn dirac_kernels_are_not_pruned() {
    let p = place();
    let message = p.fails(&[&PREPARE[..], &["--skips", "dirac", "--prune", "0.3"]].concat());
    assert!(message.contains("Dirac kernels") && message.contains("keep the skips"), "{message}");
    assert!(p.misread(&[&PREPARE[..], &["--prune", "1"]].concat()).contains("between 0 and 1"));
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
        &["prepare", "model.onnx", "--table", "--prune", "0.5"],
        &["prepare", "model.onnx", "--table", "--powers-of-two", "8"],
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
