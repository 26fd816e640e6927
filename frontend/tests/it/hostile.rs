//! Damaged and malicious files end in an error, never in a panic, and take memory in proportion to the file.

use fhec_frontend::proto::{Attribute, Model, Node, Tensor};
use fhec_frontend::{ImportOptions, import};
use fhec_ir::verify;
use proptest::prelude::*;
use prost::Message;

use crate::material::material;
use crate::{model, refuse};

/// A model that uses most importers, small enough that a random byte hits its structure.
fn varied() -> Model {
    let ints = |name: &str, list: &[i64]| Tensor::ints(name, &[list.len() as i64], list);
    let constants = vec![
        Tensor::floats("w", &[4, 1, 3, 3], &[0.5; 36]),
        Tensor::floats("four", &[4], &[1.0; 4]),
        Tensor::floats("fc", &[16, 3], &[0.5; 48]),
        ints("shape", &[0, -1]),
        ints("starts", &[0, 1]),
        ints("ends", &[4, i64::MAX]),
        ints("axes", &[1, 2]),
        ints("steps", &[1, 2]),
        ints("pads", &[0, 0, 1, 0, 0, 0, 0, 1]),
        ints("split", &[2, 2]),
        ints("indices", &[1, -1, 0]),
    ];
    let node = |op: &str, inputs: &[&str], outputs: &[&str], attributes| Node::new(op, op, inputs, outputs, attributes);
    let nodes = vec![
        node(
            "Conv",
            &["x", "w"],
            &["c"],
            vec![
                Attribute::ints("strides", &[1, 1]),
                Attribute::text("auto_pad", "SAME_LOWER"),
                Attribute::int("group", 2),
            ],
        ),
        node("BatchNormalization", &["c", "four", "four", "four", "four"], &["b"], vec![]),
        node("LeakyRelu", &["b"], &["r"], vec![Attribute::float("alpha", 0.1)]),
        node("Slice", &["r", "starts", "ends", "axes", "steps"], &["s"], vec![]),
        node("Pad", &["s", "pads"], &["p"], vec![Attribute::text("mode", "edge")]),
        node(
            "MaxPool",
            &["p"],
            &["m"],
            vec![
                Attribute::ints("kernel_shape", &[2, 2]),
                Attribute::ints("pads", &[0, 1, 0, 1]),
                Attribute::int("ceil_mode", 1),
            ],
        ),
        node("Split", &["m", "split"], &["h", "l"], vec![Attribute::int("axis", 1)]),
        node("Concat", &["l", "h"], &["j"], vec![Attribute::int("axis", -3)]),
        node("Transpose", &["j"], &["t"], vec![Attribute::ints("perm", &[0, 2, 3, 1])]),
        node("Gather", &["t", "indices"], &["g"], vec![Attribute::int("axis", 3)]),
        node("ReduceMean", &["g"], &["e"], vec![Attribute::ints("axes", &[1, -1])]),
        node("Shape", &["e"], &["es"], vec![]),
        node("ConstantOfShape", &["es"], &["ones"], vec![]),
        node("Mul", &["e", "ones"], &["o"], vec![]),
        node("Softmax", &["o"], &["so"], vec![]),
        node("Reshape", &["so", "shape"], &["y"], vec![]),
    ];
    model(13, &[-1, 2, 8, 8], constants, nodes)
}

