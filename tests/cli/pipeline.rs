//! A model is compiled, and an encrypted result is computed and decrypted.

use super::model::{difference, read_scores, write_images, write_tiny};
use super::{Place, repository};

/// A place with the tiny model compiled, and images.
pub fn compiled() -> Place {
    let place = Place::new();
    write_tiny(&place.path("tiny.onnx"));
    write_images(&place.path("calibration.npy"), 100, 64);
    write_images(&place.path("x.npy"), 7, 3);
    // The bare form: no subcommand.
    place.ok(&["tiny.onnx", "-o", "plan.fhe", "--calibration", "calibration.npy"]);
    place
}

#[test]
fn four_processes_agree_with_the_simulation_and_with_one_process() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    let report = p.json(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    assert_eq!(report["images"], 3);
    assert_eq!(report["trace"], "equal to the plan");
    p.ok(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"]);
    let decrypted = read_scores(&p.path("y.npy"));

    let simulated = p.json(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "s.npy", "--per-op"]);
    assert_eq!(simulated["escapes"].as_array().unwrap().len(), 0, "{simulated}");
    assert!(simulated["ops"].as_array().unwrap().len() > 5);
    let simulated = read_scores(&p.path("s.npy"));
    assert!(difference(&decrypted, &simulated) < 1e-3, "{decrypted:?} {simulated:?}");

    let run = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "r.npy"]);
    assert!(run["max_error"].as_f64().unwrap() < 1e-3, "{run}");
    assert_eq!(run["same_argmax"], 3);
    assert_eq!(run["security_bits"], 128);
    for key in ["seconds_per_image", "evaluation_key_bytes", "input_ciphertext_bytes", "n", "log_qp", "levels"] {
        assert!(run[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(run["rotations"].is_u64() && run["peak_memory_bytes"].is_u64());
    assert!(difference(&decrypted, &read_scores(&p.path("r.npy"))) < 1e-3);
    // Different images give different scores: nothing is a constant.
    assert!(difference(&decrypted[..1], &decrypted[1..2]) > 1e-2);
}

#[test]
fn a_memory_bound_is_kept_by_making_keys_again() {
    let p = compiled();
    let free = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "a.npy"]);
    let total = free["predicted_memory_bytes"].as_u64().unwrap();
    let message = p.fails(&["run", "plan.fhe", "--input", "x.npy", "-o", "b.npy", "--mem", "1M"]);
    assert!(message.contains("the run needs at least") && message.contains("raise --mem"), "{message}");
    let bound = (total * 3 / 4).to_string();
    let bounded = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "b.npy", "--mem", &bound, "--threads", "1"]);
    assert_eq!(bounded["predicted_memory_bytes"].as_u64(), bound.parse().ok());
    assert!(difference(&read_scores(&p.path("a.npy")), &read_scores(&p.path("b.npy"))) < 1e-3);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let p = compiled();
    p.ok(&["compile", "tiny.onnx", "-o", "again.fhe", "--calibration", "calibration.npy"]);
    assert_eq!(std::fs::read(p.path("plan.fhe")).unwrap(), std::fs::read(p.path("again.fhe")).unwrap());
    p.ok(&["compile", "tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--degree", "3"]);
    assert_ne!(std::fs::read(p.path("plan.fhe")).unwrap(), std::fs::read(p.path("other.fhe")).unwrap());
}

