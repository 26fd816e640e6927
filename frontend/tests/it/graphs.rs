//! Whole graphs are imported: shapes computed by the graph itself, versions of operators, names, outputs.

use fhec_frontend::proto::{Attribute, Graph, Model, Node, Tensor, ValueInfo, data_type};
use fhec_frontend::{ImportOptions, import_model};
use fhec_ir::OpInfo;
use fhec_ir::nn::eval::eval;
use fhec_ir::text::print_module;

use crate::{import, iota, model, run};

#[test]
fn a_small_network_reads_as_text() {
    let m = model(
        17,
        &[-1, 1, 4, 4],
        vec![
            Tensor::floats("w", &[2, 1, 3, 3], &[0.5; 18]),
            Tensor::floats("b", &[2], &[1.0, -1.0]),
            Tensor::floats("fc", &[3, 8], &[0.25; 24]),
            Tensor::floats("fcb", &[3], &[0.0, 1.0, 2.0]),
        ],
        vec![
            Node::new(
                "Conv",
                "conv",
                &["x", "w", "b"],
                &["c"],
                vec![Attribute::ints("kernel_shape", &[3, 3]), Attribute::text("auto_pad", "SAME_UPPER")],
            ),
            Node::new("Relu", "", &["c"], &["relu_out"], vec![]),
            Node::new(
                "AveragePool",
                "pool",
                &["relu_out"],
                &["p"],
                vec![Attribute::ints("kernel_shape", &[2, 2]), Attribute::ints("strides", &[2, 2])],
            ),
            Node::new("Flatten", "flat", &["p"], &["f"], vec![]),
            Node::new("Gemm", "fc", &["f", "fc", "fcb"], &["y"], vec![Attribute::int("transB", 1)]),
        ],
    );
    insta::assert_snapshot!(print_module(&import(&m)));
}

/// What PyTorch exports for `x.view(x.size(0), -1)`, `x.mean(..)` over computed axes and the like.
#[test]
fn shapes_computed_by_the_graph_are_constants() {
    let m = model(
        17,
        &[-1, 2, 3, 4],
        vec![
            Tensor::ints("zero", &[], &[0]),
            Tensor::ints("axes0", &[1], &[0]),
            Tensor::ints("rest", &[1], &[-1]),
            Tensor::ints("two", &[], &[2]),
        ],
        vec![
            Node::new("Shape", "shape", &["x"], &["s"], vec![]),
            Node::new("Gather", "size0", &["s", "zero"], &["n"], vec![]),
            Node::new("Unsqueeze", "u", &["n", "axes0"], &["n1"], vec![]),
            Node::new("Concat", "cat", &["n1", "rest"], &["target"], vec![Attribute::int("axis", 0)]),
            Node::new("Reshape", "flat", &["x", "target"], &["f"], vec![]),
            // 12 ones: (2·3·4)/2 computed from the shape, through Slice, Cast, Mul, Div.
            Node::new("Shape", "tail", &["x"], &["t"], vec![Attribute::int("start", 1), Attribute::int("end", -1)]),
            Node::new("Gather", "g0", &["t", "zero"], &["t0"], vec![]),
            Node::new("Gather", "g3", &["s", "last"], &["t3"], vec![]),
            Node::new("Constant", "last", &[], &["last"], vec![Attribute::int("value_int", -1)]),
            Node::new("Mul", "mul", &["t0", "t3"], &["t4"], vec![]),
            Node::new("Constant", "three", &[], &["three"], vec![Attribute::ints("value_ints", &[3])]),
            Node::new("Mul", "mul3", &["t4", "three"], &["t24"], vec![]),
            Node::new("Div", "half", &["t24", "two"], &["t12"], vec![]),
            Node::new(
                "ConstantOfShape",
                "ones",
                &["t12"],
                &["o"],
                vec![Attribute::tensor("value", Tensor::ints("", &[1], &[1]))],
            ),
            Node::new("Cast", "cast", &["o"], &["ones"], vec![Attribute::int("to", i64::from(data_type::FLOAT))]),
            Node::new("Concat", "join", &["ones", "ones"], &["ones24"], vec![Attribute::int("axis", 0)]),
            Node::new("Add", "add", &["f", "ones24"], &["y"], vec![]),
        ],
    );
    let mut m = m;
    // Constants stand before their uses.
    if let Some(graph) = &mut m.graph {
        let constant = graph.node.remove(8);
        graph.node.insert(0, constant);
    }
    let module = import(&m);
    let ops: Vec<_> = module.func.iter().map(|(_, n)| n.op.mnemonic()).collect();
    assert_eq!(ops, ["input", "reshape", "const", "add"]);
    let y = eval(&module, &[iota([1, 2, 3, 4])]).unwrap().remove(0);
    assert_eq!(y, iota([1, 24]).map(|x| x + 1.0));
}

