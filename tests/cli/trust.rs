//! Inputs and results unlike those of the calibration data are reported or refused.

use super::Place;
use super::model::{difference, read_scores, write_broken, write_images, write_scaled, write_softmax, write_tiny};
use super::pipeline::compiled;

/// Standard error of a command that succeeds, as one line.
#[track_caller]
fn warned(p: &Place, args: &[&str]) -> String {
    let output = p.fhec(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "fhec {}: {stderr}", args.join(" "));
    stderr
}

#[test]
fn a_run_warns_of_values_out_of_range_as_the_simulation_does() {
    let p = compiled();
    write_scaled(&p.path("wide.npy"), 7, 3, 1.9);
    let run = p.json(&["run", "plan.fhe", "--input", "wide.npy", "-o", "y.npy"]);
    let simulated = p.json(&["simulate", "plan.fhe", "--input", "wide.npy", "--exact"]);
    assert!(!run["layers"].as_array().unwrap().is_empty(), "{run}");
    assert_eq!((&run["layers"], &run["escapes"]), (&simulated["layers"], &simulated["escapes"]));
    let warnings = run["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().starts_with("`relu`: the argument of the polynomial leaves")));
    // Every warning of the simulation is one of the run; the run compares inputs as well.
    assert!(simulated["warnings"].as_array().unwrap().iter().all(|w| warnings.contains(w)), "{run}");
    assert!(warnings.iter().any(|w| w.as_str().unwrap().starts_with("wide.npy:")), "{run}");
    let input = &run["inputs"][0];
    assert_eq!(
        (input["port"].as_str(), input["images"].as_u64(), input["far"].as_u64()),
        (Some("x"), Some(3), Some(0))
    );
    assert!(input["outside"].as_u64().unwrap() > 0 && input["worst"]["excess"].as_f64().unwrap() < 0.5, "{input}");

    let plain = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "plain.npy"]);
    assert_eq!((&plain["warnings"], &plain["layers"]), (&serde_json::json!([]), &serde_json::json!([])), "{plain}");
    assert_eq!((&plain["inputs"][0]["far"], &plain["results"][0]["far"]), (&0.into(), &0.into()));
}

