//! Results that others may see.

use serde_json::json;

use super::forge::Forge;
use super::model::{difference, read_scores};
use super::pipeline::compiled;

#[test]
fn published_results_keep_the_bits_that_are_named_and_no_more() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o"];
    p.ok(&[&decrypt[..], &["own.npy"]].concat());
    let report = p.json(&[&decrypt[..], &["others.npy", "--publish", "4", "--queries", "10"]].concat());
    let (publication, remains) = (&report["publication"], &report["publication"]["outputs"][0]);
    assert_eq!((publication["bits"].as_u64(), publication["queries"].as_u64()), (Some(4), Some(10)), "{report}");
    let [deviation, step] = ["deviation", "step"].map(|key| remains[key].as_f64().unwrap());
    assert_eq!(step, 2f64.powi(-remains["bits"].as_i64().unwrap() as i32));
    // The simulation of the plan says how large errors are.
    let simulated = p.json(&["simulate", "plan.fhe", "--input", "x.npy"]);
    let error = simulated["max_error"].as_f64().unwrap();
    assert!(deviation > 10.0 * error && deviation < 1e4 * error, "{deviation} for errors of {error}");
    let (own, others) = (read_scores(&p.path("own.npy")), read_scores(&p.path("others.npy")));
    let off = f64::from(difference(&own, &others));
    assert!(off > 0.0 && off < 6.0 * deviation + step, "{off} with noise of {deviation}");
    for value in others.iter().flatten() {
        assert_eq!((f64::from(*value) / step).fract(), 0.0, "{value} has bits that are noise");
    }
    // Noise is drawn anew.
    p.ok(&[&decrypt[..], &["again.npy", "--publish", "4", "--queries", "10"]].concat());
    assert_ne!(others, read_scores(&p.path("again.npy")));
    let text = p.ok(&[&decrypt[..], &["more.npy", "--publish", "4"]].concat());
    assert!(text.contains("no more than 3 decryptions") && text.contains("after the binary point remain"), "{text}");

    // Three results are more than one.
    let message = p.fails(&[&decrypt[..], &["z.npy", "--publish", "4", "--queries", "1"]].concat());
    assert!(message.contains("3 decryptions") && message.contains("--queries"), "{message}");
    // So many bits leave nothing, and it is said.
    let drowned = p.fhec(&[&decrypt[..], &["z.npy", "--publish", "64"]].concat());
    let warning = String::from_utf8_lossy(&drowned.stderr);
    assert!(drowned.status.success() && warning.contains("warning: nothing remains of"), "{warning}");
    let report = p.json(&[&decrypt[..], &["z.npy", "--publish", "64", "--force"]].concat());
    assert!(report["warnings"].to_string().contains("nothing remains of"), "{report}");
}

#[test]
fn only_answers_under_the_own_key_whose_errors_are_known_are_published() {
    let p = compiled();
    p.ok(&["export-client", "plan.fhe", "-o", "client.fhe"]);
    p.ok(&["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "client.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    let publish = |plan, key, more: &[&'static str]| {
        [&["decrypt", plan, "--secret", key, "--input", "y.ct", "-o", "y.npy", "--publish", "4"], more].concat()
    };
    // What the compiler found is in the client plan, too.
    let published = p.json(&publish("client.fhe", "client.key", &[]));
    assert!(published["publication"]["outputs"][0]["deviation"].as_f64().unwrap() > 0.0, "{published}");
    let edited = |name: &str, edit: &dyn Fn(&mut serde_json::Value)| {
        let mut forge = Forge::of(&std::fs::read(p.path("client.fhe")).unwrap());
        edit(&mut forge.manifest);
        std::fs::write(p.path(name), forge.seal()).unwrap();
    };
    edited("silent.fhe", &|m| m["result_errors"] = json!([]));
    let message = p.fails(&publish("silent.fhe", "client.key", &["--force"]));
    assert!(message.contains("does not say how large the errors"), "{message}");
    // Errors of such results are not those that the noise is sized by: nothing forces it.
    edited("narrow.fhe", &|m| m["outputs"][0]["port"]["range"] = json!({ "low": 100.0, "high": 100.5 }));
    let message = p.fails_with(3, &publish("narrow.fhe", "client.key", &["--force"]));
    assert!(message.contains("not to be trusted") && message.contains("without `--publish`"), "{message}");
    p.ok(&["keygen", "client.fhe", "--secret", "other.key", "--evaluation", "other.ev"]);
    let message = p.fails(&publish("client.fhe", "other.key", &["--force"]));
    assert!(message.contains("another secret key"), "{message}");
    let message = p.misread(&publish("client.fhe", "other.key", &["--any-key"]));
    assert!(message.contains("--any-key") && message.contains("--publish"), "{message}");
}
