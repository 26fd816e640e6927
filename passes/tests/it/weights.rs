//! Which weights reach which diagonals, against what becomes of packed programs when weights are zero.

use std::collections::BTreeSet;
use std::convert::Infallible;

use fhec_ir::nn::{Nn, NnOp};
use fhec_ir::slot::SlotOp;
use fhec_ir::{Module, Tensor, Value};
use fhec_passes::pack::{DiagonalWeights, Pack};

use crate::nets::Net;

/// Convolution, quadratic, pooling, convolution, quadratic, fully connected.
fn network() -> Module<Nn> {
    let mut net = Net::new(9);
    let x = net.input([1, 2, 8, 8]);
    let y = net.conv3(x, 4, 2);
    let y = net.polynomial(y, 2, false);
    let y = net.avg_pool(y, 2, 2);
    let y = net.conv3(y, 4, 1);
    let y = net.polynomial(y, 2, true);
    let flat = net.flatten(y);
    let y = net.fully_connected(flat, 5);
    net.finish(&[y]).0
}

fn with_zeros(module: &Module<Nn>, constant: Value, zeros: &BTreeSet<u32>) -> Module<Nn> {
    let Ok(made) = module.rebuild(|out, v, node, operands| {
        let op = match &node.op {
            NnOp::Const { value } if v == constant => {
                let tensor = module.consts.tensor(*value);
                let data = tensor.data().iter().enumerate();
                let data: Vec<f32> = data.map(|(e, &w)| if zeros.contains(&(e as u32)) { 0.0 } else { w }).collect();
                NnOp::Const { value: out.consts.insert("w", Tensor::new(tensor.shape().clone(), data)) }
            }
            op => op.clone(),
        };
        Ok::<_, Infallible>(out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone()))
    });
    made
}

/// The diagonals of every transform of the packed program.
fn diagonals(module: &Module<Nn>) -> usize {
    let packed = Pack::new(1 << 12).pack(module).unwrap().module;
    let of = |op: &SlotOp| match op {
        SlotOp::Linear { rotations, .. } => rotations.len(),
        SlotOp::MulPlain { .. } => 1,
        _ => 0,
    };
    packed.func.iter().map(|(_, node)| of(&node.op)).sum()
}

#[test]
fn a_diagonal_is_left_out_when_all_its_weights_are_zero_and_not_before() {
    let module = network();
    let transforms = Pack::new(1 << 12).weights(&module).unwrap();
    assert_eq!(transforms.len(), 3);
    let all: Vec<&DiagonalWeights> = transforms.iter().flat_map(|t| &t.diagonals).collect();
    assert_eq!(diagonals(&module), all.len());
    for transform in &transforms {
        assert!(transform.diagonals.iter().all(|d| d.weights.is_some()), "weights are all that these maps hold");
        for diagonal in transform.diagonals.iter().step_by(5) {
            let (constant, elements) = diagonal.weights.as_ref().unwrap();
            let zeros: BTreeSet<u32> = elements.iter().copied().collect();
            let gone = |d: &&&DiagonalWeights| {
                let (other, elements) = d.weights.as_ref().unwrap();
                other == constant && elements.iter().all(|e| zeros.contains(e))
            };
            let pruned = diagonals(&with_zeros(&module, *constant, &zeros));
            assert_eq!(pruned, all.len() - all.iter().filter(gone).count(), "{elements:?}");
            assert!(pruned < all.len());
            let one_left = zeros.iter().skip(1).copied().collect();
            assert!(diagonals(&with_zeros(&module, *constant, &one_left)) > pruned, "{elements:?}");
        }
    }
}

#[test]
fn what_is_no_weight_keeps_its_diagonal() {
    let mut net = Net::new(4);
    let x = net.input([1, 4, 4, 4]);
    let y = net.conv3(x, 4, 1);
    // x + conv(x) is one map, whose diagonal without a rotation holds ones.
    let y = net.add(y, x);
    let transforms = Pack::new(1 << 12).weights(&net.finish(&[y]).0).unwrap();
    let [transform] = &transforms[..] else { panic!("one transform is expected") };
    let kept: Vec<_> = transform.diagonals.iter().filter(|d| d.weights.is_none()).collect();
    assert_eq!(kept.iter().map(|d| (d.baby + d.giant) % 64).collect::<Vec<_>>(), [0]);
}
