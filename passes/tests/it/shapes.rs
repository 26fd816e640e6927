//! `place-bootstraps` on networks of any shape: what is planned is what the program does.

use std::collections::BTreeMap;

use fhec_ir::ckks::CkksOp;
use fhec_ir::cost::predict;
use fhec_ir::nn::{self, Nn, NnOp};
use fhec_ir::{Ckks, Module, Tensor, Value, verify};
use fhec_passes::Lower;
use fhec_passes::approx::Choice;
use fhec_passes::bootstraps::{Candidates, Placer, Strategy, WeighedForm};
use fhec_passes::lower::{LowerToCkks, depth};
use fhec_passes::pack::{Pack, Packed, TensorKind};
use fhec_passes::pipeline::{PlanOptions, plan};
use fhec_passes::planner::{Limits, Plan};
use fhec_passes::target::Target;

use crate::nets::Net;
use crate::place::Engine;
use crate::run::run;

type Drawn = (Module<Nn>, Vec<Tensor>);

/// A polynomial of degree 7 that keeps results near [-1, 1].
fn layer(net: &mut Net, x: Value) -> Value {
    net.polynomial(x, 7, false)
}

/// The first tensor is added at the end of every block.
fn shared_source(depth: usize) -> Drawn {
    let mut net = Net::new(5);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let first = layer(&mut net, y);
    let mut y = first;
    for _ in 0..depth {
        let z = net.conv3(y, 2, 1);
        let z = layer(&mut net, z);
        let z = net.conv3(z, 2, 1);
        let z = net.add(z, first);
        y = layer(&mut net, z);
    }
    net.finish(&[y])
}

/// Every layer reads the results of all before it.
fn dense_block(depth: usize) -> Drawn {
    let mut net = Net::new(6);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let mut all = vec![layer(&mut net, y)];
    for _ in 0..depth {
        let together = if all.len() == 1 { all[0] } else { net.push(NnOp::Concat { axis: 1 }, &all.clone()) };
        let y = net.conv3(together, 2, 1);
        all.push(layer(&mut net, y));
    }
    let together = net.push(NnOp::Concat { axis: 1 }, &all);
    let y = net.conv3(together, 2, 2);
    let y = layer(&mut net, y);
    net.finish(&[y])
}

/// Two heads on one trunk; the trunk itself is a result, too.
fn several_outputs(depth: usize) -> Drawn {
    let mut net = Net::new(7);
    let x = net.input([1, 2, 4, 4]);
    let mut y = net.conv3(x, 2, 1);
    for _ in 1..depth {
        y = layer(&mut net, y);
        y = net.conv3(y, 2, 1);
    }
    let trunk = layer(&mut net, y);
    let mut heads = Vec::new();
    for depth in 1..3 {
        let mut z = trunk;
        for _ in 0..depth {
            z = net.conv3(z, 2, 1);
            z = layer(&mut net, z);
        }
        let flat = net.flatten(z);
        heads.push(net.fully_connected(flat, 3));
    }
    net.finish(&[heads[0], trunk, heads[1]])
}

/// Two encrypted inputs, one of which takes a longer way.
fn several_inputs(depth: usize) -> Drawn {
    let mut net = Net::new(8);
    let (a, b) = (net.input([1, 2, 4, 4]), net.input([1, 2, 4, 4]));
    let mut y = net.conv3(a, 2, 1);
    for _ in 1..depth {
        y = layer(&mut net, y);
        y = net.conv3(y, 2, 1);
    }
    let z = net.conv3(b, 2, 1);
    let z = layer(&mut net, z);
    let both = net.push(NnOp::Mul {}, &[y, z]);
    let sum = net.add(both, b);
    let y = net.conv3(sum, 2, 1);
    let y = layer(&mut net, y);
    net.finish(&[y])
}

