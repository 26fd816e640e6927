//! A plan whose parameters are marked insecure is not used by accident.

use fhec::{Client, CompileOptions, Compiler, Error, Model, Plan, data};

use super::Place;
use super::pipeline::compiled;

/// A place with `weak.fhe`: a plan with parameters in a ring far too small, made as whoever sends plans could.
fn weak() -> Place {
    let p = compiled();
    let model = Model::load(p.path("tiny.onnx")).unwrap();
    let samples = data::read_samples(&p.path("calibration.npy"), &model.module.inputs).unwrap();
    let mut options = CompileOptions::default();
    (options.plan.params.insecure, options.plan.params.log_n) = (true, Some(10));
    let plan = Compiler::with_options(options).calibration(samples).compile(&model).unwrap().plan;
    assert_eq!(plan.security().bits, 0);
    plan.save(p.path("weak.fhe")).unwrap();
    p
}

#[test]
fn commands_with_secrets_refuse_it_unless_told() {
    let p = weak();
    let keygen = ["keygen", "weak.fhe", "--secret", "weak.key", "--evaluation", "weak.server"];
    let encrypt = ["encrypt", "weak.fhe", "--secret", "weak.key", "--input", "x.npy", "-o", "x.ct"];
    let run = ["run", "weak.fhe", "--input", "x.npy", "-o", "y.npy"];
    for (command, made) in [(&keygen[..], "weak.key"), (&encrypt, "x.ct"), (&run, "y.npy")] {
        let message = p.fails(command);
        assert!(message.contains("marked insecure") && message.contains("`--insecure`"), "{message}");
        assert!(!p.path(made).exists(), "{made}");
        let report = p.json(&[command, &["--insecure"]].concat());
        assert_eq!(report["security_bits"], 0, "{report}");
        assert!(report["warnings"][0].as_str().is_some_and(|w| w.contains("INSECURE")), "{report}");
        assert!(p.path(made).exists(), "{made}");
    }
    // A server, a simulation and the owner of results have nothing left to lose; they are warned.
    let eval = ["eval", "weak.fhe", "--evaluation", "weak.server", "--input", "x.ct", "-o", "y.ct"];
    let decrypt = ["decrypt", "weak.fhe", "--secret", "weak.key", "--input", "y.ct", "-o", "z.npy"];
    for command in [&eval[..], &decrypt, &["inspect", "weak.fhe"], &["simulate", "weak.fhe", "--input", "x.npy"]] {
        let report = p.json(command);
        assert_eq!(report["security_bits"], 0, "{report}");
        assert!(report["warnings"].to_string().contains("INSECURE"), "{report}");
    }
    // The flag takes nothing from a plan that is secure.
    let secure = p.json(&["run", "plan.fhe", "--input", "x.npy", "-o", "s.npy", "--insecure"]);
    assert_eq!((&secure["security_bits"], &secure["warnings"]), (&128.into(), &serde_json::json!([])), "{secure}");
}

#[test]
fn the_library_refuses_it_unless_told() {
    let p = weak();
    let plan = Plan::load(p.path("weak.fhe")).unwrap();
    let key = p.path("weak.key");
    let plan = plan.client().unwrap();
    Client::options().allow_insecure().generate(&plan).unwrap().save(&key).unwrap();
    assert!(matches!(Client::generate(&plan), Err(Error::Insecure { plan }) if plan == "tiny"));
    assert!(matches!(Client::load(&plan, &key), Err(Error::Insecure { .. })));
    assert!(Client::options().allow_insecure().load(&plan, &key).is_ok());
}
