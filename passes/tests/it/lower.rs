//! `lower` and `choose-parameters`: ciphertexts compute what slots compute, at the depth the theory promises.

use fhec_ir::attr::F64;
use fhec_ir::ckks::{CkksOp, CtTy};
use fhec_ir::nn::{self, Activation, Basis, Nn, NnOp};
use fhec_ir::verify::verify;
use fhec_ir::{Ckks, Module, Slot, Tensor};
use fhec_passes::Lower;
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions};
use fhec_passes::approx::CompositeSign;
use fhec_passes::lower::{LowerToCkks, depth};
use fhec_passes::pack::Pack;
use fhec_passes::parameters::ParamOptions;
use fhec_passes::pipeline::{PlanOptions, plan};
use proptest::prelude::*;

use crate::nets::{self, Net};
use crate::run::run;

fn lowered(module: &Module<Nn>, max_slots: usize) -> (Module<Slot>, Module<Ckks>) {
    let slot = Pack::new(max_slots).run(module).expect("packs");
    verify(&slot).expect("the packed module is valid");
    let ckks = LowerToCkks::default().run(&slot).expect("lowers");
    verify(&ckks).expect("the lowered module is valid");
    (slot, ckks)
}

fn check(module: &Module<Nn>, inputs: &[Tensor], max_slots: usize) -> Module<Ckks> {
    let (_, ckks) = lowered(module, max_slots);
    let expected = nn::eval::eval(module, inputs).expect("the nn module runs");
    for (e, f) in expected.iter().zip(run(&ckks, inputs)) {
        let size = e.data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
        for (a, b) in e.data().iter().zip(f.data()) {
            assert!((a - b).abs() <= 2e-5 * size, "{a} against {b}, largest {size}");
        }
    }
    assert!(ckks.func.results().iter().all(|&r| *ckks.func.ty(r) == CtTy::at(0)));
    ckks
}

fn count(module: &Module<Ckks>, f: impl Fn(&CkksOp) -> bool) -> usize {
    module.func.iter().filter(|(_, n)| f(&n.op)).count()
}

#[test]
fn layers_spend_the_least_levels() {
    let levels = |build: fn(&mut Net, fhec_ir::Value) -> fhec_ir::Value| {
        let mut net = Net::new(21);
        let x = net.input([1, 2, 6, 6]);
        let y = build(&mut net, x);
        let (module, inputs) = net.finish(&[y]);
        depth(&check(&module, &inputs, 256))
    };
    assert_eq!(levels(|n, x| n.conv3(x, 3, 1)), 1);
    assert_eq!(levels(|n, x| n.square(x)), 1);
    for (degree, expected) in [(2, 1), (3, 2), (5, 3), (7, 3), (15, 4), (31, 5)] {
        let mut net = Net::new(22 + degree as u64);
        let x = net.input([1, 2, 6, 6]);
        let y = net.conv3(x, 3, 1);
        let y = net.polynomial(y, degree, degree % 3 == 0);
        let (module, inputs) = net.finish(&[y]);
        // The convolution takes one level, the interval's map none.
        let ckks = check(&module, &inputs, 256);
        let square_sign = u32::from(degree == 2 && count(&ckks, |op| matches!(op, CkksOp::MulPlain { .. })) > 0);
        assert_eq!(depth(&ckks), expected + 1 + square_sign, "degree {degree}");
    }
}

#[test]
fn a_composite_relu_takes_fourteen_levels() {
    let mut net = Net::new(23);
    let x = net.input([1, 2, 6, 6]);
    let y = net.conv3(x, 3, 1);
    let y = net.push(NnOp::Activation { function: Activation::Relu, alpha: None, beta: None }, &[y]);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 3);
    let samples: Vec<Vec<Tensor>> = (0..16).map(|_| vec![net.numbers.tensor([1, 2, 6, 6], 1.0)]).collect();
    let (module, _) = net.finish(&[y]);
    let composite = CompositeSign::of_degrees(&[15, 15, 27]).expect("it is published").clone();
    let options = ApproximateOptions::default().with_composite(composite);
    let approximated = ApproximateActivations::calibrated(&module, &samples, options).expect("has a sign form");
    let (polynomial, report) = (approximated.module, approximated.activations);
    let ckks = check(&polynomial, &samples[0], 256);
    // 4 + 4 + 5 and the product; neither the interval nor any factor takes a level of its own.
    assert_eq!(depth(&ckks), 1 + 14 + 1);
    let products = count(&ckks, |op| matches!(op, CkksOp::Mul {}));
    assert!((27..=30).contains(&products), "{products} products; 27 is the least");
    let relu = nn::eval::eval(&module, &samples[0]).expect("the network runs");
    let bound = report[0].max_error * 108.0f64.sqrt();
    let (expected, found) = (relu[0].data(), run(&ckks, &samples[0]));
    assert!(expected.iter().zip(found[0].data()).all(|(a, b)| f64::from((a - b).abs()) < bound), "{bound}");
}

