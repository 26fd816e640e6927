//! Operators that are written as others: their values, and what they become.

use fhec_frontend::proto::{Attribute, Node, Tensor};
use fhec_ir::OpInfo;

use crate::{import, iota, model, run};

fn ops(model: &fhec_frontend::proto::Model) -> Vec<&'static str> {
    import(model).func.iter().skip(1).map(|(_, n)| n.op.mnemonic()).collect()
}

/// One node over x, counted up from 0, of shape `input`.
#[track_caller]
fn values(op: &str, opset: i64, input: &[i64], more: Vec<Tensor>, attributes: Vec<Attribute>) -> Vec<f32> {
    let mut names = vec!["x".to_string()];
    names.extend(more.iter().map(|t| t.name.clone()));
    let names: Vec<&str> = names.iter().map(|n| if n == "none" { "" } else { n }).collect();
    let more = more.into_iter().filter(|t| t.name != "none").collect();
    let m = model(opset, input, more, vec![Node::new(op, op, &names, &["y"], attributes)]);
    run(&m, iota(input.iter().map(|&d| d as usize).collect::<Vec<_>>())).data().to_vec()
}

fn scales(list: &[f32]) -> Vec<Tensor> {
    let none = Tensor::floats("none", &[0], &[]);
    vec![none, Tensor::floats("scales", &[list.len() as i64], list)]
}

