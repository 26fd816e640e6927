//! Every rule checked numerically on the file tests of the fold: after saturation all nodes of a class must have the same value
//! on random inputs. What the files become is checked by their runner.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use egg::{EGraph, Id};
use fhec_ir::nn::{NnOp, eval};
use fhec_ir::text::{Blobs, parse_module, print_module};
use fhec_ir::{Module, Nn, OpInfo, Shape, Tensor};

use super::graph::{ClassFacts, NnNode};
use super::*;

#[path = "../../../tests/filetests/fill.rs"]
pub mod fill;

fn parsed(text: &str) -> Module<Nn> {
    parse_module("case.fhir", text, &Blobs::default()).unwrap_or_else(|e| panic!("{}", e.listing()))
}

/// Numbers in [-2, 2), the same for the same seed.
fn random(shape: &Shape, seed: u64) -> Tensor {
    let mut numbers = fill::Numbers::new(seed);
    Tensor::new(shape.clone(), (0..shape.len()).map(|_| numbers.uniform() as f32 * 4.0 - 2.0).collect::<Vec<f32>>())
}

/// The file tests of the fold, with weights: each name with its module.
fn files() -> Vec<(String, Module<Nn>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/filetests/fold");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the file tests are there").map(|e| e.expect("readable").path()).collect();
    paths.sort();
    let module = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        (path.display().to_string(), fill::filled(&parsed(&text), 1))
    };
    paths.into_iter().map(module).collect()
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    let size = a.data().iter().chain(b.data()).fold(1.0f32, |m, x| m.max(x.abs()));
    a.shape() == b.shape() && a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() <= 1e-4 * size)
}

/// Evaluates every node of every class and compares.
fn check_classes(egraph: &EGraph<NnNode, ClassFacts>, inputs: &[Tensor]) {
    let pool = &egraph.analysis.pool;
    let value = |node: &NnNode, values: &HashMap<Id, Tensor>| match node.op {
        NnOp::Input { index } => Some(inputs[index as usize].clone()),
        _ => {
            let operands = node.children.iter().map(|&c| values.get(&egraph.find(c))).collect::<Option<Vec<_>>>()?;
            Some(eval::apply(&node.op, &operands, pool).expect("nodes are well typed"))
        }
    };
    let mut values: HashMap<Id, Tensor> = HashMap::new();
    loop {
        let before = values.len();
        for class in egraph.classes() {
            if !values.contains_key(&class.id)
                && let Some(v) = class.nodes.iter().find_map(|n| value(n, &values))
            {
                values.insert(class.id, v);
            }
        }
        if values.len() == before {
            break;
        }
    }
    for class in egraph.classes() {
        let expected = values.get(&class.id).expect("every class has a finite term");
        for node in &class.nodes {
            let found = value(node, &values).expect("all classes have values");
            assert!(
                close(expected, &found),
                "{node} of class {} is {:?}, not {:?}; nodes: {:?}",
                class.id,
                &found.data()[..found.data().len().min(8)],
                &expected.data()[..expected.data().len().min(8)],
                class.nodes
            );
        }
    }
}

fn inputs(module: &Module<Nn>, seed: u64) -> Vec<Tensor> {
    let shape = |(i, &p): (usize, &fhec_ir::Value)| random(&module.func.ty(p).0, seed + 1000 * i as u64);
    module.func.params().iter().enumerate().map(shape).collect()
}

/// Saturates, checks all classes and the folded module on random inputs; the rules applied and the module.
fn fold(module: &Module<Nn>) -> (BTreeSet<&'static str>, Module<Nn>) {
    let Saturated { egraph, .. } = Fold::default().saturate(module, &rules::all()).expect("rules are well formed");
    check_classes(&egraph, &inputs(module, 1));
    check_classes(&egraph, &inputs(module, 77));
    let (folded, _) = Fold::default().explain(module).expect("the case verifies");
    fhec_ir::verify(&folded).expect("the folded module verifies");
    for seed in [3, 4] {
        let x = inputs(module, seed);
        let (a, b) = (eval::eval(module, &x).expect("fits"), eval::eval(&folded, &x).expect("fits"));
        assert!(a.iter().zip(&b).all(|(a, b)| close(a, b)));
    }
    let (again, _) = Fold::default().explain(module).expect("the case verifies");
    assert_eq!(print_module(&again), print_module(&folded), "folding is deterministic");
    (egraph.analysis.steps.iter().map(|s| s.rule).collect(), folded)
}

/// The ops without inputs and constants, activations by function.
fn ops(module: &Module<Nn>) -> String {
    let name = |op: &NnOp| match op {
        NnOp::Input { .. } | NnOp::Const { .. } => None,
        NnOp::Activation { function, .. } => Some(function.name()),
        op => Some(op.mnemonic()),
    };
    module.func.iter().filter_map(|(_, n)| name(&n.op)).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_holds() {
    let mut covered = BTreeSet::new();
    for (_, module) in files() {
        covered.extend(fold(&module).0);
    }
    let all: BTreeSet<_> = rules::all().iter().map(|r| r.name).collect();
    assert_eq!(covered, all, "every rule is applied in a file");
}

#[test]
fn limits_bound_the_work_and_the_result_stays_right() {
    // x·a, then divided by a, over and over: constants that nearly cancel breed more of their kind.
    let mut body = String::new();
    let mut last = "%x".to_string();
    for i in 0..6 {
        body += &format!(
            "%m{i} = nn.mul {last}, %wa : tensor<1x4>\n%d{i} = nn.div %m{i}, %pos : tensor<1x4>\n%r{i} = nn.activation %d{i} {{function = relu}} : tensor<1x4>\n"
        );
        last = format!("%r{i}");
    }
    let text = format!(
        "const @wa : tensor<4> = full(1)\nconst @pos : tensor<4> = full(2)\nfunc @f(%x: tensor<1x4>) -> tensor<1x4> {{\n\
         %wa = nn.const {{value = @wa}} : tensor<4>\n%pos = nn.const {{value = @pos}} : tensor<4>\n{body}return {last}\n}}"
    );
    let module = fill::filled(&parsed(&text), 1);
    for limit in [
        Fold { iterations: 1, nodes: 100, ..Fold::default() },
        Fold { iterations: 3, nodes: 30, ..Fold::default() },
        Fold::default(),
    ] {
        let (folded, _) = limit.explain(&module).expect("the case verifies");
        let x = inputs(&module, 9);
        let (a, b) = (eval::eval(&module, &x).expect("fits"), eval::eval(&folded, &x).expect("fits"));
        assert!(close(&a[0], &b[0]));
    }
    let Saturated { egraph, .. } = Fold::default().saturate(&module, &rules::all()).expect("rules are well formed");
    assert!(egraph.total_number_of_nodes() < 2000, "{} nodes", egraph.total_number_of_nodes());
}

#[test]
fn folding_twice_changes_nothing() {
    for (name, module) in files() {
        let (once, _) = Fold::default().explain(&module).expect("verifies");
        let (twice, _) = Fold::default().explain(&once).expect("verifies");
        assert_eq!(ops(&twice), ops(&once), "{name}");
    }
}

#[test]
fn a_module_that_does_not_verify_is_refused() {
    let text = "input \"image\" : tensor<1>\noutput \"y\" : tensor<1x2>\n\
                func @f(%x: tensor<1x2>) -> tensor<1x2> {\n  %y = nn.neg %x : tensor<1x2>\n  return %y\n}";
    let error = Fold::default().explain(&parsed(text)).expect_err("the port does not fit");
    assert_eq!(error.issues[0].reason, "input `image` is described as 1, the function has tensor<1x2>");
}
