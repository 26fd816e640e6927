//! What `.ci/headline` compiled and ran: the residual digit network with the compiler's defaults, encrypted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fhec::ir::nn::eval::eval;
use fhec::ir::{Port, largest_magnitude};
use fhec::{Model, Tensor, data};
use serde_json::Value;

/// Bytes that the run may take.
const MEMORY: u64 = 8 << 30;

/// The folder of the reports.
struct Reports(PathBuf);

impl Reports {
    fn json(&self, name: &str) -> Value {
        let path = self.0.join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn scores(&self, name: &str, outputs: &[Port]) -> Vec<Vec<Tensor>> {
        data::read_samples(&self.0.join(name), outputs).unwrap()
    }
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn classes(scores: &[Vec<Tensor>]) -> Vec<usize> {
    scores.iter().map(|outputs| data::class(outputs).expect("finite scores")).collect()
}

#[test]
#[ignore = "`.ci/headline` makes the reports that it reads"]
fn the_residual_network_ran_encrypted_as_planned() {
    let folder =
        std::env::var_os("FHEC_HEADLINE").expect("FHEC_HEADLINE, the folder of reports that `.ci/headline` makes");
    let reports = Reports(folder.into());
    let compile = reports.json("compile.json");
    chosen_and_rebuilt(&compile, &reports.json("report.json")["findings"]);
    let run = reports.json("run.json");
    executed_as_planned(&run);

    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let model = Model::load(repository.join("models/mnist_resnet.onnx")).unwrap();
    let (inputs, outputs) = (&model.module.inputs, &model.module.outputs);
    let mut digits = data::read_samples(&repository.join("models/digits.npy"), inputs).unwrap();
    let mut labels = data::read_labels(&repository.join("models/digits_labels.npy"), digits.len(), outputs).unwrap();
    let decrypted = reports.scores("decrypted.npy", outputs);
    digits.truncate(decrypted.len());
    labels.truncate(decrypted.len());
    let plain: Vec<_> = digits.iter().map(|digit| eval(&model.module, digit).unwrap()).collect();
    let (simulated, exact) = (reports.scores("simulated.npy", outputs), reports.scores("exact.npy", outputs));
    for (what, scores) in
        [("encrypted", &decrypted), ("simulated", &simulated), ("polynomial", &exact), ("original", &plain)]
    {
        assert_eq!(classes(scores), labels, "the {what} network");
    }
    // Six standard deviations of what encryption adds, by the simulation on calibration data.
    let close = compile["precision"]["error"].as_f64().unwrap();
    for (image, (decrypted, exact)) in decrypted.iter().zip(&exact).enumerate() {
        let (decrypted, exact) = (decrypted[0].data(), exact[0].data());
        let error = decrypted.iter().zip(exact).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        println!("digit {image}: class {}, largest error {error:.1e}", labels[image]);
        assert!(decrypted != exact, "digit {image}: scores of ciphertexts are never exactly those in the clear");
        assert!(error < close, "digit {image} is off by {error}, more than {close}");
    }
    println!(
        "{} bootstraps, {:.1} s per image on {} threads, {:.1} GB, {:.1} GB of keys",
        run["plan"]["counts"]["bootstraps"],
        run["seconds_per_image"].as_f64().unwrap(),
        run["threads"],
        run["peak_memory_bytes"].as_f64().unwrap() / 1e9,
        run["evaluation_key_bytes"].as_f64().unwrap() / 1e9
    );
}

#[test]
#[ignore = "`.ci/headline` makes the reports that it reads"]
fn a_network_of_every_shape_ran_encrypted_as_planned() {
    let reports = Reports(std::env::var_os("FHEC_HEADLINE").expect("the folder that `.ci/headline` makes").into());
    let run = reports.json("shapes-run.json");
    executed_as_planned(&run);
    let network = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/shapes/all.onnx"));
    let outputs = Model::load(network).unwrap().module.outputs;
    assert_eq!(outputs.len(), 2);
    let decrypted = reports.scores("shapes-decrypted.npz", &outputs);
    let exact = reports.scores("shapes-exact.npz", &outputs);
    for ((decrypted, exact), port) in decrypted[0].iter().zip(&exact[0]).zip(&outputs) {
        let (decrypted, exact) = (decrypted.data(), exact.data());
        let errors = decrypted.iter().zip(exact).map(|(a, b)| f64::from(a - b));
        let (error, size) = (largest_magnitude(errors), largest_magnitude(exact.iter().map(|&x| x.into())));
        println!("output `{}`: largest error {error:.1e} of {size:.1e}", port.name);
        assert!(decrypted != exact, "`{}`: results of ciphertexts are never exactly those in the clear", port.name);
        assert!(error < 0.02 * size, "`{}` is off by {error} of {size}", port.name);
    }
}

/// The planner chose polynomials together with bootstraps, and weights were rebuilt for them.
#[track_caller]
fn chosen_and_rebuilt(compile: &Value, findings: &Value) {
    assert_eq!(compile["warnings"], Value::Array(Vec::new()));
    let activations = elements(&compile["activations"]);
    assert_eq!(activations.len(), 11);
    let degrees: BTreeSet<u64> = activations.iter().map(|a| a["degree"].as_u64().unwrap()).collect();
    assert!(degrees != BTreeSet::from([15]), "all polynomials are of the default degree: none was chosen");
    let agreement = &compile["agreement"];
    assert!(agreement["measured"].as_f64() >= agreement["asked"].as_f64(), "{agreement}");
    assert_eq!(agreement["held_back"], true, "{agreement}");
    assert!(!elements(&findings["bootstraps"]).is_empty());
    let rebuilt = elements(&findings["layers"]);
    let sum = |field: &str| rebuilt.iter().map(|layer| layer[field].as_f64().unwrap()).sum::<f64>();
    assert!(rebuilt.len() > 10, "rebuilt: {rebuilt:?}");
    assert!(sum("mse_after") < sum("mse_before"), "rebuilt: {rebuilt:?}");
}

/// Every operation of the plan was executed, bootstraps among them, within the memory allowed.
#[track_caller]
fn executed_as_planned(run: &Value) {
    assert_eq!(run["warnings"], Value::Array(Vec::new()));
    assert_eq!(run["security_bits"], 128);
    assert_eq!(run["layers"], Value::Array(Vec::new()), "values left their range");
    assert_eq!(run["trace"], "equal to the plan");
    let counts = &run["plan"]["counts"];
    let planned = counts["ops"].as_object().unwrap();
    let ops: u64 = planned.values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(run["ops"].as_u64(), Some(ops));
    assert_eq!(run["key_switches"], counts["key_switches"]);
    assert!(counts["bootstraps"].as_u64() > Some(0) && planned.contains_key("bootstrap"), "{counts}");
    let peak = run["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak <= MEMORY, "the run took {peak} bytes");
}
