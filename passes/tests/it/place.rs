//! `place-bootstraps`: composite ReLUs, and the placements that others use.

use std::collections::BTreeMap;

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::{LatencyTable, Timed};
use fhec_ir::nn::{self, Activation, Nn, NnOp};
use fhec_ir::{Circuit, Module, ParamSpec, Tensor, Value, verify};
use fhec_passes::activations::{ApproximateActivations, ApproximateOptions};
use fhec_passes::approx::CompositeSign;
use fhec_passes::bootstraps::{Candidates, Placer, Strategy};
use fhec_passes::lower::depth;
use fhec_passes::pack::{Pack, TensorKind};
use fhec_passes::pipeline::{PlanOptions, Planned, plan};
use fhec_passes::planner::Limits;
use fhec_passes::target::Target;

use crate::nets::Net;
use crate::run::run;

/// An engine whose ops take time in proportion to the primes, and a bootstrap as long as a thousand of them and more the
/// higher it goes.
#[derive(Debug)]
pub struct Engine {
    /// The most levels beside those of a bootstrap.
    pub levels: u32,
}

impl Target for Engine {
    fn bootstrapping(&self, levels: u32) -> Option<ParamSpec> {
        let spec = ParamSpec {
            log_n: 16,
            first_bits: 50,
            scale_bits: 40,
            levels,
            special_bits: 50,
            special: 5,
            bootstrap: Some(Circuit { stc_bits: 42, ..Circuit::compact(40) }.into()),
            insecure: false,
        };
        (levels <= self.levels).then_some(spec)
    }
    fn costs(&self, spec: &ParamSpec, _: usize) -> Option<LatencyTable> {
        let times = |factor: f64, fixed: f64| (0..=spec.levels).map(|l| fixed + factor * f64::from(l + 1)).collect();
        let ops = [
            Timed::Add,
            Timed::AddPlain,
            Timed::AddScalar,
            Timed::MulPlain,
            Timed::MulScalar,
            Timed::Mul,
            Timed::Relinearize,
            Timed::Rescale,
            Timed::LevelDrop,
            Timed::Rotate,
            Timed::Hoist,
            Timed::BabyStep,
            Timed::GiantStep,
            Timed::Diagonal,
        ];
        Some(LatencyTable {
            name: "line".into(),
            log_n: spec.log_n,
            micros: ops.into_iter().map(|op| (op, times(1.0, 0.0))).collect(),
            with_key: BTreeMap::new(),
            bootstrap: BTreeMap::from([(1 << 15, times(50.0, 1000.0))]),
        })
    }
}

fn relu(net: &mut Net, x: Value) -> Value {
    net.push(NnOp::Activation { function: Activation::Relu, alpha: None, beta: None }, &[x])
}

/// A residual block between two convolutions, with a ReLU after each sum and layer.
fn residual() -> (Module<Nn>, Vec<Vec<Tensor>>) {
    let mut net = Net::new(77);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let skip = relu(&mut net, y);
    let y = net.conv3(skip, 2, 1);
    let y = relu(&mut net, y);
    let y = net.conv3(y, 2, 1);
    let y = net.add(y, skip);
    let y = relu(&mut net, y);
    let samples = (0..16).map(|_| vec![net.numbers.tensor([1, 2, 4, 4], 1.0)]).collect();
    (net.finish(&[y]).0, samples)
}

fn composite(module: &Module<Nn>, samples: &[Vec<Tensor>]) -> Module<Nn> {
    let composite = CompositeSign::of_degrees(&[15, 15, 27]).expect("it is published").clone();
    let options = ApproximateOptions::default().with_composite(composite);
    ApproximateActivations::calibrated(module, samples, options).expect("ReLU has a composite form").module
}

