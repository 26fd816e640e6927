//! Tests of the data and of the page.

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::{Ckks, Digit, F64, Layout, Loc, Module, ParamSpec, Port, Shape, Tensor, Value};
use fhec_runtime::{Plan, Provenance, predict_time};
use serde_json::json;

use super::*;

const SLOTS: usize = 16;
/// A name that tries to be markup.
const HOSTILE: &str = "<script>alert('relu & \"1\"')</script>";

fn push<const N: usize>(m: &mut Module<Ckks>, op: CkksOp, operands: [Value; N], node: &str) -> Value {
    m.push(op, operands, Loc::onnx(node)).unwrap()
}

/// Two transforms with a square between them.
fn plan(report: Option<serde_json::Value>) -> Plan {
    let mut m = Module::new("main");
    let params = ParamSpec {
        log_n: 13,
        first_bits: 49,
        scale_bits: 38,
        levels: 3,
        special_bits: 49,
        special: 1,
        bootstrap: None,
        insecure: false,
    };
    m.params = Some(params);
    let transform = |m: &mut Module<Ckks>, x, at, node| {
        let data: Vec<f32> = (0..3 * SLOTS).map(|i| (i % 7) as f32 / 7.0).collect();
        let diagonals = m.consts.insert("diagonals", Tensor::new([3, SLOTS], data));
        let op = CkksOp::Linear { rotations: vec![0, 1, 5], giants: vec![0, 0, 4], diagonals, at };
        let y = push(m, op, [x], node);
        push(m, CkksOp::Rescale {}, [y], node)
    };
    let x = m.func.add_param(CtTy::at(3), Loc::onnx("image"));
    let y = transform(&mut m, x, 3, "conv");
    let y = push(&mut m, CkksOp::Mul {}, [y, y], HOSTILE);
    let y = push(&mut m, CkksOp::Relinearize {}, [y], HOSTILE);
    let y = push(&mut m, CkksOp::Rescale {}, [y], HOSTILE);
    let y = push(&mut m, CkksOp::AddScalar { value: F64(0.5) }, [y], HOSTILE);
    let y = transform(&mut m, y, 1, "dense");
    m.func.set_results([y]);
    let port = |name: &str| {
        let digits = vec![Digit { dim: 1, divisor: 1, size: 8, stride: 1 }];
        let layout = Layout { slots: SLOTS, ciphertexts: 1, period: SLOTS, offset: 0, digits, exponent: 0 };
        Port { name: name.into(), shape: Shape(vec![1, 8]), layout: Some(layout), ..Default::default() }
    };
    m.inputs = vec![port("image")];
    m.outputs = vec![port("logits")];
    let provenance = Provenance { fhec: "0.1.0".into(), model: "tiny".into(), report, ..Provenance::default() };
    Plan::new(m, provenance).unwrap()
}

/// A report with every part.
fn full() -> serde_json::Value {
    json!({
        "activations": [{ "node": HOSTILE, "function": "<b>relu</b>", "degree": 2, "interval": [-3.5, 4.0],
            "seen": [-3.0, 3.5], "rms_error": 0.012, "max_error": 0.2, "channels": 16 }],
        "layers": [{ "node": "dense", "mse_before": 0.1, "mse_after": 0.003 }],
        "bootstraps": [{ "node": "conv", "from": 0, "to": 3, "seconds": 1.2 }],
        "joins": [{ "node": "add<1>", "main": 2, "skip": 5, "level": 2, "paid": "skip: it has levels left" }],
        "pareto": [{ "seconds": 20.0, "error": 0.001, "bootstraps": 8, "accuracy": 0.9168 },
            { "seconds": 9.0, "error": 0.2, "bootstraps": 4, "accuracy": null }],
        "notes": ["a < b"], "warnings": ["no & calibration"]
    })
}

/// As `fhec report` makes it: for the threads of the run, here two where there is none.
fn predicted(plan: &Plan, run: Option<Run>) -> Report {
    let threads = run.as_ref().and_then(|r| r.threads).or(Some(2));
    Report::of(plan, Prediction::of(plan, threads), run)
}

fn run() -> Run {
    serde_json::from_value(json!({
        "images": 3, "threads": 2, "op_seconds": [0.1, 0.01, 0.02, 0.02, 0.01, 0.001, 0.09, 0.002], "seconds_per_run": 0.25, "peak_memory_bytes": 123_456_789,
        "seconds_by_op": { "linear": 0.2, "rescale": 0.03, "<i>": 0.01 }, "trace": "equal to the plan"
    }))
    .unwrap()
}