/// A model of operators that are lowered or evaluated over constants, with a function and a branch.
fn lowered() -> Model {
    let ints = |name: &str, list: &[i64]| Tensor::ints(name, &[list.len() as i64], list);
    let scalar = |name: &str, i: i64| Tensor::ints(name, &[], &[i]);
    let constants = vec![
        Tensor::floats("w", &[4, 1, 3, 3], &[0.5; 36]),
        Tensor::floats("scales", &[4], &[1.0, 1.0, 2.0, 0.5]),
        Tensor::floats("matrix", &[2, 3], &[0.5; 6]),
        ints("repeats", &[1, 2, 1, 1]),
        ints("sizes", &[1, 4, 8, 2]),
        scalar("one", 1),
        scalar("four", 4),
        scalar("two", 2),
    ];
    let node = |op: &str, inputs: &[&str], outputs: &[&str], attributes| Node::new(op, op, inputs, outputs, attributes);
    let branch = |op: &str| {
        let graph = fhec_frontend::proto::Graph {
            node: vec![Node::new(op, op, &["d"], &["r"], vec![])],
            output: vec![fhec_frontend::proto::ValueInfo::floats("r", &[])],
            ..Default::default()
        };
        Some(Box::new(graph))
    };
    let graph = |name: &str, op: &str| Attribute { name: name.into(), kind: 5, g: branch(op), ..Attribute::default() };
    let nodes = vec![
        node(
            "ConvTranspose",
            &["x", "w"],
            &["c"],
            vec![
                Attribute::ints("strides", &[2, 2]),
                Attribute::ints("pads", &[1, 1, 1, 1]),
                Attribute::ints("output_padding", &[1, 1]),
                Attribute::int("group", 4),
            ],
        ),
        node("Resize", &["c", "", "scales"], &["z"], vec![Attribute::text("mode", "linear")]),
        node("Resize", &["z", "", "", "sizes"], &["n"], vec![]),
        node("Tile", &["n", "repeats"], &["t"], vec![]),
        node("SpaceToDepth", &["t"], &["s"], vec![Attribute::int("blocksize", 2)]),
        node("DepthToSpace", &["s"], &["d"], vec![Attribute::int("blocksize", 2)]),
        node("Range", &["one", "four", "two"], &["range"], vec![]),
        node("ReduceProd", &["range"], &["product"], vec![Attribute::int("keepdims", 0)]),
        node("Mod", &["product", "two"], &["odd"], vec![]),
        node("Equal", &["odd", "one"], &["truth"], vec![]),
        node("If", &["truth"], &["i"], vec![graph("then_branch", "Relu"), graph("else_branch", "Abs")]),
        node("CumSum", &["i", "two"], &["sum"], vec![Attribute::int("reverse", 1)]),
        node("Gather", &["sum", "range"], &["g"], vec![Attribute::int("axis", 1)]),
        node("Einsum", &["g", "matrix"], &["e"], vec![Attribute::text("equation", "ncij,jk->nick")]),
        Node { domain: "local".into(), ..node("Norm", &["e"], &["y"], vec![Attribute::int("axis", -1)]) },
    ];
    let mut m = model(18, &[-1, 4, 4, 4], constants, nodes);
    m.functions = vec![fhec_frontend::proto::Function {
        name: "Norm".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![
            node("GreaterOrEqual", &["a", "a"], &["c"], vec![]),
            node("Where", &["c", "a", "a"], &["m"], vec![]),
            node(
                "LogSoftmax",
                &["m"],
                &["b"],
                vec![Attribute { ref_attr_name: "axis".into(), kind: 2, name: "axis".into(), ..Default::default() }],
            ),
        ],
        ..Default::default()
    }];
    m
}

/// One of the two.
fn either(second: bool) -> Model {
    if second { lowered() } else { varied() }
}

/// Imports what may be anything; a module that comes out must be well-formed.
fn survive(bytes: &[u8]) {
    if let Ok(module) = import(bytes, &ImportOptions::default()) {
        verify(&module).unwrap();
    }
}

#[test]
fn the_undamaged_model_imports() {
    for m in [varied(), lowered()] {
        crate::import(&Model::decode(m.encode_to_vec().as_slice()).unwrap());
    }
}

