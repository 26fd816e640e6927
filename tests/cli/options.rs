//! No option is ignored: each acts, or is refused with a sentence that says what can be had.

use fhec::ir::{Port, Shape};
use fhec::{CompileOptions, Compiler, Model, data};

use super::model::{numbers, write_conv, write_deep_squares, write_images, write_residual_with_results, write_squares};
use super::pipeline::compiled;
use super::{Place, repository};

const COMPILE: [&str; 6] = ["tiny.onnx", "--calibration", "calibration.npy", "-o", "other.fhe", "--force"];

#[test]
fn values_out_of_range_are_refused_before_any_work() {
    let p = compiled();
    let wrong: [&[&str]; 12] = [
        &["--degree", "0"],
        &["--degree", "500"],
        &["--margin=nan"],
        &["--margin", "0"],
        &["--margin=-1"],
        &["--precision", "0"],
        &["--max-latency", "0"],
        &["--max-error=nan"],
        &["--points", "0"],
        // There is nothing to measure points on.
        &["--points", "3"],
        &["--labels", "x.npy"],
        &["--security", "80"],
    ];
    for option in wrong {
        let message = p.misread(&[&COMPILE[..], option].concat());
        let name = option[0].split('=').next().unwrap();
        assert!(message.contains(name), "{name}: {message}");
        assert!(!p.path("other.fhe").exists(), "{name}");
    }
    let run = ["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy"];
    let simulate = ["simulate", "plan.fhe", "--input", "x.npy"];
    let bench = ["bench", "--no-bootstrap"];
    for (command, option) in [
        (&run[..], ["--limit", "0"]),
        (&run, ["--threads", "1000000"]),
        (&simulate, ["--limit", "0"]),
        (&simulate, ["--threads", "0"]),
        (&simulate, ["--seed", "x"]),
        (&bench, ["--log-n", "40"]),
        (&bench, ["--limbs", "0"]),
        (&bench, ["--digits", "0"]),
        (&bench, ["--threads", "0"]),
        (&bench, ["--repetitions", "0"]),
    ] {
        let message = p.misread(&[command, &option].concat());
        assert!(message.contains(option[0]), "{option:?}: {message}");
    }
}

#[test]
fn seeds_select_the_noise() {
    let p = compiled();
    let simulate =
        |seed: &str| p.json(&["simulate", "plan.fhe", "--input", "x.npy", "--seed", seed])["max_error"].clone();
    assert_eq!(simulate("7"), simulate("7"));
    assert_ne!(simulate("7"), simulate("8"));
}

#[test]
fn batches_that_do_not_fit_are_refused_at_once() {
    let p = compiled();
    for (batch, reason) in [("3", "power of two"), ("0", "power of two"), ("65536", "at most 32768 images")] {
        let message = p.fails(&[&COMPILE[..], &["--batch", batch]].concat());
        assert!(message.contains(&format!("--batch {batch}")) && message.contains(reason), "{message}");
        assert!(!message.contains("unnamed"), "{message}");
    }
    // Every weight would be repeated 16,384 times: 6 GiB of them.
    let model = repository("models/mnist_mlp.onnx");
    let message = p.fails(&[model.to_str().unwrap(), "-o", "other.fhe", "--batch", "16384"]);
    assert!(message.contains("--batch 16384: at most 8192 images"), "{message}");
}