/// As `fhec simulate --per-op --labels` prints it.
fn simulation() -> Simulation {
    let op = |node: &str, max: f64| json!({ "node": node, "magnitude": 2.0, "rms_error": max / 5.0, "max_error": max });
    let counts: Vec<u64> = (0..100).collect();
    serde_json::from_value(json!({
        "images": 20, "labelled": 20, "right": 18, "right_exact": 19, "same_argmax": 20, "max_error": 1e-4,
        "ops": [op("conv", 1e-6), op(HOSTILE, 1e-5), op(HOSTILE, 2e-5), op("dense", 1e-4)],
        "arguments": [{ "value": "%1", "node": "conv", "counts": counts, "below": 0, "above": 1 }]
    }))
    .unwrap()
}

#[test]
fn layers_and_spans_follow_the_program() {
    let plan = plan(Some(full()));
    let report = predicted(&plan, None);
    let of = |l: &Layer| (l.node.clone(), l.ops, l.rotations, l.products, l.level_in, l.level_out, l.keys);
    assert_eq!(
        report.layers.iter().map(of).collect::<Vec<_>>(),
        [
            // Baby step 1, giant step 4.
            ("conv".into(), 2, 2, 0, Some(3), 2, 2),
            (HOSTILE.into(), 4, 0, 1, Some(2), 1, 1),
            ("dense".into(), 2, 2, 0, Some(1), 0, 2),
        ]
    );
    assert_eq!((report.layers[1].activation, report.layers[2].reconstruction), (Some(0), Some(0)));
    let of = |s: &Span| (s.layer, s.phase, s.level, s.ops.values().sum::<u64>());
    assert_eq!(
        report.spans.iter().map(of).collect::<Vec<_>>(),
        [
            (0, Phase::Linear, 3, 1),
            (0, Phase::Linear, 2, 1),
            (1, Phase::Polynomial, 2, 2),
            (1, Phase::Polynomial, 1, 2),
            (2, Phase::Linear, 1, 1),
            (2, Phase::Linear, 0, 1),
        ]
    );
    assert!(report.spans.windows(2).all(|w| w[1].start >= w[0].start + w[0].length * (1.0 - 1e-12)));
    let pareto: Vec<f64> = report.findings.pareto.iter().map(|p| p.seconds).collect();
    assert_eq!(pareto, [9.0, 20.0], "the fastest first");
}

#[test]
fn times_add_up_to_the_prediction() {
    let plan = plan(None);
    let report = predicted(&plan, None);
    let predicted = predict_time(&plan, None, 2).unwrap().micros / 1e6;
    let close = |x: f64| (x / predicted - 1.0).abs() < 1e-9;
    assert!(predicted > 0.0);
    assert!(close(report.predicted_seconds.unwrap()));
    assert!(close(report.layers.iter().filter_map(|l| l.seconds).sum()));
    assert!(close(report.predicted_seconds_by_phase.values().sum()));
    assert!(close(report.spans.iter().map(|s| s.length).sum()));
    let keys: u64 = report.keys.iter().map(|k| k.bytes).sum();
    assert!(keys > 0 && report.keys.len() == plan.keys().len());
}

