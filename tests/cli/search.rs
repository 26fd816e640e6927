//! `fhec search`: its front is ordered and no worse than the planner's, it goes on where it was interrupted, and its points compile.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Place;
use super::model::{write_chain, write_images, write_residual, write_tiny};

const SEARCH: [&str; 6] = ["search", "model.onnx", "--calibration", "calibration.npy", "--images", "images.npy"];

fn place() -> Place {
    let p = Place::new();
    write_residual(&p.path("model.onnx"));
    write_images(&p.path("calibration.npy"), 3, 128);
    write_images(&p.path("images.npy"), 1000, 200);
    p
}

fn search<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&SEARCH[..], options].concat()
}

fn read(p: &Place, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(p.path(file)).unwrap()).unwrap()
}

fn pair(point: &Value) -> (f64, f64) {
    (point["seconds"].as_f64().unwrap(), point["agreement"].as_f64().unwrap())
}

#[test]
fn the_front_is_strictly_ordered_and_beats_the_first_plans() {
    let p = place();
    let report = p.json(&search(&["-o", "found", "--population", "3", "--generations", "1", "--seed", "7"]));
    assert_eq!(
        (&report["finished"], &report["generations"], &report["images"]),
        (&true.into(), &1.into(), &200.into())
    );
    let front = read(&p, "found/front.json");
    let points: Vec<(f64, f64)> = front["points"].as_array().unwrap().iter().map(pair).collect();
    let seeds: Vec<(f64, f64)> = front["seeds"].as_array().unwrap().iter().map(pair).collect();
    assert!(points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1), "{points:?}");
    assert_eq!(seeds.len(), 3, "as many as the population");
    for seed in &seeds {
        assert!(points.iter().any(|p| p.0 <= seed.0 && p.1 >= seed.1), "{seed:?} is not reached by {points:?}");
    }
    // Every point is compiled to the very forms, and agrees as it did, on inputs that nothing was fitted to.
    let last = front["points"].as_array().unwrap().last().unwrap();
    let file = format!("found/{}", last["file"].as_str().unwrap());
    let compile = ["compile", "model.onnx", "--calibration", "calibration.npy", "--forms", &file, "-o", "plan.fhe"];
    let compiled = p.json(&compile);
    let degrees = |forms: &Value| forms.as_array().unwrap().iter().map(|f| f["degree"].clone()).collect::<Vec<_>>();
    assert_eq!(degrees(&compiled["activations"]), degrees(&last["forms"]));
    assert_eq!(read(&p, &file)["forms"], last["forms"]);
    // The same search again is known, and writes the same.
    let again = p.json(&search(&["-o", "found", "--population", "3", "--generations", "1", "--seed", "7"]));
    assert_eq!(again["resumed"], report["evaluated"]);
    assert_eq!(read(&p, "found/front.json"), front);
}

