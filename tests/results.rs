//! What results are taken for when polynomials are chosen: of a row of values, not only which of them is the largest.

use fhec::{CompileOptions, Compiled, Compiler, Model, ResultKind};
use fhec_ir::nn::eval;

use crate::networks::{inputs, parsed};

/// Two layers around a ReLU, and then `last`, which makes `%z` of the two sums `%s`: the first is about 20, the second about zero.
fn network(last: &str) -> Model {
    shaped(last, "1x2")
}

/// The same, whose result has this shape.
fn shaped(last: &str, shape: &str) -> Model {
    let number = |i: usize| ((i * 37 + 11) % 19) as f64 / 19.0 - 0.45;
    let weights = |n: usize| (0..n).map(|i| number(i).to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "input \"x\" : tensor<1x6>\noutput \"z\" : tensor<{shape}>\n\
         const @w0 : tensor<6x8> = [{}]\nconst @w1 : tensor<8x2> = [{}]\nconst @b : tensor<1x2> = [20, 0]\nconst @c : tensor<1x2> = [60, 60]\n\
         func @f(%x: tensor<1x6> loc(\"x\")) -> tensor<{shape}> {{\n\
         %w0 = nn.const {{value = @w0}} : tensor<6x8>\n%w1 = nn.const {{value = @w1}} : tensor<8x2>\n\
         %b = nn.const {{value = @b}} : tensor<1x2>\n%c = nn.const {{value = @c}} : tensor<1x2>\n\
         %a = nn.matmul %x, %w0 : tensor<1x8> loc(\"first\")\n\
         %y = nn.activation %a {{function = relu}} : tensor<1x8> loc(\"relu\")\n\
         %p = nn.matmul %y, %w1 : tensor<1x2> loc(\"product\")\n\
         {last}\nreturn %z\n}}\n",
        weights(48),
        weights(16)
    );
    parsed(&text)
}

fn compiled(model: &Model, min_agreement: f64, results: Option<ResultKind>) -> Compiled {
    let options = CompileOptions { results, min_agreement: Some(min_agreement), ..CompileOptions::default() };
    Compiler::with_options(options).calibration(inputs(256, 6, 2.0)).compile(model).expect("compiles")
}

/// The root mean square error of the second value of new inputs, over its own root mean square.
fn off(model: &Model, compiled: &Compiled) -> f64 {
    let (mut error, mut size) = (0.0, 0.0);
    for x in inputs(600, 6, 2.0).split_off(400) {
        let second = |module| f64::from(eval::eval(module, &x).expect("runs")[0].data()[1]);
        let (wanted, found) = (second(&model.module), second(&compiled.polynomial));
        error += (found - wanted).powi(2);
        size += wanted.powi(2);
    }
    (error / size).sqrt()
}

#[test]
fn values_beside_one_that_is_always_the_largest_are_as_accurate_as_asked() {
    let model = network("%z = nn.add %p, %b : tensor<1x2> loc(\"bias\")");
    let found = compiled(&model, 0.95, None);
    assert_eq!(found.agreement.map(|a| a.of), Some(ResultKind::Values));
    assert!(off(&model, &found) < 0.1, "off by {}", off(&model, &found));
    // Taken for scores, the first wins whatever becomes of the second.
    let found = compiled(&model, 0.95, Some(ResultKind::Classes));
    assert_eq!(found.agreement.map(|a| (a.of, a.measured)), Some((ResultKind::Classes, 1.0)));
    assert!(off(&model, &found) > 0.1, "off by {}", off(&model, &found));
}

#[test]
fn where_degrees_of_five_levels_do_not_do_there_are_higher_ones() {
    let model = network("%z = nn.neg %p : tensor<1x2> loc(\"negative\")");
    let highest_for = |asked: f64| {
        let options = CompileOptions { min_agreement: Some(asked), ..CompileOptions::default() };
        let compiled =
            Compiler::with_options(options).calibration(inputs(512, 6, 2.0)).compile(&model).expect("compiles");
        let measured = compiled.agreement.expect("there are inputs to measure it on").measured;
        assert!(measured >= asked, "{measured} of {asked}");
        compiled.activations.iter().map(|activation| activation.degree).max()
    };
    assert!(highest_for(0.9) <= Some(31));
    assert!(highest_for(0.97) > Some(31));
}

/// No polynomial follows a sigmoid so steep, but which side of a half it is on needs no more than its sign.
#[test]
fn labels_of_a_steep_sigmoid_take_no_more_accuracy_than_they_need() {
    let last = "%t = nn.mul %p, %c : tensor<1x2> loc(\"steep\")
\
                %z = nn.activation %t {function = sigmoid} : tensor<1x2> loc(\"sigmoid\")";
    let found = compiled(&network(last), 0.7, None);
    let agreement = found.agreement.expect("is measured");
    assert!(agreement.of == ResultKind::Labels && agreement.measured > 0.7, "{agreement:?}");
    let degrees: Vec<usize> = found.activations.iter().map(|a| a.degree).collect();
    assert!(degrees.iter().any(|&degree| degree < 31), "{degrees:?}");
}

#[test]
fn what_cannot_be_scores_is_compared_as_values_with_a_warning() {
    let column = "%r = nn.reshape %p {shape = [1, 1, 2]} : tensor<1x1x2> loc(\"rows\")\n\
                  %z = nn.neg %r : tensor<1x1x2> loc(\"negative\")";
    let model = shaped(column, "1x1x2");
    let found = compiled(&model, 0.5, Some(ResultKind::Classes));
    assert_eq!(found.agreement.map(|a| a.of), Some(ResultKind::Values));
    let warned = |found: &Compiled| found.warnings.iter().any(|w| w.contains("--results classes has no effect on `z`"));
    assert!(warned(&found), "{:?}", found.warnings);
    let model = network("%z = nn.neg %p : tensor<1x2> loc(\"negative\")");
    assert!(!warned(&compiled(&model, 0.5, Some(ResultKind::Classes))));
}
