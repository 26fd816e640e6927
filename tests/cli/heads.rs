//! What a network computes last is left to the client, who has it applied where it is asked for.

use std::path::Path;

use fhec::data;
use fhec::ir::{Port, Shape};
use serde_json::{Value, json};

use super::Place;
use super::model::{difference, read_scores, write_argmax, write_images, write_softmax};
use super::pipeline::compiled;

/// A folder with this model, compiled for a batch of so many images, and with eight images.
fn headed(write: fn(&Path), batch: &str) -> Place {
    let p = Place::new();
    write(&p.path("m.onnx"));
    write_images(&p.path("calibration.npy"), 100, 64);
    write_images(&p.path("x.npy"), 7, 8);
    let calibration = ["--calibration", "calibration.npy", "--batch", batch];
    p.ok(&[&["m.onnx", "-o", "plan.fhe", "--client", "client.fhe"], &calibration[..]].concat());
    p
}

/// The same folder with the encrypted results of the images.
fn evaluated(write: fn(&Path)) -> Place {
    let p = headed(write, "1");
    p.ok(&["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "client.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    p
}

const DECRYPT: [&str; 6] = ["decrypt", "client.fhe", "--secret", "client.key", "--input", "y.ct"];

/// The class of every image, in an array of one dimension.
fn read_classes(path: &Path) -> Vec<f32> {
    let file = std::fs::read(path).unwrap();
    assert!(String::from_utf8_lossy(&file).contains("(8,)"), "one number per image");
    let port = Port { name: "k".into(), shape: Shape(vec![1]), ..Default::default() };
    data::read_samples(path, &[port]).unwrap().iter().map(|image| image[0].data()[0]).collect()
}

fn softmax(logits: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let row = |row: &Vec<f32>| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
        row.iter().map(|x| (x - max).exp() / sum).collect()
    };
    logits.iter().map(row).collect()
}

fn left(ops: &str, applied: bool) -> Value {
    json!([{ "output": if ops.starts_with("soft") { "p" } else { "k" }, "ops": [ops], "applied": applied }])
}

#[test]
fn a_softmax_is_applied_to_decrypted_logits() {
    let p = evaluated(write_softmax);
    let logits = p.json(&[&DECRYPT[..], &["-o", "logits.npy"]].concat());
    let applied = p.json(&[&DECRYPT[..], &["-o", "p.npy", "--apply-head", "--top", "1"]].concat());
    assert_eq!(logits["heads"], left("softmax over dimension 1", false), "{logits}");
    assert_eq!(applied["heads"], left("softmax over dimension 1", true), "{applied}");
    let (logits, found) = (read_scores(&p.path("logits.npy")), read_scores(&p.path("p.npy")));
    assert!(logits.iter().flatten().any(|x| x.abs() > 20.0), "{logits:?}");
    assert!(difference(&found, &softmax(&logits)) < 1e-6, "{found:?} of {logits:?}");
    // The best classes are told by the results as they are written.
    let best = found[0].iter().copied().fold(0.0, f32::max);
    assert!((applied["top"][0]["classes"][0]["score"].as_f64().unwrap() - f64::from(best)).abs() < 1e-6, "{applied}");

    let said = p.ok(&[&DECRYPT[..], &["-o", "again.npy"]].concat());
    assert!(said.contains("p: softmax over dimension 1 left to you"), "{said}");
    let inspected = p.json(&["inspect", "plan.fhe"]);
    assert_eq!(inspected["summary"]["outputs"][0]["heads"], json!(["softmax over dimension 1"]), "{inspected}");
    let program = p.ok(&["inspect", "plan.fhe", "--program"]);
    assert!(program.contains("heads [{op = \"softmax\", axis = 1}]"), "{program}");
}

#[test]
fn published_results_are_rounded_before_a_head_sees_them() {
    let p = evaluated(write_softmax);
    let publish = [&DECRYPT[..], &["--publish", "4", "--queries", "20", "--apply-head", "-o", "p.npy"]].concat();
    let report = p.json(&publish);
    let step = report["publication"]["outputs"][0]["step"].as_f64().unwrap();
    for row in read_scores(&p.path("p.npy")) {
        // Quotients of probabilities tell differences of logits, which are multiples of the step as the logits are.
        let logs: Vec<f64> = row.iter().filter(|&&x| x > 1e-3).map(|&x| f64::from(x).ln()).collect();
        for pair in logs.windows(2) {
            let steps = (pair[0] - pair[1]) / step;
            assert!((steps - steps.round()).abs() * step < 1e-3, "{row:?} with steps of {step}");
        }
    }
}

#[test]
fn an_arg_max_gives_class_numbers_whatever_the_batch() {
    let p = headed(write_argmax, "4");
    let run = ["run", "plan.fhe", "--input", "x.npy", "-o"];
    let report = p.json(&[&run[..], &["scores.npy"]].concat());
    assert_eq!(report["heads"], left("arg_max over dimension 1", false), "{report}");
    let report = p.json(&[&run[..], &["classes.npy", "--apply-head"]].concat());
    assert_eq!(report["heads"], left("arg_max over dimension 1", true), "{report}");
    let classes = read_classes(&p.path("classes.npy"));
    let best = |row: &Vec<f32>| (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best });
    let expected: Vec<f32> = read_scores(&p.path("scores.npy")).iter().map(|row| best(row) as f32).collect();
    assert_eq!(classes, expected);
    let said = p.ok(&[&run[..], &["again.npy", "--apply-head"]].concat());
    assert!(said.contains("k: arg_max over dimension 1 applied"), "{said}");
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let p = compiled();
    let message = p.fails(&["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--apply-head"]);
    assert!(message.contains("the plan leaves no head to the client") && !p.path("y.npy").exists(), "{message}");
    // Before anything is decrypted.
    let p = evaluated(write_argmax);
    let message = p.fails(&[&DECRYPT[..], &["-o", "y.npy", "--apply-head", "--top", "1"]].concat());
    assert!(message.contains("the head of `k` leaves class numbers") && !p.path("y.npy").exists(), "{message}");
}