#[test]
fn what_a_plan_does_not_say_is_left_out_and_what_cannot_be_read_is_named() {
    let report = predicted(&plan(None), None);
    assert_eq!(report.findings, findings::Findings::default());
    let page = html(&report);
    for heading in ["Joins", "Time against error", "Remarks", "Predicted and measured"] {
        assert!(!page.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    let odd = json!({ "joins": [{ "node": 7 }], "pareto": "none", "notes": ["kept"], "activations": null });
    let report = predicted(&plan(Some(odd)), None);
    assert_eq!(report.findings.unreadable, ["joins", "pareto"]);
    assert_eq!(report.findings.notes, ["kept"]);
    assert!(html(&report).contains("The part `joins` of the plan&#39;s own report"), "it is said");
}

/// The names of the open elements at the end of each step must match: a page that browsers need not correct.
fn check_well_formed(page: &str) {
    const VOID: [&str; 1] = ["meta"];
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        // Quoted attributes hold no `<` or `>`: both are escaped.
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        assert!(!tag.contains('<'), "`{tag}`");
        assert!(tag.matches('"').count().is_multiple_of(2), "`{tag}`");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "`</{name}>`");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        if VOID.contains(&name) || tag.ends_with('/') {
            continue;
        }
        open.push(name);
        if ["style", "script"].contains(&name) {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("it is closed")..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_from_elsewhere() {
    for (findings, run) in [(None, None), (Some(full()), Some(run()))] {
        let rich = findings.is_some();
        let mut report = predicted(&plan(findings), run);
        if rich {
            report = report.with_simulation(simulation());
        }
        let page = html(&report);
        check_well_formed(&page);
        assert!(page.contains("content=\"default-src 'none';"), "and could not load it");
        for outside in ["http:", "https:", "//", "url(", "@import", " src=", "href=", "<link", "<img", "<iframe"] {
            let code = page.replace("// ", "");
            assert!(!code.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<script>").count(), 1, "only its own");
    }
}

#[test]
fn the_card_is_a_small_page_without_a_script() {
    let report = predicted(&plan(Some(full())), None);
    let card = card(&report);
    check_well_formed(&card);
    assert!(card.contains("id=\"timeline\"") && card.contains("Evaluation keys") && card.len() < html(&report).len());
    assert!(!card.contains("<script") && !card.contains("<b>relu"));
}

#[test]
fn text_from_the_plan_stays_text() {
    let page = html(&predicted(&plan(Some(full())), Some(run())));
    assert!(page.contains("&lt;script&gt;alert(&#39;relu &amp; &quot;1&quot;&#39;)&lt;/script&gt;"));
    for raw in ["<script>alert", "<b>relu", "add<1>", "<i>\"", "<code><i>", "a < b", "no & calibration"] {
        assert!(!page.contains(raw), "{raw}");
    }
    for shown in ["&lt;b&gt;relu&lt;/b&gt;", "add&lt;1&gt;", "&lt;i&gt;", "a &lt; b", "no &amp; calibration"] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn a_run_stands_beside_what_was_predicted() {
    let report = predicted(&plan(None), Some(run()));
    assert_eq!(report.predicted_threads, Some(2), "predicted for the threads of the run");
    let page = html(&report);
    assert!(page.contains("<h2>Predicted and measured</h2>") && page.contains("Mean of 3 images, on 2 threads"));
    let measured: Vec<_> = report.layers.iter().map(|l| (l.measured_seconds.unwrap() * 1e3).round()).collect();
    assert_eq!(measured, [110.0, 51.0, 92.0], "of the ops of each layer");
    let other = Run { op_seconds: vec![1.0; 3], ..run() };
    let layers = predicted(&plan(None), Some(other)).layers;
    assert!(layers.iter().all(|l| l.measured_seconds.is_none()), "a run of another number of ops");
    assert!(page.contains("117.7 MiB"), "the peak");
    let rows: Vec<usize> = ["linear", "rescale", "relinearize"]
        .iter()
        .map(|op| page.find(&format!("<code>{op}</code>")).expect(op))
        .collect();
    assert!(rows[0] < rows[1], "the longest first");
}

#[test]
fn a_simulation_says_how_far_off_layers_are() {
    let report = predicted(&plan(Some(full())), None).with_simulation(simulation());
    let errors: Vec<_> = report.layers.iter().map(|l| l.noise.unwrap().max_error).collect();
    assert_eq!(errors, [1e-6, 2e-5, 1e-4], "of the last op of each layer");
    let page = html(&report);
    for shown in ["Error after every layer", "the plan with modelled noise", "90.00 %", "95.00 %", "100.00 %"] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn memory_over_time_is_within_the_prediction() {
    let report = predicted(&plan(None), None);
    let most = |of: fn(&Span) -> u64| report.spans.iter().map(of).max().unwrap();
    assert_eq!(most(|s| s.ciphertext_bytes), report.predicted_memory.ciphertexts);
    assert_eq!(most(|s| s.scratch_bytes), report.predicted_memory.scratch);
}

#[test]
fn this_plan_is_found_on_the_front_and_the_front_of_another_model_is_refused() {
    let point = |seconds: f64, node: &str, degree: u64| {
        json!({ "seconds": seconds, "error": 1.0 / seconds,
            "choices": { node: { "family": "least-squares", "degree": degree } } })
    };
    let front = json!([point(30.0, HOSTILE, 3), point(10.0, HOSTILE, 2)]).to_string();
    let report = predicted(&plan(Some(full())), None).with_front("front.json", &front).unwrap();
    assert_eq!((report.findings.pareto.len(), report.front_plan), (2, Some(0)), "degree 2, the fastest first");
    assert!(html(&report).contains("this plan"));
    for (wrong, told) in
        [(json!([point(1.0, "elsewhere", 2)]), "no activation `elsewhere`"), (json!({}), "front.json: ")]
    {
        let refused = predicted(&plan(Some(full())), None).with_front("front.json", &wrong.to_string()).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
}
