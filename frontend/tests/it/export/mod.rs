//! What is exported: the importer makes of it what it was, and onnxruntime computes what the interpreter does.

mod networks;
mod runtime;

use std::path::{Path, PathBuf};

use fhec_frontend::{ImportOptions, export, import, import_file};
use fhec_ir::nn::eval::eval;
use fhec_ir::nn::{Basis, NnOp, TensorTy};
use fhec_ir::{F64, Head, Loc, Module, Nn, OpInfo, Port, Shape, Tensor, verify};
use proptest::prelude::*;

use crate::material::{cases, material};

/// Results of polynomials and of operators that the importer takes apart are rounded elsewhere.
const CLOSE: f32 = 1e-6;

/// The module that the importer makes of what is exported.
#[track_caller]
fn again(module: &Module<Nn>) -> Module<Nn> {
    let bytes = export(module).unwrap_or_else(|e| panic!("{e}"));
    let again = import(&bytes, &ImportOptions { name: Some(module.func.name.clone()), external_data: None });
    let again = again.unwrap_or_else(|e| panic!("{e}: {:#?}", e.issues()));
    verify(&again).unwrap();
    again
}

/// Inputs that no two elements of have in common.
fn inputs(module: &Module<Nn>, seed: u64) -> Vec<Tensor> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let of = |&p: &fhec_ir::Value| module.func.ty(p).0.clone();
    let shapes: Vec<Shape> = module.func.params().iter().map(of).collect();
    shapes.into_iter().map(|s| Tensor::new(s.clone(), (0..s.len()).map(|_| number()).collect::<Vec<_>>())).collect()
}

/// The largest difference of two lists of results, as a share of the largest number in each result or of 1.
fn difference(a: &[Tensor], b: &[Tensor]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut most = 0.0f32;
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.shape(), b.shape());
        let size = a.data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
        for (x, y) in a.data().iter().zip(b.data()) {
            let same = x == y || (x.is_nan() && y.is_nan());
            most = most.max(if same { 0.0 } else { (x - y).abs() / size });
            assert!(same || (x - y).is_finite(), "{x} and {y}");
        }
    }
    most
}

/// Checks that what comes back computes what `module` does, and gives the difference.
#[track_caller]
fn check(name: &str, module: &Module<Nn>) -> f32 {
    let again = again(module);
    let (ports, found) = (names(module), names(&again));
    assert_eq!(ports, found, "{name}");
    let mut most = 0.0f32;
    for seed in 0..2 {
        let x = inputs(module, seed);
        let (a, b) = (eval(module, &x).unwrap(), eval(&again, &x).unwrap());
        most = most.max(difference(&a, &b));
    }
    assert!(most <= CLOSE, "{name}: {most:e}");
    most
}

fn names(module: &Module<Nn>) -> Vec<(String, String)> {
    module.inputs.iter().chain(&module.outputs).map(|p| (p.name.clone(), p.shape.to_string())).collect()
}

