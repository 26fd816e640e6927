//! Tiny ONNX models and data for them.

use std::path::Path;

use fhec::ir::{Port, Shape, largest_magnitude};
use fhec::{Tensor, data};
use fhec_frontend::proto::{self, Attribute, Graph, Node, ValueInfo};
use prost::Message;

/// Numbers between -1 and 1 without a pattern.
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn write(path: &Path, graph: Graph) {
    std::fs::write(path, proto::Model::new(17, graph).encode_to_vec()).unwrap();
}

/// Convolution, ReLU, fully connected: 8 x 8 pixels to 3 scores.
pub fn write_tiny(path: &Path) {
    write(path, tiny(0.25));
}

/// The tiny network with scores of some tens, and a softmax behind them.
pub fn write_softmax(path: &Path) {
    let mut graph = tiny(20.0);
    graph.node.push(Node::new("Softmax", "softmax", &["y"], &["p"], vec![Attribute::int("axis", 1)]));
    graph.output = vec![ValueInfo::floats("p", &[-1, 3])];
    write(path, graph);
}

/// The tiny network, which ends in the number of its class.
pub fn write_argmax(path: &Path) {
    let mut graph = tiny(1.0);
    let attributes = vec![Attribute::int("axis", 1), Attribute::int("keepdims", 0)];
    graph.node.push(Node::new("ArgMax", "argmax", &["y"], &["k"], attributes));
    graph.output = vec![ValueInfo::floats("k", &[-1])];
    write(path, graph);
}

/// A residual block between a convolution and a fully connected layer.
pub fn write_residual(path: &Path) {
    write_residual_with_results(path, 1.0);
}

/// The residual network with results of so many times the size.
pub fn write_residual_with_results(path: &Path, factor: f32) {
    let last: Vec<f32> = numbers(4, 384).iter().map(|w| factor * w).collect();
    let conv = |name: &str, x: &str, w: &str, y: &str| {
        Node::new("Conv", name, &[x, w], &[y], vec![Attribute::ints("pads", &[1, 1, 1, 1])])
    };
    let relu = |name: &str, x: &str, y: &str| Node::new("Relu", name, &[x], &[y], vec![]);
    let graph = Graph {
        name: "residual".into(),
        node: vec![
            conv("stem", "x", "stem.w", "a"),
            relu("stem_relu", "a", "b"),
            conv("conv1", "b", "conv1.w", "c"),
            relu("relu1", "c", "d"),
            conv("conv2", "d", "conv2.w", "e"),
            Node::new("Add", "join", &["e", "b"], &["f"], vec![]),
            relu("relu2", "f", "g"),
            Node::new("Flatten", "flatten", &["g"], &["h"], vec![]),
            Node::new("MatMul", "fc", &["h", "fc.w"], &["y"], vec![]),
        ],
        initializer: vec![
            proto::Tensor::floats("stem.w", &[2, 1, 3, 3], &numbers(1, 18)),
            proto::Tensor::floats("conv1.w", &[2, 2, 3, 3], &numbers(2, 36)),
            proto::Tensor::floats("conv2.w", &[2, 2, 3, 3], &numbers(3, 36)),
            proto::Tensor::floats("fc.w", &[128, 3], &last),
        ],
        input: vec![ValueInfo::floats("x", &[-1, 1, 8, 8])],
        output: vec![ValueInfo::floats("y", &[-1, 3])],
        ..Graph::default()
    };
    write(path, graph);
}

/// The tiny network without its activation and with weights that are not finite.
pub fn write_broken(path: &Path) {
    let mut graph = tiny(f32::NAN);
    graph.node.remove(1);
    graph.node[1].input = vec!["a".into()];
    write(path, graph);
}

/// The tiny network, whose last weights are up to `scale`.
fn tiny(scale: f32) -> Graph {
    let weights = [
        proto::Tensor::floats("conv.w", &[2, 1, 3, 3], &numbers(1, 18)),
        proto::Tensor::floats("conv.b", &[2], &[0.1, -0.2]),
        proto::Tensor::floats("fc.w", &[3, 32], &numbers(2, 96).iter().map(|x| x * scale).collect::<Vec<_>>()),
        proto::Tensor::floats("fc.b", &[3], &[0.3, 0.0, -0.3]),
    ];
    let conv = vec![Attribute::ints("strides", &[2, 2]), Attribute::ints("pads", &[1, 1, 1, 1])];
    Graph {
        name: "tiny".into(),
        node: vec![
            Node::new("Conv", "conv", &["x", "conv.w", "conv.b"], &["a"], conv),
            Node::new("Relu", "relu", &["a"], &["b"], vec![]),
            Node::new("Flatten", "flatten", &["b"], &["c"], vec![]),
            Node::new("Gemm", "fc", &["c", "fc.w", "fc.b"], &["y"], vec![Attribute::int("transB", 1)]),
        ],
        initializer: weights.to_vec(),
        input: vec![ValueInfo::floats("x", &[-1, 1, 8, 8])],
        output: vec![ValueInfo::floats("y", &[-1, 3])],
        ..Graph::default()
    }
}

