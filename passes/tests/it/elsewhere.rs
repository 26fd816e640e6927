//! `place-bootstraps` where levels run out between polynomials, and where there are none.

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::predict;
use fhec_ir::nn::{self, Nn, NnOp};
use fhec_ir::slot::{SlotOp, eval};
use fhec_ir::{Ckks, Entity, Module, Slot, Tensor, Value, largest_magnitude, verify};
use fhec_passes::Lower;
use fhec_passes::approx::Margin;
use fhec_passes::bootstraps::{Candidates, Placer, RangeSamples};
use fhec_passes::lower::{LowerToCkks, depth};
use fhec_passes::pack::Pack;
use fhec_passes::pipeline::{PlanOptions, plan};
use fhec_passes::planner::{Limits, Plan};
use fhec_passes::target::Target;

use crate::nets::Net;
use crate::place::Engine;
use crate::run::run;

/// How the values of a network grow.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// Linear maps of all values, and their products with a mask: what is added is read by the sum alone.
    Linear,
    /// A value is added as it is, which others read, too.
    Shared,
    /// Sums are squared.
    Squared,
    /// A polynomial of degree 3 at the start.
    Polynomial,
}

/// Linear maps with products between them, so that they are not one linear map. Images lie in [-`size`, `size`].
fn chain(values: Values, depth: usize, size: f32) -> (Module<Nn>, Vec<Vec<Tensor>>) {
    let mut net = Net::new(11);
    let x = net.input([1, 2, 4, 4]);
    let mut y = net.conv3(x, 2, 1);
    if values == Values::Polynomial {
        y = net.polynomial(y, 3, false);
    }
    let mask = net.conv3(x, 2, 1);
    let share = net.tensor(Tensor::new([1, 1, 1, 1], [0.5 / size.max(1.0)]));
    for _ in 0..depth {
        let z = net.conv3(y, 2, 1);
        let factor = if values == Values::Squared { z } else { mask };
        let product = net.push(NnOp::Mul {}, &[z, factor]);
        let product = net.push(NnOp::Mul {}, &[product, share]);
        let other = if values == Values::Shared { y } else { net.conv3(y, 2, 1) };
        y = net.add(other, product);
    }
    let samples = (0..16).map(|_| vec![net.numbers.tensor([1, 2, 4, 4], size)]).collect();
    (net.finish(&[y]).0, samples)
}

fn ranges(samples: &[Vec<Tensor>]) -> RangeSamples {
    RangeSamples::new(samples, Margin::Expected).expect("there are samples")
}

/// Whether everything that is refreshed lies in [-1, 1] on the sample.
fn in_range(program: &Module<Slot>, sample: &[Tensor]) -> bool {
    let refreshed: Vec<Value> =
        program.func.iter().filter(|(_, n)| n.op == SlotOp::Refresh {}).map(|(_, n)| n.operands[0]).collect();
    let ports = program.inputs.iter().zip(sample);
    let packed = ports.flat_map(|(port, t)| port.layout.as_ref().expect("packed").pack(t).expect("fits"));
    let mut largest = vec![0.0; program.func.len()];
    let observe = |v: Value, slots: &[f64]| largest[v.index()] = largest_magnitude(slots.iter().copied());
    eval::eval_slots(program, &packed.collect::<Vec<_>>(), observe).expect("runs");
    refreshed.iter().all(|v| largest[v.index()] <= 1.0)
}

fn agrees(network: &Module<Nn>, program: &Module<Ckks>, inputs: &[Tensor]) {
    let expected = nn::eval::eval(network, inputs).expect("the network runs");
    let found = run(program, inputs);
    for (a, b) in expected.iter().zip(&found).flat_map(|(a, b)| a.data().iter().zip(b.data())) {
        assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{a} and {b}");
    }
}

/// The levels, bootstraps and time of a plan are those of the program; it takes no more levels where it takes fewer.
fn as_planned(plan: &Plan, program: &Module<Ckks>, engine: &Engine) {
    verify(program).expect("the program is valid");
    let to = |op: &CkksOp| if let CkksOp::Bootstrap { to } = op { Some(*to) } else { None };
    let mut restored: Vec<u32> = program.func.iter().filter_map(|(_, node)| to(&node.op)).collect();
    let mut planned: Vec<u32> =
        plan.bootstraps.iter().flat_map(|b| std::iter::repeat_n(b.to, b.width as usize)).collect();
    restored.sort_unstable();
    planned.sort_unstable();
    assert_eq!(restored, planned);
    let starts = plan.steps.iter().map(|s| s.level).chain(plan.bootstraps.iter().map(|b| b.to));
    assert_eq!(depth(program), starts.max().unwrap_or(0).max(plan.input_level));
    let table = engine.costs(&engine.bootstrapping(depth(program)).expect("few levels"), 1 << 15);
    let time = predict(program, &table.expect("a table")).expect("all ops have times").micros;
    assert!((time / plan.latency_us - 1.0).abs() < 0.03, "{time} and {} planned", plan.latency_us);
}

