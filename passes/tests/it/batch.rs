//! `batch`: many images compute what each computes, with the ops of one.

use fhec_ir::slot::{self, SlotOp};
use fhec_ir::{Module, Slot, Tensor, Value, batches, images};
use fhec_passes::Pass;
use fhec_passes::batch::Batch;
use fhec_passes::pack::Pack;

use crate::nets::Net;

/// A network with every kind of slot op: strided convolution, skip, polynomials shared and per channel, pool, dense layer.
fn net(seed: u64) -> (Net, Value) {
    let mut net = Net::new(seed);
    let x = net.input([1, 2, 8, 8]);
    let y = net.conv3(x, 4, 2);
    let r = net.polynomial(y, 3, true);
    let y = net.conv3(r, 4, 1);
    let y = net.add(y, r);
    let y = net.polynomial(y, 5, false);
    let y = net.square(y);
    let y = net.avg_pool(y, 2, 2);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 3);
    (net, y)
}

fn packed(max_slots: usize) -> (Module<Slot>, Vec<Tensor>) {
    let (net, y) = net(51);
    let (module, inputs) = net.finish(&[y]);
    (Pack::new(max_slots).pack(&module).expect("packs").module, inputs)
}

#[test]
fn every_image_of_a_batch_computes_what_it_computes_alone() {
    // In one ciphertext, and split over several.
    for max_slots in [1 << 10, 1 << 6] {
        let (module, first) = packed(max_slots);
        let image = |i: usize| vec![first[0].map(|x| x * (1.0 - 0.3 * i as f32) + 0.05 * i as f32)];
        let sets: Vec<Vec<Tensor>> = (0..6).map(image).collect();
        let alone: Vec<_> = sets.iter().map(|set| slot::eval::eval(&module, set).expect("runs")).collect();
        let batched = Batch { images: 4 }.run(&module).expect("batches");
        fhec_ir::verify(&batched).expect("verifies");
        assert_eq!(batched.func.len(), module.func.len(), "op by op");
        assert_eq!(batched.inputs[0].shape.0, [4, 2, 8, 8]);
        let runs: Vec<_> = batches(&sets, 4).iter().map(|run| slot::eval::eval(&batched, run).expect("runs")).collect();
        assert_eq!(runs.len(), 2, "six images fill two runs");
        assert_eq!(images(&runs, 4, 6), alone, "{max_slots} slots");
        assert_ne!(alone[0], alone[1]);
    }
}

#[test]
fn a_batch_takes_the_rotations_of_one_image() {
    let (module, _) = packed(1 << 10);
    let batched = Batch { images: 8 }.run(&module).expect("batches");
    for ((_, one), (_, many)) in module.func.iter().zip(batched.func.iter()) {
        assert_eq!(many.ty.0, 8 * one.ty.0);
        if let (SlotOp::Linear { rotations: one, .. }, SlotOp::Linear { rotations: many, .. }) = (&one.op, &many.op) {
            assert_eq!(one.iter().map(|by| by * 8).collect::<Vec<_>>(), *many);
        }
    }
}

#[test]
fn what_cannot_be_batched_is_said() {
    let (module, _) = packed(1 << 10);
    let error = Batch { images: 3 }.run(&module).unwrap_err();
    assert!(error.issues[0].reason.contains("power of two"), "{error:?}");
    let mut net = Net::new(52);
    let x = net.input([4, 8]);
    let y = net.square(x);
    let (module, _) = net.finish(&[y]);
    let module = Pack::new(64).pack(&module).expect("packs").module;
    assert!(Batch { images: 1 }.run(&module).is_ok_and(|same| same.inputs == module.inputs));
    let error = Batch { images: 2 }.run(&module).unwrap_err();
    assert_eq!(error.issues.len(), 2, "the input and the output: {error:?}");
    assert!(error.issues[0].reason.contains("of shape 4x8 has no batch dimension of 1"), "{error:?}");
}
