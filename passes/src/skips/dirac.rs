//! Dirac kernels: which convolutions take one, and the weights with it.

use fhec_ir::nn::NnOp;
use fhec_ir::{Module, Nn, Tensor, Value};

/// A convolution that takes a Dirac kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    /// The op in that form, which moves by one element at a time.
    pub(super) op: NnOp,
    /// The average pooling before it, in place of strides.
    pub(super) pool: Option<NnOp>,
    /// The tap of the kernel, flat over its spatial dimensions, that reads the element under the output.
    pub(super) tap: usize,
}

/// How convolution `v` takes a Dirac kernel: with one group, constant weights and results as large as its operand, or
/// smaller by its strides. DiracNets have no strides but pool; here averages are taken, since a maximum is no linear
/// map.
pub(super) fn fits(module: &Module<Nn>, v: Value) -> Option<Fit> {
    let node = module.func.node(v);
    let NnOp::Conv { strides, pads, dilations, groups: 1 } = &node.op else { return None };
    let shape = |k: usize| &module.func.ty(node.operands[k]).0;
    if !matches!(module.func.node(node.operands[1]).op, NnOp::Const { .. }) {
        return None;
    }
    let (x, out, kernel) = (&shape(0).0[2..], &node.ty.0.0[2..], &shape(1).0[2..]);
    let rank = kernel.len();
    let strided = strides.iter().any(|&s| s != 1);
    let mut own = pads.clone();
    let mut tap = 0;
    for d in 0..rank {
        if strided {
            // Pooled first, the operand is as large as the result, and what was padded for strides is not right.
            if kernel[d].is_multiple_of(2) || x[d] as i64 != out[d] as i64 * strides[d] {
                return None;
            }
            let around = (kernel[d] as i64 - 1) / 2 * dilations[d];
            (own[d], own[rank + d]) = (around, around);
        }
        let at = own[d] / dilations[d];
        if own[d] % dilations[d] != 0 || at as usize >= kernel[d] || (!strided && x[d] != out[d]) {
            return None;
        }
        tap = tap * kernel[d] + at as usize;
    }
    let ones = vec![1; rank];
    let pool = strided.then(|| NnOp::AvgPool {
        kernel: strides.clone(),
        strides: strides.clone(),
        pads: vec![0; 2 * rank],
        dilations: ones.clone(),
        count_include_pad: false,
        ceil: false,
    });
    let op = NnOp::Conv { strides: ones, pads: own, dilations: dilations.clone(), groups: 1 };
    Some(Fit { op, pool, tap })
}

/// The norm of every filter.
pub(super) fn norms(weights: &Tensor) -> Vec<f32> {
    let filter: usize = weights.shape().0[1..].iter().product();
    let norm = |w: &[f32]| w.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32;
    weights.data().chunks(filter.max(1)).map(norm).collect()
}

/// `diag(a)·δ + diag(b)·weights/‖weights‖`. Beyond the smaller number of channels δ is 0, as is the quotient of a
/// filter of zeros.
pub(super) fn kernel(weights: &Tensor, tap: usize, a: &[f32], b: &[f32]) -> Tensor {
    let shape = weights.shape();
    let (channels, taps) = (shape.0[1], shape.0[2..].iter().product::<usize>());
    let mut data = weights.data().to_vec();
    for (f, (filter, norm)) in data.chunks_mut((channels * taps).max(1)).zip(norms(weights)).enumerate() {
        let scale = if norm > 0.0 { b[f] / norm } else { 0.0 };
        // Equal scales leave the weights bit by bit as they are.
        filter.iter_mut().for_each(|w| *w *= scale);
        if f < channels {
            filter[f * taps + tap] += a[f];
        }
    }
    Tensor::new(shape.clone(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Tensor {
        Tensor::new([3, 2, 1, 3], (0..18).map(|i| i as f32 / 4.0 - 2.0).collect::<Vec<_>>())
    }

    #[test]
    fn the_identity_alone_returns_the_operand() {
        let delta = kernel(&weights(), 1, &[1.0; 3], &[0.0; 3]);
        let ones: Vec<usize> = (0..18).filter(|&i| delta.data()[i] != 0.0).collect();
        assert_eq!(ones, [1, 10], "filter 0 reads channel 0, filter 1 channel 1, and filter 2 none");
        assert!(ones.iter().all(|&i| delta.data()[i] == 1.0));
    }

    #[test]
    fn norms_as_scales_keep_the_weights() {
        let w = weights();
        assert_eq!(kernel(&w, 1, &[0.0; 3], &norms(&w)), w);
        let halved = kernel(&w, 1, &[0.0; 3], &[0.5; 3]);
        assert!(norms(&halved).iter().all(|n| (n - 0.5).abs() < 1e-6));
        assert_eq!(kernel(&Tensor::full([1, 1, 1], 0.0), 0, &[2.0], &[1.0]).data(), [2.0]);
    }
}
