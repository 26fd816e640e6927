//! What a user reads when a model cannot be imported.

use std::fmt::Write;

use fhec_frontend::proto::{Attribute, Dimension, Function, Model, Node, Tensor, Type, ValueInfo, data_type};
use fhec_frontend::{ImportError, ImportOptions, import, import_file};

use crate::{model, refuse};

fn report(error: &ImportError) -> String {
    let mut out = format!("{error}\n");
    for issue in error.issues() {
        let _ = writeln!(out, "- {issue}\n  help: {}", issue.repair);
    }
    out
}

#[test]
fn all_nodes_in_the_way_are_listed_at_once() {
    let mut m = model(
        17,
        &[-1, 3, 8, 8],
        vec![Tensor::floats("w", &[4, 3, 3, 3], &[0.0; 108]), Tensor::floats("slope", &[7], &[0.0; 7])],
        vec![
            Node::new("GRU", "cell", &["x"], &["r"], vec![]),
            // Not a problem of its own: its operand has no known shape.
            Node::new("Relu", "act", &["r"], &["a"], vec![]),
            Node::new("Conv", "strided", &["x", "w"], &["c"], vec![Attribute::ints("strides", &[0, 2])]),
            Node::new("If", "branch", &["a"], &["b"], vec![]),
            Node::new("TopK", "best", &["a", "b"], &["", "indices"], vec![]),
            // The exporter recorded the shape of `strided`, so what follows is checked too.
            Node::new("PRelu", "prelu", &["c", "slope"], &["d"], vec![]),
            Node { domain: "com.microsoft".into(), ..Node::new("FusedConv", "fused", &["d"], &["e"], vec![]) },
            Node { domain: "local".into(), ..Node::new("Block", "block", &["e"], &["f"], vec![]) },
            Node::new("Concat", "", &["indices", "f"], &["y"], vec![]),
        ],
    );
    m.functions = vec![Function {
        name: "Block".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![Node::new("TopK", "inside", &["a"], &["b"], vec![])],
        ..Function::default()
    }];
    if let Some(graph) = &mut m.graph {
        graph.value_info.push(ValueInfo::floats("c", &[1, 4, 6, 6]));
    }
    insta::assert_snapshot!(report(&refuse(&m)));
}

