//! A client needs no plan, only what it says of inputs, outputs, parameters and keys.

use std::collections::HashSet;

use super::forge::Forge;
use super::model::{difference, numbers, read_scores};
use super::pipeline::compiled;

#[test]
fn a_client_plan_does_all_that_a_client_does() {
    let p = compiled();
    let compile = [
        "compile",
        "tiny.onnx",
        "--calibration",
        "calibration.npy",
        "-o",
        "plan.fhe",
        "--client",
        "client.fhe",
        "--force",
    ];
    p.ok(&compile);
    p.ok(&["export-client", "plan.fhe", "-o", "exported.fhe"]);
    let read = |name: &str| std::fs::read(p.path(name)).unwrap();
    assert_eq!(read("client.fhe"), read("exported.fhe"));

    p.ok(&["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "client.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    p.ok(&["decrypt", "client.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy", "--request", "x.ct"]);
    p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy"]);
    assert!(difference(&read_scores(&p.path("y.npy")), &read_scores(&p.path("s.npy"))) < 1e-3);
    // The whole plan serves as well, and is the same plan.
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "again.ct"]);
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "z.npy"]);
    assert_eq!(read("y.npy"), read("z.npy"));
    let message = p.fails(&["eval", "client.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "w.ct"]);
    assert!(message.contains("the file holds a client-plan, expected a plan"), "{message}");
}

#[test]
fn a_client_plan_holds_no_weight() {
    let p = compiled();
    p.ok(&["export-client", "plan.fhe", "-o", "client.fhe"]);
    let file = std::fs::read(p.path("client.fhe")).unwrap();
    let forge = Forge::of(&file);
    assert!(forge.sections.is_empty(), "a client plan is its manifest");
    let fields: Vec<&String> = forge.manifest.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["inputs", "keys", "model", "outputs", "params", "plan", "result_errors"]);
    assert!(file.len() < 16 << 10, "{} bytes", file.len());
    let plan = Forge::of(&std::fs::read(p.path("plan.fhe")).unwrap());
    let contains = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
    let windows: HashSet<&[u8]> = file.windows(8).collect();
    // Neither numbers of the plan's constants, nor a weight of the model, nor the digests of either.
    for section in plan.sections.iter().filter(|s| s.name.starts_with("constant/")) {
        for pair in section.stored.chunks(8).filter(|pair| pair.iter().any(|&byte| byte != 0)) {
            assert!(!windows.contains(pair), "{}", section.name);
        }
        assert!(!contains(section.name.trim_start_matches("constant/").as_bytes()));
    }
    for weight in numbers(1, 18).iter().chain(&numbers(2, 96)) {
        assert!(!contains(weight.to_string().as_bytes()), "{weight}");
    }
    assert!(!contains(plan.manifest["provenance"]["model_digest"].as_str().unwrap().as_bytes()));
    for word in ["rescale", "mul_plain", "diagonals", "interval"] {
        assert!(!contains(word.as_bytes()), "{word}");
    }
}

#[test]
fn a_secret_key_is_for_the_plan_it_was_made_for() {
    let p = compiled();
    // The same shapes and parameters, other numbers.
    p.ok(&["tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--margin", "2"]);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    for command in [["encrypt", "x.npy", "z.ct"], ["decrypt", "y.ct", "z.npy"]] {
        let [command, input, output] = command;
        let message = p.fails(&[command, "other.fhe", "--secret", "client.key", "--input", input, "-o", output]);
        assert!(message.contains("was made for plan") && message.contains("fhec keygen"), "{message}");
        assert!(!p.path(output).exists());
    }
}

#[test]
fn results_answer_requests_of_this_key() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    for request in ["a", "b"] {
        p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", &format!("{request}.ct")]);
        let [input, output] = ["", "-result"].map(|end| format!("{request}{end}.ct"));
        p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", &input, "-o", &output]);
    }
    let decrypt = |input| ["decrypt", "plan.fhe", "--secret", "client.key", "--input", input, "-o", "y.npy", "--force"];
    p.ok(&[&decrypt("a-result.ct")[..], &["--request", "a.ct"]].concat());
    let message = p.fails(&[&decrypt("b-result.ct")[..], &["--request", "a.ct"]].concat());
    assert!(message.contains("it answers request") && message.contains("a.ct is request"), "{message}");
    // A name that the key never gave, and a count of images that is not the request's.
    let result = || Forge::of(&std::fs::read(p.path("a-result.ct")).unwrap());
    let mut unnamed = result();
    unnamed.manifest["extra"]["request"] = serde_json::json!("0".repeat(96));
    let mut fewer = result();
    fewer.manifest["extra"]["images"] = serde_json::json!(2);
    fewer.manifest["ciphertexts"].as_array_mut().unwrap().pop();
    fewer.sections.pop();
    let mut lower = result();
    lower.manifest["ciphertexts"][0]["slots"] = serde_json::json!(2);
    for (forge, words) in [(unnamed, "answer no request"), (fewer, "answer no request"), (lower, "the plan has it of")]
    {
        std::fs::write(p.path("forged.ct"), forge.seal()).unwrap();
        let message = p.fails(&decrypt("forged.ct"));
        assert!(message.contains(words), "{message}");
    }
}