#[test]
fn truncation_at_every_byte_is_survived() {
    for m in [varied(), lowered()] {
        let bytes = m.encode_to_vec();
        (0..bytes.len()).for_each(|n| survive(&bytes[..n]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn mutated_bytes_are_survived(
        second: bool,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = either(second).encode_to_vec();
        for (at, byte) in &edits {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        survive(&bytes);
    }

    /// Extreme integers in every place that holds one: byte edits seldom make them.
    #[test]
    fn extreme_integers_are_survived(
        second: bool,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)
    ) {
        const EXTREMES: &[i64] =
            &[i64::MIN, i64::MIN + 1, -(1 << 32), -2, -1, 0, 1, 2, 7, 1 << 20, 1 << 30, 1 << 31, 1 << 62, i64::MAX];
        let mut m = either(second);
        for (place, value) in &edits {
            let graph = m.graph.as_mut().unwrap();
            let attributes = graph.node.iter_mut().flat_map(|n| &mut n.attribute);
            let mut places: Vec<&mut i64> = attributes.flat_map(|a| a.ints.iter_mut().chain(&mut a.i)).collect();
            places.extend(graph.initializer.iter_mut().flat_map(|t| t.int64_data.iter_mut().chain(&mut t.dims)));
            let at = place.index(places.len());
            *places[at] = EXTREMES[value.index(EXTREMES.len())];
        }
        survive(&m.encode_to_vec());
    }

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn mutations_of_a_real_model_are_survived(
        cut in prop::option::of(any::<prop::sample::Index>()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        static MODEL: std::sync::OnceLock<Option<Vec<u8>>> = std::sync::OnceLock::new();
        let model = MODEL.get_or_init(|| {
            let dir = material("mutations_of_a_real_model_are_survived")?;
            std::fs::read(dir.join("models/mlperftiny_resnet8_cifar10.onnx")).ok()
        });
        if let Some(model) = model {
            let mut bytes = model.clone();
            for (at, byte) in &edits {
                // Nodes and names lie at both ends of the file, weights between.
                let at = at.index(bytes.len().min(8000));
                let from_end = bytes.len() - 1 - at;
                bytes[if byte & 1 == 0 { at } else { from_end }] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            survive(&bytes);
        }
    }
}

#[test]
fn constants_that_would_fill_the_memory_are_refused() {
    let reason = |nodes: Vec<Node>, constants: Vec<Tensor>| {
        let error = refuse(&model(17, &[1], constants, nodes));
        error.issues()[0].reason.clone()
    };
    let too_large = "folding this constant would take too much memory or time";
    let sizes = |name: &str, list: &[i64]| Tensor::ints(name, &[list.len() as i64], list);
    // 4 GB from one node, and the same from many nodes.
    let fill = |i: usize| Node::new("ConstantOfShape", &format!("fill{i}"), &["s"], &[&format!("c{i}")], vec![]);
    let add = Node::new("Add", "add", &["x", "c0"], &["y"], vec![]);
    assert_eq!(reason(vec![fill(0), add], vec![sizes("s", &[1 << 30])]), too_large);
    let mut many: Vec<Node> = (0..1000).map(fill).collect();
    let names: Vec<String> = (0..1000).map(|i| format!("c{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    many.push(Node::new("Concat", "join", &names, &["y"], vec![Attribute::int("axis", 0)]));
    assert_eq!(reason(many, vec![sizes("s", &[1 << 24])]), too_large);
    // Work rather than memory: a chain of products of constant matrices.
    let mut chain = vec![Node::new("ConstantOfShape", "m", &["s"], &["m0"], vec![])];
    for i in 0..20 {
        let (a, b) = (format!("m{i}"), format!("m{}", i + 1));
        chain.push(Node::new("MatMul", "product", &[&a, &a], &[&b], vec![]));
    }
    chain.push(Node::new("Add", "add", &["x", "m20"], &["y"], vec![]));
    assert_eq!(reason(chain, vec![sizes("s", &[2048, 2048])]), too_large);
    // A convolution whose copies of the input are large although its result is small.
    let conv = vec![
        Node::new("ConstantOfShape", "image", &["s"], &["i"], vec![]),
        Node::new("ConstantOfShape", "weights", &["k"], &["w"], vec![]),
        Node::new("Conv", "conv", &["i", "w"], &["c"], vec![]),
        Node::new("Add", "add", &["x", "c"], &["y"], vec![]),
    ];
    let (image, kernel) = (sizes("s", &[1, 1, 2000, 2000]), sizes("k", &[1, 1, 30, 30]));
    assert_eq!(reason(conv, vec![image, kernel]), too_large);
}