#[test]
fn reasons_name_what_does_not_fit() {
    let reason = |opset, node: Node, constants: Vec<Tensor>| {
        let error = refuse(&model(opset, &[1, 4, 6], constants, vec![node]));
        assert_eq!(error.issues().len(), 1, "{}", report(&error));
        error.issues()[0].reason.clone()
    };
    let node = |op: &str, inputs: &[&str], attributes: Vec<Attribute>| Node::new(op, "n", inputs, &["y"], attributes);
    let floats =
        |name: &str, dims: &[i64]| Tensor::floats(name, dims, &vec![0.0; dims.iter().product::<i64>() as usize]);
    let training = vec![Attribute::int("training_mode", 1)];
    let bn = node("BatchNormalization", &["x", "a", "b", "c", "d"], training);
    let mut out = String::new();
    for (opset, node, constants) in [
        (17, node("Relu", &[], vec![]), vec![]),
        (17, node("Relu", &["nowhere"], vec![]), vec![]),
        (17, node("Reshape", &["x", "x"], vec![]), vec![]),
        (17, node("Reshape", &["x", "s"], vec![]), vec![Tensor::ints("s", &[2], &[5, -1])]),
        (17, node("Transpose", &["x"], vec![Attribute::ints("perm", &[0, 0, 1])]), vec![]),
        (17, node("Transpose", &["x"], vec![Attribute::int("perm", 1)]), vec![]),
        (17, node("Softmax", &["x"], vec![Attribute::int("axis", 3)]), vec![]),
        (17, node("Add", &["x", "b"], vec![]), vec![floats("b", &[5])]),
        (17, node("Add", &["x", "b"], vec![]), vec![Tensor::ints("b", &[1], &[5])]),
        (17, node("Gemm", &["x", "b"], vec![]), vec![floats("b", &[6, 5])]),
        (17, node("Conv", &["x", "w"], vec![Attribute::int("group", 3)]), vec![floats("w", &[3, 4, 1])]),
        (17, node("MaxPool", &["x"], vec![Attribute::ints("kernel_shape", &[9])]), vec![]),
        (17, node("MaxPool", &["x"], vec![]), vec![]),
        (17, node("Cast", &["x"], vec![Attribute::int("to", 7)]), vec![]),
        (17, node("Clip", &["x", "x"], vec![]), vec![]),
        (17, node("Gather", &["x", "i"], vec![]), vec![Tensor::ints("i", &[1], &[9])]),
        (12, bn, ["a", "b", "c", "d"].map(|n| floats(n, &[4])).to_vec()),
        (17, node("Dropout", &["x", "r", "t"], vec![]), vec![floats("r", &[]), floats("t", &[])]),
        (17, node("Squeeze", &["x", "i"], vec![]), vec![Tensor::ints("i", &[1], &[1])]),
        (17, node("Split", &["x"], vec![Attribute::int("axis", 1)]), vec![]),
    ] {
        let op = node.op_type.clone();
        if matches!(op.as_str(), "Dropout" | "Split") {
            // Ratio 0 and one part are the identity.
            crate::import(&model(opset, &[1, 4, 6], constants, vec![node]));
            continue;
        }
        let _ = writeln!(out, "{op}: {}", reason(opset, node, constants));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn indices_of_a_maximum_are_refused() {
    let mut m = model(
        17,
        &[1, 4, 6],
        vec![],
        vec![Node::new("MaxPool", "pool", &["x"], &["v", "y"], vec![Attribute::ints("kernel_shape", &[2])])],
    );
    assert_eq!(refuse(&m).issues()[0].reason, "its output number 2 (`y`) is not supported");
    m.graph.as_mut().unwrap().node[0].output = vec!["y".into(), "unused".into()];
    crate::import(&m);
}

#[test]
fn inputs_must_be_real_tensors_of_known_shape() {
    let reason = |info: ValueInfo| {
        let mut m = model(17, &[1], vec![], vec![Node::new("Relu", "", &["x"], &["y"], vec![])]);
        m.graph.as_mut().unwrap().input = vec![info];
        let error = refuse(&m);
        assert_eq!(error.issues().len(), 1);
        error.issues()[0].reason.clone()
    };
    let edit = |edit: fn(&mut fhec_frontend::proto::TensorType)| {
        let mut info = ValueInfo::floats("x", &[-1, 3]);
        edit(info.ty.as_mut().unwrap().tensor.as_mut().unwrap());
        info
    };
    assert_eq!(
        reason(ValueInfo::floats("x", &[-1, 3, -1])),
        "dimension 2 (`batch`) has no fixed extent; only the batch may be symbolic"
    );
    assert_eq!(
        reason(edit(|t| t.elem_type = data_type::UINT8)),
        "it is of type uint8; encrypted values are real numbers"
    );
    assert_eq!(reason(edit(|t| t.shape = None)), "its shape is not stated");
    assert_eq!(reason(ValueInfo { name: "x".into(), ty: Some(Type { tensor: None }) }), "it is not a tensor");
    let huge = |t: &mut fhec_frontend::proto::TensorType| {
        t.shape.as_mut().unwrap().dim[1] = Dimension { value: Some(1 << 50), symbol: None };
    };
    assert_eq!(reason(edit(huge)), format!("a tensor of extents [1, {}]", 1i64 << 50));
}

#[test]
fn files_that_are_no_models() {
    let error = import(b"\x89PNG\r\n\x1a\n and so on", &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("`model` is not an ONNX model: "), "{error}");
    let empty = import(b"", &ImportOptions::default()).unwrap_err();
    assert_eq!(empty.to_string(), "`model` is not an ONNX model: it has no graph");
    let missing = import_file("/nowhere/net.onnx").unwrap_err();
    assert_eq!(missing.to_string(), "cannot read `/nowhere/net.onnx`");
    for opset in [5, 99, i64::MIN] {
        let error = refuse(&model(opset, &[1], vec![], vec![]));
        assert_eq!(error.to_string(), format!("`test` uses opset {opset}; 6 to 28 are supported"));
    }
    let nothing = Model { opset_import: vec![], ..model(17, &[1], vec![], vec![]) };
    assert!(matches!(refuse(&nothing), ImportError::Opset { found: 1, .. }));
}

#[test]
fn graphs_are_sorted_and_must_be_in_single_assignment() {
    let relu = |name, x, y| Node::new("Relu", name, &[x], &[y], vec![]);
    let unsorted = model(17, &[1], vec![], vec![relu("late", "t", "y"), relu("early", "x", "t")]);
    assert_eq!(crate::import(&unsorted).func.len(), 3, "nodes are sorted");
    let error = refuse(&model(17, &[1], vec![], vec![relu("late", "nowhere", "y")]));
    assert_eq!(error.issues()[0].reason, "nothing defines its input `nowhere`");
    let error = refuse(&model(17, &[1], vec![], vec![relu("a", "u", "t"), relu("b", "t", "u"), relu("c", "u", "y")]));
    assert_eq!(error.issues()[0].reason, "it depends on its own result: the nodes of the graph form a circle");
    assert_eq!(error.issues().len(), 1);
    let error = refuse(&model(17, &[1], vec![], vec![relu("a", "x", "y"), relu("b", "x", "y")]));
    assert_eq!(error.issues()[0].reason, "its output `y` is already defined");
    let error = refuse(&model(17, &[1], vec![], vec![]));
    assert_eq!(error.issues()[0].reason, "no node computes this output");
}
