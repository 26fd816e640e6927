//! The text form: round trip, error messages, hostile text.

use fhec_ir::nn::NnOp;
use fhec_ir::text::{AnyModule, Blobs, parse_any, parse_module, print_module, print_with_blobs};
use fhec_ir::{Dialect, Loc, Module, Nn, Tensor};
use proptest::prelude::*;

use crate::generate;

#[track_caller]
fn round_trip<D: Dialect>(module: &Module<D>) {
    let (text, blobs) = print_with_blobs(module);
    let parsed = match parse_module::<D>("random.fhir", &text, &blobs) {
        Ok(parsed) => parsed,
        Err(e) => panic!("{e}\n{text}"),
    };
    assert_eq!(print_module(&parsed), text);
    assert_eq!(parsed.inputs, module.inputs);
    assert_eq!(parsed.outputs, module.outputs);
    assert_eq!(parsed.params, module.params);
    assert_eq!(parsed.func.name, module.func.name);
    assert_eq!(parsed.func.len(), module.func.len());
    let constants = |m: &Module<D>| {
        m.func
            .iter()
            .flat_map(|(_, n)| fhec_ir::OpInfo::consts(&n.op))
            .map(|id| m.consts.get(id).digest)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(constants(&parsed), constants(module));
}

proptest! {
    #[test]
    fn nn_round_trips(choices in generate::choices()) {
        round_trip(&generate::nn(&choices));
    }
    #[test]
    fn slot_round_trips(choices in generate::choices()) {
        round_trip(&generate::slot(&choices));
    }
    #[test]
    fn ckks_round_trips(choices in generate::choices()) {
        round_trip(&generate::ckks(&choices));
    }
    #[test]
    fn mutated_text_never_panics(choices in generate::choices(), edits in prop::collection::vec((any::<u32>(), any::<u16>()), 1..8)) {
        let texts = [
            print_with_blobs(&generate::nn(&choices)),
            print_with_blobs(&generate::slot(&choices)),
            print_with_blobs(&generate::ckks(&choices)),
        ];
        for (text, blobs) in texts {
            let mutated = mutate(&text, &edits);
            // Whatever the outcome, errors must render.
            if let Err(e) = parse_any("mutated.fhir", &mutated, &blobs) {
                prop_assert!(!e.to_string().is_empty());
                let report = format!("{:?}", miette::Report::new(e));
                prop_assert!(report.contains("mutated.fhir"));
            }
        }
    }
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse_any("arbitrary.fhir", &text, &Blobs::default());
    }
}

/// Deletes, duplicates, moves or replaces whole tokens and single characters.
fn mutate(text: &str, edits: &[(u32, u16)]) -> String {
    let mut tokens: Vec<String> =
        text.split_inclusive([' ', '\n', ',', '<', '>', '=', '[', ']', '{', '}']).map(str::to_string).collect();
    for &(place, kind) in edits {
        let len = tokens.len().max(1);
        let (i, j) = (place as usize % len, place as usize / 7 % len);
        if i >= tokens.len() || j >= tokens.len() {
            break;
        }
        match kind % 6 {
            0 => drop(tokens.remove(i)),
            1 => tokens.swap(i, j),
            2 => tokens[i] = tokens[j].clone(),
            3 => tokens.insert(i, "99999999999999999999 ".into()),
            4 => tokens
                .insert(i, ["1x0 ", "-1 ", "{", "\"", "@", "%", "é", "func ", "NaN "][kind as usize / 6 % 9].into()),
            _ => tokens.truncate(i),
        }
    }
    tokens.concat()
}

#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let open = "[".repeat(1 << 20);
    let text = format!("func @f(%0: tensor<1>) -> tensor<1> {{ %1 = nn.neg %0 {{a = {open}}} : tensor<1> return %1 }}");
    assert!(parse_any("deep.fhir", &text, &Blobs::default()).is_err());
}

#[test]
fn a_blob_has_the_shape_that_its_type_states() {
    let mut blobs = Blobs::default();
    let hex = fhec_ir::text::to_hex(&blobs.insert(Tensor::full([2, 3], 0.5)));
    let text = format!("const @w : tensor<3x2> = blob \"{hex}\"\nfunc @f(%0: tensor<1>) -> tensor<1> {{ return %0 }}");
    let error = parse_module::<Nn>("case.fhir", &text, &blobs).expect_err("another shape");
    assert_eq!(error.listing(), "case.fhir:1:12: the blob is 2x3, not 3x2");
}

#[test]
fn large_fills_are_refused() {
    let text = "const @w : tensor<100000x100000> = zeros\nfunc @f(%0: tensor<1>) -> tensor<1> { return %0 }";
    assert_eq!(errors(text), "case.fhir:1:12: a tensor of shape 100000x100000 is too large");
}

