//! Functions that a network writes out op by op are one polynomial each, from the compiler's input to a simulated run.

use fhec::{Compiler, Model, Simulator};
use fhec_ir::nn::eval;

use crate::networks::{inputs, parsed};

/// A network of two dense layers around `body`, which makes `%y` of `%a`.
fn network(body: &str) -> Model {
    let weights = |n: usize, m: usize| {
        let number = |i: usize| ((i * 37 + 11) % 19) as f64 / 19.0 - 0.45;
        (0..n * m).map(|i| number(i).to_string()).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "input \"x\" : tensor<1x6>\noutput \"z\" : tensor<1x3>\n\
         const @w0 : tensor<6x8> = [{}]\nconst @w1 : tensor<8x3> = [{}]\nconst @c : tensor<scalar> = [1.5]\n\
         func @f(%x: tensor<1x6> loc(\"x\")) -> tensor<1x3> {{\n\
         %w0 = nn.const {{value = @w0}} : tensor<6x8>\n%w1 = nn.const {{value = @w1}} : tensor<8x3>\n\
         %c = nn.const {{value = @c}} : tensor<scalar>\n\
         %a = nn.matmul %x, %w0 : tensor<1x8> loc(\"first\")\n{body}\n\
         %z = nn.matmul %y, %w1 : tensor<1x3> loc(\"last\")\nreturn %z\n}}\n",
        weights(6, 8),
        weights(8, 3)
    );
    parsed(&text)
}

#[test]
fn a_softsign_written_out_is_one_polynomial() {
    let body = "%m = nn.activation %a {function = abs} : tensor<1x8> loc(\"size\")\n\
                %d = nn.add %m, %c : tensor<1x8> loc(\"above\")\n%y = nn.div %a, %d : tensor<1x8> loc(\"softsign\")";
    let model = network(body);
    let compiled = Compiler::new().degree(15).calibration(inputs(64, 6, 2.0)).compile(&model).expect("compiles");
    let functions: Vec<&str> = compiled.activations.iter().map(|a| a.function.as_str()).collect();
    assert_eq!(functions, ["x/(abs(x) + 1.5)"]);
    assert!(compiled.explanation.contains("3 ops of one value are one function"), "{}", compiled.explanation);
    for (k, x) in inputs(4, 6, 2.0).into_iter().enumerate() {
        let expected = eval::eval(&model.module, &x).expect("runs");
        let found = Simulator::new(&compiled.plan, 7).run(k as u64, &x).expect("runs").outputs;
        let size = expected[0].data().iter().fold(0.1f32, |m, y| m.max(y.abs()));
        let near = expected[0].data().iter().zip(found[0].data()).all(|(a, b)| (a - b).abs() < 0.03 * size);
        assert!(near, "{expected:?} and {found:?}");
    }
}

#[test]
fn functions_that_jump_are_warned_of() {
    let body = "%y = nn.activation %a {function = step} : tensor<1x8> loc(\"threshold\")";
    let compiled =
        Compiler::new().degree(15).calibration(inputs(64, 6, 2.0)).compile(&network(body)).expect("compiles");
    let warned = |text: &str| compiled.warnings.iter().any(|w| w.contains(text));
    assert!(warned("node `threshold`: step jumps") && warned("is off by up to"), "{:?}", compiled.warnings);
    // x·step(x) has no jump: it is a ReLU.
    let body = format!("{}\n%y = nn.mul %a, %s : tensor<1x8> loc(\"gated\")", body.replace("%y =", "%s ="));
    let compiled =
        Compiler::new().degree(15).calibration(inputs(64, 6, 2.0)).compile(&network(&body)).expect("compiles");
    assert_eq!(compiled.activations[0].function, "relu");
    assert!(!compiled.warnings.iter().any(|w| w.contains("jumps")), "{:?}", compiled.warnings);
}