#[test]
fn the_map_of_a_shared_operand_is_undone_without_a_level() {
    // 1 / (1 / b) · (1 / b) comes out as 1 for the first of these only.
    for b in [4.0, 6.7, 9.1] {
        let mut net = Net::new(24);
        let x = net.input([1, 1, 4, 4]);
        let x = net.conv3(x, 1, 1);
        let coeffs = [0.1, 0.5, 0.0, 0.2].map(F64).to_vec();
        let y = net.push(NnOp::Polynomial { basis: Basis::Chebyshev, lo: F64(-b), hi: F64(b), rows: 1, coeffs }, &[x]);
        let y = net.push(NnOp::Mul {}, &[x, y]);
        let y = net.conv3(y, 1, 1);
        let (module, inputs) = net.finish(&[y]);
        assert_eq!(depth(&check(&module, &inputs, 64)), 1 + 2 + 1 + 1, "on [-{b}, {b}]");
    }
}

#[test]
fn one_rescale_and_one_relinearisation_per_sum() {
    let mut net = Net::new(31);
    let x = net.input([1, 2, 4, 4]);
    let p = net.polynomial(x, 3, false);
    let a = net.conv3(p, 2, 1);
    let b = net.conv3(x, 2, 1);
    let y = net.add(a, b);
    let (module, inputs) = net.finish(&[y]);
    let ckks = check(&module, &inputs, 64);
    // Two transforms of values at different levels meet in one sum.
    let linear = count(&ckks, |op| matches!(op, CkksOp::Linear { .. }));
    assert_eq!(linear, 2);
    let rescales = count(&ckks, |op| matches!(op, CkksOp::Rescale {}));
    let relinearisations = count(&ckks, |op| matches!(op, CkksOp::Relinearize {}));
    // The sum, the interval's map, and T_2, quotient and result of the cubic.
    assert_eq!((rescales, relinearisations), (5, 2));
    assert_eq!(count(&ckks, |op| matches!(op, CkksOp::LevelDrop { .. })), 0);
}

#[test]
fn skips_wait_at_a_higher_level_for_free() {
    let mut net = Net::new(32);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let r = net.polynomial(y, 7, false);
    let y = net.conv3(r, 2, 1);
    let y = net.polynomial(y, 7, false);
    let y = net.conv3(y, 2, 1);
    let y = net.add(y, r);
    let (module, inputs) = net.finish(&[y]);
    let ckks = check(&module, &inputs, 64);
    assert_eq!(depth(&ckks), 1 + 3 + 1 + 3 + 1);
    // The skip joins the last convolution before its rescale.
    let skip = |op: &CkksOp| matches!(op, CkksOp::MulScalar { value, at: 1 } if value.0 == 1.0);
    assert_eq!(count(&ckks, skip), 1);
}

#[test]
fn parameters_are_secure_and_hold_the_program() {
    let mut net = Net::new(33);
    let x = net.input([1, 1, 12, 12]);
    let y = net.conv3(x, 4, 1);
    let y = net.polynomial(y, 7, false);
    let y = net.avg_pool(y, 2, 2);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 10);
    let (module, inputs) = net.finish(&[y]);
    let mut seen = Vec::new();
    let planned = plan(&module, &PlanOptions::default(), None, |pass, snapshot| {
        seen.push((pass.to_string(), snapshot.text().len()));
    })
    .expect("plans");
    assert_eq!(seen.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["pack", "lower"]);
    verify(&planned.module).expect("valid with parameters");
    let spec = planned.module.params.clone().expect("chosen");
    assert_eq!(spec.levels, 5);
    assert!(!spec.insecure && spec.log_qp() <= spec.max_log_qp().expect("tabulated"));
    assert!(spec.slots() >= 1024 && spec.first_bits <= 50 && spec.special_bits >= spec.first_bits);
    // One ring smaller does not fit: the choice is the smallest.
    let smaller = PlanOptions {
        params: ParamOptions { log_n: Some(spec.log_n - 1), ..ParamOptions::default() },
        ..PlanOptions::default()
    };
    let error = plan(&module, &smaller, None, |_, _| {}).expect_err("too small");
    assert!(error.issues[0].reason.contains("128-bit security"), "{}", error.issues[0].reason);
    let insecure =
        PlanOptions { params: ParamOptions { insecure: true, ..smaller.params.clone() }, ..PlanOptions::default() };
    let marked = plan(&module, &insecure, None, |_, _| {}).expect("on request").module.params.expect("chosen");
    assert!(marked.insecure);
    let expected = nn::eval::eval(&module, &inputs).expect("runs");
    let found = run(&planned.module, &inputs);
    assert!(expected[0].data().iter().zip(found[0].data()).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn networks_too_deep_are_refused_with_numbers() {
    let mut net = Net::new(34);
    let mut x = net.input([1, 1, 4, 4]);
    for _ in 0..40 {
        x = net.conv3(x, 1, 1);
        x = net.polynomial(x, 31, false);
    }
    let (module, _) = net.finish(&[x]);
    let params = ParamOptions { scale_bits: Some(40), ..ParamOptions::default() };
    let options = PlanOptions { params, ..PlanOptions::default() };
    let error = plan(&module, &options, None, |_, _| {}).expect_err("240 levels");
    assert!(error.issues[0].reason.contains("240 levels"), "{}", error.issues[0].reason);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_networks_agree(
        seed in 0u64..1 << 32,
        c in 1usize..=3,
        h in 3usize..=7,
        w in 3usize..=7,
        layers in prop::collection::vec(nets::layer(), 1..6),
        head in any::<bool>(),
        slots in prop::sample::select(vec![32usize, 128, 4096]),
    ) {
        let (module, inputs) = nets::network(seed, [c, h, w], &layers, head);
        prop_assume!(nets::in_range(&module, &inputs));
        check(&module, &inputs, slots);
    }
}
