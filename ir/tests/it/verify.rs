//! The verifier: what it accepts, and what it says about what it does not.

use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::nn::{NnOp, TensorTy};
use fhec_ir::text::{Blobs, parse_module};
use fhec_ir::{Ckks, Dialect, Entity, F64, Layout, Loc, Module, Nn, OpInfo, Port, Shape, Slot, Value, Verify, verify};
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
        ..Default::default()
    };
    m.inputs.push(port("x"));
    m.outputs.push(port("y"));
    m
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
