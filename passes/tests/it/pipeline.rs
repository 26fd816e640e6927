//! Every pass on real models, in outline: what each makes of the one before.

use std::fmt::Write;
use std::path::Path;

use fhec_ir::{Dialect, Module, OpInfo};
use fhec_passes::Pass;
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions, Approximated};
use fhec_passes::approx::Choice;
use fhec_passes::fold::Fold;
use fhec_passes::pipeline::{PlanOptions, Snapshot, plan};

use crate::material::material;
use crate::nets::samples;

/// One line per op: mnemonic, type, lengths of list attributes, ONNX names. Weights and coefficients do not show.
fn outline<D: Dialect>(module: &Module<D>) -> String {
    let mut out = String::new();
    for (_, node) in module.func.iter().filter(|(_, n)| n.op.mnemonic() != "const") {
        let lists = node.op.attrs().into_iter().filter_map(|(name, attr)| match attr {
            fhec_ir::attr::Attr::Ints(list) if list.len() > 4 => Some(format!(" {name}: {}", list.len())),
            fhec_ir::attr::Attr::Floats(list) => Some(format!(" {name}: {}", list.len())),
            _ => None,
        });
        let lists: String = lists.collect();
        writeln!(out, "{} {}{lists} {}", node.op.mnemonic(), node.ty, node.loc.name()).expect("strings grow");
    }
    out
}

#[track_caller]
fn check(model: &Path, snapshot: &str) {
    let module = fhec_frontend::import_file(model).expect("the model imports");
    let folded = Fold::default().run(&module).expect("the model folds");
    let options = ApproximateOptions { default: Choice::least_squares(7), ..ApproximateOptions::default() };
    let Approximated { module: polynomial, activations, .. } =
        ApproximateActivations::calibrated(&folded, &samples(&folded), options).expect("activations are approximated");
    fhec_ir::verify(&polynomial).expect("the polynomial network verifies");
    let mut text = format!("// fold\n{}\n// approximate-activations\n{}", outline(&folded), outline(&polynomial));
    for r in &activations {
        let (lo, hi) = r.interval;
        writeln!(text, "// {}: {} of degree {} on [{lo:.1}, {hi:.1}]", r.node, r.function, r.degree)
            .expect("strings grow");
    }
    let planned = plan(&polynomial, &PlanOptions::default(), None, |name, after, _| {
        let body = match after {
            Snapshot::Nn(m) => outline(m),
            Snapshot::Slot(m) => outline(m),
            Snapshot::Ckks(m) => outline(m),
        };
        write!(text, "\n// {name}\n{body}").expect("strings grow");
    })
    .expect("the network plans");
    fhec_ir::verify(&planned.module).expect("the program verifies");
    writeln!(text, "// parameters\n{:#?}", planned.module.params.expect("parameters are chosen"))
        .expect("strings grow");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(snapshot, text) });
}

#[test]
fn mnist_cnn_compiles_as_reviewed() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mnist_cnn.onnx"), "pipeline_mnist_cnn");
}

#[test]
fn mnist_mlp_compiles_as_reviewed() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mnist_mlp.onnx"), "pipeline_mnist_mlp");
}

#[test]
fn cryptonets_compiles_as_reviewed() {
    let Some(dir) = material("the pipeline of CryptoNets") else { return };
    check(&dir.join("models/cryptonets_mnist.onnx"), "pipeline_cryptonets");
}
