//! `pack`: slots compute what tensors compute, with the transforms the theory promises.

use fhec_ir::nn::{self, Nn, NnOp};
use fhec_ir::slot::{self, SlotOp};
use fhec_ir::{F64, Head, Module, Slot, Tensor, ValueRange};
use fhec_passes::batch::Batch;
use fhec_passes::lower::LowerToCkks;
use fhec_passes::pack::{Pack, without_heads};
use fhec_passes::{Lower, Pass};
use proptest::prelude::*;

use crate::nets::{self, Layer, Net, Window};

/// Packs, runs both interpreters, and compares.
fn check(module: &Module<Nn>, inputs: &[Tensor], max_slots: usize) -> Module<Slot> {
    let packed = Pack::new(max_slots).pack(module).unwrap_or_else(|e| panic!("{e}: {:?}", e.issues)).module;
    let expected = nn::eval::eval(module, inputs).expect("the nn module runs");
    let found = slot::eval::eval(&packed, inputs).expect("the slot module runs");
    assert_eq!(expected.len(), found.len());
    for (e, f) in expected.iter().zip(&found) {
        assert_eq!(e.shape(), f.shape());
        let size = e.data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
        for (a, b) in e.data().iter().zip(f.data()) {
            assert!((a - b).abs() <= 2e-5 * size, "{a} against {b}, largest {size}");
        }
    }
    packed
}

/// Diagonals, baby steps and giant steps of every transform.
fn transforms(module: &Module<Slot>) -> Vec<(usize, usize, usize)> {
    let distinct = |list: Vec<i64>| {
        let mut list: Vec<i64> = list.into_iter().filter(|&r| r != 0).collect();
        list.sort_unstable();
        list.dedup();
        list.len()
    };
    module
        .func
        .iter()
        .filter_map(|(_, node)| match &node.op {
            SlotOp::Linear { rotations, giants, .. } => {
                let babies = rotations.iter().zip(giants).map(|(r, g)| r - g).collect();
                Some((rotations.len(), distinct(babies), distinct(giants.clone())))
            }
            _ => None,
        })
        .collect()
}

fn count(module: &Module<Slot>, f: impl Fn(&SlotOp) -> bool) -> usize {
    module.func.iter().filter(|(_, n)| f(&n.op)).count()
}

#[test]
fn a_convolution_of_a_resnet_is_one_transform_of_few_steps() {
    let mut net = Net::new(1);
    let x = net.input([1, 16, 32, 32]);
    let y = net.conv3(x, 16, 1);
    let (module, inputs) = net.finish(&[y]);
    let packed = check(&module, &inputs, 1 << 15);
    let Some((_, node)) = packed.func.iter().next() else { panic!("no input") };
    assert_eq!(node.ty.0, 1 << 14);
    let [(diagonals, babies, giants)] = transforms(&packed)[..] else { panic!("one transform expected") };
    assert_eq!(diagonals, 144);
    assert!(babies + giants <= 24, "{babies} baby and {giants} giant steps");
}

#[test]
fn strided_convolution_stays_on_the_grid() {
    let mut net = Net::new(2);
    let x = net.input([1, 16, 32, 32]);
    let y = net.conv3(x, 32, 2);
    let y = net.polynomial(y, 3, false);
    let z = net.conv3(y, 32, 1);
    let (module, inputs) = net.finish(&[z]);
    let packed = check(&module, &inputs, 1 << 14);
    let found = transforms(&packed);
    assert_eq!(found.len(), 2);
    // 49 offsets within the grid times 8 channel blocks.
    assert!(found[1].0 <= 392, "{found:?}");
    assert!(found[0].0 <= 400, "{found:?}");
}

#[test]
fn few_outputs_take_few_diagonals() {
    let mut net = Net::new(3);
    let x = net.input([1, 1024]);
    let y = net.fully_connected(x, 16);
    let (module, inputs) = net.finish(&[y]);
    let packed = check(&module, &inputs, 1 << 13);
    let [(diagonals, babies, giants)] = transforms(&packed)[..] else { panic!("one transform expected") };
    assert_eq!(diagonals, 16);
    assert!(babies + giants <= 9);
    assert_eq!(count(&packed, |op| matches!(op, SlotOp::Rotate { .. })), 6);
}

