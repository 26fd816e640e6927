//! Which dimension is the batch.

use fhec_frontend::proto::{Attribute, Model, Node, Tensor, ValueInfo};
use fhec_frontend::{as_one_image, without_batch};
use fhec_ir::nn::eval::eval;
use fhec_ir::verify;

use crate::{import, model, refuse};

fn network(input: &[i64]) -> Model {
    let ints = |name: &str, list: &[i64]| Tensor::ints(name, &[list.len() as i64], list);
    model(
        17,
        input,
        vec![
            Tensor::floats("w", &[2, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0]),
            Tensor::floats("fc", &[8, 3], &[0.5; 24]),
            Tensor::floats("rows", &[4, 3], &[0.25; 12]),
            ints("shape", &[input[0], 8]),
        ],
        vec![
            Node::new("Conv", "conv", &["x", "w"], &["c"], vec![]),
            Node::new("Relu", "relu", &["c"], &["r"], vec![]),
            Node::new("Reshape", "flat", &["r", "shape"], &["f"], vec![]),
            Node::new("MatMul", "fc", &["f", "fc"], &["m"], vec![]),
            Node::new("Add", "bias", &["m", "rows"], &["b"], vec![]),
            Node::new("Softmax", "softmax", &["b"], &["y"], vec![]),
        ],
    )
}

#[test]
fn a_fixed_batch_is_one_image() {
    let whole = import(&network(&[4, 1, 3, 3]));
    let single = without_batch(&whole).expect("nothing mixes images");
    assert_eq!(single.extent, 4);
    verify(&single.module).unwrap();
    assert_eq!(single.module.inputs[0].shape.to_string(), "1x1x3x3");
    assert_eq!(single.module.outputs[0].shape.to_string(), "1x3");
    let x = fhec_ir::Tensor::new([4, 1, 3, 3], (0..36).map(|i| (i as f32).sin()).collect::<Vec<_>>());
    let all = eval(&whole, std::slice::from_ref(&x)).unwrap().remove(0);
    for (image, expected) in x.unstack(4).into_iter().zip(all.unstack(4)) {
        assert_eq!(eval(&single.module, &[image]).unwrap()[0], expected);
    }
    assert!(
        without_batch(&import(&model(17, &[1, 3], vec![], vec![Node::new("Relu", "", &["x"], &["y"], vec![])])))
            .is_none()
    );
}

#[test]
fn what_mixes_images_is_no_batch() {
    let over = |axis: i64| {
        let sum = Node::new("ReduceMean", "mean", &["x"], &["m"], vec![Attribute::ints("axes", &[axis])]);
        vec![sum, Node::new("Sub", "centre", &["x", "m"], &["y"], vec![])]
    };
    assert!(without_batch(&import(&model(13, &[4, 3], vec![], over(0)))).is_none());
    assert!(without_batch(&import(&model(13, &[4, 3], vec![], over(1)))).is_some());
    // Rows with parameters of their own.
    let rows = Tensor::floats("rows", &[4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let scale = vec![Node::new("Mul", "scale", &["x", "rows"], &["y"], vec![])];
    assert!(without_batch(&import(&model(13, &[4, 3], vec![rows], scale))).is_none());
}

#[test]
fn a_symbolic_dimension_that_is_no_batch_is_refused() {
    let reason = |nodes: Vec<Node>, constants: Vec<Tensor>| {
        let error = refuse(&model(13, &[-1, 3], constants, nodes));
        let issue = error.issues()[0].clone();
        (issue.node.map(|node| node.name), issue.reason)
    };
    let mean = vec![Node::new("ReduceMean", "mean", &["x"], &["y"], vec![Attribute::ints("axes", &[0])])];
    let (node, text) = reason(mean, vec![]);
    assert_eq!(node.as_deref(), Some("mean"));
    assert_eq!(text, "dimension 0 (`batch`) of input `x` has no fixed extent, and is no batch: the node sums over it");
    let positions = Tensor::floats("p", &[5, 3], &[0.0; 15]);
    let add = vec![Node::new("Add", "add", &["x", "p"], &["y"], vec![])];
    assert!(reason(add, vec![positions]).1.ends_with("pairs its elements with others"));
    let gram = vec![
        Node::new("Transpose", "t", &["x"], &["t"], vec![]),
        Node::new("MatMul", "gram", &["x", "t"], &["y"], vec![]),
    ];
    assert!(reason(gram, vec![]).1.ends_with("multiplies along it"));
}

#[test]
fn a_batch_may_lie_behind_other_dimensions() {
    let step = |nodes: Vec<Node>| {
        let mut m = model(13, &[5, -1, 3], vec![Tensor::floats("w", &[3, 2], &[0.5; 6])], nodes);
        m.graph.as_mut().unwrap().output = vec![ValueInfo::floats("y", &[])];
        m
    };
    let dense = vec![Node::new("MatMul", "fc", &["x", "w"], &["y"], vec![])];
    assert_eq!(import(&step(dense)).inputs[0].shape.to_string(), "5x1x3");
    let flat = vec![Node::new("Flatten", "flat", &["x"], &["y"], vec![Attribute::int("axis", 0)])];
    assert!(refuse(&step(flat)).issues()[0].reason.contains("only the batch may be symbolic"));
}

#[test]
fn what_is_no_batch_does_not_pass_for_one() {
    let rows = Tensor::floats("rows", &[4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let whole = import(&model(13, &[4, 3], vec![rows], vec![Node::new("Mul", "", &["x", "rows"], &["y"], vec![])]));
    assert!(without_batch(&whole).is_none());
    let one = as_one_image(&whole).unwrap().expect("both ports have four rows");
    verify(&one).unwrap();
    assert_eq!((one.inputs[0].shape.to_string(), one.outputs[0].shape.to_string()), ("1x4x3".into(), "1x4x3".into()));
    let x: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
    let [a, b] = [(&whole, vec![4, 3]), (&one, vec![1, 4, 3])]
        .map(|(m, shape)| eval(m, &[fhec_ir::Tensor::new(fhec_ir::Shape(shape), x.clone())]).unwrap().remove(0));
    assert_eq!(a.data(), b.data());
    assert!(as_one_image(&one).unwrap().is_none());
}
