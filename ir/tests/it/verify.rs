//! The verifier: what it accepts, and what it says about what it does not.

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::nn::{NnOp, TensorTy};
use fhec_ir::slot::SlotOp;
use fhec_ir::text::{Blobs, parse_module};
use fhec_ir::{
    Ckks, Dialect, Digit, Entity, F64, Layout, Loc, Module, Nn, OpInfo, ParamSpec, Port, Shape, Slot, Tensor, Value,
    Verify, verify,
};
use proptest::prelude::*;

use crate::generate;

#[track_caller]
fn parsed<D: Dialect>(text: &str) -> Module<D> {
    parse_module("case.fhir", text, &Blobs::default()).unwrap_or_else(|e| panic!("{}", e.listing()))
}

#[track_caller]
fn listing<D: Verify>(module: &Module<D>) -> String {
    verify(module).expect_err("this module is wrong").listing()
}

proptest! {
    #[test]
    fn random_graphs_have_sound_structure(choices in generate::choices()) {
        let mut nn = generate::nn(&choices);
        (nn.inputs, nn.outputs) = (vec![], vec![]);
        if let Err(e) = verify(&nn) {
            // The generator draws numbers of all kinds; nothing else may be wrong.
            for v in &e.violations {
                prop_assert!(v.message.contains("finite") || v.message.contains("interval"), "{}", e.listing());
            }
        }
    }
    #[test]
    fn verifying_never_panics(choices in generate::choices()) {
        let _ = (verify(&generate::nn(&choices)), verify(&generate::slot(&choices)), verify(&generate::ckks(&choices)));
    }
}

#[test]
fn structure() {
    let mut m = Module::<Nn>::new("main");
    let ty = |dims: &[usize]| TensorTy(Shape(dims.to_vec()));
    let x = m.func.add_param(ty(&[1, 2]), Loc::onnx("x"));
    let stray = m.func.push_unchecked(NnOp::input(7), [].into_iter().collect(), ty(&[1]), Loc::default());
    let wrong_type = m.func.push_unchecked(NnOp::Neg {}, [x].into_iter().collect(), ty(&[2, 1]), Loc::onnx("/neg"));
    m.func.push_unchecked(NnOp::Add {}, [wrong_type].into_iter().collect(), ty(&[2, 1]), Loc::default());
    let value = fhec_ir::ConstId::new(3);
    m.func.push_unchecked(NnOp::Const { value }, [].into_iter().collect(), ty(&[2, 1]), Loc::default());
    let lo = F64(1.0);
    let polynomial =
        NnOp::Polynomial { basis: fhec_ir::nn::Basis::Chebyshev, lo, hi: lo, rows: 1, coeffs: vec![F64(f64::NAN)] };
    m.func.push_unchecked(polynomial, [x].into_iter().collect(), ty(&[1, 2]), Loc::default());
    m.func.set_results([stray, Value::new(99)]);
    insta::assert_snapshot!(listing(&m));
}

#[test]
fn nn_ports() {
    let text = r#"
input "x" : tensor<1x3>
output "y" : tensor<1x2>
output "z" : tensor<1x2>
func @main(%0: tensor<1x2>) -> tensor<1x2> {
  return %0
}"#;
    let mut m = parsed::<Nn>(text);
    m.outputs[0].layout = Some(Layout::row_major(&Shape(vec![1, 2]), 2));
    insta::assert_snapshot!(listing(&m));
    m.inputs[0].shape = Shape(vec![1, 2]);
    m.outputs[0].layout = None;
    m.outputs.pop();
    verify(&m).expect("now the ports fit");
}

#[test]
fn ranges_are_two_finite_numbers_in_order() {
    let text = |range: &str| {
        format!(
            "input \"x\" : tensor<1x2> range {range}\noutput \"y\" : tensor<1x2> range [0.5, 0.5]\n\
             func @main(%0: tensor<1x2>) -> tensor<1x2> {{\n  return %0\n}}"
        )
    };
    verify(&parsed::<Nn>(&text("[-1, 2.5]"))).expect("a range");
    for bad in ["[1.0, 0.0]", "[NaN, 1.0]", "[0.0, NaN]", "[-inf, inf]"] {
        let found = listing(&parsed::<Nn>(&text(bad)));
        assert!(found.contains("of input `x` is no range"), "{bad}: {found}");
    }
    for bad in ["[]", "[1.0]", "[1.0, 2.0, 3.0]", "[1.0, word]"] {
        assert!(parse_module::<Nn>("f", &text(bad), &Blobs::default()).is_err(), "{bad}");
    }
}

#[test]
fn ciphertexts_are_bounded_in_number() {
    let mut m = slot_module(Layout::row_major(&Shape(vec![1, 4]), 8), &[1, 4]);
    for _ in 0..1 << 12 {
        m.func.add_param(fhec_ir::slot::SlotTy(8), Loc::default());
    }
    assert_eq!(listing(&m), "4097 inputs are more than the 4096 that a program may have");
}

