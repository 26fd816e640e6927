//! What runs on a server must not reach the code that knows secret keys.

use std::process::Command;

/// All crates that `root` with further features is built from, tests aside, in the format of `cargo tree`.
fn tree(root: &str, format: &str, features: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let args = ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", format, "-p", root];
    let more = ["--features", features, "--manifest-path", manifest];
    let output = Command::new(cargo).args(args).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_string).collect()
}

/// Names of all crates that `root` is built from, tests aside.
fn reach(root: &str) -> Vec<String> {
    let crates = tree(root, "{p}", "");
    crates.iter().filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect()
}

#[test]
fn nothing_on_the_evaluation_side_depends_on_the_client_crate() {
    let has = |root: &str, name: &str| reach(root).iter().any(|n| n == name);
    for root in ["fhec-runtime", "fhec-ckks", "fhec-ring", "fhec-container"] {
        assert!(has(root, root), "the graph of {root} was read");
        assert!(!has(root, "fhec-client"), "{root} reaches fhec-client");
    }
    assert!(has("fhec-runtime", "fhec-ckks") && has("fhec-client", "fhec-ckks"), "the graph was read");
}

#[test]
fn what_ships_has_no_secrets_from_given_seeds() {
    let deterministic = |root: &str, features: &str| {
        let crates = tree(root, "{p} {f}", features);
        let client: Vec<&String> = crates.iter().filter(|line| line.starts_with("fhec-client ")).collect();
        assert!(!client.is_empty(), "the graph of {root} was read");
        client.iter().any(|line| line.contains("deterministic"))
    };
    assert!(!deterministic("fhec-client", ""));
    assert!(!deterministic("fhec", ""));
    assert!(deterministic("fhec", "fhec-client/deterministic"), "the features were read");
}

#[test]
fn compiler_and_engine_do_not_know_each_other() {
    for root in ["fhec-ir", "fhec-frontend", "fhec-passes"] {
        let crates = reach(root);
        for engine in ["fhec-ring", "fhec-ckks", "fhec-runtime", "fhec-client"] {
            assert!(!crates.iter().any(|n| n == engine), "{root} reaches {engine}");
        }
    }
    let engine = reach("fhec-ckks");
    assert!(!engine.iter().any(|n| n == "fhec-ir" || n == "fhec-passes"), "the engine knows the compiler: {engine:?}");
}
