//! The noise model and what it reports.

use fhec_ir::ckks::CkksOp;
use fhec_ir::{F64, Tensor};
use fhec_runtime::{NoiseReport, Range, Simulator, chebyshev_arguments, run_clear};

use crate::programs::{Program, every_op, image};

#[test]
fn a_seed_gives_the_same_noise_and_the_exact_result_has_none() {
    let plan = every_op();
    let run = |seed, image_number| Simulator::new(&plan, seed).run(image_number, &[image(2)]).unwrap();
    let first = run(7, 0);
    assert_eq!(first.outputs, run(7, 0).outputs);
    assert_ne!(first.outputs, run(8, 0).outputs);
    assert_ne!(first.outputs, run(7, 1).outputs);
    assert_eq!(first.exact, run_clear(&plan, &[image(2)]).unwrap());
    let error = first.outputs[0].data().iter().zip(first.exact[0].data()).map(|(a, b)| (a - b).abs());
    let worst = error.fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 1e-6, "{worst}");
    assert_eq!(first.report.ops.len(), plan.module().func.len() - 1);
    assert!(first.report.escapes.is_empty(), "{:?}", first.report.escapes);
    assert!(first.report.ops.iter().all(|op| op.node == "layer" && op.rms_error <= op.max_error));
}

#[test]
fn errors_of_many_images_are_merged() {
    let plan = every_op();
    let simulator = Simulator::new(&plan, 1);
    let mut all = NoiseReport::default();
    let each: Vec<_> = (0..5).map(|i| simulator.run(i, &[image(i as usize)]).unwrap().report).collect();
    each.iter().for_each(|r| all.merge(r.clone()));
    assert_eq!(all.images, 5);
    let last = all.ops.last().unwrap();
    let squares: f64 = each.iter().map(|r| r.ops.last().unwrap().rms_error.powi(2)).sum();
    assert!((last.rms_error - (squares / 5.0).sqrt()).abs() < 1e-15);
    assert_eq!(last.max_error, each.iter().map(|r| r.ops.last().unwrap().max_error).fold(0.0, f64::max));
}

#[test]
fn an_argument_beyond_the_interval_is_reported_at_its_value() {
    let (mut p, x) = Program::new(4);
    let scaled = p.push(CkksOp::MulScalar { value: F64(0.5), at: 4 }, [x]);
    let scaled = p.rescale(scaled);
    let t2 = p.chebyshev2(scaled);
    let t4 = p.chebyshev2(t2);
    let plan = p.plan(t4);
    let arguments = chebyshev_arguments(plan.module());
    assert_eq!(arguments.into_iter().collect::<Vec<_>>(), [1], "the argument of T_2, not that of T_4");
    let simulator = Simulator::new(&plan, 3);
    assert!(simulator.run(0, &[Tensor::full([1, 20], 1.9)]).unwrap().report.escapes.is_empty());
    let mut report = simulator.run(0, &[Tensor::full([1, 20], 2.5)]).unwrap().report;
    report.merge(simulator.run(1, &[Tensor::full([1, 20], 3.0)]).unwrap().report);
    let [escape] = &report.escapes[..] else { panic!("{:?}", report.escapes) };
    assert_eq!((escape.value.as_str(), escape.range, escape.images), ("%1", Range::Interval, 2));
    assert_eq!((escape.magnitude, escape.limit, escape.slots), (1.5, 1.0, 80));
}

#[test]
fn a_value_too_large_for_its_modulus_is_reported() {
    let (mut p, x) = Program::new(0);
    let y = p.push(CkksOp::MulInt { by: 100 }, [x]);
    let plan = p.plan(y);
    let simulator = Simulator::new(&plan, 3);
    // q_0 has 49 bits and the scale 40: magnitudes up to 2^8 fit.
    assert!(simulator.run(0, &[Tensor::full([1, 20], 2.5)]).unwrap().report.escapes.is_empty());
    let report = simulator.run(0, &[Tensor::full([1, 20], 2.6)]).unwrap().report;
    assert_eq!((report.escapes.len(), report.escapes[0].range), (1, Range::Modulus));
    assert_eq!(report.escapes[0].limit, 256.0);
}
