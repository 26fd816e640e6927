//! Networks without activations, too deep to run without bootstraps: linear maps with products between them.

use fhec::{Compiler, Model, Simulator};
use fhec_ir::nn::eval;

use crate::networks::{inputs, parsed};

/// `blocks` of a linear map and another one times a mask; values stay near 4.
pub fn network(blocks: usize) -> Model {
    let weights = |name: &str, (n, m): (usize, usize), seed: usize, size: f64| {
        let number = |i: usize| size * (((i * 37 + 11 + 7 * seed) % 19) as f64 / 19.0 - 0.45);
        let numbers = (0..n * m).map(|i| number(i).to_string()).collect::<Vec<_>>().join(", ");
        format!("const @{name} : tensor<{n}x{m}> = [{numbers}]\n")
    };
    let constants = [
        ("first", (6, 8), 2, 1.0),
        ("mask", (6, 8), 1, 1.0),
        ("factor", (8, 8), 2, 0.3),
        ("map", (8, 8), 3, 1.25),
        ("head", (8, 3), 4, 1.0),
    ];
    let mut text = "input \"x\" : tensor<1x6>\noutput \"z\" : tensor<1x3>\n".to_string();
    constants.iter().for_each(|&(name, shape, seed, size)| text += &weights(name, shape, seed, size));
    text += "func @products(%x: tensor<1x6> loc(\"x\")) -> tensor<1x3> {\n";
    for (name, (n, m), ..) in constants {
        text += &format!("%{name} = nn.const {{value = @{name}}} : tensor<{n}x{m}>\n");
    }
    text += "%y0 = nn.matmul %x, %first : tensor<1x8> loc(\"first\")\n";
    text += "%m = nn.matmul %x, %mask : tensor<1x8> loc(\"mask\")\n";
    for (block, before) in (1..=blocks).zip(0..) {
        text += &format!(
            "%f{block} = nn.matmul %y{before}, %factor : tensor<1x8> loc(\"block{block}/factor\")\n\
             %p{block} = nn.mul %f{block}, %m : tensor<1x8> loc(\"block{block}/product\")\n\
             %l{block} = nn.matmul %y{before}, %map : tensor<1x8> loc(\"block{block}/map\")\n\
             %y{block} = nn.add %p{block}, %l{block} : tensor<1x8> loc(\"block{block}/sum\")\n"
        );
    }
    text += &format!("%z = nn.matmul %y{blocks}, %head : tensor<1x3> loc(\"head\")\nreturn %z\n}}\n");
    parsed(&text)
}

#[test]
fn a_chain_of_products_is_bootstrapped_where_its_values_were_measured() {
    let model = network(22);
    let compiled = Compiler::new().calibration(inputs(64, 6, 2.0)).compile(&model).expect("compiles");
    let (spec, placement) = (compiled.plan.spec(), compiled.placement.expect("it is bootstrapped"));
    assert_eq!(spec.log_n, 16);
    assert!(placement.elsewhere > 0 && placement.elsewhere == placement.plan.bootstraps.len());
    assert_eq!(compiled.plan.counts().bootstraps, placement.plan.bootstraps.len() as u64);
    assert!(compiled.notes.iter().any(|note| note.contains("on 64 calibration inputs")), "{:?}", compiled.notes);
    assert!(compiled.precision.bits > 8.0, "{:?}", compiled.precision);
    for (k, x) in inputs(80, 6, 2.0).into_iter().enumerate().skip(76) {
        let expected = eval::eval(&model.module, &x).expect("runs");
        let simulated = Simulator::new(&compiled.plan, 7).run(k as u64, &x).expect("runs");
        let pairs = expected[0].data().iter().zip(simulated.outputs[0].data());
        let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 0.0 && f64::from(off) < 2.0 * compiled.precision.error, "{off}: {:?}", compiled.precision);
    }
}

#[test]
fn without_calibration_data_the_reason_says_what_is_missing() {
    let error = Compiler::new().compile(&network(45)).expect_err("82 levels, and no ranges");
    let fhec::Error::Compile(error) = error else { panic!("{error}") };
    let help = error.issues.iter().map(|issue| issue.repair.as_str()).find(|r| r.contains("give --calibration"));
    assert!(help.is_some(), "{:?}", error.issues);
}
