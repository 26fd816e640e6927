//! Packing by layouts and the meaning of the slot ops.

use fhec_ir::text::{Blobs, parse_module};
use fhec_ir::{Digit, Layout, LayoutError, Module, Shape, Slot, Tensor, slot::eval};
use proptest::prelude::*;

fn run(body: &str, inputs: &[Vec<f64>]) -> Vec<f64> {
    let params: Vec<String> = (0..inputs.len()).map(|i| format!("%x{i}: slots<4>")).collect();
    let text = format!(
        "const @v : tensor<4> = [1, 10, 100, 1000]\nconst @d : tensor<2x4> = [1, 1, 0, 0, 0, 5, 6, 7]\n\
         const @c : tensor<3x4> = [1, 1, 1, 1, 0, 1, 2, 3, 0, 0, 0, 1]\n\
         func @f({}) -> slots<4> {{ %y = {body} : slots<4> return %y }}",
        params.join(", ")
    );
    let module: Module<Slot> =
        parse_module("case.fhir", &text, &Blobs::default()).unwrap_or_else(|e| panic!("{}", e.listing()));
    eval::eval_slots(&module, inputs, |_, _| {}).expect("inputs fit").remove(0)
}

#[test]
fn every_op_computes_what_it_stands_for() {
    let x = vec![vec![1.0, 2.0, 3.0, 4.0]];
    let xy = vec![x[0].clone(), vec![2.0, 2.0, 0.5, -1.0]];
    let check = |body: &str, inputs: &[Vec<f64>], expected: [f64; 4]| assert_eq!(run(body, inputs), expected, "{body}");
    check("slot.add %x0, %x1", &xy, [3.0, 4.0, 3.5, 3.0]);
    check("slot.sub %x0, %x1", &xy, [-1.0, 0.0, 2.5, 5.0]);
    check("slot.mul %x0, %x1", &xy, [2.0, 4.0, 1.5, -4.0]);
    check("slot.neg %x0", &x, [-1.0, -2.0, -3.0, -4.0]);
    check("slot.add_plain %x0 {value = @v}", &x, [2.0, 12.0, 103.0, 1004.0]);
    check("slot.mul_plain %x0 {value = @v}", &x, [1.0, 20.0, 300.0, 4000.0]);
    check("slot.add_scalar %x0 {value = 0.5}", &x, [1.5, 2.5, 3.5, 4.5]);
    check("slot.mul_scalar %x0 {value = 0.5}", &x, [0.5, 1.0, 1.5, 2.0]);
    check("slot.rotate %x0 {by = 1}", &x, [2.0, 3.0, 4.0, 1.0]);
    check("slot.rotate %x0 {by = -5}", &x, [4.0, 1.0, 2.0, 3.0]);
    // Diagonal 0 at rotation 1, diagonal 1 at rotation -1.
    check("slot.linear %x0 {rotations = [1, -1], giants = [0, 0], diagonals = @d}", &x, [2.0, 8.0, 12.0, 21.0]);
    // 1 + 2t + 3(2t² - 1) with t = (x - 2)/2.
    check("slot.polynomial %x0 {basis = chebyshev, lo = 0, hi = 4, coeffs = [1, 2, 3]}", &x, [-1.5, -2.0, 0.5, 6.0]);
    // Slot s has the polynomial 1 + s·x, slot 3 also x².
    check(
        "slot.polynomial %x0 {basis = monomial, lo = -9, hi = 9, coeffs = [], vectors = @c}",
        &x,
        [1.0, 3.0, 7.0, 29.0],
    );
}

#[test]
fn ports_pack_and_unpack() {
    let text = r#"
input "x" : tensor<1x3> layout {slots = 8, ciphertexts = 1, period = 4, offset = 1, digits = [{dim = 1, divisor = 1, size = 3, stride = 1}]}
output "y" : tensor<1x2x2> layout {slots = 8, ciphertexts = 1, period = 8, offset = 0, digits = [{dim = 1, divisor = 1, size = 2, stride = 4}, {dim = 2, divisor = 1, size = 2, stride = 1}]}
func @f(%x: slots<8>) -> slots<8> {
  %y = slot.rotate %x {by = 1} : slots<8>
  return %y
}"#;
    let module: Module<Slot> = parse_module("case.fhir", text, &Blobs::default()).expect("the text is right");
    fhec_ir::verify(&module).expect("the module is right");
    let x = Tensor::new([1, 3], vec![1.0, 2.0, 3.0]);
    // The input repeats every four slots, so each half of the output sees it.
    let y = eval::eval(&module, &[x]).expect("inputs fit").remove(0);
    assert_eq!((y.shape(), y.data()), (&Shape(vec![1, 2, 2]), [1.0, 2.0, 1.0, 2.0].as_slice()));
    assert!(eval::eval(&module, &[]).is_err());
    assert!(eval::eval(&module, &[Tensor::new([3, 1], vec![0.0; 3])]).is_err());
}

#[test]
fn multiplexed_layout_interleaves_channels() {
    // Four channels of 2x2 at stride 2 in a 4x4 grid: channel c takes row c/2 and column c%2 of every 2x2 gap.
    let digit = |dim, divisor, size, stride| Digit { dim, divisor, size, stride };
    let digits = vec![digit(1, 2, 2, 4), digit(1, 1, 2, 1), digit(2, 1, 2, 8), digit(3, 1, 2, 2)];
    let layout = Layout { slots: 16, ciphertexts: 1, period: 16, offset: 0, digits, exponent: 0 };
    let x = Tensor::new([1, 4, 2, 2], (0..16).map(|i| i as f32).collect::<Vec<_>>());
    let packed = layout.pack(&x).expect("fits");
    assert_eq!(packed[0][..8], [0.0, 4.0, 1.0, 5.0, 8.0, 12.0, 9.0, 13.0]);
    assert_eq!(layout.unpack(&packed, x.shape()), Ok(x));
}

#[test]
fn misfits_are_errors() {
    let shape = Shape(vec![2, 3]);
    let layout = Layout::row_major(&shape, 4);
    assert_eq!(layout.ciphertexts, 2);
    let wide = Tensor::new([2, 9], vec![0.0; 18]);
    assert!(layout.pack(&wide).is_ok(), "digits reduce indices modulo their size");
    assert_eq!(layout.pack(&Tensor::scalar(1.0)), Err(LayoutError::Shape(Shape(vec![]))));
    let mut far = layout.clone();
    far.digits[1].stride = usize::MAX;
    assert_eq!(far.pack(&Tensor::full(shape.clone(), 1.0)), Err(LayoutError::Shape(shape.clone())));
    assert!(layout.unpack(&[vec![0.0; 4]], &shape).is_err());
    assert!(layout.unpack(&[vec![0.0; 4], vec![0.0; 3]], &shape).is_err());
}

proptest! {
    #[test]
    fn row_major_round_trips(dims in prop::collection::vec(1usize..5, 0..4), log_slots in 0u32..7) {
        let shape = Shape(dims);
        let data: Vec<f32> = (0..shape.len()).map(|i| i as f32 + 0.5).collect();
        let tensor = Tensor::new(shape.clone(), data);
        let layout = Layout::row_major(&shape, 1 << log_slots);
        let packed = layout.pack(&tensor).expect("fits");
        prop_assert_eq!(packed.len(), layout.ciphertexts);
        prop_assert_eq!(layout.unpack(&packed, &shape), Ok(tensor));
    }
}