/// Residual blocks whose channels are scaled by what a small network makes of their means; with `shared`, the first
/// tensor is added at the end of every block, too.
fn squeeze_and_excitation(depth: usize, shared: bool) -> Drawn {
    let mut net = Net::new(9);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let first = layer(&mut net, y);
    let mut y = first;
    for _ in 1..depth {
        let z = net.conv3(y, 2, 1);
        let z = layer(&mut net, z);
        let mean = net.global_mean(z);
        let flat = net.flatten(mean);
        let squeezed = net.fully_connected(flat, 2);
        let squeezed = layer(&mut net, squeezed);
        let excited = net.fully_connected(squeezed, 2);
        let scale = layer(&mut net, excited);
        let scale = net.push(NnOp::Reshape { shape: vec![1, 2, 1, 1] }, &[scale]);
        let scaled = net.push(NnOp::Mul {}, &[z, scale]);
        let mut sum = net.add(scaled, y);
        if shared && y != first {
            sum = net.add(sum, first);
        }
        y = layer(&mut net, sum);
    }
    net.finish(&[y])
}

/// One network of each shape, of more layers the larger `depth` is.
fn all(depth: usize) -> Vec<(&'static str, Drawn)> {
    vec![
        ("shared source", shared_source(depth)),
        ("dense block", dense_block(depth)),
        ("several outputs", several_outputs(depth)),
        ("several inputs", several_inputs(depth)),
        ("squeeze and excitation", squeeze_and_excitation(depth, false)),
        ("squeeze and excitation with a shared source", squeeze_and_excitation(depth, true)),
    ]
}

/// Levels that the bootstraps of a program restore, in any order.
fn restored(module: &Module<Ckks>) -> Vec<u32> {
    let to = |op: &CkksOp| match op {
        CkksOp::Bootstrap { to } => Some(*to),
        _ => None,
    };
    let mut all: Vec<u32> = module.func.iter().filter_map(|(_, node)| to(&node.op)).collect();
    all.sort_unstable();
    all
}

/// Whether the program computes what the network does.
fn agrees(name: &str, network: &Module<Nn>, program: &Module<Ckks>, inputs: &[Tensor]) {
    let expected = nn::eval::eval(network, inputs).expect("the network runs");
    let found = run(program, inputs);
    assert_eq!(expected.len(), found.len(), "{name}");
    for (a, b) in expected.iter().zip(&found).flat_map(|(a, b)| a.data().iter().zip(b.data())) {
        assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{name}: {a} and {b}");
    }
}

/// What a plan says of levels, bootstraps and time against the lowered program.
fn as_planned(name: &str, plan: &Plan, program: &Module<Ckks>, engine: &Engine, single_chain: bool) {
    verify(program).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    // Forks and joins one inside the other, of which the planner takes every operand to lie as high as the highest.
    if !plan.joins.is_empty() {
        assert!(
            depth(program) <= plan.steps.iter().map(|s| s.level).max().unwrap_or(0).max(plan.input_level),
            "{name}"
        );
        return;
    }
    let inputs = program.func.params().iter().map(|p| program.func.ty(*p).level).max();
    assert_eq!(inputs, Some(plan.input_level), "{name}");
    let planned = plan.bootstraps.iter().flat_map(|b| std::iter::repeat_n(b.to, b.width as usize));
    let mut planned: Vec<u32> = planned.collect();
    planned.sort_unstable();
    // With one chain bootstraps restore the highest level in use, which may be lower than the highest on offer.
    if !single_chain {
        assert_eq!(restored(program), planned, "{name}");
        let starts = plan.steps.iter().map(|s| s.level).chain(plan.bootstraps.iter().map(|b| b.to));
        assert_eq!(depth(program), starts.max().unwrap_or(0).max(plan.input_level), "{name}");
        let spec = engine.bootstrapping(depth(program)).expect("few levels");
        let slots = 1 << 15;
        let time = predict(program, &engine.costs(&spec, slots).expect("a table")).expect("all ops have times").micros;
        assert!((time / plan.latency_us - 1.0).abs() < 0.03, "{name}: {time} and {} planned", plan.latency_us);
    }
    assert_eq!(restored(program).len(), planned.len(), "{name}");
}

