//! The command line itself is tested: names, codes, logs, completions, manual pages.

use std::process::Command;

use super::Place;
use super::model::write_chain;
use super::pipeline::compiled;

#[test]
fn a_typo_is_a_command_that_does_not_exist() {
    let p = Place::new();
    let typo = p.fhec(&["keygn", "plan.fhe"]);
    let stderr = String::from_utf8_lossy(&typo.stderr).into_owned();
    assert_eq!(typo.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("unrecognized subcommand 'keygn'") && stderr.contains("'keygen'"), "{stderr}");
    // A file without an extension is a model where it is there, a path is one in any case.
    write_chain(&p.path("network"), &["Relu"]);
    p.ok(&["network", "--guess-ranges", "-o", "plan.fhe"]);
    assert!(p.fails(&["missing.onnx", "-o", "plan.fhe"]).contains("missing.onnx"));
    assert!(p.fails(&["./missing", "-o", "plan.fhe"]).contains("missing"));
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let p = Place::new();
    let help = p.ok(&["--help"]);
    assert!(help.contains("Exit codes: 0 done; 1 an error; 2 a wrong command line; 3 inputs or results"), "{help}");
    assert_eq!(p.fhec(&["inspect", "nothing.fhe"]).status.code(), Some(1));
    assert_eq!(p.fhec(&["inspect"]).status.code(), Some(2));
    assert_eq!(p.fhec(&["--version"]).status.code(), Some(0));
}

#[test]
fn the_log_says_what_it_is_asked_for() {
    let p = compiled();
    let logged = |level: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fhec"));
        let output = command.args(args).current_dir(p.path("")).env("RUST_LOG", level).output().unwrap();
        assert!(output.status.success());
        assert!(!String::from_utf8_lossy(&output.stdout).contains("fhec_"), "the log is on standard error");
        String::from_utf8(output.stderr).unwrap()
    };
    let run = ["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--force"];
    assert_eq!(String::from_utf8_lossy(&p.fhec(&run).stderr), "", "without RUST_LOG nothing is logged");
    let debug = logged("debug", &run);
    for span in ["keygen", "relinearisation", "eval{run=0 runs=3}"] {
        assert!(debug.contains(span), "{span}: {debug}");
    }
    assert!(!debug.contains("op=\"linear\""), "{debug}");
    let trace = logged("fhec_runtime=trace", &run);
    assert!(trace.contains("op=\"linear\"") && !trace.contains("keygen"), "{trace}");
    let compile = logged("fhec=debug,fhec_passes=debug", &["tiny.onnx", "--guess-ranges", "-o", "again.fhe"]);
    for stage in ["compile", "fold", "approximate-activations", "pack", "lower"] {
        assert!(compile.contains(stage), "{stage}: {compile}");
    }
}

#[test]
fn the_highest_scores_are_printed_with_their_names() {
    let p = compiled();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    p.ok(&["encrypt", "plan.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
    p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
    let decrypt = ["decrypt", "plan.fhe", "--secret", "client.key", "--input", "y.ct", "-o", "y.npy", "--force"];
    let report = p.json(&[&decrypt[..], &["--top", "2"]].concat());
    let scores = super::model::read_scores(&p.path("y.npy"));
    for (image, scores) in scores.iter().enumerate() {
        let classes = report["top"][image]["classes"].as_array().unwrap();
        assert_eq!(classes.len(), 2);
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
        assert_eq!(
            (classes[0]["class"].as_u64(), classes[0]["score"].as_f64()),
            (Some(best as u64), Some(scores[best].into()))
        );
    }
    std::fs::write(p.path("names.txt"), "cat\ndog\nbird\n").unwrap();
    let text = p.ok(&[&decrypt[..], &["--top", "3", "--names", "names.txt"]].concat());
    assert!(text.contains("image 0, y: ") && text.contains("cat (0)") && text.contains("bird (2)"), "{text}");
    std::fs::write(p.path("names.txt"), "cat\ndog\n").unwrap();
    let message = p.fails(&[&decrypt[..], &["--top", "3", "--names", "names.txt"]].concat());
    assert!(message.contains("2 names for the 3 scores of `y`"), "{message}");
    assert_eq!(p.fhec(&[&decrypt[..], &["--names", "names.txt"]].concat()).status.code(), Some(2));
    assert_eq!(p.fhec(&[&decrypt[..], &["--top", "0"]].concat()).status.code(), Some(2));
}

#[test]
fn shells_complete_and_manual_pages_are_written() {
    let p = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = p.ok(&["completions", shell]);
        assert!(script.contains("keygen") && script.contains("calibration"), "{shell}");
    }
    p.ok(&["man", "-o", "man"]);
    let page = |name: &str| std::fs::read_to_string(p.path("man").join(name)).unwrap();
    assert!(page("fhec.1").contains("Exit codes"));
    for command in ["compile", "keygen", "encrypt", "eval", "decrypt", "run", "simulate", "inspect", "report", "opt"] {
        assert!(page(&format!("fhec-{command}.1")).starts_with(".ie"), "{command}");
    }
}