#[test]
fn limits_hold_for_networks_without_bootstraps() {
    let p = compiled();
    let with = |options: &[&'static str]| [&COMPILE[..], options].concat();
    for limit in [["--max-latency", "0.000001"], ["--max-error", "1e-12"]] {
        let message = p.fails(&with(&limit));
        assert!(message.contains("no plan is within the limits: the fastest takes"), "{message}");
        // The same of polynomials that are not chosen.
        let message = p.fails(&with(&[&limit[..], &["--degree", "7"]].concat()));
        assert!(message.contains(&format!("no plan within {}", limit[0])), "{message}");
    }
    assert!(!p.path("other.fhe").exists());
    p.ok(&with(&["--max-latency", "1000", "--max-error", "1000"]));
}

/// All activations of leveled networks had degree 15, whatever they needed.
#[test]
fn polynomials_of_networks_without_bootstraps_are_chosen() {
    let p = compiled();
    write_images(&p.path("many.npy"), 5, 512);
    let compile = ["tiny.onnx", "--calibration", "many.npy", "-o", "other.fhe", "--force"];
    let degree = |more: &[&str]| {
        let report = p.json(&[&compile[..], more].concat());
        assert!(report["agreement"]["held_back"].as_bool().unwrap() || more.contains(&"--degree"), "{report}");
        let option = p.json(&["inspect", "other.fhe"])["provenance"]["options"]["degree"].as_str().unwrap().to_string();
        assert_eq!(option == "15", more.contains(&"--degree"), "{option}");
        (report["activations"][0]["degree"].as_u64().unwrap(), report["summary"]["levels"].as_u64().unwrap())
    };
    let (strict, lax) = (degree(&["--min-agreement", "100"]), degree(&["--min-agreement", "60"]));
    assert!(lax.0 < strict.0 && lax.1 < strict.1, "{lax:?} {strict:?}");
    assert_eq!(degree(&["--degree", "15"]).0, 15);
}

#[test]
fn keys_and_memory_are_bounded_by_fewer_levels_or_the_model_is_refused() {
    let p = compiled();
    write_images(&p.path("many.npy"), 5, 512);
    let compile = ["tiny.onnx", "--calibration", "many.npy", "--min-agreement", "100", "-o", "other.fhe", "--force"];
    let sizes = |more: &[&str]| {
        let report = p.json(&[&compile[..], more].concat());
        let bytes = |name: &str| report["summary"][name].as_u64().unwrap();
        (bytes("evaluation_key_bytes"), bytes("predicted_memory_bytes"))
    };
    let (keys, memory) = sizes(&[]);
    // Also below what polynomials of the default degree take.
    let mut most = keys;
    for _ in 0..3 {
        let (fewer, _) = sizes(&["--max-keys", &(most - 1).to_string()]);
        assert!(fewer < most, "{fewer} of {most}");
        most = fewer;
    }
    let (_, less) = sizes(&["--max-memory", &(memory - 1).to_string()]);
    assert!(less < memory, "{less} of {memory}");
    for option in ["--max-keys", "--max-memory"] {
        let message = p.fails(&[&compile[..], &[option, "1K"]].concat());
        assert!(message.contains(&format!("no plan within {option}")) && message.contains("MiB or more"), "{message}");
        // What is said to be possible is.
        let most = message.split("ask for ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        sizes(&[option, &format!("{most}M")]);
    }
}

/// Large results did not fit the first prime, so that they stayed at level 1, which took other polynomials and parameters.
#[test]
fn plans_do_not_depend_on_the_size_of_results() {
    let p = compiled();
    write_images(&p.path("many.npy"), 5, 256);
    let plan = |factor: f32| {
        write_residual_with_results(&p.path("scaled.onnx"), factor);
        let compile = ["scaled.onnx", "--calibration", "many.npy", "-o", "scaled.fhe", "--force"];
        let mut report = p.json(&compile);
        let degrees =
            report["activations"].as_array().unwrap().iter().map(|a| a["degree"].as_u64()).collect::<Vec<_>>();
        let simulated = p.json(&["simulate", "scaled.fhe", "--input", "many.npy", "--limit", "4"]);
        let error = simulated["max_error"].as_f64().unwrap() / f64::from(factor);
        (degrees, report["summary"]["counts"].take(), report["summary"]["levels"].take(), error)
    };
    let (degrees, counts, levels, error) = plan(1.0);
    for factor in [16.0f32, 256.0] {
        let (other_degrees, other_counts, other_levels, other) = plan(factor);
        assert_eq!((&degrees, &counts, &levels), (&other_degrees, &other_counts, &other_levels), "{factor}");
        assert!(other < 4.0 * error && error < 4.0 * other, "{factor}: {other:e} of the size of results, {error:e}");
    }
}

/// A plan that the planner thinks is within a limit, and the lowered program is not, was refused in place of the next one.
#[test]
fn the_next_plan_is_taken_where_the_lowered_program_is_slower_than_the_limit() {
    let p = compiled();
    let seconds = |most: f64| {
        let most = most.to_string();
        let report = p.json(&[&COMPILE[..], &["--max-latency", &most]].concat());
        report["summary"]["predicted_seconds"].as_f64().unwrap()
    };
    let mut most = seconds(1000.0);
    for _ in 0..3 {
        let found = seconds(most * (1.0 - 1e-9));
        assert!(found < most, "{found} of {most}");
        most = found;
    }
}

#[test]
fn placements_of_networks_without_bootstraps_are_refused_and_fronts_without_a_choice() {
    let p = compiled();
    for place in ["layerwise", "uniform", "greedy"] {
        let message = p.fails(&[&COMPILE[..], &["--place", place]].concat());
        assert!(message.contains(&format!("--place {place} has no effect")), "{message}");
    }
    for options in [&["--pareto", "f.json"][..], &["--pareto", "f.json", "--degree", "7"]] {
        let message = p.fails(&[&COMPILE[..], options].concat());
        assert!(message.contains("--pareto has no effect"), "{message}");
    }
    assert!(!p.path("f.json").exists() && !p.path("other.fhe").exists());
    write_images(&p.path("many.npy"), 5, 512);
    p.ok(&["tiny.onnx", "--calibration", "many.npy", "-o", "other.fhe", "--pareto", "f.json"]);
    let front: serde_json::Value = serde_json::from_slice(&std::fs::read(p.path("f.json")).unwrap()).unwrap();
    let points = front.as_array().unwrap();
    assert!(points.len() > 1 && points.iter().all(|point| point["bootstraps"] == 0), "{front}");
}

#[test]
fn precision_asked_for_is_precision_simulated() {
    let p = compiled();
    for bits in ["8", "14", "18"] {
        let report = p.json(&[&COMPILE[..], &["--precision", bits]].concat());
        let asked: f64 = bits.parse().unwrap();
        assert!(report["precision"]["bits"].as_f64().unwrap() >= asked, "{report}");
        let simulated = p.json(&["simulate", "other.fhe", "--input", "x.npy"]);
        assert!(simulated["max_error"].as_f64().unwrap() <= (-asked).exp2(), "{bits} bits: {simulated}");
    }
    for bits in ["45", "60"] {
        let message = p.fails(&[&COMPILE[..], &["--precision", bits]].concat());
        let most = message.split("at most ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        assert!(most.is_some_and(|most| (18..45).contains(&most)), "{message}");
        // What is said to be possible is.
        let most = most.unwrap().to_string();
        p.ok(&[&COMPILE[..], &["--precision", &most]].concat());
    }
}

#[test]
fn little_calibration_data_is_a_warning() {
    let p = compiled();
    write_images(&p.path("one.npy"), 5, 1);
    write_images(&p.path("many.npy"), 5, 512);
    let warned = |calibration: &str, more: &[&str]| {
        let compile = ["tiny.onnx", "--calibration", calibration, "-o", "other.fhe", "--force"];
        p.json(&[&compile[..], more].concat())["warnings"].to_string()
    };
    let one = warned("one.npy", &[]);
    assert!(one.contains("rest on a single input") && one.contains("weights are not rebuilt"), "{one}");
    let some = warned("calibration.npy", &[]);
    assert!(
        !some.contains("rest on") && some.contains("takes 128 calibration inputs") && some.contains("64 were given"),
        "{some}"
    );
    assert!(some.contains("polynomials not chosen by trial"), "{some}");
    assert!(!warned("calibration.npy", &["--degree", "7"]).contains("not chosen by trial"));
    let kept = warned("calibration.npy", &["--no-reconstruct", "--min-agreement", "90"]);
    assert!(
        kept.contains("polynomials are not chosen by trial, and --no-reconstruct has no effect here")
            && kept.contains("64 were given"),
        "{kept}"
    );
    assert!(!kept.contains("weights are not rebuilt"), "{kept}");
    assert_eq!(warned("many.npy", &["--no-reconstruct", "--min-agreement", "50"]), "[]");
    assert_eq!(warned("many.npy", &["--min-agreement", "90"]), "[]");
    let port = Port { name: "x".into(), shape: Shape(vec![1, 1, 8, 8]), ..Default::default() };
    data::write_samples(p.path("none.npy"), &[port], &[]).unwrap();
    let message = p.fails(&["tiny.onnx", "--calibration", "none.npy", "-o", "other.fhe"]);
    assert!(message.contains("none.npy: there are no images"), "{message}");
}

/// A network of squares alone was bootstrapped with ranges guessed from synthetic inputs, without a word.
#[test]
fn ranges_guessed_for_bootstraps_before_squares_are_a_warning() {
    let p = compiled();
    let warned = |squares: usize| {
        write_deep_squares(&p.path("squares.onnx"), squares);
        p.json(&["squares.onnx", "-o", "squares.fhe", "--force"])["warnings"].to_string()
    };
    let shallow = warned(3);
    assert!(!shallow.contains("are guessed"), "{shallow}");
    let deep = warned(56);
    assert!(deep.contains("the ranges of polynomials are guessed from synthetic inputs"), "{deep}");
}

/// Confident networks lost 6 to 9 points without a word.
#[test]
fn polynomials_that_disagree_with_the_network_are_a_warning() {
    let p = compiled();
    let compile = |more: &[&str]| p.json(&[&COMPILE[..], more].concat());
    let coarse = compile(&["--degree", "1"]);
    let (measured, asked) = (&coarse["agreement"]["measured"], &coarse["agreement"]["asked"]);
    assert!(measured.as_f64() < Some(0.99) && *asked == 0.99, "{coarse}");
    let warnings = coarse["warnings"].to_string();
    assert!(warnings.contains("agrees with the original on") && warnings.contains("99.0 % are aimed at"), "{warnings}");
    let lax = compile(&["--degree", "1", "--min-agreement", "10"]);
    assert!(!lax["warnings"].to_string().contains("agrees with the original"), "{lax}");
    assert!(p.misread(&[&COMPILE[..], &["--min-agreement", "101"]].concat()).contains("--min-agreement"));
}

/// Fits of this degree diverged, with exit 0.
#[test]
fn fits_of_the_highest_degree_do_not_diverge() {
    let p = compiled();
    let report = p.json(&[&COMPILE[..], &["--degree", "255"]].concat());
    assert_eq!(report["agreement"]["measured"], 1.0, "{report}");
}

#[test]
fn errors_are_weighed_where_results_are_no_scores() {
    let p = Place::new();
    write_conv(&p.path("m.onnx"), 8, 3, 1, true);
    write_images(&p.path("c.npy"), 5, 40);
    let compile = ["m.onnx", "--calibration", "c.npy", "-o", "plan.fhe", "--max-error", "1000"];
    let report = p.json(&compile);
    assert!(!report["warnings"].to_string().contains("counts alike"), "{report}");
    // Of images, agreement is 1 less the relative error.
    let agreement = report["agreement"]["measured"].as_f64().unwrap();
    assert!(agreement > 0.5 && agreement < 1.0, "{agreement}");
}

#[test]
fn options_of_passes_that_do_not_run_are_refused() {
    let p = Place::new();
    std::fs::write(p.path("f.fhir"), "func @main(%0: slots<4>) -> slots<4> { return %0 }").unwrap();
    let options = [
        ["--batch", "2"],
        ["--slots", "8"],
        ["--degree", "3"],
        ["--calibration", "c.npy"],
        ["--place", "uniform"],
        ["--max-error", "1"],
        ["--precision", "8"],
    ];
    for option in options {
        let message = p.fails(&[&["opt", "f.fhir", "--pass", "verify"][..], &option].concat());
        assert!(message.contains(&format!("{} has no effect here", option[0])), "{message}");
    }
    let message = p.fails(&["opt", "f.fhir", "--no-reconstruct"]);
    assert!(message.contains("no plan is written"), "{message}");
    let message = p.misread(&["opt", "f.fhir", "--slots", "100"]);
    assert!(message.contains("--slots") && message.contains("power of two"), "{message}");
    let message = p.fails(&["opt", "f.fhir", "--pass", "batch", "--batch", "3"]);
    assert!(message.contains("power of two"), "{message}");
    p.misread(&["opt", "--list", "--pass", "fold"]);
}

/// 2,116 diagonals at 2^15 slots: a plan of such a layer was written and could not be read.
#[test]
fn plans_of_large_layers_are_read_again() {
    const PIXELS: usize = 181;
    const KERNEL: usize = 46;
    let p = Place::new();
    write_conv(&p.path("m.onnx"), PIXELS, KERNEL, 2, false);
    write_squares(&p.path("x.npy"), 9, 1, PIXELS, 1.0);
    let model = Model::load(p.path("m.onnx")).unwrap();
    let samples = data::read_samples(&p.path("x.npy"), &model.module.inputs).unwrap();
    let mut options = CompileOptions::default();
    // The compiler would split the layer over smaller ciphertexts, which is faster.
    options.plan.params.log_n = Some(16);
    let plan = Compiler::with_options(options).calibration(samples).compile(&model).unwrap().plan;
    assert!(plan.module().consts.iter().any(|(_, c)| c.tensor.data().len() > 1 << 26));
    // A file of zeros unpacks to far more.
    plan.save(p.path("plan.fhe")).unwrap();
    let simulate = ["simulate", "plan.fhe", "--input", "x.npy", "--exact", "-o", "y.npy"];
    p.ok(&simulate);
    let out = (PIXELS - KERNEL) / 2 + 1;
    let port = Port { name: "y".into(), shape: Shape(vec![1, 1, out, out]), ..Default::default() };
    let result = data::read_samples(&p.path("y.npy"), &[port]).unwrap();
    let (x, w) = (numbers(9, PIXELS * PIXELS), numbers(3, KERNEL * KERNEL));
    for (row, column) in [(0, 0), (17, 40), (out - 1, out - 1)] {
        let term = |k: usize| {
            let at = (2 * row + k / KERNEL) * PIXELS + 2 * column + k % KERNEL;
            f64::from(x[at]) * f64::from(w[k] / KERNEL as f32)
        };
        let expected: f64 = (0..KERNEL * KERNEL).map(term).sum();
        let found = f64::from(result[0][0].data()[row * out + column]);
        assert!((found - expected).abs() < 1e-4, "({row}, {column}): {found} instead of {expected}");
    }
}