#[test]
fn linear_chains_become_one_transform() {
    let mut net = Net::new(4);
    let x = net.input([1, 3, 12, 12]);
    let y = net.conv3(x, 4, 1);
    let y = net.avg_pool(y, 2, 2);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 10);
    let (module, inputs) = net.finish(&[y]);
    assert_eq!(transforms(&check(&module, &inputs, 4096)).len(), 1);
}

#[test]
fn identity_skips_need_no_transform() {
    let mut net = Net::new(5);
    let x = net.input([1, 4, 8, 8]);
    let y = net.conv3(x, 4, 1);
    let r = net.polynomial(y, 7, false);
    let y = net.conv3(r, 4, 1);
    let y = net.polynomial(y, 7, false);
    let y = net.conv3(y, 4, 1);
    let y = net.add(y, r);
    let y = net.polynomial(y, 7, false);
    let (module, inputs) = net.finish(&[y]);
    let packed = check(&module, &inputs, 4096);
    assert_eq!(transforms(&packed).len(), 3);
    // The skip is multiplied by the scale of the last polynomial's interval.
    assert_eq!(count(&packed, |op| matches!(op, SlotOp::MulScalar { .. })), 1);
}

#[test]
fn a_linear_residual_is_one_transform() {
    let mut net = Net::new(7);
    let x = net.input([1, 4, 8, 8]);
    let p = net.polynomial(x, 3, false);
    let y = net.conv3(p, 4, 1);
    let y = net.add(y, p);
    let (module, inputs) = net.finish(&[y]);
    let packed = check(&module, &inputs, 1024);
    // x + conv(x): the skip is one more entry of the middle diagonal.
    let mut alone = Net::new(7);
    let x = alone.input([1, 4, 8, 8]);
    let p = alone.polynomial(x, 3, false);
    let y = alone.conv3(p, 4, 1);
    let (module, inputs) = alone.finish(&[y]);
    assert_eq!(transforms(&packed), transforms(&check(&module, &inputs, 1024)));
    assert_eq!(count(&packed, |op| matches!(op, SlotOp::Add {})), 0);
}

#[test]
fn option_a_shortcut_is_one_transform() {
    let mut net = Net::new(6);
    let x = net.input([1, 4, 8, 8]);
    let p = net.polynomial(x, 3, false);
    let a = net.conv3(p, 8, 2);
    let s = net.push(NnOp::Slice { starts: vec![0; 4], sizes: vec![1, 4, 4, 4], steps: vec![1, 1, 2, 2] }, &[p]);
    let pads = vec![0, 2, 0, 0, 0, 2, 0, 0];
    let mode = fhec_ir::nn::PadMode::Constant;
    let s = net.push(NnOp::Pad { pads, mode, value: fhec_ir::attr::F64(0.0) }, &[s]);
    let y = net.add(a, s);
    let (module, inputs) = net.finish(&[y]);
    // Same source, hence even the same transform.
    assert_eq!(transforms(&check(&module, &inputs, 1024)).len(), 1);
}

#[test]
fn tensors_larger_than_a_ciphertext_span_several() {
    let mut net = Net::new(7);
    let x = net.input([1, 6, 8, 8]);
    let y = net.conv3(x, 5, 1);
    let y = net.polynomial(y, 3, true);
    let y = net.conv3(y, 8, 2);
    let y = net.square(y);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 10);
    let (module, inputs) = net.finish(&[y]);
    for slots in [32, 64, 128, 256] {
        let packed = check(&module, &inputs, slots);
        assert_eq!(packed.func.params().len(), 384 / slots + usize::from(384 % slots != 0));
    }
}