fn planned(strategy: Strategy) -> Planned {
    let (module, samples) = residual();
    let options = PlanOptions { strategy, ..PlanOptions::default() };
    let planned =
        plan(&composite(&module, &samples), &options, Some(&Engine { levels: 24 }), |_, _, _| {}).expect("plans");
    verify(&planned.module).expect("the program is valid");
    for sample in &samples[..4] {
        let expected = nn::eval::eval(&module, sample).expect("the network runs");
        let found = run(&planned.module, sample);
        let pairs = expected[0].data().iter().zip(found[0].data());
        // Three composites of 13 bits, one after the other, on intervals of length up to 4.
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 4e-3), "{expected:?} {found:?}");
    }
    planned
}

/// The levels that the program's bootstraps restore.
fn bootstraps(planned: &Planned) -> Vec<u32> {
    let to = |op: &CkksOp| match op {
        CkksOp::Bootstrap { to } => Some(*to),
        _ => None,
    };
    planned.module.func.iter().filter_map(|(_, node)| to(&node.op)).collect()
}

#[test]
fn uniform_placement_bootstraps_every_relu_but_the_first_to_the_top() {
    let uniform = planned(Strategy::Uniform);
    // The input has a composite and the convolutions on both sides of it before the first bootstrap.
    assert_eq!(depth(&uniform.module), 1 + 14 + 1);
    assert_eq!(bootstraps(&uniform), [16, 16]);
    let plan = uniform.placement.expect("bootstraps are planned").plan;
    assert_eq!((plan.bootstraps.len(), plan.activations.len()), (2, 3));
    assert!(plan.bootstraps.iter().all(|b| b.to == 16));
    assert_eq!(plan.activations[0].candidate, "degree 15, degree 15, degree 27");
    assert!(plan.activations.iter().all(|a| a.level - a.after == 14));
}

#[test]
fn layerwise_placement_restores_the_level_needed() {
    let layerwise = planned(Strategy::Layerwise);
    // A composite and the convolution, or the factor of the result, after it.
    assert_eq!((depth(&layerwise.module), bootstraps(&layerwise)), (16, vec![15, 15]));
    let plan = layerwise.placement.expect("bootstraps are planned").plan;
    assert!(plan.bootstraps.iter().all(|b| b.to == 15));
}

#[test]
fn the_exact_planner_is_no_slower_than_others() {
    let time = |strategy| planned(strategy).placement.expect("planned").plan.latency_us;
    let joint = {
        let (module, samples) = residual();
        let packed = Pack::new(1 << 15).pack(&composite(&module, &samples)).expect("packs");
        let placer = Placer::new(&packed, &Candidates::new(), &Engine { levels: 24 }, 0).expect("one in, one out");
        placer.place(&Limits::default()).expect("fits").plan.latency_us
    };
    for strategy in [Strategy::Layerwise, Strategy::Uniform, Strategy::Greedy] {
        assert!(joint <= time(strategy), "{strategy:?}");
    }
}

#[test]
fn bootstraps_fall_inside_composites_where_levels_are_few() {
    let (module, samples) = residual();
    let module = composite(&module, &samples);
    let packed = Pack::new(1 << 15).pack(&module).expect("packs");
    let engine = Engine { levels: 9 };
    let place = |strategy| {
        let placer = Placer::new(&packed, &Candidates::new(), &engine, 0).expect("one in, one out");
        placer.with_strategy(strategy).place(&Limits::default())
    };
    assert!(place(Strategy::Uniform).is_err());
    let inside = place(Strategy::Joint).expect("a bootstrap between two polynomials").plan;
    assert!(inside.bootstraps.len() > 3);
    // A point goes by the polynomial after it; those inside have another polynomial before it.
    let is_polynomial = |tensor: usize| packed.tensors[tensor].kind == TensorKind::Activation;
    let is_inside =
        |tensor: usize| is_polynomial(tensor) && packed.tensors[tensor].operands.iter().any(|&o| is_polynomial(o));
    assert!(inside.bootstraps.iter().any(|b| is_inside(b.key)));
    let options = PlanOptions { strategy: Strategy::Greedy, ..PlanOptions::default() };
    let planned = plan(&module, &options, Some(&engine), |_, _, _| {}).expect("plans");
    assert!(bootstraps(&planned).iter().all(|to| *to == depth(&planned.module)));
}
