//! `--scheme tfhe`: the steps of CKKS on another plan, where it is built in; else a message that says how.

use super::Place;
use super::model::{write_images, write_tiny};

fn place() -> Place {
    let p = Place::new();
    write_tiny(&p.path("model.onnx"));
    write_images(&p.path("calibration.npy"), 3, 64);
    write_images(&p.path("x.npy"), 4, 2);
    p
}

const COMPILE: [&str; 6] = ["compile", "model.onnx", "--scheme", "tfhe", "-o", "plan.fhe"];

#[test]
fn an_option_of_the_other_scheme_is_no_option() {
    let p = place();
    let message = p.fails(&["compile", "model.onnx", "-o", "plan.fhe", "--message-bits", "4"]);
    assert!(message.contains("--scheme tfhe"), "{message}");
    assert!(p.misread(&[&COMPILE[..], &["--message-bits", "5"]].concat()).contains("2, 4, 6 or 8"));
    assert!(!p.path("plan.fhe").exists());
}

#[cfg(not(feature = "tfhe"))]
#[test]
fn without_the_feature_a_message_names_it() {
    let message = place().fails(&COMPILE);
    assert!(message.contains("--features tfhe") && message.contains("docs/tfhe.md"), "{message}");
}

#[test]
fn a_plan_of_the_other_scheme_is_named() {
    let p = Place::new();
    let plan = fhec_container::Writer::in_memory("tfhe-plan", 1).unwrap().into_bytes(&serde_json::json!({})).unwrap();
    std::fs::write(p.path("plan.fhe"), plan).unwrap();
    let message = p.fails(&["report", "plan.fhe", "-o", "report.html"]);
    assert!(message.contains("tfhe-plan") && message.contains("--features tfhe"), "{message}");
}

#[cfg(feature = "tfhe")]
mod built_in {
    use super::*;

    fn compiled() -> Place {
        let p = place();
        let options = [
            "--calibration",
            "calibration.npy",
            "--min-agreement",
            "0",
            "--message-bits",
            "4",
            "--client",
            "client.fhe",
        ];
        p.ok(&[&COMPILE[..], &options].concat());
        p
    }

    #[test]
    fn the_steps_give_what_the_clear_run_gives() {
        let p = compiled();
        p.ok(&["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
        p.ok(&["encrypt", "client.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"]);
        p.ok(&["eval", "plan.fhe", "--evaluation", "server.key", "--input", "x.ct", "-o", "y.ct"]);
        p.ok(&[
            "decrypt",
            "client.fhe",
            "--secret",
            "client.key",
            "--input",
            "y.ct",
            "--request",
            "x.ct",
            "-o",
            "y.npy",
        ]);
        p.ok(&["simulate", "plan.fhe", "--input", "x.npy", "-o", "clear.npy"]);
        let read = |name| std::fs::read(p.path(name)).unwrap();
        assert_eq!(read("y.npy"), read("clear.npy"));
        let report = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "run.npy"]);
        assert_eq!(
            (&report["images"], &report["max_error"], &report["plan"]["scheme"]),
            (&2.into(), &0.0.into(), &"tfhe".into())
        );
        assert_eq!(read("run.npy"), read("clear.npy"));
        // Nothing is replaced unasked, a secret key never.
        let again = ["keygen", "client.fhe", "--secret", "client.key", "--evaluation", "server.key"];
        assert!(p.fails(&[&again[..], &["--force"]].concat()).contains("client.key"));
        assert!(
            p.fails(&["encrypt", "client.fhe", "--secret", "client.key", "--input", "x.npy", "-o", "x.ct"])
                .contains("x.ct")
        );
        // What belongs to another key or plan is refused.
        p.ok(&["keygen", "plan.fhe", "--secret", "other.key", "--evaluation", "other-server.key"]);
        let message =
            p.fails(&["eval", "plan.fhe", "--evaluation", "other-server.key", "--input", "x.ct", "-o", "z.ct"]);
        assert!(message.contains("another key"), "{message}");
        let message = p.fails(&["decrypt", "plan.fhe", "--secret", "other.key", "--input", "y.ct", "-o", "z.npy"]);
        assert!(message.contains("another secret key"), "{message}");
        let message = p.fails(&["decrypt", "plan.fhe", "--secret", "client.key", "--input", "x.ct", "-o", "z.npy"]);
        assert!(message.contains("inputs, not results"), "{message}");
    }

    #[test]
    fn no_option_is_ignored() {
        let p = compiled();
        let refused = |args: &[&str], option: &str| {
            let message = p.fails(args);
            assert!(message.contains(&format!("{option} has no meaning")), "{message}");
        };
        let compile =
            ["compile", "model.onnx", "--scheme", "tfhe", "-o", "other.fhe", "--calibration", "calibration.npy"];
        for option in
            [&["--degree", "7"][..], &["--batch", "2"], &["--precision", "9"], &["--explain"], &["--margin", "1.5"]]
        {
            refused(&[&compile[..], option].concat(), option[0]);
        }
        refused(&["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--mem", "1G"], "--mem");
        refused(&["simulate", "plan.fhe", "--input", "x.npy", "--seed", "2"], "--seed");
        refused(&["inspect", "plan.fhe", "--program"], "--program");
        assert!(p.fails(&COMPILE.map(|a| if a == "plan.fhe" { "none.fhe" } else { a })).contains("--calibration"));
    }

    #[test]
    fn what_cannot_be_computed_is_named() {
        let p = place();
        let compile = [&COMPILE[..], &["--calibration", "calibration.npy"]].concat();
        let message = p.fails(&[&compile[..], &["--message-bits", "2", "--min-agreement", "100"]].concat());
        assert!(message.contains("layer `"), "{message}");
        super::super::model::write_residual(&p.path("model.onnx"));
        p.ok(&[&compile[..], &["--min-agreement", "0"]].concat());
        let summary = p.json(&["inspect", "plan.fhe"]);
        assert_eq!(summary["summary"]["lookups"], 3 * 128);
    }
}