#[test]
fn a_batch_computes_its_images_in_one_run() {
    let p = compiled();
    p.ok(&["compile", "tiny.onnx", "-o", "four.fhe", "--calibration", "calibration.npy", "--batch", "4"]);
    write_images(&p.path("six.npy"), 7, 6);
    p.ok(&["keygen", "four.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "four.fhe", "--secret", "client.key", "--input", "six.npy", "-o", "x.ct"]);
    let report = p.json(&["eval", "four.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    assert_eq!((&report["images"], &report["batch"]), (&6.into(), &4.into()), "{report}");
    let ratio = report["seconds_per_run"].as_f64().unwrap() / report["seconds_per_image"].as_f64().unwrap();
    assert!((ratio - 3.0).abs() < 1e-9, "six images in two runs: {ratio}");
    p.ok(&["decrypt", "four.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy"]);
    p.json(&["simulate", "plan.fhe", "--input", "six.npy", "-o", "one.npy", "--exact"]);
    p.json(&["simulate", "four.fhe", "--input", "six.npy", "-o", "four.npy", "--exact"]);
    let run = p.json(&["run", "four.fhe", "--input", "six.npy", "-o", "r.npy"]);
    assert_eq!((&run["images"], &run["same_argmax"]), (&6.into(), &6.into()), "{run}");
    let one = read_scores(&p.path("one.npy"));
    assert_eq!(one.len(), 6);
    for file in ["y.npy", "four.npy", "r.npy"] {
        assert!(difference(&one, &read_scores(&p.path(file))) < 1e-3, "{file}");
    }
    let message = p.fails(&["compile", "tiny.onnx", "-o", "x.fhe", "--calibration", "calibration.npy", "--batch", "3"]);
    assert!(message.contains("power of two"), "{message}");
}

#[test]
fn composites_keep_the_model_as_it_is() {
    let p = compiled();
    let compile = ["compile", "tiny.onnx", "--calibration", "calibration.npy"];
    let baseline = [&compile[..], &["-o", "c.fhe", "--composite", "15,15,27"]].concat();
    let report = p.json(&baseline);
    assert_eq!(report["activations"][0]["stages"], serde_json::json!([15, 15, 27]), "{report}");
    p.json(&["simulate", "c.fhe", "--input", "x.npy", "-o", "c.npy", "--exact"]);
    p.json(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "p.npy", "--exact"]);
    let (composite, polynomial) = (read_scores(&p.path("c.npy")), read_scores(&p.path("p.npy")));
    assert!(difference(&composite, &polynomial) < 0.2, "{composite:?} {polynomial:?}");
    assert!(composite != polynomial);
    let refused = p.fhec(&[&compile[..], &["-o", "d.fhe", "--composite", "15,28"]].concat());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("7,15,27; 15,15,27"), "{message}");
    let greedy = [&compile[..], &["-o", "e.fhe", "--place", "greedy", "--max-latency", "1"]].concat();
    let message = p.fails(&greedy);
    assert!(message.contains("takes polynomials as they are"), "{message}");
}

#[test]
fn passes_are_dumped_as_text_that_passes_read() {
    let p = compiled();
    p.ok(&["tiny.onnx", "-o", "dumped.fhe", "--calibration", "calibration.npy", "--dump-passes", "dump"]);
    let mut names: Vec<String> = std::fs::read_dir(p.path("dump"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for stage in ["import.nn", "approximate-activations.nn", "pack.slot", "lower.ckks"] {
        assert!(names.iter().any(|n| n.ends_with(&format!("-{stage}.fhir"))), "{stage} in {names:?}");
    }
    // What the text has no room for lies beside it.
    let packed = names.iter().find(|n| n.ends_with("-pack.slot.fhir")).unwrap();
    assert!(names.contains(&format!("{packed}.data")), "{names:?}");
    // Each makes the plan that the compilation made, at once and pass by pass.
    let program = p.ok(&["inspect", "dumped.fhe", "--program"]);
    let options = ["--calibration", "calibration.npy", "-o", "next.fhe", "--force"];
    for name in names.iter().filter(|n| n.ends_with(".fhir")) {
        p.ok(&[&["opt", &format!("dump/{name}")][..], &options].concat());
        assert_eq!(p.ok(&["inspect", "next.fhe", "--program"]), program, "{name}");
    }
    let packed = format!("dump/{packed}");
    p.ok(&["opt", &packed, "--pass", "lower", "--calibration", "calibration.npy", "-o", "lowered.fhir"]);
    p.ok(&["opt", "lowered.fhir", "--pass", "choose-parameters", "-o", "chosen.fhir"]);
    p.ok(&[&["opt", "chosen.fhir"][..], &options].concat());
    assert_eq!(p.ok(&["inspect", "next.fhe", "--program"]), program);
    let listed = p.ok(&["opt", "--list"]);
    assert!(listed.contains("fold") && listed.contains("pack") && listed.contains("lower"), "{listed}");
}

#[test]
fn passes_run_on_text() {
    let p = Place::new();
    let text = "\
input \"x\" : tensor<1x4>
output \"y\" : tensor<1x4>

func @main(%0: tensor<1x4> loc(\"x\")) -> tensor<1x4> {
  %1 = nn.activation %0 {function = sigmoid} : tensor<1x4> loc(\"act\")
  return %1
}
";
    std::fs::write(p.path("f.fhir"), text).unwrap();
    assert_eq!(p.ok(&["opt", "f.fhir"]), text);
    let polynomial = p.ok(&["opt", "f.fhir", "--pass", "approximate-activations", "--degree", "3"]);
    assert!(polynomial.contains("nn.polynomial") && !polynomial.contains("sigmoid"), "{polynomial}");
    let lowered = p.ok(&["opt", "f.fhir", "--pass", "fold,approximate-activations,pack,lower"]);
    assert!(lowered.contains("ckks.rescale"), "{lowered}");
    let planned = p.ok(&["opt", "f.fhir", "--pass", "approximate-activations,plan"]);
    assert!(planned.starts_with("params {log_n = "), "{planned}");
    let message = p.fails(&["opt", "f.fhir", "--pass", "lower"]);
    assert!(message.contains("takes a program of the slot level"), "{message}");
    std::fs::write(p.path("bad.fhir"), text.replace("function = sigmoid", "function = nonsense")).unwrap();
    let message = p.fails(&["opt", "bad.fhir"]);
    assert!(message.contains("bad.fhir:5"), "the line is named: {message}");
}

#[test]
fn inspect_shows_what_a_server_must_know() {
    let p = compiled();
    let report = p.json(&["inspect", "plan.fhe"]);
    let (summary, keys) = (&report["summary"], report["key_list"].as_array().unwrap());
    assert_eq!(summary["security"]["bits"], 128);
    assert_eq!(summary["keys"].as_u64().unwrap() as usize, keys.len());
    let bytes: u64 = keys.iter().map(|k| k["bytes"].as_u64().unwrap()).sum();
    assert_eq!(summary["evaluation_key_bytes"], bytes);
    assert!(summary["predicted_seconds"].as_f64().unwrap() > 0.0);
    assert!(summary["predicted_memory_bytes"].as_u64().unwrap() > bytes);
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    let file = std::fs::metadata(p.path("server.key")).unwrap().len();
    assert!(file >= bytes && file < bytes + bytes / 20 + 65_536, "{file} bytes in the file, {bytes} stated");
    let text = p.ok(&["inspect", "plan.fhe"]);
    assert!(text.contains("128-bit") && text.contains("relinearisation"), "{text}");
    assert!(p.ok(&["inspect", "plan.fhe", "--program"]).contains("ckks.linear"));
}

#[test]
fn inspect_and_report_agree_on_what_a_run_takes() {
    let p = compiled();
    p.ok(&["calibrate", "--log-n", "11", "-o", "host.json"]);
    for latency in [&[][..], &["--latency", "host.json"]] {
        let inspect = p.json(&[&["inspect", "plan.fhe"], latency].concat());
        let report = p.json(&[&["report", "plan.fhe", "-o", "report.html", "--force"], latency].concat());
        for figure in ["predicted_seconds", "predicted_threads", "predicted_memory", "predicted_memory_bytes"] {
            assert_eq!(inspect["summary"][figure], report[figure], "{figure}");
        }
        assert_eq!(inspect["key_list"], report["keys"]);
        let parts: f64 = report["layers"].as_array().unwrap().iter().map(|l| l["seconds"].as_f64().unwrap()).sum();
        assert!((parts / report["predicted_seconds"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{report}");
    }
}

#[test]
fn a_simulation_without_noise_gives_the_exact_results() {
    let p = compiled();
    let noisy = p.json(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "noisy.npy"]);
    let exact = p.json(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "exact.npy", "--exact"]);
    assert!(exact["max_error"].is_null() && exact["right"].is_null() && noisy["max_error"].as_f64().unwrap() > 0.0);
    assert!(exact["images_per_second"].as_f64().unwrap() > 0.0);
    let difference = difference(&read_scores(&p.path("noisy.npy")), &read_scores(&p.path("exact.npy")));
    assert!((f64::from(difference) - noisy["max_error"].as_f64().unwrap()).abs() < 1e-9, "{noisy}");
    let message = p.fails(&["simulate", "plan.fhe", "--input", "x.npy", "--labels", "missing.npy"]);
    assert!(message.contains("missing.npy"), "{message}");
    // Inputs far beyond those of calibration leave the interval of the polynomial, and it is said where.
    let port = fhec::ir::Port { name: "x".into(), shape: fhec::ir::Shape(vec![1, 1, 8, 8]), ..Default::default() };
    let large = vec![vec![fhec::Tensor::full([1, 1, 8, 8], 50.0)], vec![fhec::Tensor::full([1, 1, 8, 8], 0.1)]];
    fhec::data::write_samples(p.path("large.npy"), &[port], &large).unwrap();
    let escaped = p.json(&["simulate", "plan.fhe", "--input", "large.npy", "--exact"]);
    let layers = escaped["layers"].as_array().unwrap();
    let interval = layers.iter().find(|l| l["range"] == "interval").expect("the interval is left");
    assert_eq!((interval["node"].as_str(), interval["images"].as_u64()), (Some("relu"), Some(1)), "{escaped}");
    assert!(interval["multiple"].as_f64().unwrap() > 1.0 && interval["slots"].as_u64().unwrap() > 0);
}

#[test]
fn a_report_is_one_page_with_what_a_run_measured() {
    let p = compiled();
    let run = p.ok(&["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--json"]);
    std::fs::write(p.path("run.json"), run).unwrap();
    let report = p.json(&["report", "plan.fhe", "-o", "report.html", "--run", "run.json"]);
    assert_eq!(report["layers"].as_array().unwrap().iter().filter(|l| !l["activation"].is_null()).count(), 1);
    let page = std::fs::read_to_string(p.path("report.html")).unwrap();
    for part in ["<svg", "Predicted and measured", "<code>linear</code>", "relu", "128-bit security"] {
        assert!(page.contains(part), "{part}");
    }
    p.ok(&["tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--margin", "2"]);
    let message = p.fails(&["report", "other.fhe", "-o", "other.html", "--run", "run.json"]);
    assert!(message.contains("run.json is of the plan") && !p.path("other.html").exists(), "{message}");
    std::fs::write(p.path("run.json"), "{}").unwrap();
    let message = p.fails(&["report", "plan.fhe", "-o", "report.html", "--run", "run.json"]);
    assert!(message.contains("run.json") && message.contains("fhec run --json"), "{message}");
}

#[test]
fn a_report_shows_what_a_simulation_and_a_front_say_and_a_trace_has_both_times() {
    let p = compiled();
    let keep = |name: &str, json: String| std::fs::write(p.path(name), json).unwrap();
    keep("run.json", p.ok(&["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--json"]));
    keep("simulation.json", p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "--per-op", "--json"]));
    keep("bare.json", p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "--json"]));
    write_images(&p.path("many.npy"), 100, 128);
    p.ok(&["tiny.onnx", "-o", "front.fhe", "--calibration", "many.npy", "--pareto", "front.json"]);
    let all =
        ["--run", "run.json", "--simulation", "simulation.json", "--front", "front.json", "--trace", "trace.json"];
    let report = p.json(&[&["report", "plan.fhe", "-o", "report.html"], &all[..]].concat());
    #[cfg(all(feature = "serve", feature = "remote", unix))]
    super::json::expect_documented("report", &report);
    // The parts are the whole.
    let run: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(p.path("run.json")).unwrap()).unwrap();
    fn sum<'a>(values: impl Iterator<Item = &'a serde_json::Value>) -> f64 {
        values.map(|v| v.as_f64().unwrap()).sum()
    }
    let measured = sum(report["layers"].as_array().unwrap().iter().map(|l| &l["measured_seconds"]));
    let by_op = sum(run["seconds_by_op"].as_object().unwrap().values());
    assert!((measured / by_op - 1.0).abs() < 1e-6, "{measured} of {by_op}");
    let noisy = |l: &serde_json::Value| l["noise"]["max_error"].as_f64().is_some_and(|e| e > 0.0);
    assert!(report["layers"].as_array().unwrap().iter().all(noisy), "{report}");
    let counts = sum(report["polynomials"][0]["data"]["counts"].as_array().unwrap().iter());
    assert!(counts > 0.0 && report["findings"]["activations"][0]["node"] == "relu", "{report}");
    assert!(!report["findings"]["pareto"].as_array().unwrap().is_empty(), "{report}");
    let page = std::fs::read_to_string(p.path("report.html")).unwrap();
    for part in
        ["Error after every layer", "class=\"data\"", "Time against error", "Accuracy", "Level and memory over time"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<h2>Not given</h2>"));

    let trace: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(p.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |pid: u64, tid: u64| {
        let here = events.iter().filter(move |e| e["ph"] == "X" && e["pid"] == pid && e["tid"] == tid);
        (here.clone().count() as u64, sum(here.map(|e| &e["dur"])) / 1e6)
    };
    let predicted = report["predicted_seconds"].as_f64().unwrap();
    for (pid, seconds) in [(1, predicted), (2, by_op)] {
        // Nodes and ops take the whole time each; every time is rounded to a nanosecond.
        for tid in [1, 2] {
            assert!((of(pid, tid).1 - seconds).abs() < 1e-5, "{pid}, {tid}: {:?} of {seconds}", of(pid, tid));
        }
        assert_eq!(of(pid, 2).0, run["ops"].as_u64().unwrap());
    }
    assert!(events.iter().any(|e| e["ph"] == "C" && e["name"] == "level"), "{trace}");

    // Without any of it the page says what is missing, and a trace needs no page.
    p.ok(&["report", "plan.fhe", "--trace", "alone.json"]);
    p.ok(&["report", "plan.fhe", "-o", "alone.html"]);
    let page = std::fs::read_to_string(p.path("alone.html")).unwrap();
    assert!(page.contains("<h2>Not given</h2>") && page.contains("--simulation"));
    let warned = p.json(&["report", "plan.fhe", "-o", "bare.html", "--simulation", "bare.json"]);
    assert!(warned["warnings"][0].as_str().unwrap().contains("--per-op"), "{warned}");
    p.misread(&["report", "plan.fhe"]);
    p.ok(&["tiny.onnx", "-o", "other.fhe", "--calibration", "calibration.npy", "--margin", "2"]);
    let message = p.fails(&["report", "other.fhe", "-o", "other.html", "--simulation", "simulation.json"]);
    assert!(message.contains("simulation.json is of the plan") && !p.path("other.html").exists(), "{message}");
    let renamed = std::fs::read_to_string(p.path("front.json")).unwrap().replace("\"relu\"", "\"elsewhere\"");
    keep("renamed.json", renamed);
    let message = p.fails(&["report", "plan.fhe", "-o", "other.html", "--front", "renamed.json"]);
    assert!(message.contains("elsewhere") && !p.path("other.html").exists(), "{message}");
}

#[test]
fn the_demo_reads_the_digit() {
    let report = Place::new().json(&["demo"]);
    assert_eq!(report["class"], report["label"]);
    assert!(report["max_error"].as_f64().unwrap() < 1e-2, "{report}");
    assert_eq!(report["security_bits"], 128);
}

#[test]
fn explain_names_the_batch_norm_rule() {
    let p = Place::new();
    let (model, calibration) = (repository("models/mnist_cnn.onnx"), repository("models/calibration.npz"));
    let (model, calibration) = (model.to_str().unwrap(), calibration.to_str().unwrap());
    let text = p.ok(&[model, "-o", "plan.fhe", "--calibration", calibration, "--explain"]);
    assert!(text.contains("bn1") && text.contains("conv1"), "{text}");
}

#[test]
fn a_calibrated_profile_prices_plans() {
    let p = compiled();
    let report = p.json(&["calibrate", "--log-n", "11", "-o", "host.json"]);
    assert_eq!(report["profile"]["threads"], 1);
    let price =
        |args: &[&str]| p.json(&[&["inspect", "plan.fhe"], args].concat())["summary"]["predicted_seconds"].as_f64();
    let (built_in, here) = (price(&[]), price(&["--latency", "host.json"]));
    assert!(here.is_some_and(|seconds| seconds > 0.0) && here != built_in, "{here:?} {built_in:?}");
}

#[test]
fn accuracy_is_measured_on_validation_inputs() {
    let p = Place::new();
    let files =
        ["mnist_mlp.onnx", "calibration.npz", "digits.npy", "digits_labels.npy"].map(|f| repository("models").join(f));
    let [model, calibration, digits, labels] = files.each_ref().map(|path| path.to_str().unwrap());
    let compile = [model, "--calibration", calibration, "--validation", digits, "-o", "plan.fhe"];
    let accuracy = &p.json(&[&compile[..], &["--labels", labels]].concat())["accuracy"];
    for network in ["original", "polynomial"] {
        assert!(accuracy[network].as_f64().is_some_and(|share| (0.9..=1.0).contains(&share)), "{accuracy}");
    }
    let message = p.fails(&[&compile[..], &["--labels", calibration]].concat());
    assert!(message.contains("calibration.npz"), "{message}");
}