#[test]
fn quadratics_complete_to_one_square() {
    let mut net = Net::new(8);
    let x = net.input([1, 2, 4, 4]);
    let y = net.conv3(x, 2, 1);
    let y = net.polynomial(y, 2, true);
    let y = net.conv3(y, 2, 1);
    let (module, inputs) = net.finish(&[y]);
    let packed = check(&module, &inputs, 64);
    assert_eq!(count(&packed, |op| matches!(op, SlotOp::Mul { .. })), 1);
    assert_eq!(count(&packed, |op| matches!(op, SlotOp::Polynomial { .. })), 0);
}

#[test]
fn everything_in_the_way_is_listed() {
    let mut net = Net::new(9);
    let x = net.input([1, 2, 4, 4]);
    let relu = NnOp::Activation { function: nn::Activation::Relu, alpha: None, beta: None };
    let y = net.push(relu, &[x]);
    let pool =
        NnOp::MaxPool { kernel: vec![2; 2], strides: vec![2; 2], pads: vec![0; 4], dilations: vec![1; 2], ceil: false };
    let y = net.push(pool, &[y]);
    let z = net.push(NnOp::Softmax { axis: 1 }, &[y]);
    let z = net.push(NnOp::Div {}, &[z, y]);
    let (module, _) = net.finish(&[z]);
    let error = Pack::new(64).pack(&module).expect_err("nothing of this is a polynomial");
    let nodes: Vec<_> = error.issues.iter().filter_map(|i| i.node.as_ref()).collect();
    let ops: Vec<&str> = nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["activation", "max_pool", "softmax", "div"]);
    assert!(error.issues.iter().all(|i| !i.repair.is_empty()) && nodes.iter().all(|node| node.name.starts_with('n')));
}

#[test]
fn a_last_softmax_is_left_to_the_client() {
    let mut net = Net::new(10);
    let x = net.input([1, 8]);
    let y = net.fully_connected(x, 4);
    let z = net.push(NnOp::Softmax { axis: 1 }, &[y]);
    let (module, sample) = net.finish(&[z]);
    let packed = Pack::new(64).pack(&module).expect("softmax at the end is dropped");
    assert_eq!(packed.notes.len(), 1);
    assert!(packed.notes[0].contains("softmax"));
    // What is known of the results is measured without it.
    let (rest, notes) = without_heads(&module);
    assert_eq!(notes, packed.notes);
    let decrypted = slot::eval::eval(&packed.module, &sample).expect("runs");
    let measured = nn::eval::eval(&rest, &sample).expect("runs");
    let pairs = decrypted[0].data().iter().zip(measured[0].data());
    assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", pairs.collect::<Vec<_>>());
}

#[test]
fn a_softmax_that_something_else_reads_is_no_head() {
    let mut net = Net::new(10);
    let x = net.input([1, 8]);
    let y = net.fully_connected(x, 4);
    let z = net.push(NnOp::Softmax { axis: 1 }, &[y]);
    let w = net.push(NnOp::Neg {}, &[z]);
    let (module, _) = net.finish(&[z, w]);
    let (rest, notes) = without_heads(&module);
    assert_eq!((rest.func.len(), notes.len()), (module.func.len(), 0));
}

#[test]
fn every_head_is_left_to_the_client() {
    for (op, head) in [
        (NnOp::LogSoftmax { axis: 1 }, "log_softmax"),
        (NnOp::ArgMax { axis: 1, keepdims: false }, "arg_max"),
        (NnOp::ArgMax { axis: 1, keepdims: true }, "arg_max"),
    ] {
        let mut net = Net::new(10);
        let x = net.input([1, 8]);
        let y = net.fully_connected(x, 4);
        let z = net.push(NnOp::Softmax { axis: 1 }, &[y]);
        let z = net.push(op, &[z]);
        let (module, _) = net.finish(&[z]);
        let (rest, notes) = without_heads(&module);
        assert_eq!(rest.outputs[0].shape.to_string(), "1x4");
        assert!(notes[0].starts_with("softmax") && notes[1].starts_with(head), "{notes:?}");
    }
    // What only moves elements may follow, and is left with the head.
    let mut net = Net::new(11);
    let x = net.input([1, 8]);
    let y = net.push(NnOp::Softmax { axis: 1 }, &[x]);
    let y = net.push(NnOp::Reshape { shape: vec![8] }, &[y]);
    let (module, _) = net.finish(&[y]);
    let (rest, notes) = without_heads(&module);
    assert_eq!((rest.func.len(), notes.len()), (1, 1));
    let mut net = Net::new(11);
    let x = net.input([1, 8]);
    let y = net.push(NnOp::ArgMax { axis: 1, keepdims: true }, &[x]);
    let y = net.push(NnOp::Reshape { shape: vec![1] }, &[y]);
    let (module, _) = net.finish(&[y]);
    assert_eq!((without_heads(&module).0.func.len(), without_heads(&module).1.len()), (1, 1));
}

