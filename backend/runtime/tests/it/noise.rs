//! The noise model, batches of images, and what simulations report.

use fhec_ir::ckks::CkksOp;
use fhec_ir::{F64, Tensor, largest_magnitude};
use fhec_runtime::{LANES, NoiseReport, Range, Simulator, chebyshev_arguments, run_clear};

use crate::programs::{Program, bootstrap_spec, every_op, image};

#[test]
fn a_seed_gives_the_same_noise_and_the_exact_result_has_none() {
    let plan = every_op();
    let run = |seed, image_number| Simulator::new(&plan, seed).run(image_number, &[image(2)]).unwrap();
    let first = run(7, 0);
    assert_eq!(first.outputs, run(7, 0).outputs);
    assert_ne!(first.outputs, run(8, 0).outputs);
    assert_ne!(first.outputs, run(7, 1).outputs);
    assert_eq!(first.exact, run_clear(&plan, &[image(2)]).unwrap());
    let error = first.outputs[0].data().iter().zip(first.exact[0].data()).map(|(a, b)| f64::from(a - b));
    let worst = largest_magnitude(error);
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
    assert_eq!(last.max_error, largest_magnitude(each.iter().map(|r| r.ops.last().unwrap().max_error)));
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

#[test]
fn what_is_not_a_number_is_beyond_every_limit() {
    let (mut p, x) = Program::new(4);
    // Infinity less infinity: no comparison with a limit is true of it.
    let huge = p.push(CkksOp::MulScalar { value: F64(f64::MAX), at: 4 }, [x]);
    let huge = p.rescale(huge);
    let huge = p.push(CkksOp::MulInt { by: 1 << 20 }, [huge]);
    let y = p.push(CkksOp::Sub {}, [huge, huge]);
    let plan = p.plan(y);
    for simulator in [Simulator::new(&plan, 3), Simulator::exact(&plan)] {
        let done = simulator.run(0, &[Tensor::full([1, 20], 1.0)]).unwrap();
        assert!(done.exact[0].data().iter().all(|x| x.is_nan()));
        let last = done.report.escapes.iter().find(|e| e.value == format!("{y}")).expect("NaN is reported");
        assert_eq!((last.magnitude, last.images), (f64::INFINITY, 1));
        assert!(done.report.ops.iter().all(|op| op.value != last.value || op.magnitude == f64::INFINITY));
    }
}

#[test]
fn a_batch_gives_each_image_what_it_gets_alone() {
    let plan = every_op();
    let images: Vec<Vec<Tensor>> = (0..2 * LANES + 3).map(|i| vec![image(i)]).collect();
    let simulator = Simulator::new(&plan, 7);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let progress = |n| {
        done.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
    };
    let many = simulator.run_many(&images, 2, &progress).unwrap();
    assert_eq!((done.into_inner(), many.report.images as usize), (images.len(), images.len()));
    for (i, x) in images.iter().enumerate() {
        let one = simulator.run(i as u64, x).unwrap();
        assert_eq!((&many.outputs[i], &many.exact[i]), (&one.outputs, &one.exact), "image {i}");
        assert_eq!(many.exact[i], run_clear(&plan, x).unwrap(), "the bits of the reference interpreter");
    }
    let again = simulator.run_many(&images, 1, &|_| ()).unwrap();
    assert_eq!((again.outputs, again.report.ops), (many.outputs, many.report.ops), "threads change nothing");
    let exact = Simulator::exact(&plan).run_many(&images, 2, &|_| ()).unwrap();
    assert_eq!((&exact.outputs, &exact.exact), (&many.exact, &many.exact));
    assert!(exact.report.ops.is_empty());
}

#[test]
fn a_transform_disturbs_its_operand_and_its_diagonals() {
    // Nothing but a transform of many terms: its error must be what the model says of the terms by themselves.
    let (mut p, x) = Program::new(1);
    let rotations: Vec<i64> = (0..32).collect();
    let giants: Vec<i64> = rotations.iter().map(|r| r / 8 * 8).collect();
    let y = p.linear(x, &rotations, &giants, 1);
    let plan = p.plan(y);
    let images: Vec<Vec<Tensor>> = (0..64).map(|i| vec![image(i)]).collect();
    let simulated = Simulator::new(&plan, 1).run_many(&images, 2, &|_| ()).unwrap();
    let measured = simulated.report.ops[0].rms_error;
    let model = fhec_runtime::NoiseModel::new(plan.spec(), plan.slots());
    let module = plan.module();
    let (_, diagonals) = module.consts.iter().next().unwrap();
    let squares = |chunk: &[f32]| chunk.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>() / chunk.len() as f64;
    let chunks = || diagonals.tensor.data().chunks(crate::programs::SLOTS);
    let all: f64 = chunks().map(squares).sum();
    let switched: f64 = chunks().enumerate().filter(|(i, _)| i % 8 != 0).map(|(_, c)| squares(c)).sum();
    // Half of the 64 slots repeat, so the mean square of the operand is that of its 20 elements over 32 slots.
    let energy = |x: &Tensor| x.data().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let operand: f64 = images.iter().map(|x| energy(&x[0])).sum::<f64>() / (32 * images.len()) as f64;
    let switch = model.key_switch(fhec_ir::ckks::CtTy::at(1));
    let variance = model.fresh().powi(2) * all
        + switch.powi(2) * switched
        + model.encode(crate::programs::SLOTS, 1).powi(2) * operand * rotations.len() as f64;
    let expected = variance.sqrt();
    assert!((measured / expected - 1.0).abs() < 0.1, "measured {measured:e}, expected {expected:e}");
}

#[test]
fn a_bootstrap_adds_its_error_and_names_inputs_beyond_its_interval() {
    let (mut p, x) = Program::with(bootstrap_spec(), 1);
    let half = p.push(CkksOp::MulScalar { value: F64(0.5), at: 1 }, [x]);
    let half = p.rescale(half);
    let fresh = p.0.push(CkksOp::Bootstrap { to: 4 }, [half], fhec_ir::Loc::onnx("relu_3")).unwrap();
    let y = p.push(CkksOp::Neg {}, [fresh]);
    let plan = p.plan(y);
    let images = |x: &[f32]| x.iter().map(|&x| vec![Tensor::full([1, 20], x)]).collect::<Vec<_>>();
    let simulate = |deviation: f64, x: &[f32]| {
        let simulator = Simulator::new(&plan, 5).with_bootstrap_error(deviation);
        simulator.run_many(&images(x), 1, &|_| ()).unwrap().report
    };
    for deviation in [1.0 / 131_072.0, 1.0 / 1024.0] {
        let report = simulate(deviation, &[1.0; 64]);
        assert!(report.escapes.is_empty() && report.layers.is_empty());
        let before = &report.ops[1];
        let after = &report.ops[2];
        assert!(before.rms_error < 1e-7, "{before:?}");
        assert!((after.rms_error / deviation - 1.0).abs() < 0.05, "{after:?}");
    }
    let report = simulate(0.0, &[1.0, 2.5, -1.9, -3.0]);
    let [escape] = &report.escapes[..] else { panic!("{:?}", report.escapes) };
    assert_eq!((escape.value.as_str(), escape.node.as_str(), escape.range), ("%2", "relu_3", Range::Bootstrap));
    let [layer] = &report.layers[..] else { panic!("{:?}", report.layers) };
    assert_eq!((layer.node.as_str(), layer.range, layer.images, layer.slots), ("relu_3", Range::Bootstrap, 2, 80));
    assert_eq!(layer.multiple, 1.5);
}

#[test]
fn a_layer_counts_each_of_its_images_once() {
    // Two polynomials of one node leave their intervals on different images, in different batches.
    let (mut p, x) = Program::new(3);
    let scaled = p.push(CkksOp::MulScalar { value: F64(2.0), at: 3 }, [x]);
    let scaled = p.rescale(scaled);
    let low = p.push(CkksOp::LevelDrop { to: 2 }, [x]);
    let (a, b) = (p.chebyshev2(scaled), p.chebyshev2(low));
    let y = p.push(CkksOp::Add {}, [a, b]);
    let plan = p.plan(y);
    let images: Vec<Vec<Tensor>> = (0..20).map(|i| vec![Tensor::full([1, 20], i as f32 / 16.0)]).collect();
    let report = Simulator::exact(&plan).run_many(&images, 2, &|_| ()).unwrap().report;
    // Beyond 1/2 for the doubled argument: 9 to 19; beyond 1 for the other, which is the input: 17 to 19.
    let of = |node: &str| report.layers.iter().find(|l| l.node == node).map(|l| (l.images, l.slots));
    assert_eq!(of("layer"), Some((11, 11 * 40)), "{:?}", report.layers);
    assert_eq!(of("image"), Some((3, 3 * 40)), "{:?}", report.layers);
    assert_eq!(report.escapes.iter().map(|e| e.images).sum::<u64>(), 14);
}