#[test]
fn resized_by_constants() {
    let mode = |mode: &str, coordinates: &str| {
        vec![Attribute::text("mode", mode), Attribute::text("coordinate_transformation_mode", coordinates)]
    };
    let twice = || scales(&[1.0, 1.0, 2.0]);
    let of = |attributes| values("Resize", 18, &[1, 1, 3], twice(), attributes);
    let mut nearest = mode("nearest", "asymmetric");
    nearest.push(Attribute::text("nearest_mode", "floor"));
    assert_eq!(of(nearest), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    assert_eq!(of(mode("linear", "half_pixel")), [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]);
    assert_eq!(of(mode("linear", "asymmetric")), [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]);
    let corners = of(mode("linear", "align_corners"));
    assert!(corners.iter().enumerate().all(|(i, y)| (y - 0.4 * i as f32).abs() < 1e-6), "{corners:?}");
    // Values of the reference evaluator of onnx 1.23.
    let near = |found: Vec<f32>, expected: &[f32]| {
        assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6), "{found:?}");
    };
    near(
        of(mode("cubic", "half_pixel")),
        &[-0.10546875, 0.19140625, 0.66796875, 1.332_031_3, 1.808_593_8, 2.105_468_8],
    );
    let mut inside = mode("cubic", "half_pixel");
    inside.push(Attribute::int("exclude_outside", 1));
    near(of(inside), &[-0.136_363_64, 0.173_144_88, 0.645_283_04, 1.354_717, 1.826_855_2, 2.136_363_7]);
    let smooth = |kind: &str| {
        let mut attributes = mode(kind, "half_pixel");
        attributes.push(Attribute::int("antialias", 1));
        values("Resize", 18, &[1, 1, 8], scales(&[1.0, 1.0, 0.5]), attributes)
    };
    near(smooth("linear"), &[0.625, 2.5, 4.5, 6.375]);
    near(smooth("cubic"), &[0.472_656_25, 2.482_421_9, 4.517_578, 6.527_343_8]);
    let half = values("Resize", 18, &[1, 1, 4], scales(&[1.0, 1.0, 0.5]), mode("linear", "half_pixel"));
    assert_eq!(half, [0.5, 2.5]);
    let sizes = vec![
        Tensor::floats("none", &[0], &[]),
        Tensor::floats("none", &[0], &[]),
        Tensor::ints("sizes", &[2], &[4, 4]),
    ];
    let mut attributes = mode("nearest", "asymmetric");
    attributes.extend([Attribute::ints("axes", &[2, 3]), Attribute::text("nearest_mode", "floor")]);
    let y = values("Resize", 18, &[1, 1, 2, 2], sizes, attributes);
    assert_eq!(y, [0., 0., 1., 1., 0., 0., 1., 1., 2., 2., 3., 3., 2., 2., 3., 3.]);
    let upsample = vec![Tensor::floats("scales", &[3], &[1.0, 1.0, 2.0])];
    assert_eq!(values("Upsample", 9, &[1, 1, 2], upsample, vec![]), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn transposed_convolution_scatters_its_filters() {
    let w = || vec![Tensor::floats("w", &[1, 1, 3], &[1.0, 10.0, 100.0])];
    let of = |attributes| values("ConvTranspose", 17, &[1, 1, 3], w(), attributes);
    assert_eq!(of(vec![]), [0.0, 1.0, 12.0, 120.0, 200.0]);
    let two = || Attribute::ints("strides", &[2]);
    assert_eq!(of(vec![two()]), [0.0, 0.0, 1.0, 10.0, 102.0, 20.0, 200.0]);
    assert_eq!(of(vec![two(), Attribute::ints("pads", &[1, 1])]), [0.0, 1.0, 10.0, 102.0, 20.0]);
    let more = vec![two(), Attribute::ints("pads", &[1, 1]), Attribute::ints("output_padding", &[1])];
    assert_eq!(of(more), [0.0, 1.0, 10.0, 102.0, 20.0, 200.0]);
    let same = vec![two(), Attribute::text("auto_pad", "SAME_UPPER")];
    assert_eq!(of(same), [0.0, 0.0, 1.0, 10.0, 102.0, 20.0]);
}

#[test]
fn einsum_is_a_matrix_product() {
    let of = |equation: &str, dims: &[i64], input: &[i64]| {
        let w = Tensor::floats("w", dims, iota(dims.iter().map(|&d| d as usize).collect::<Vec<_>>()).data());
        values("Einsum", 12, input, vec![w], vec![Attribute::text("equation", equation)])
    };
    assert_eq!(of("ij,jk->ik", &[2, 2], &[1, 2]), [2.0, 3.0]);
    assert_eq!(of("ij,kj", &[2, 2], &[1, 2]), [1.0, 3.0]);
    assert_eq!(of("bi,bi->b", &[2, 2], &[2, 2]), [1.0, 13.0]);
    assert_eq!(of("...i,io->...o", &[2, 1], &[2, 1, 2]), [1.0, 3.0]);
    let alone = |equation: &str| values("Einsum", 12, &[2, 3], vec![], vec![Attribute::text("equation", equation)]);
    assert_eq!(alone("ij->ji"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(alone("ij->"), [15.0]);
}

#[test]
fn bounds_are_one_clip() {
    let bounds = |name: &str, x: f32| Tensor::floats(name, &[], &[x]);
    let nodes = vec![
        Node::new("Max", "max", &["x", "zero"], &["a"], vec![]),
        Node::new("Min", "min", &["six", "a"], &["y"], vec![]),
    ];
    let m = model(17, &[1, 8], vec![bounds("zero", 0.0), bounds("six", 6.0)], nodes);
    assert_eq!(run(&m, iota([1, 8])).data(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0]);
    // The inner one is dead.
    let module = import(&m);
    assert_eq!(module.func.live().iter().filter(|live| **live).count(), 2);
}

#[test]
fn choices_by_comparison_are_functions_where_they_are_known() {
    let scalar = |name: &str, x: f32| Tensor::floats(name, &[], &[x]);
    let threshold = |branch: Vec<Node>| {
        let mut nodes = vec![Node::new("Greater", "gt", &["x", "t"], &["c"], vec![])];
        nodes.extend(branch);
        nodes.push(Node::new("Where", "where", &["c", "x", "s"], &["y"], vec![]));
        model(18, &[1, 3], vec![scalar("t", 20.0), scalar("one", 1.0)], nodes)
    };
    let live = |m: &fhec_frontend::proto::Model| {
        let module = import(m);
        let live = module.func.live();
        let ops: Vec<String> =
            module.func.iter().zip(live).filter(|(_, live)| *live).map(|((_, n), _)| format!("{:?}", n.op)).collect();
        ops.join(" ")
    };
    let plain = threshold(vec![Node::new("Softplus", "sp", &["x"], &["s"], vec![])]);
    assert!(live(&plain).matches("Activation").count() == 1 && live(&plain).contains("Softplus"), "{}", live(&plain));
    let written = threshold(vec![
        Node::new("Exp", "exp", &["x"], &["e"], vec![]),
        Node::new("Add", "add", &["e", "one"], &["a"], vec![]),
        Node::new("Log", "log", &["a"], &["s"], vec![]),
    ]);
    assert!(live(&written).matches("Activation").count() == 1, "{}", live(&written));
    let elu = model(
        18,
        &[1, 3],
        vec![scalar("zero", 0.0), scalar("one", 1.0), scalar("alpha", 0.7)],
        vec![
            Node::new("Less", "lt", &["x", "zero"], &["c"], vec![]),
            Node::new("Exp", "exp", &["x"], &["e"], vec![]),
            Node::new("Sub", "sub", &["e", "one"], &["d"], vec![]),
            Node::new("Mul", "mul", &["d", "alpha"], &["m"], vec![]),
            Node::new("Where", "where", &["c", "m", "x"], &["y"], vec![]),
        ],
    );
    assert!(live(&elu).contains("Elu") && live(&elu).matches("Activation").count() == 1, "{}", live(&elu));
}

#[test]
fn quotients_are_products_with_powers() {
    let nodes = vec![
        Node::new("ReduceL2", "norm", &["x"], &["n"], vec![Attribute::ints("axes", &[1])]),
        Node::new("Div", "div", &["x", "n"], &["y"], vec![]),
    ];
    let m = model(13, &[1, 3], vec![], nodes);
    assert_eq!(ops(&m), ["mul", "reduce_sum", "activation", "activation", "mul"]);
    let y = run(&m, iota([1, 3]));
    assert!(y.data().iter().zip([0.0, 0.2f32.sqrt(), 0.8f32.sqrt()]).all(|(x, y)| (x - y).abs() < 1e-6), "{y:?}");
}

#[test]
fn functions_that_exporters_write_out() {
    let scalar = |name: &str, x: f32| Tensor::floats(name, &[], &[x]);
    let softsign = vec![
        Node::new("Abs", "abs", &["x"], &["m"], vec![]),
        Node::new("Add", "add", &["m", "one"], &["d"], vec![]),
        Node::new("Div", "div", &["x", "d"], &["y"], vec![]),
    ];
    let m = model(17, &[1, 3], vec![scalar("one", 1.0)], softsign);
    assert_eq!(run(&m, iota([1, 3])).data(), [0.0, 0.5, 2.0 / 3.0]);
    assert_eq!(import(&m).func.live().iter().filter(|live| **live).count(), 2);
    // Softplus with a factor, as the dynamo exporter writes it.
    let factor = vec![
        Node::new("Mul", "scaled", &["x", "two"], &["b"], vec![]),
        Node::new("Softplus", "sp", &["b"], &["s"], vec![]),
        Node::new("Div", "back", &["s", "two"], &["d"], vec![]),
        Node::new("Greater", "gt", &["b", "limit"], &["c"], vec![]),
        Node::new("Where", "where", &["c", "x", "d"], &["y"], vec![]),
    ];
    let m = model(17, &[1, 3], vec![scalar("two", 2.0), scalar("limit", 20.0)], factor);
    let module = import(&m);
    let live = module.func.live();
    let found: Vec<&str> =
        module.func.iter().zip(live).filter(|(_, live)| *live).map(|((_, n), _)| n.op.mnemonic()).collect();
    assert_eq!(found, ["input", "const", "mul", "activation", "const", "div"]);
    // One slope per channel.
    let slopes = Tensor::floats("slopes", &[2, 1], &[0.5, 0.25]);
    let m = model(17, &[1, 2, 2], vec![slopes], vec![Node::new("PRelu", "", &["x", "slopes"], &["y"], vec![])]);
    let x = fhec_ir::Tensor::new([1, 2, 2], vec![-2.0, 2.0, -4.0, 4.0]);
    assert_eq!(run(&m, x).data(), [-1.0, 2.0, -1.0, 4.0]);
    assert!(!ops(&m).contains(&"prelu"));
}