#[test]
fn heads_and_the_encrypted_network_are_the_network() {
    let softmax = NnOp::Softmax { axis: -1 };
    let tails = [
        vec![softmax.clone()],
        vec![NnOp::LogSoftmax { axis: 2 }, NnOp::Transpose { perm: vec![0, 2, 1] }],
        vec![NnOp::Transpose { perm: vec![0, 2, 1] }, softmax.clone(), NnOp::Reshape { shape: vec![8] }],
        vec![softmax, NnOp::ArgMax { axis: 1, keepdims: false }, NnOp::Reshape { shape: vec![4] }],
    ];
    for tail in tails {
        let mut net = Net::new(13);
        let x = net.input([1, 8]);
        let y = net.fully_connected(x, 8);
        let y = net.push(NnOp::Reshape { shape: vec![1, 2, 4] }, &[y]);
        let y = tail.iter().fold(y, |y, op| net.push(op.clone(), &[y]));
        let (module, sample) = net.finish(&[y]);
        let packed = Pack::new(64).run(&module).expect("packs");
        // A head is one image's, whatever the batch.
        let batched = Batch { images: 4 }.run(&packed).expect("batches");
        fhec_ir::verify(&batched).expect("verifies");
        let expected = nn::eval::eval(&module, &sample).expect("runs");
        let stacked: Vec<Tensor> = sample.iter().map(|t| Tensor::stack(&[t, t, t, t])).collect();
        let decrypted = slot::eval::eval(&batched, &stacked).expect("runs");
        for image in decrypted[0].unstack(4) {
            let found = batched.outputs[0].heads.iter().fold(image, |t, head| head.apply(&t).expect("fits"));
            assert_eq!(found.shape(), expected[0].shape(), "{tail:?}");
            let pairs = found.data().iter().zip(expected[0].data());
            assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-4), "{tail:?}: {:?}", pairs.collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_head_that_mixes_images_cannot_be_applied_and_is_named() {
    let mut net = Net::new(14);
    let x = net.input([4, 8]);
    let y = net.push(NnOp::Softmax { axis: 0 }, &[x]);
    let z = net.push(NnOp::Softmax { axis: 1 }, &[x]);
    let (module, _) = net.finish(&[y, z]);
    let packed = Pack::new(64).pack(&module).expect("packs");
    let heads: Vec<&[Head]> = packed.module.outputs.iter().map(|port| &port.heads[..]).collect();
    assert_eq!(heads, [&[][..], &[Head::Softmax { axis: 1 }]]);
    assert!(packed.notes[2].contains("`y0` mixes the 4 images of a run"), "{:?}", packed.notes);
}

#[test]
fn ranges_of_ports_are_kept() {
    let mut net = Net::new(12);
    let x = net.input([1, 8]);
    let y = net.fully_connected(x, 4);
    let (mut module, _) = net.finish(&[y]);
    let range = |low, high| Some(ValueRange { low: F64(low), high: F64(high) });
    (module.inputs[0].range, module.outputs[0].range) = (range(0.0, 1.0), range(-7.5, 8.0));
    let packed = Pack::new(64).run(&module).expect("packs");
    let batched = Batch { images: 2 }.run(&packed).expect("batches");
    let lowered = LowerToCkks::default().run(&batched).expect("lowers");
    for (inputs, outputs) in
        [(&packed.inputs, &packed.outputs), (&batched.inputs, &batched.outputs), (&lowered.inputs, &lowered.outputs)]
    {
        assert_eq!((inputs[0].range, outputs[0].range), (range(0.0, 1.0), range(-7.5, 8.0)));
    }
}

/// Slots hold a part of large results where the maps in front of them take that for nothing; what is decrypted is whole.
#[test]
fn results_are_divided_where_that_is_free() {
    let divided = |module: &Module<Nn>, inputs: &[Tensor]| {
        let packed = Pack { result_exponent: 4, ..Pack::new(64) }.pack(module).expect("packs").module;
        let plain = Pack::new(64).pack(module).expect("packs").module;
        assert_eq!(
            slot::eval::eval(&packed, inputs),
            slot::eval::eval(&plain, inputs),
            "a power of two rounds nothing"
        );
        let batched = Batch { images: 2 }.run(&packed).expect("batches");
        assert_eq!(packed.func.len(), plain.func.len());
        let exponents =
            |m: &Module<Slot>| m.outputs.iter().map(|p| p.layout.as_ref().unwrap().exponent).collect::<Vec<_>>();
        assert_eq!(exponents(&packed), exponents(&batched));
        exponents(&packed)
    };
    let network = |polynomial_is_result: bool| {
        let mut net = Net::new(15);
        let x = net.input([1, 8]);
        let y = net.fully_connected(x, 4);
        let z = net.polynomial(y, 3, false);
        let w = net.fully_connected(z, 4);
        net.finish(&[w, if polynomial_is_result { z } else { y }])
    };
    let (module, inputs) = network(false);
    assert_eq!(divided(&module, &inputs), [4, 4]);
    let (module, inputs) = network(true);
    assert_eq!(divided(&module, &inputs), [0, 0], "a polynomial as it is would have to be multiplied");
}

#[test]
fn packing_is_deterministic() {
    let mut net = Net::new(11);
    let x = net.input([1, 3, 8, 8]);
    let y = net.conv3(x, 4, 2);
    let y = net.polynomial(y, 3, true);
    let y = net.global_mean(y);
    let (module, _) = net.finish(&[y]);
    let run = || Pack::new(256).pack(&module).expect("packs").module;
    let (a, b) = (run(), run());
    assert_eq!(a.func, b.func);
    assert!(a.consts.iter().zip(b.consts.iter()).all(|((_, x), (_, y))| x.digest == y.digest && x.name == y.name));
}

#[test]
fn a_layout_spelled_in_other_digits_is_still_stated() {
    // Found by `random_networks_agree`: the candidates of the result had the addresses of row-major order, spelled over
    // dimensions that the result does not have.
    let window = |k, s, pads| Window { k, s, pads, d: [1, 1] };
    let layers = [
        Layer::AvgPool { k: 1, s: 2, pad: 0, include: false, ceil: false },
        Layer::Conv { filters: 4, window: window([1, 1], [2, 1], [1, 1, 0, 0]), groups: false },
        Layer::Concat,
        Layer::Polynomial { degree: 2, per_channel: false },
        Layer::Conv { filters: 4, window: window([1, 3], [1, 1], [0, 2, 1, 0]), groups: false },
    ];
    let (module, inputs) = nets::network(0, [3, 3, 3], &layers, false);
    check(&module, &inputs, 32);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_networks_agree(
        seed in 0u64..1 << 32,
        c in 1usize..=4,
        h in 3usize..=9,
        w in 3usize..=9,
        layers in prop::collection::vec(nets::layer(), 1..6),
        head in any::<bool>(),
        slots in prop::sample::select(vec![32usize, 128, 4096]),
    ) {
        let (module, inputs) = nets::network(seed, [c, h, w], &layers, head);
        let depends = module.func.results().iter().any(|&r| module.func.node(r).op != NnOp::Neg {});
        prop_assume!(depends);
        prop_assume!(nets::in_range(&module, &inputs));
        check(&module, &inputs, slots);
    }
}
