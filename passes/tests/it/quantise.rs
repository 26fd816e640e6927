//! Networks become integer programs that compute nearly the same, within bounds that no input leaves.

use fhec_integer::Program;
use fhec_ir::nn::{Activation, NnOp, eval};
use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::quantise::{Capacity, QuantiseError, Room, quantise};

use crate::nets::{Net, Numbers};

fn capacity(bits: u32, norm: f64) -> Capacity {
    let results = vec![Room { bits: bits + 4, norm: 16.0 }, Room { bits: bits + 6, norm: 4.0 }];
    let lookups = Room { bits, norm };
    Capacity { lookups, first: lookups, results }
}

fn relu() -> NnOp {
    NnOp::Activation { function: Activation::Relu, alpha: None, beta: None }
}

/// Conv, ReLU, average pool, conv, ReLU, a convolution around these, dense.
fn network() -> Module<Nn> {
    let mut net = Net::new(3);
    let x = net.input([1, 1, 6, 6]);
    let c = net.conv3(x, 3, 1);
    let a = net.push(relu(), &[c]);
    let p = net.avg_pool(a, 2, 2);
    let c = net.conv3(p, 2, 1);
    let skip = net.conv3(p, 2, 1);
    let a = net.push(relu(), &[c]);
    let sum = net.push(NnOp::Add {}, &[a, skip]);
    let flat = net.flatten(sum);
    let y = net.fully_connected(flat, 4);
    net.finish(&[y]).0
}

fn samples(count: usize) -> Vec<Vec<Tensor>> {
    let mut numbers = Numbers::new(9);
    (0..count).map(|_| vec![numbers.tensor([1, 1, 6, 6], 1.0)]).collect()
}

/// The mean square difference of the results over that from their mean.
fn error(program: &Program, net: &Module<Nn>, inputs: &[Vec<Tensor>]) -> f64 {
    let (mut error, mut square, mut sum, mut count) = (0.0, 0.0, 0.0, 0.0);
    for x in inputs {
        let wanted = eval::eval(net, x).unwrap().remove(0);
        let found = program.run(x).unwrap().remove(0);
        for (&a, &b) in found.data().iter().zip(wanted.data()) {
            let (a, b) = (f64::from(a), f64::from(b));
            error += (a - b).powi(2);
            (square, sum, count) = (square + b * b, sum + b, count + 1.0);
        }
    }
    error / (square - sum * sum / count)
}

#[test]
fn a_network_with_a_skip_is_quantised_within_its_bounds() {
    let (net, samples) = (network(), samples(96));
    let wide = quantise(&net, &samples[..64], &capacity(8, 17.0)).unwrap();
    let narrow = quantise(&net, &samples[..64], &capacity(6, 9.0)).unwrap();
    for (quantised, bits, norm) in [(&wide, 8, 17.0), (&narrow, 6, 9.0)] {
        let program = &quantised.program;
        program.verify().unwrap();
        for layer in &program.layers {
            let tops = program.column_tops(&layer.sums);
            for row in 0..layer.sums.rows() {
                let (low, high) = layer.sums.bounds(row, |c| tops[c]).unwrap();
                assert!(high - low < 1 << bits && layer.sums.squared_norm(row) <= norm * norm);
            }
        }
        assert_eq!(quantised.layers.iter().map(|l| l.node.as_str()).collect::<Vec<_>>().len(), 3);
    }
    // On inputs that took no part.
    let errors = [&wide, &narrow].map(|q| error(&q.program, &net, &samples[64..]));
    assert!(errors[0] < 0.1 && errors[1] < 0.35 && errors[0] < errors[1], "{errors:?}");
}

#[test]
fn quantisation_says_what_is_in_the_way() {
    let (net, inputs) = (network(), samples(40));
    assert!(matches!(quantise(&net, &inputs[..8], &capacity(6, 9.0)), Err(QuantiseError::Samples { found: 8, .. })));
    // Not one weight of 1 fits anywhere: the first layer is named, whose sums have fewer products than those that follow.
    let nothing = quantise(&net, &inputs, &capacity(1, 0.5)).map(|q| q.layers);
    let Err(QuantiseError::DoesNotFit { products: 9, bits: 1, .. }) = &nothing else { panic!("{nothing:?}") };
    let mut product = Net::new(4);
    let x = product.input([1, 4]);
    let a = product.push(relu(), &[x]);
    let y = product.push(NnOp::Mul {}, &[a, x]);
    let product = product.finish(&[y]).0;
    let inputs: Vec<_> = (0..40).map(|i| vec![Tensor::new([1, 4], vec![i as f32; 4])]).collect();
    let Err(QuantiseError::Pass(e)) = quantise(&product, &inputs, &capacity(6, 9.0)) else {
        panic!("a product of two tensors was quantised")
    };
    assert!(e.issues[0].reason.contains("product of two tensors"), "{:?}", e.issues);
}