/// The models in a folder and the folders in it that the importer takes.
fn imported(folder: &Path) -> Vec<(PathBuf, Module<Nn>)> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(imported(&path));
        } else if path.extension().is_some_and(|e| e == "onnx")
            && let Ok(module) = import_file(&path)
        {
            found.push((path, module));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The models of this repository, and those beside it where they are.
fn models(name: &str) -> Vec<(PathBuf, Module<Nn>)> {
    let mut found = imported(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"));
    found.extend(material(name).map(|dir| imported(&dir.join("models"))).unwrap_or_default());
    found.extend(cases(name).map(|dir| imported(&dir)).unwrap_or_default());
    found
}

#[test]
fn models_come_back() {
    let models = models("exporting all models and importing them again");
    let mut exact = 0;
    for (path, module) in &models {
        exact += usize::from(check(&path.display().to_string(), module) == 0.0);
    }
    println!("{} models, {exact} of them bit by bit", models.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_come_back(choices in prop::collection::vec(any::<u32>(), 0..200)) {
        check("random", &networks::random(&choices));
    }
}

#[test]
fn every_op_comes_back() {
    let mut exported = std::collections::BTreeSet::new();
    for (name, module) in networks::of_every_op() {
        check(&name, &module);
        exported.extend(module.func.iter().map(|(_, node)| node.op.mnemonic()));
    }
    let all = NnOp::TABLE.iter().map(|(mnemonic, _)| *mnemonic);
    let missing: Vec<&str> = all.filter(|m| !exported.contains(m)).collect();
    assert!(missing.is_empty(), "no network has {missing:?}");
}

#[test]
fn names_are_kept_and_told_apart() {
    let mut m = Module::<Nn>::new("twins");
    let ty = TensorTy(Shape(vec![1, 2]));
    let x = m.func.add_param(ty, Loc::onnx("x"));
    let one = m.consts.insert("one", Tensor::new([2], vec![1.0, 2.0]));
    let one = m.push(NnOp::Const { value: one }, [], Loc::onnx("same")).unwrap();
    let a = m.push(NnOp::Add {}, [x, one], Loc::onnx("same")).unwrap();
    let b = m.push(NnOp::Mul {}, [a, one], Loc::onnx("same")).unwrap();
    let c = m.push(NnOp::Neg {}, [b], Loc::default()).unwrap();
    m.func.set_results([c, a, x, c, one]);
    let port =
        |name: &str, shape: &[usize]| Port { name: name.into(), shape: Shape(shape.to_vec()), ..Port::default() };
    m.inputs = vec![port("x", &[1, 2])];
    m.outputs = ["y", "same", "x", "y again", ""].map(|name| port(name, &[1, 2])).to_vec();
    m.outputs[4].shape = Shape(vec![2]);
    let exported = fhec_frontend::export_model(&m).unwrap();
    let graph = exported.model.graph.unwrap();
    let list = |of: Vec<String>| of.join(", ");
    assert_eq!(
        list(graph.node.iter().map(|n| n.name.clone()).collect()),
        "same, same_2, neg, y again.output, output4.output"
    );
    assert_eq!(list(graph.output.iter().map(|o| o.name.clone()).collect()), "y, same, x, y again, output4");
    assert_eq!(list(graph.initializer.iter().map(|t| t.name.clone()).collect()), "same.addend");
    let back = again(&m);
    assert_eq!(back.outputs[4].name, "output4");
    let x = inputs(&m, 3);
    assert_eq!(difference(&eval(&m, &x).unwrap(), &eval(&back, &x).unwrap()), 0.0);
}

#[test]
fn what_the_verifier_refuses_is_not_exported() {
    let mut m = Module::<Nn>::new("heads");
    let x = m.func.add_param(TensorTy(Shape(vec![1, 2])), Loc::onnx("x"));
    m.func.set_results([x]);
    let port = |heads| Port { name: "x".into(), shape: Shape(vec![1, 2]), heads, ..Port::default() };
    m.inputs = vec![port(vec![])];
    m.outputs = vec![port(vec![Head::Softmax { axis: 1 }])];
    let error = export(&m).unwrap_err();
    assert_eq!(error.to_string(), "the network cannot be exported, for it is not a valid one");
}

/// Horner's rule, which `fold` recognises.
#[test]
fn polynomials_come_back_as_sums_and_products() {
    let coeffs = [0.25, 0.5, 0.125, 1.0, -0.5, 0.0].map(F64).to_vec();
    let op = NnOp::Polynomial { basis: Basis::Monomial, lo: F64(-1.0), hi: F64(1.0), rows: 2, coeffs };
    let module = networks::unary("quadratic", &[1, 2, 3, 3], op);
    let exported = fhec_frontend::export_model(&module).unwrap();
    let operators: Vec<String> = exported.model.graph.unwrap().node.iter().map(|n| n.op_type.clone()).collect();
    assert_eq!(operators, ["Mul", "Add", "Mul", "Add"]);
    check("quadratic", &module);
}