#[test]
fn fills_are_bounded_together() {
    let consts: String = (0..3).map(|i| format!("const @w{i} : tensor<5000x5000> = full({i}.5)\n")).collect();
    let text = format!("{consts}func @f(%0: tensor<1>) -> tensor<1> {{ return %0 }}");
    assert_eq!(errors(&text), "case.fhir:3:13: the filled constants of this file are too large");
}

/// A layer of more than 2,048 diagonals at 2^15 slots has more than 2^26 elements: they lie in a blob, not in the text.
#[test]
fn constants_of_large_layers_are_read_back() {
    let shape = [2049, 1 << 15];
    let mut varied = vec![0.5f32; 2049 << 15];
    varied[7] = 0.25;
    for tensor in [Tensor::new(shape, varied), Tensor::full(shape, 0.5)] {
        let mut module = Module::<Nn>::new("large");
        let value = module.consts.insert("w", tensor);
        let result = module.push(NnOp::Const { value }, [], Loc::default()).unwrap();
        module.func.set_results([result]);
        let (text, _) = print_with_blobs(&module);
        let again = parse_module::<Nn>("large.fhir", &text, &module.consts).map_err(|e| e.listing()).unwrap();
        assert_eq!(print_module(&again), text);
    }
}

const EXAMPLE: &str = r#"
// A convolution, its activation and a skip connection.
const @bias : tensor<2> = [0.5, -1]
const @w : tensor<2x2x3x3> = full(0.25)
input "image" : tensor<1x2x4x4>
output "y" : tensor<1x2x4x4>
func @main(%image: tensor<1x2x4x4> loc("image")) -> tensor<1x2x4x4> {
  %w = nn.const {value = @w} : tensor<2x2x3x3>
  %b = nn.const {value = @bias} : tensor<2>
  %conv = nn.conv %image, %w, %b {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x4x4> loc("/conv1/Conv")
  %act = nn.activation %conv {function = leaky_relu, alpha = 0.1} : tensor<1x2x4x4>
  %sum = nn.add %act, %image : tensor<1x2x4x4>
  return %sum
}
"#;

#[test]
fn a_hand_written_file_prints_in_canonical_form() {
    let AnyModule::Nn(module) = parse_any("example.fhir", EXAMPLE, &Blobs::default()).expect("the example is right")
    else {
        panic!("the example is of the nn level")
    };
    insta::assert_snapshot!(print_module(&module));
    let (_, conv) = module.func.iter().nth(3).expect("five nodes");
    let (start, end) = conv.loc.span.expect("parsed nodes have spans");
    assert!(EXAMPLE[start..end].starts_with("%conv = nn.conv"));
}

fn errors(text: &str) -> String {
    match parse_any("case.fhir", text, &Blobs::default()) {
        Ok(_) => panic!("this text has an error:\n{text}"),
        Err(e) => e.listing(),
    }
}

#[test]
fn errors_are_collected_and_placed() {
    let text = r#"
const @w : tensor<2x2> = [1, 2, 3]
const @v : tensor<2> = blob "00"
func @main(%0: tensor<1x2>) -> tensor<1x3> {
  %1 = nn.cnov %0 : tensor<1x2>
  %2 = nn.add %0, %9 : tensor<1x2>
  %3 = nn.add %0, %0 {axis = 1} : tensor<1x2>
  %4 = nn.softmax %0 {axis = "one"} : tensor<1x2>
  %5 = nn.softmax %0 : tensor<1x2>
  %6 = nn.neg %0 : tensor<2x1>
  %6 = nn.neg %0 : tensor<1x2>
  %7 = nn.const {value = @w} : tensor<2x2>
  %8 = nn.const {value = @nowhere} : tensor<2x2>
  %10 = slot.rotate %0 {by = 1} : tensor<1x2>
  %11 = nn.matmul %0, %0 : tensor<1x2>
  %12 = nn.neg %1 : tensor<wrong>
  return %6
}
"#;
    insta::assert_snapshot!(errors(text));
    let report = parse_any("case.fhir", text, &Blobs::default()).expect_err("the text has errors");
    let mut rendered = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .render_report(&mut rendered, &report)
        .expect("reports render");
    insta::assert_snapshot!("rendered", rendered);
}

#[test]
fn level_must_match() {
    let text = "func @f(%0: slots<4>) -> slots<4> { return %0 }";
    let error = parse_module::<Nn>("case.fhir", text, &Blobs::default()).expect_err("slots are not tensors");
    assert_eq!(
        error.listing(),
        "case.fhir:1:13: expected a type of the form `tensor<..>`
case.fhir:1:26: expected a type of the form `tensor<..>`"
    );
}
