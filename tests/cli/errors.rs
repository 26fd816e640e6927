//! What users see when something is wrong.

use super::Place;
use super::model::{difference, read_scores, write_chain};
use super::pipeline::compiled;

#[test]
fn three_unsupported_nodes_are_listed_together_with_repairs() {
    let p = Place::new();
    write_chain(&p.path("m.onnx"), &["Relu", "Hardmax", "Sigmoid", "TopK", "Det"]);
    let message = p.fails(&["m.onnx", "-o", "plan.fhe"]);
    for (op, node) in [("Hardmax", "hardmax_1"), ("TopK", "topk_3"), ("Det", "det_4")] {
        assert!(message.contains(op) && message.contains(node), "{op}: {message}");
    }
    assert!(message.matches("help:").count() >= 3, "{message}");
    assert!(!p.path("plan.fhe").exists());
}

#[test]
fn nodes_without_an_encrypted_form_are_listed_together() {
    let p = Place::new();
    write_chain(&p.path("m.onnx"), &["Softmax", "Relu", "Softmax", "Relu"]);
    let message = p.fails(&["m.onnx", "--guess-ranges", "-o", "plan.fhe"]);
    assert!(message.contains("softmax_0") && message.contains("softmax_2"), "{message}");
}

#[test]
fn damaged_files_are_refused() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    let eval = ["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"];
    let encrypt = ["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "z.ct"];
    let compile = ["tiny.onnx", "-o", "z.fhe"];
    for (file, command) in [
        ("plan.fhe", &eval[..]),
        ("server.key", &eval),
        ("x.ct", &eval),
        ("client.key", &encrypt),
        ("x.npy", &encrypt),
        ("tiny.onnx", &compile),
    ] {
        let whole = std::fs::read(p.path(file)).unwrap();
        let mut flipped = whole.clone();
        // The middle of a key file lies in a key, that of the others in a section or the index.
        let middle = whole.len() / 2;
        flipped[middle] ^= 0x10;
        let cases = [("truncated", whole[..middle].to_vec()), ("empty", Vec::new()), ("flipped", flipped)];
        for (what, bytes) in cases {
            // NumPy files and ONNX models carry no hash: a flipped weight is another weight.
            if what == "flipped" && (file == "x.npy" || file == "tiny.onnx") {
                continue;
            }
            std::fs::write(p.path(file), &bytes).unwrap();
            let message = p.fails(command);
            let stem = file.split('.').next().unwrap();
            assert!(message.contains(stem), "{file} {what}: {message}");
        }
        std::fs::write(p.path(file), whole).unwrap();
    }
    p.ok(&eval);
}

/// The keys of two clients, and what `eval` says of the first one's ciphertexts and the second one's keys.
fn evaluated_under_the_key_of_another_one(p: &Place) -> String {
    for who in ["a", "b"] {
        let (secret, evaluation) = (format!("{who}.secret"), format!("{who}.evaluation"));
        p.ok(&["keygen", "plan.fhe", "--secret", &secret, "--evaluation", &evaluation]);
    }
    p.ok(&["encrypt", "plan.fhe", "--secret", "a.secret", "--input", "x.npy", "-o", "x.ct"]);
    p.fails(&["eval", "plan.fhe", "--evaluation", "b.evaluation", "--input", "x.ct", "-o", "y.ct"])
}

#[test]
fn another_key_is_refused_and_gives_noise_when_forced() {
    let p = compiled();
    let message = evaluated_under_the_key_of_another_one(&p);
    assert!(message.contains("another secret key"), "{message}");
    p.ok(&["eval", "plan.fhe", "--evaluation", "a.evaluation", "--input", "x.ct", "-o", "y.ct"]);
    let decrypt = ["decrypt", "plan.fhe", "--secret", "b.secret", "--input", "y.ct", "-o", "noise.npy"];
    assert!(p.fails(&decrypt).contains("under another secret key"));
    p.ok(&[&decrypt[..], &["--any-key"]].concat());
    p.ok(&["decrypt", "plan.fhe", "--secret", "a.secret", "--input", "y.ct", "-o", "y.npy"]);
    let (right, noise) = (read_scores(&p.path("y.npy")), read_scores(&p.path("noise.npy")));
    assert!(difference(&right, &noise) > 1.0, "{right:?} {noise:?}");
}

#[test]
fn files_in_the_wrong_place_are_named() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let message = p.fails(&["inspect", "client.key"]);
    assert!(message.contains("the file holds a secret-key, expected a plan"), "{message}");
    let message = p.fails(&["inspect", "tiny.onnx"]);
    assert!(message.contains("not a file of fhec"), "{message}");
    let message = p.fails(&["inspect", "nothing.fhe"]);
    assert!(message.contains("nothing.fhe") && message.contains("check that the path exists"), "{message}");
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    let message = p.fails(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "x.ct", "-o", "y.npy"]);
    assert!(message.contains("they hold inputs, results are needed"), "{message}");
}

#[test]
fn a_ciphertext_for_another_plan_is_refused() {
    let p = compiled();
    p.ok(&["tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--margin", "2"]);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    let message = p.fails(&["eval", "other.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    assert!(message.contains("made for plan") || message.contains("other parameters"), "{message}");
}

#[test]
fn profiles_of_another_kind_are_refused() {
    let p = Place::new();
    write_chain(&p.path("m.onnx"), &["Relu"]);
    let too_large = p.fails(&["calibrate", "--log-n", "20"]);
    assert!(too_large.contains("N = 2^20 cannot be calibrated"), "{too_large}");
    for (text, reason) in [("{}", "missing field"), ("{\"name\": 1", "invalid type")] {
        std::fs::write(p.path("host.json"), text).unwrap();
        let message = p.fails(&["m.onnx", "--latency", "host.json", "-o", "plan.fhe"]);
        assert!(message.contains("host.json") && message.contains(reason), "{message}");
    }
}

#[test]
fn help_that_the_derive_does_not_see_is_not_written() {
    // `#[help]` belongs on a field; on a variant or with a text it does nothing.
    fn look(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() && !["target", "shared"].contains(&&*name) && !name.starts_with('.') {
                look(&entry, found);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let lines = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("#[help("));
                found.extend(lines.map(|(i, _)| format!("{}:{}", entry.display(), i + 1)));
            }
        }
    }
    let mut found = Vec::new();
    look(&super::repository(""), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_help_of_the_engine_and_of_calibration_is_printed() {
    let p = compiled();
    let message = evaluated_under_the_key_of_another_one(&p);
    assert!(message.contains("help: use the keys of the ciphertext's owner"), "{message}");
    let message = p.fails(&["bench", "--log-n", "13", "--limbs", "20", "--no-bootstrap"]);
    assert!(message.contains("help: take N = 2^16 or fewer levels"), "{message}");
}
