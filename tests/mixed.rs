//! Networks with polynomials of their own beside activations: what training leaves of a network where some ReLUs stay.

use fhec::{Compiler, Model};

use crate::networks::{inputs, parsed};

/// `depth` reflections with quadratics after each, but for the last two, which have ReLUs, and a linear map at the end.
fn network(depth: usize) -> Model {
    let normal: Vec<f64> = (0..8).map(|i| ((i * 37 + 17) % 19) as f64 / 19.0 - 0.45).collect();
    let length: f64 = normal.iter().map(|x| x * x).sum();
    let reflection = |i: usize| f64::from(u8::from(i / 8 == i % 8)) - 2.0 * normal[i / 8] * normal[i % 8] / length;
    let numbers = (0..64).map(|i| reflection(i).to_string()).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "input \"x\" : tensor<1x8>\noutput \"z\" : tensor<1x8>\nconst @map : tensor<8x8> = [{numbers}]\n\
         const @bend : tensor<1x1> = [-0.02]\n\
         func @mixed(%y0: tensor<1x8> loc(\"x\")) -> tensor<1x8> {{\n%map = nn.const {{value = @map}} : tensor<8x8>\n\
         %bend = nn.const {{value = @bend}} : tensor<1x1>\n"
    );
    for (block, before) in (1..=depth).zip(0..) {
        text += &format!("%l{block} = nn.matmul %y{before}, %map : tensor<1x8> loc(\"map{block}\")\n");
        text += &match block + 2 > depth {
            true => {
                format!("%y{block} = nn.activation %l{block} {{function = relu}} : tensor<1x8> loc(\"relu{block}\")\n")
            }
            false => format!(
                "%s{block} = nn.mul %l{block}, %l{block} : tensor<1x8> loc(\"square{block}\")\n\
                 %b{block} = nn.mul %s{block}, %bend : tensor<1x8> loc(\"bend{block}\")\n\
                 %y{block} = nn.add %b{block}, %l{block} : tensor<1x8> loc(\"quadratic{block}\")\n"
            ),
        };
    }
    text += &format!("%z = nn.matmul %y{depth}, %map : tensor<1x8> loc(\"last\")\nreturn %z\n}}\n");
    parsed(&text)
}

#[test]
fn bootstraps_before_polynomials_of_the_networks_own_stay_where_activations_are_chosen_too() {
    let model = network(30);
    let compiled = Compiler::new().calibration(inputs(256, 8, 1.0)).compile(&model).expect("compiles");
    assert_eq!(compiled.plan.spec().log_n, 16);
    assert!(compiled.plan.counts().bootstraps > 0);
    assert!(compiled.agreement.is_some_and(|a| a.measured > 0.95), "{:?}", compiled.agreement);
    let placement = compiled.placement.expect("it is bootstrapped");
    assert_eq!(compiled.plan.counts().bootstraps, placement.plan.bootstraps.len() as u64);
}