#[test]
fn inputs_of_another_scale_are_refused() {
    let p = compiled();
    write_scaled(&p.path("bytes.npy"), 7, 8, 255.0);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let run = ["run", "plan.fhe", "--input", "bytes.npy", "-o", "y.npy"];
    let encrypt = ["encrypt", "plan.fhe", "--secret", "client.key", "--input", "bytes.npy", "-o", "x.ct"];
    for command in [&run[..], &encrypt] {
        let message = p.fails_with(3, command);
        for part in ["bytes.npy: input `x` is far outside", "times the width", "--force", "warning: bytes.npy:"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    assert!(!p.path("y.npy").exists() && !p.path("x.ct").exists());
    // The run also says what these inputs do to the layers.
    let message = p.fails_with(3, &run);
    assert!(message.contains("warning: `relu`: the argument of the polynomial leaves its interval"), "{message}");

    let forced = warned(&p, &[&encrypt[..], &["--force"]].concat());
    assert!(forced.contains("510 of 512 elements of input `x`, in 8 of 8 images, lie outside"), "{forced}");
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"];
    let message = p.fails_with(3, &decrypt);
    assert!(
        message.contains("output `y` is not to be trusted: image") && message.contains("fhec simulate"),
        "{message}"
    );
    assert!(!p.path("y.npy").exists());
    let forced = warned(&p, &[&decrypt[..], &["--force"]].concat());
    assert!(forced.contains("warning: output `y` is not to be trusted"), "{forced}");
    assert_eq!(read_scores(&p.path("y.npy")).len(), 8);

    let report = p.json(&[&run[..], &["--force"]].concat());
    assert!(report["results"][0]["far"].as_u64().unwrap() > 0, "{report}");
    assert!(report["max_error"].is_null() || report["max_error"].as_f64().unwrap() > 1.0, "{report}");
}

#[test]
fn inputs_a_little_outside_are_a_warning() {
    let p = compiled();
    write_scaled(&p.path("wide.npy"), 7, 3, 1.2);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let encrypt = |input, to| ["encrypt", "plan.fhe", "--secret", "client.key", "--input", input, "-o", to];
    let stderr = warned(&p, &encrypt("wide.npy", "wide.ct"));
    assert!(stderr.contains("warning: wide.npy:") && stderr.contains("the range of the calibration data"), "{stderr}");
    assert_eq!(warned(&p, &encrypt("x.npy", "x.ct")), "");
}

#[test]
fn a_plan_without_calibration_cannot_vouch_for_inputs() {
    let p = Place::new();
    write_tiny(&p.path("tiny.onnx"));
    write_images(&p.path("x.npy"), 7, 1);
    let refused = p.fails(&["tiny.onnx", "-o", "plan.fhe"]);
    assert!(refused.contains("no calibration data") && refused.contains("--guess-ranges"), "{refused}");
    p.ok(&["tiny.onnx", "--guess-ranges", "-o", "plan.fhe"]);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let encrypt = ["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"];
    let stderr = warned(&p, &encrypt);
    assert!(stderr.contains("the plan does not say what input `x` is like"), "{stderr}");
    let text = p.ok(&["inspect", "plan.fhe", "--program"]);
    assert!(!text.contains(" range ["), "{text}");
}

#[test]
fn ranges_of_the_calibration_data_travel_with_the_plan() {
    let p = compiled();
    p.ok(&["tiny.onnx", "-o", "dumped.fhe", "--calibration", "calibration.npy", "--dump-passes", "dump"]);
    let ports = |text: &str| -> Vec<String> {
        let range = |line: &str| line.split_once(" range ").map(|(_, range)| range.to_string());
        text.lines().filter_map(range).collect()
    };
    let plan = ports(&p.ok(&["inspect", "plan.fhe", "--program"]));
    assert_eq!(plan.len(), 2, "{plan:?}");
    let mut dumped = std::fs::read_dir(p.path("dump")).unwrap().map(|entry| entry.unwrap().path());
    let approximated =
        dumped.find(|path| path.to_string_lossy().ends_with("-approximate-activations.nn.fhir")).unwrap();
    assert_eq!(ports(&std::fs::read_to_string(&approximated).unwrap()), plan);
    // From text to text through every level.
    let text = "\
input \"x\" : tensor<1x4> range [-1.0, 2.5]
output \"y\" : tensor<1x4> range [0.0, 1.0]

func @main(%0: tensor<1x4> loc(\"x\")) -> tensor<1x4> {
  %1 = nn.activation %0 {function = sigmoid} : tensor<1x4> loc(\"act\")
  return %1
}
";
    std::fs::write(p.path("f.fhir"), text).unwrap();
    assert_eq!(p.ok(&["opt", "f.fhir"]), text);
    for passes in ["fold", "fold,approximate-activations,pack,batch,lower", "approximate-activations,plan"] {
        let out = p.ok(&["opt", "f.fhir", "--pass", passes]);
        assert_eq!(ports(&out), ["[-1.0, 2.5]", "[0.0, 1.0]"], "{passes}: {out}");
    }
}

/// The softmax is left to the client, so the parameters must hold the logits.
#[test]
fn logits_before_a_softmax_keep_their_values() {
    let p = Place::new();
    write_softmax(&p.path("m.onnx"));
    write_images(&p.path("calibration.npy"), 100, 64);
    write_images(&p.path("x.npy"), 7, 8);
    p.ok(&["m.onnx", "-o", "plan.fhe", "--calibration", "calibration.npy"]);
    let run = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy"]);
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy", "--exact"]);
    let (found, expected) = (read_scores(&p.path("y.npy")), read_scores(&p.path("s.npy")));
    assert!(expected.iter().flatten().any(|x| x.abs() > 20.0), "{expected:?}");
    assert!(difference(&found, &expected) < 0.1, "{found:?} {expected:?}");
    assert_eq!((&run["same_argmax"], &run["layers"]), (&8.into(), &serde_json::json!([])), "{run}");
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let p = Place::new();
    write_broken(&p.path("m.onnx"));
    write_images(&p.path("calibration.npy"), 100, 64);
    let message = p.fails(&["m.onnx", "-o", "plan.fhe", "--calibration", "calibration.npy"]);
    assert!(message.contains("node `fc`") && message.contains("`fc.w` among its operands holds NaN"), "{message}");
    assert!(message.contains("the training has diverged"), "{message}");
}