#[test]
fn a_killed_search_goes_on_and_finds_the_same() {
    let p = place();
    let options = ["--population", "3", "--generations", "1"];
    let whole = p.json(&[&search(&["-o", "whole", "--threads", "1"])[..], &options].concat());
    let args = [&search(&["-o", "killed", "--threads", "2"])[..], &options].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fhec"));
    command.args(&args).current_dir(p.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    // A checkpoint is whole whenever it is there.
    let kept = || {
        let there = p.path("killed/checkpoint.json").exists();
        if there { read(&p, "killed/checkpoint.json")["answers"].as_array().unwrap().len() as u64 } else { 0 }
    };
    while kept() < 2 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = kept();
    let resumed = p.json(&args);
    assert_eq!(resumed["resumed"], kept);
    assert!(kept > 0 && kept < whole["evaluated"].as_u64().unwrap(), "{kept}");
    assert_eq!(read(&p, "killed/front.json"), read(&p, "whole/front.json"));
    assert_eq!(resumed["evaluated"], whole["evaluated"]);
}

#[test]
fn time_that_is_over_leaves_what_was_found() {
    let p = place();
    let options = ["-o", "found", "--population", "2", "--generations", "0"];
    let none = p.json(&[&search(&options)[..], &["--seconds", "1e-9"]].concat());
    assert_eq!((&none["finished"], &none["evaluated"]), (&false.into(), &0.into()));
    let text = p.ok(&search(&options));
    assert!(text.contains("0 of 0 generations") && text.contains("front.json"), "{text}");
    // More generations go on from there.
    let more = p.json(&search(&["-o", "found", "--population", "2", "--generations", "1"]));
    assert!(more["resumed"].as_u64() > Some(0) && more["evaluated"].as_u64() > more["resumed"].as_u64(), "{more}");
}

#[test]
fn a_folder_of_another_search_is_refused() {
    let p = place();
    let small = ["--population", "2", "--generations", "0"];
    p.ok(&[&search(&["-o", "found"])[..], &small].concat());
    let front = read(&p, "found/front.json");
    write_tiny(&p.path("tiny.onnx"));
    let other = ["search", "tiny.onnx", "--calibration", "calibration.npy", "--images", "images.npy", "-o", "found"];
    let message = p.fails(&[&other[..], &small].concat());
    assert!(message.contains("its model differs") && message.contains("--force"), "{message}");
    let message = p.fails(&search(&["-o", "found", "--population", "3", "--generations", "0"]));
    assert!(message.contains("its population is 2, not 3"), "{message}");
    let message =
        p.fails(&[&["search", "model.onnx", "--calibration", "images.npy", "-o", "found"][..], &small].concat());
    assert!(message.contains("its calibration data differs"), "{message}");
    assert_eq!(read(&p, "found/front.json"), front, "nothing was replaced");
    p.ok(&[&other[..], &small, &["--force"]].concat());
    assert!(read(&p, "found/front.json") != front);
    // Files of others are kept.
    std::fs::create_dir(p.path("theirs")).unwrap();
    std::fs::write(p.path("theirs/front.json"), "mine").unwrap();
    assert!(p.fails(&[&search(&["-o", "theirs"])[..], &small].concat()).contains("the file exists"));
    std::fs::write(p.path("theirs/checkpoint.json"), "{}").unwrap();
    assert!(p.fails(&[&search(&["-o", "theirs"])[..], &small].concat()).contains("holds no checkpoint"));
    assert_eq!(std::fs::read_to_string(p.path("theirs/front.json")).unwrap(), "mine");
    std::fs::write(p.path("file"), "mine").unwrap();
    assert!(p.fails(&[&search(&["-o", "file"])[..], &small].concat()).contains("file"));
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let p = place();
    write_images(&p.path("few.npy"), 3, 64);
    let message = p.fails(&["search", "model.onnx", "--calibration", "few.npy", "-o", "found"]);
    assert!(message.contains("64 calibration inputs are too few") && message.contains("128"), "{message}");
    write_chain(&p.path("chain.onnx"), &["Neg"]);
    let message = p.fails(&["search", "chain.onnx", "--calibration", "calibration.npy", "-o", "found"]);
    assert!(!message.is_empty());
    assert!(p.misread(&search(&["-o", "found", "--population", "1"])).contains("from 2"));
    assert!(p.misread(&["search", "model.onnx", "-o", "found"]).contains("--calibration"));
    assert!(!p.path("found").exists(), "a refusal leaves nothing");
}

#[test]
fn images_that_polynomials_are_fitted_to_are_told() {
    let p = place();
    let args =
        ["search", "model.onnx", "--calibration", "calibration.npy", "--images", "calibration.npy", "-o", "found"];
    let report = p.json(&[&args[..], &["--population", "2", "--generations", "0"]].concat());
    assert!(report["warnings"][0].as_str().unwrap().contains("128 of 128 images are calibration inputs"), "{report}");
}

#[test]
fn forms_that_do_not_fit_are_refused() {
    let p = place();
    p.ok(&search(&["-o", "found", "--population", "2", "--generations", "0"]));
    let front = read(&p, "found/front.json");
    let file = format!("found/{}", front["points"][0]["file"].as_str().unwrap());
    let compile = |forms: &str, model: &str| -> Vec<String> {
        ["compile", model, "--calibration", "calibration.npy", "--forms", forms, "-o", "plan.fhe"]
            .map(String::from)
            .into()
    };
    let fails = |args: Vec<String>| p.fails(&args.iter().map(String::as_str).collect::<Vec<_>>());
    write_tiny(&p.path("tiny.onnx"));
    assert!(fails(compile(&file, "tiny.onnx")).contains("the forms are of another model"));
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut forms = read(&p, &file);
        edit(&mut forms);
        std::fs::write(p.path("edited.json"), forms.to_string()).unwrap();
        fails(compile("edited.json", "model.onnx"))
    };
    let message = edited(&|forms| forms["forms"][1]["degree"] = 9.into());
    assert!(message.contains("activation `relu1` has no form `") && message.contains("least-squares 7"), "{message}");
    let message = edited(&|forms| forms["forms"][1]["node"] = "relu9".into());
    assert!(message.contains("`stem_relu`, `relu1`, `relu2`"), "{message}");
    assert!(edited(&|forms| forms["version"] = 9.into()).contains("of version 9"));
    assert!(edited(&|forms| forms["more"] = 9.into()).contains("it holds no forms"));
    let both = [&["compile", "model.onnx", "-o", "plan.fhe", "--forms", &file][..], &["--degree", "7"]].concat();
    assert!(p.misread(&both).contains("--degree"));
}