fn slot_module(layout: Layout, shape: &[usize]) -> Module<Slot> {
    let mut m = parsed::<Slot>("func @main(%0: slots<8>) -> slots<8> { return %0 }");
    let port = |name: &str| Port {
        name: name.into(),
        shape: Shape(shape.to_vec()),
        layout: Some(layout.clone()),
        range: None,
    };
    m.inputs.push(port("x"));
    m.outputs.push(port("y"));
    m
}

#[test]
fn layouts_fit_slots() {
    let shape = Shape(vec![1, 4]);
    let good = Layout::row_major(&shape, 8);
    verify(&slot_module(good.clone(), &[1, 4])).expect("row-major fits");
    verify(&slot_module(Layout { period: 4, ..good.clone() }, &[1, 4])).expect("a period of 4 fits");
    let digits = |digits: &[(usize, usize, usize, usize)]| Layout {
        digits: digits.iter().map(|&(dim, divisor, size, stride)| Digit { dim, divisor, size, stride }).collect(),
        ..good.clone()
    };
    let bad = [
        Layout { period: 2, ..good.clone() },
        Layout { period: 3, ..good.clone() },
        Layout { offset: 5, ..good.clone() },
        Layout { slots: 16, period: 16, ..good.clone() },
        Layout { ciphertexts: 2, ..good.clone() },
        Layout { period: 4, offset: 1, ..good.clone() },
        digits(&[(2, 1, 4, 1)]),
        digits(&[(1, 0, 4, 1)]),
        digits(&[(1, 1, 2, 1)]),
        digits(&[(1, 1, 4, usize::MAX)]),
    ];
    let messages: Vec<String> = bad.into_iter().map(|l| listing(&slot_module(l, &[1, 4]))).collect();
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn slot_values() {
    let mut m = Module::<Slot>::new("main");
    let x = m.func.add_param(fhec_ir::slot::SlotTy(6), Loc::default());
    m.func.add_param(fhec_ir::slot::SlotTy(8), Loc::default());
    let value = m.consts.insert("mask", Tensor::new([6], vec![0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]));
    let y = m.push(SlotOp::MulPlain { value }, [x], Loc::onnx("/mask")).expect("types fit");
    let z = m.push(SlotOp::MulScalar { value: F64(f64::INFINITY) }, [y], Loc::default()).expect("types fit");
    m.func.set_results([z]);
    insta::assert_snapshot!(listing(&m));
    // Numbers are checked first; with them mended, the rules of the level speak.
    let mut m2 = Module::<Slot>::new("main");
    let x = m2.func.add_param(fhec_ir::slot::SlotTy(6), Loc::default());
    m2.func.add_param(fhec_ir::slot::SlotTy(8), Loc::default());
    m2.consts = m.consts.clone();
    let y = m2.push(SlotOp::MulPlain { value }, [x], Loc::onnx("/mask")).expect("types fit");
    m2.func.set_results([y]);
    insta::assert_snapshot!("slot_level", listing(&m2));
}

#[test]
fn ckks_levels() {
    let spec = ParamSpec {
        log_n: 13,
        first_bits: 50,
        scale_bits: 40,
        levels: 2,
        special_bits: 50,
        special: 1,
        bootstrap: None,
        insecure: false,
    };
    let mut m = Module::<Ckks>::new("main");
    m.params = Some(spec.clone());
    let x = m.func.add_param(CtTy::at(3), Loc::onnx("x"));
    let odd = m.func.add_param(CtTy { level: 2, sd: 2, parts: 2 }, Loc::onnx("odd"));
    let square = m.push(CkksOp::Mul {}, [x, x], Loc::onnx("/square")).expect("types fit");
    for (name, len) in [("four", 4), ("sixteen", 16)] {
        let value = m.consts.insert(name, Tensor::full([len], 0.5));
        m.push(CkksOp::AddPlain { value }, [x], Loc::default()).expect("types fit");
    }
    m.func.set_results([square, odd]);
    insta::assert_snapshot!(listing(&m));
    m.params = Some(ParamSpec { levels: 10, ..spec.clone() });
    insta::assert_snapshot!("ckks_security", listing(&m));
    m.params = Some(ParamSpec { log_n: 0, levels: u32::MAX, ..spec });
    insta::assert_snapshot!("ckks_ranges", listing(&m));
}

#[test]
fn stated_types_are_inferred_again() {
    let mut m = Module::<Ckks>::new("main");
    let x = m.func.add_param(CtTy::at(1), Loc::default());
    let y = m.func.push_unchecked(CkksOp::Rescale {}, [x].into_iter().collect(), CtTy::at(0), Loc::default());
    let z = m.func.push_unchecked(CkksOp::LevelDrop { to: 0 }, [x].into_iter().collect(), CtTy::at(1), Loc::default());
    m.func.set_results([y, z]);
    insta::assert_snapshot!(listing(&m));
}