/// One convolution with a square kernel, and a ReLU where `relu` says so.
pub fn write_conv(path: &Path, pixels: usize, kernel: usize, stride: i64, relu: bool) {
    let weights: Vec<f32> = numbers(3, kernel * kernel).iter().map(|x| x / kernel as f32).collect();
    let conv = vec![Attribute::ints("strides", &[stride, stride])];
    let mut node = vec![Node::new("Conv", "conv", &["x", "w"], &["y"], conv)];
    if relu {
        node.push(Node::new("Relu", "relu", &["y"], &["z"], vec![]));
    }
    let (pixels, out) = (pixels as i64, (pixels - kernel) as i64 / stride + 1);
    let result = if relu { "z" } else { "y" };
    write(
        path,
        Graph {
            name: "conv".into(),
            node,
            initializer: vec![proto::Tensor::floats("w", &[1, 1, kernel as i64, kernel as i64], &weights)],
            input: vec![ValueInfo::floats("x", &[-1, 1, pixels, pixels])],
            output: vec![ValueInfo::floats(result, &[-1, 1, out, out])],
            ..Graph::default()
        },
    );
}

/// A chain of these operators, none of them with attributes.
pub fn write_chain(path: &Path, operators: &[&str]) {
    let name = |i: usize| if i == 0 { "x".to_string() } else { format!("v{i}") };
    let node = |(i, op): (usize, &&str)| {
        Node::new(op, &format!("{}_{i}", op.to_lowercase()), &[&name(i)], &[&name(i + 1)], vec![])
    };
    write(
        path,
        Graph {
            name: "chain".into(),
            node: operators.iter().enumerate().map(node).collect(),
            initializer: vec![],
            input: vec![ValueInfo::floats("x", &[-1, 4])],
            output: vec![ValueInfo::floats(&name(operators.len()), &[-1, 4])],
            ..Graph::default()
        },
    );
}

/// So many times 1 - x^2 / 2 of four numbers, which stay below 1.
pub fn write_deep_squares(path: &Path, squares: usize) {
    let mut node = vec![Node::new("Mul", "scale", &["x", "tenth"], &["v0"], vec![])];
    for i in 0..squares {
        let [x, square, half, out] = [format!("v{i}"), format!("s{i}"), format!("h{i}"), format!("v{}", i + 1)];
        node.push(Node::new("Mul", &format!("square_{i}"), &[&x, &x], &[&square], vec![]));
        node.push(Node::new("Mul", &format!("half_{i}"), &[&square, "minus_half"], &[&half], vec![]));
        node.push(Node::new("Add", &format!("add_{i}"), &[&half, "one"], &[&out], vec![]));
    }
    let constant = |name, value| proto::Tensor::floats(name, &[1], &[value]);
    write(
        path,
        Graph {
            name: "squares".into(),
            node,
            initializer: vec![constant("tenth", 0.1), constant("minus_half", -0.5), constant("one", 1.0)],
            input: vec![ValueInfo::floats("x", &[-1, 4])],
            output: vec![ValueInfo::floats(&format!("v{squares}"), &[-1, 4])],
            ..Graph::default()
        },
    );
}

/// Writes so many 8 x 8 images.
pub fn write_images(path: &Path, seed: u32, count: usize) {
    write_scaled(path, seed, count, 1.0);
}

/// Writes so many 8 x 8 images with pixels up to `scale`.
pub fn write_scaled(path: &Path, seed: u32, count: usize, scale: f32) {
    write_squares(path, seed, count, 8, scale);
}

/// Writes so many images of `side` x `side` pixels up to `scale`.
pub fn write_squares(path: &Path, seed: u32, count: usize, side: usize, scale: f32) {
    let shape = [1, 1, side, side];
    let port = Port { name: "x".into(), shape: Shape(shape.to_vec()), ..Default::default() };
    let pixels = |i: usize| numbers(seed + i as u32, side * side).iter().map(|x| x * scale).collect::<Vec<_>>();
    let image = |i: usize| vec![Tensor::new(shape, pixels(i))];
    data::write_samples(path, &[port], &(0..count).map(image).collect::<Vec<_>>()).unwrap();
}

/// Reads scores of the tiny model.
pub fn read_scores(path: &Path) -> Vec<Vec<f32>> {
    let port = Port { name: "y".into(), shape: Shape(vec![1, 3]), ..Default::default() };
    let images = data::read_samples(path, &[port]).unwrap();
    images.iter().map(|tensors| tensors[0].data().to_vec()).collect()
}

/// The largest difference between scores.
pub fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    largest_magnitude(a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| f64::from(a - b))) as f32
}