#[test]
fn float_constants_are_folded() {
    // sqrt(w)ᵀ through Transpose, Sqrt, Reshape: one constant remains.
    let m = model(
        17,
        &[1, 2],
        vec![Tensor::floats("w", &[1, 4], &[1.0, 4.0, 9.0, 16.0]), Tensor::ints("s", &[2], &[2, 2])],
        vec![
            Node::new("Sqrt", "sqrt", &["w"], &["r"], vec![]),
            Node::new("Reshape", "reshape", &["r", "s"], &["q"], vec![]),
            Node::new("Transpose", "t", &["q"], &["wt"], vec![]),
            Node::new("MatMul", "fc", &["x", "wt"], &["y"], vec![]),
        ],
    );
    let module = import(&m);
    assert_eq!(module.func.len(), 3);
    assert_eq!(module.consts.iter().next().unwrap().1.tensor.data(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn softmax_before_opset_13_flattens() {
    let nodes = |axis| vec![Node::new("Softmax", "", &["x"], &["y"], vec![Attribute::int("axis", axis)])];
    let x = iota([2, 2, 2]).map(|x| x * x);
    let flattened = run(&model(11, &[2, 2, 2], vec![], nodes(1)), x.clone());
    assert!((flattened.data()[..4].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let one_axis = run(&model(13, &[2, 2, 2], vec![], nodes(1)), x);
    assert!((one_axis.data()[0] + one_axis.data()[2] - 1.0).abs() < 1e-6);
}

#[test]
fn attributes_of_early_opsets() {
    let x = iota([1, 2, 3]);
    let slice =
        vec![Attribute::ints("starts", &[1]), Attribute::ints("ends", &[i64::MAX]), Attribute::ints("axes", &[2])];
    let y = run(&model(9, &[1, 2, 3], vec![], vec![Node::new("Slice", "", &["x"], &["y"], slice)]), x.clone());
    assert_eq!(y.data(), [1.0, 2.0, 4.0, 5.0]);
    let pad = vec![Attribute::ints("pads", &[0, 0, 1, 0, 0, 0]), Attribute::float("value", 7.0)];
    let y = run(&model(10, &[1, 2, 3], vec![], vec![Node::new("Pad", "", &["x"], &["y"], pad)]), x.clone());
    assert_eq!(y.data(), [7.0, 0.0, 1.0, 2.0, 7.0, 3.0, 4.0, 5.0]);
    let clip = vec![Attribute::float("min", 1.0), Attribute::float("max", 3.0)];
    let y = run(&model(8, &[1, 2, 3], vec![], vec![Node::new("Clip", "", &["x"], &["y"], clip)]), x.clone());
    assert_eq!(y.data(), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    // Opset 6: the second operand is aligned by `axis`.
    let add = vec![Attribute::int("broadcast", 1), Attribute::int("axis", 1)];
    let b = vec![Tensor::floats("b", &[2], &[10.0, 20.0])];
    let y = run(&model(6, &[1, 2, 3], b, vec![Node::new("Add", "", &["x", "b"], &["y"], add)]), x);
    assert_eq!(y.data(), [10.0, 11.0, 12.0, 23.0, 24.0, 25.0]);
}

#[test]
fn slices_follow_the_specification_at_the_edges() {
    let slice = |extent: i64, (start, end, step): (i64, i64, i64)| {
        let list = |name, i| Tensor::ints(name, &[1], &[i]);
        let constants = vec![list("s", start), list("e", end), list("a", 0), list("p", step)];
        let nodes = vec![Node::new("Slice", "", &["x", "s", "e", "a", "p"], &["y"], vec![])];
        run(&model(13, &[extent], constants, nodes), iota([extent as usize])).data().to_vec()
    };
    assert_eq!(slice(5, (i64::MIN, i64::MAX, 1)), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(slice(5, (i64::MAX, i64::MIN, -1)), [4.0, 3.0, 2.0, 1.0, 0.0]);
    assert_eq!(slice(5, (-2, i64::MAX, 1)), [3.0, 4.0]);
    assert_eq!(slice(5, (-2, i64::MIN, i64::MIN)), [3.0]);
    assert_eq!(slice(5, (1, 1, 1)), [] as [f32; 0]);
    assert_eq!(slice(5, (3, 1, 1)), [] as [f32; 0]);
    assert_eq!(slice(5, (0, 5, 3)), [0.0, 3.0]);
    assert_eq!(slice(5, (4, 0, -3)), [4.0, 1.0]);
    assert_eq!(slice(0, (0, -1, -1)), [] as [f32; 0]);
}

#[test]
fn powers_of_usual_exponents_become_simpler_ops() {
    let ops = |exponent: f32| {
        let m = model(
            17,
            &[1, 3],
            vec![Tensor::floats("e", &[], &[exponent])],
            vec![Node::new("Pow", "", &["x", "e"], &["y"], vec![])],
        );
        let y = run(&m, iota([1, 3]).map(|x| x + 1.0));
        for (i, y) in y.data().iter().enumerate() {
            assert!((y - (i as f32 + 1.0).powf(exponent)).abs() < 1e-5);
        }
        import(&m).func.iter().skip(1).map(|(_, n)| n.op.mnemonic()).collect::<Vec<_>>()
    };
    assert_eq!(ops(2.0), ["mul"]);
    assert_eq!(ops(1.0), [] as [&str; 0]);
    assert_eq!(ops(0.5), ["activation"]);
    assert_eq!(ops(3.0), ["activation"]);
}

#[test]
fn powers_differ_by_element_or_have_the_input_as_exponent() {
    let exponents = Tensor::floats("e", &[1, 4], &[3.0, 1.0, 0.5, 2.0]);
    let node = |inputs: [&str; 2]| vec![Node::new("Pow", "power", &inputs, &["y"], vec![])];
    let m = model(17, &[1, 4], vec![exponents], node(["x", "e"]));
    // What the root is taken of stays in its domain, whatever the other elements are.
    let x = fhec_ir::Tensor::new([1, 4], vec![-2.0, -3.0, 4.0, -5.0]);
    assert_eq!(run(&m, x).data(), [-8.0, -3.0, 2.0, 25.0]);
    let m = model(17, &[1, 3], vec![Tensor::floats("b", &[], &[2.0])], node(["b", "x"]));
    let y = run(&m, iota([1, 3]));
    assert!(y.data().iter().zip([1.0, 2.0, 4.0]).all(|(y, z)| (y - z).abs() < 1e-5), "{y:?}");
    for (name, values, shape, names) in [
        ("a negative base", vec![-2.0], vec![], ["c", "x"]),
        ("many exponents", (0..17).map(|k| k as f32).collect(), vec![1, 17], ["x", "c"]),
    ] {
        let m = model(17, &[1, 17], vec![Tensor::floats("c", &shape, &values)], node(names));
        let refused = fhec_frontend::import_model(&m, &fhec_frontend::ImportOptions::default());
        assert!(refused.is_err(), "{name}");
    }
}

#[test]
fn swish_with_a_factor() {
    let nodes = vec![Node::new("Swish", "", &["x"], &["y"], vec![Attribute::float("alpha", 2.0)])];
    let y = run(&model(24, &[1, 3], vec![], nodes), iota([1, 3]));
    assert!((y.data()[1] - 1.0 / (1.0 + (-2.0f32).exp())).abs() < 1e-6);
}

#[test]
fn several_outputs_and_dead_nodes() {
    let graph = Graph {
        node: vec![
            Node::new("Split", "split", &["x"], &["a", "", "c"], vec![Attribute::int("axis", 1)]),
            // Nothing uses it: an unsupported operator there does no harm.
            Node::new("NonMaxSuppression", "dead", &["a"], &["d"], vec![]),
        ],
        input: vec![ValueInfo::floats("x", &[1, 6])],
        output: ["c", "a", "x", "k"].map(|name| ValueInfo::floats(name, &[])).to_vec(),
        initializer: vec![Tensor::floats("k", &[2], &[5.0, 6.0])],
        ..Graph::default()
    };
    let module = import(&Model::new(17, graph));
    assert_eq!(module.outputs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["c", "a", "x", "k"]);
    let out = eval(&module, &[iota([1, 6])]).unwrap();
    assert_eq!(out[0].data(), [4.0, 5.0]);
    assert_eq!(out[1].data(), [0.0, 1.0]);
    assert_eq!(out[2].data().len(), 6);
    assert_eq!(out[3].data(), [5.0, 6.0]);
}

#[test]
fn early_files_list_constants_among_the_inputs() {
    let mut m = model(
        9,
        &[-1, 2],
        vec![Tensor::floats("w", &[2, 1], &[1.0, 2.0])],
        vec![Node::new("MatMul", "fc", &["x", "w"], &["y"], vec![])],
    );
    if let Some(graph) = &mut m.graph {
        graph.input.insert(0, ValueInfo::floats("w", &[2, 1]));
    }
    assert_eq!(import(&m).inputs.len(), 1);
}

#[test]
fn names_of_functions_are_identifiers() {
    let m = model(17, &[1], vec![], vec![Node::new("Relu", "", &["x"], &["y"], vec![])]);
    let name = |name: &str| {
        let options = ImportOptions { name: Some(name.into()), ..ImportOptions::default() };
        import_model(&m, &options).unwrap().func.name
    };
    assert_eq!(name("torch-jit.export 1"), "torch_jit_export_1");
    assert_eq!(name("20-layers"), "m20_layers");
    assert_eq!(name(""), "main");
}