#[test]
fn networks_without_room_between_polynomials_are_bootstrapped_at_other_values() {
    let engine = Engine { levels: 7 };
    for values in [Values::Linear, Values::Shared, Values::Squared, Values::Polynomial] {
        for (size, slots) in [(0.1, 1 << 15), (1.0, 1 << 15), (30.0, 16)] {
            // Its operands would leave its interval.
            if values == Values::Polynomial && size > 1.0 {
                continue;
            }
            let (network, samples) = chain(values, 8, size);
            let packed = Pack::new(slots).pack(&network).expect("packs");
            let ranges = ranges(&samples);
            let placer = Placer::new(&packed, &Candidates::new(), &engine, 0).expect("tensors");
            assert!(placer.place(&Limits::default()).is_err(), "levels run out before");
            let placer = placer.with_ranges(Some(&ranges), 1);
            let placement = placer.place(&Limits::default()).expect("a plan");
            assert!(placement.elsewhere > 0);
            let slot = placer.apply(&placement.plan);
            let program = LowerToCkks::default().run(&slot).expect("lowers");
            as_planned(&placement.plan, &program, &engine);
            for sample in &samples {
                assert!(in_range(&slot, sample));
                agrees(&network, &program, sample);
            }
        }
    }
}

#[test]
fn what_takes_the_factor_is_in_front_of_it_where_it_can_be() {
    let from = |values| {
        let (network, samples) = chain(values, 8, 30.0);
        let packed = Pack::new(1 << 15).pack(&network).expect("packs");
        let ranges = ranges(&samples);
        let engine = Engine { levels: 7 };
        let placer = Placer::new(&packed, &Candidates::new(), &engine, 0).expect("tensors");
        let plan = placer.with_ranges(Some(&ranges), 1).place(&Limits::default()).expect("a plan").plan;
        plan.bootstraps.iter().map(|b| b.from).collect::<Vec<_>>()
    };
    // The linear map in front of the product takes its share; what others read cannot take any.
    assert!(from(Values::Linear).iter().all(|&from| from == 0));
    assert!(from(Values::Shared).contains(&1));
}

#[test]
fn pipelines_bootstrap_chains_without_activations_in_the_smaller_ring() {
    // So many levels that without bootstraps they take a ring that is twice as large, or are more than any has.
    for depth in [25, 45] {
        let (network, samples) = chain(Values::Linear, depth, 1.0);
        let engine = Engine { levels: 9 };
        let options = PlanOptions { ranges: Some(ranges(&samples)), ..PlanOptions::default() };
        let planned = plan(&network, &options, Some(&engine), |_, _, _| {}).expect("a plan");
        assert!(planned.placement.is_some_and(|p| p.elsewhere > 0 && p.elsewhere == p.plan.bootstraps.len()));
        assert!(planned.notes.iter().any(|note| note.contains("on 16 calibration inputs")), "{:?}", planned.notes);
        assert_eq!(planned.module.params.as_ref().map(|spec| spec.log_n), Some(16));
        agrees(&network, &planned.module, &samples[0]);

        // Without calibration data nothing is known of its values.
        match plan(&network, &PlanOptions::default(), Some(&engine), |_, _, _| {}) {
            Ok(planned) => {
                assert_eq!(planned.module.params.as_ref().map(|spec| spec.log_n), Some(17));
                assert!(planned.notes.iter().any(|note| note.contains("give --calibration")), "{:?}", planned.notes);
            }
            Err(e) => assert!(e.issues.iter().any(|i| i.repair.contains("give --calibration")), "{:?}", e.issues),
        }
    }
}

#[test]
fn values_too_large_for_a_bootstrap_are_named() {
    let (network, samples) = chain(Values::Linear, 8, 1e13);
    let packed = Pack::new(1 << 15).pack(&network).expect("packs");
    let ranges = ranges(&samples);
    let engine = Engine { levels: 7 };
    let placer = Placer::new(&packed, &Candidates::new(), &engine, 0).expect("tensors");
    let error = placer.with_ranges(Some(&ranges), 1).place(&Limits::default()).expect_err("too large");
    assert!(error.issues.iter().any(|i| i.reason.contains("too much for a bootstrap")), "{:?}", error.issues);
}