#[test]
fn networks_of_every_shape_are_placed_and_run_as_planned() {
    for (name, (network, inputs)) in all(3) {
        let packed = Pack::new(1 << 15).pack(&network).expect("packs");
        let mut counts = Vec::new();
        for levels in [6, 9, 24] {
            for strategy in [Strategy::Joint, Strategy::Layerwise, Strategy::Uniform, Strategy::Greedy] {
                let engine = Engine { levels };
                let placer =
                    Placer::new(&packed, &Candidates::new(), &engine, 0).expect("tensors").with_strategy(strategy);
                let placement = match placer.place(&Limits::default()) {
                    Ok(placement) => placement,
                    Err(e) if strategy != Strategy::Joint && levels < 24 => {
                        assert!(e.issues[0].reason.contains("levels run out"), "{name}: {:?}", e.issues);
                        continue;
                    }
                    Err(e) => panic!("{name}, {strategy:?} of {levels}: {:?}", e.issues),
                };
                let plan = &placement.plan;
                assert_eq!(plan.bound, 1.0);
                let single_chain = strategy.single_chain();
                let lower = LowerToCkks { single_chain, ..LowerToCkks::default() };
                let program = lower.run(&placer.apply(plan)).expect("lowers");
                as_planned(name, plan, &program, &engine, single_chain);
                agrees(name, &network, &program, &inputs);
                if strategy == Strategy::Joint {
                    counts.push(plan.bootstraps.len());
                    let rows = placement.explanation.to_string();
                    assert_eq!(rows.matches("\n  instead no bootstrap here").count(), plan.bootstraps.len(), "{rows}");
                }
            }
        }
        assert!(counts[0] > 0, "{name}: {counts:?}");
    }
}

#[test]
fn pipelines_bootstrap_networks_of_every_shape() {
    for (name, (network, inputs)) in all(15) {
        // So deep that without bootstraps no smaller ring holds them than with.
        let planned = plan(&network, &PlanOptions::default(), Some(&Engine { levels: 9 }), |_, _, _| {});
        let planned = planned.unwrap_or_else(|e| panic!("{name}: {:?}", e.issues));
        assert!(planned.placement.is_some_and(|p| !p.plan.bootstraps.is_empty()), "{name}");
        agrees(name, &network, &planned.module, &inputs);
    }
}

/// Two forms for every polynomial: the one that is there, and a shallower one.
fn offered(packed: &Packed) -> Candidates {
    let form = |degree: usize, error: f64| WeighedForm {
        choice: Choice::least_squares(degree),
        per_channel: false,
        error,
        max_error: error.sqrt(),
    };
    let activations = packed.tensors.iter().filter(|t| t.kind == TensorKind::Activation);
    let origins: Vec<Value> = activations.filter_map(|t| t.origin).collect();
    origins.into_iter().enumerate().map(|(i, o)| (o, vec![form(3, 0.01 * (i + 1) as f64), form(7, 0.001)])).collect()
}

#[test]
fn forms_and_bootstraps_are_chosen_together_in_networks_of_every_shape() {
    for (name, (network, _)) in all(3) {
        let packed = Pack::new(1 << 15).pack(&network).expect("packs");
        let candidates = offered(&packed);
        let engine = Engine { levels: 9 };
        let placer = Placer::new(&packed, &candidates, &engine, 0).expect("tensors");
        let front = placer.front(&Limits::default()).expect("plans");
        assert!(front.windows(2).all(|p| p[0].0.latency_us < p[1].0.latency_us && p[0].0.error > p[1].0.error));
        assert!(front.len() > 2, "{name}");
        for (plan, _) in &front {
            let choices: BTreeMap<Value, Choice> = placer.choices(plan, &candidates);
            assert_eq!(choices.len(), candidates.len(), "{name}");
            let best = placer.place(&Limits { max_error: Some(plan.error), ..Limits::default() }).expect("a plan").plan;
            assert!((best.latency_us / plan.latency_us - 1.0).abs() < 1e-9, "{name}");
            assert_eq!(placer.origins(plan).len(), plan.bootstraps.len(), "{name}");
        }
    }
}
