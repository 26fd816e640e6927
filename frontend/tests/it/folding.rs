//! What exporters compute of shapes, indices and masks is constant, whatever the operator; functions, branches, order.

use fhec_frontend::proto::{Attribute, Function, Graph, Model, Node, Tensor, ValueInfo, attribute_kind, data_type};
use fhec_ir::OpInfo;

use crate::{import, model, refuse, run};

/// The elements of the constant that `nodes` compute as `c` from `constants`.
#[track_caller]
fn folded(constants: Vec<Tensor>, mut nodes: Vec<Node>) -> Vec<f32> {
    nodes.push(Node::new("Cast", "float", &["c"], &["f"], vec![Attribute::int("to", i64::from(data_type::FLOAT))]));
    nodes.push(Node::new("Add", "use", &["x", "f"], &["y"], vec![]));
    let module = import(&model(18, &[1], constants, nodes));
    let ops: Vec<_> = module.func.iter().map(|(_, n)| n.op.mnemonic()).collect();
    assert_eq!(ops, ["input", "const", "add"]);
    module.consts.iter().next().unwrap().1.tensor.data().to_vec()
}

fn ints(name: &str, list: &[i64]) -> Tensor {
    Tensor::ints(name, &[list.len() as i64], list)
}

fn one(op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> Vec<Node> {
    vec![Node::new(op, op, inputs, &["c"], attributes)]
}

#[test]
fn integers_follow_the_reference_semantics() {
    let of = |op: &str, a: &[i64], b: &[i64]| folded(vec![ints("a", a), ints("b", b)], one(op, &["a", "b"], vec![]));
    assert_eq!(of("Mod", &[7, -7, 7, -7], &[3, 3, -3, -3]), [1.0, 2.0, -2.0, -1.0]);
    assert_eq!(of("Div", &[7, -7], &[2]), [3.0, -3.0]);
    assert_eq!(of("Equal", &[1, 2, 3], &[1, 0, 3]), [1.0, 0.0, 1.0]);
    assert_eq!(of("Less", &[1, 2], &[2]), [1.0, 0.0]);
    assert_eq!(of("Max", &[1, 5], &[3]), [3.0, 5.0]);
    assert_eq!(of("Min", &[1, 5], &[3]), [1.0, 3.0]);
    assert_eq!(of("Pow", &[2, -3], &[3]), [8.0, -27.0]);
    let fmod = one("Mod", &["a", "b"], vec![Attribute::int("fmod", 1)]);
    assert_eq!(folded(vec![ints("a", &[7, -7]), ints("b", &[3])], fmod), [1.0, -1.0]);
    let product = one("ReduceProd", &["a"], vec![Attribute::int("keepdims", 1)]);
    assert_eq!(folded(vec![ints("a", &[2, 3, 4])], product), [24.0]);
    let narrow = Attribute::int("to", i64::from(data_type::INT8));
    assert_eq!(folded(vec![ints("a", &[127, 128, 300])], one("Cast", &["a"], vec![narrow])), [127.0, -128.0, 44.0]);
    let truth = Attribute::int("to", i64::from(data_type::BOOL));
    let floats = Tensor::floats("a", &[3], &[0.0, 0.5, -2.0]);
    assert_eq!(folded(vec![floats.clone()], one("Cast", &["a"], vec![truth])), [0.0, 1.0, 1.0]);
    assert_eq!(
        folded(vec![Tensor::floats("a", &[3], &[0.5, 1.5, -2.5])], one("Round", &["a"], vec![])),
        [0.0, 2.0, -2.0]
    );
}

#[test]
fn sequences_and_choices_of_constants_are_evaluated() {
    let scalar = |name: &str, i: i64| Tensor::ints(name, &[], &[i]);
    let range = |a, b, by| {
        let constants = vec![scalar("a", a), scalar("b", b), scalar("d", by)];
        folded(constants, one("Range", &["a", "b", "d"], vec![]))
    };
    assert_eq!(range(0, 9, 4), [0.0, 4.0, 8.0]);
    assert_eq!(range(5, 0, -2), [5.0, 3.0, 1.0]);
    let mut nodes = vec![Node::new("Equal", "eq", &["a", "m"], &["e"], vec![])];
    nodes.extend(one("Where", &["e", "n", "a"], vec![]));
    assert_eq!(folded(vec![ints("a", &[1, -1, 3]), ints("m", &[-1]), ints("n", &[7])], nodes), [1.0, 7.0, 3.0]);
    let sum = one("CumSum", &["a", "z"], vec![Attribute::int("exclusive", 1), Attribute::int("reverse", 1)]);
    assert_eq!(folded(vec![ints("a", &[1, 2, 3]), scalar("z", 0)], sum), [5.0, 3.0, 0.0]);
    let tile = one("Tile", &["a", "r"], vec![]);
    assert_eq!(folded(vec![ints("a", &[1, 2]), ints("r", &[2])], tile), [1.0, 2.0, 1.0, 2.0]);
    let triangle = one("Trilu", &["a"], vec![Attribute::int("upper", 0)]);
    let square = Tensor::ints("a", &[2, 2], &[1, 2, 3, 4]);
    assert_eq!(folded(vec![square], triangle), [1.0, 0.0, 3.0, 4.0]);
    let scatter = one("ScatterND", &["a", "i", "u"], vec![]);
    let constants = vec![ints("a", &[1, 2, 3]), Tensor::ints("i", &[1, 1], &[-1]), ints("u", &[9])];
    assert_eq!(folded(constants, scatter), [1.0, 2.0, 9.0]);
}

#[test]
fn quantised_weights_are_numbers() {
    let weights = Tensor {
        name: "a".into(),
        dims: vec![2, 2],
        data_type: data_type::INT8,
        raw_data: Some(vec![1, 2, 255, 128]),
        ..Tensor::default()
    };
    let scales = Tensor::floats("s", &[2], &[0.5, 2.0]);
    let rows = one("DequantizeLinear", &["a", "s"], vec![Attribute::int("axis", 0)]);
    assert_eq!(folded(vec![weights, scales], rows), [0.5, 1.0, -2.0, -256.0]);
    let nibbles = Tensor {
        name: "a".into(),
        dims: vec![3],
        data_type: data_type::INT4,
        raw_data: Some(vec![0x71, 0x0f]),
        ..Tensor::default()
    };
    let scale = Tensor::floats("s", &[], &[1.0]);
    assert_eq!(folded(vec![nibbles, scale], one("DequantizeLinear", &["a", "s"], vec![])), [1.0, 7.0, -1.0]);
}

#[test]
fn functions_are_inlined() {
    let mut m = model(
        18,
        &[1, 3],
        vec![],
        vec![Node {
            domain: "local".into(),
            ..Node::new("Outer", "call", &["x"], &["y"], vec![Attribute::float("slope", 0.5)])
        }],
    );
    let reference = |name: &str, from: &str| Attribute {
        name: name.into(),
        kind: attribute_kind::FLOAT,
        ref_attr_name: from.into(),
        ..Attribute::default()
    };
    let function = |name: &str, node: Node| Function {
        name: name.into(),
        domain: "local".into(),
        input: vec!["a".into(), "unused".into()],
        output: vec!["b".into()],
        node: vec![node],
        ..Function::default()
    };
    let inner = Node::new("LeakyRelu", "leaky", &["a"], &["b"], vec![reference("alpha", "steep")]);
    let outer = Node::new("Inner", "again", &["a"], &["b"], vec![reference("steep", "slope")]);
    m.functions = vec![function("Outer", Node { domain: "local".into(), ..outer }), function("Inner", inner)];
    let module = import(&m);
    assert_eq!(module.func.iter().last().unwrap().1.loc.name(), "call/again/leaky");
    let x = fhec_ir::Tensor::new([1, 3], vec![-2.0, 0.0, 2.0]);
    assert_eq!(run(&m, x).data(), [-1.0, 0.0, 2.0]);
    // A function that calls itself.
    let itself = Node { domain: "local".into(), ..Node::new("Outer", "again", &["a"], &["b"], vec![]) };
    m.functions = vec![function("Outer", itself)];
    assert!(refuse(&m).issues()[0].reason.contains("deep"), "{:?}", refuse(&m));
}

#[test]
fn functions_that_multiply_are_refused() {
    // Each calls the next one twice: 2^30 nodes of a file of 90.
    let call =
        |name: &str, to: &str, x: &str, y: &str| Node { domain: "l".into(), ..Node::new(to, name, &[x], &[y], vec![]) };
    let function = |i: usize| Function {
        name: format!("f{i}"),
        domain: "l".into(),
        input: vec!["a".into()],
        output: vec!["c".into()],
        node: vec![call("p", &format!("f{}", i + 1), "a", "b"), call("q", &format!("f{}", i + 1), "b", "c")],
        ..Function::default()
    };
    let mut m = model(18, &[1], vec![], vec![call("start", "f0", "x", "y")]);
    m.functions = (0..30).map(function).collect();
    m.functions.push(Function { node: vec![Node::new("Relu", "", &["a"], &["c"], vec![])], ..function(30) });
    let error = refuse(&m);
    assert!(error.issues().iter().any(|i| i.reason.contains("nodes")), "{:?}", error.issues().first());
}

fn branch(op: &str, from: &str) -> Graph {
    Graph {
        node: vec![Node::new(op, op, &[from], &["b"], vec![])],
        output: vec![ValueInfo::floats("b", &[])],
        ..Graph::default()
    }
}

#[test]
fn a_condition_that_is_known_is_resolved() {
    let graph = |name: &str, graph: Graph| Attribute {
        name: name.into(),
        kind: attribute_kind::GRAPH,
        g: Some(Box::new(graph)),
        ..Attribute::default()
    };
    let condition = |truth: i64| Tensor {
        name: "c".into(),
        data_type: data_type::BOOL,
        int32_data: vec![truth as i32],
        ..Tensor::default()
    };
    let choice = |truth: i64| {
        // The branches read what stands behind them in the file.
        let attributes = vec![graph("then_branch", branch("Relu", "t")), graph("else_branch", branch("Neg", "t"))];
        let nodes =
            vec![Node::new("If", "if", &["c"], &["y"], attributes), Node::new("Abs", "abs", &["x"], &["t"], vec![])];
        let x = fhec_ir::Tensor::new([2], vec![-2.0, 3.0]);
        run(&model(18, &[2], vec![condition(truth)], nodes), x).data().to_vec()
    };
    assert_eq!(choice(1), [2.0, 3.0]);
    assert_eq!(choice(0), [-2.0, -3.0]);
    let attributes = vec![graph("then_branch", branch("Relu", "x")), graph("else_branch", branch("Neg", "x"))];
    let m: Model = model(18, &[1], vec![], vec![Node::new("If", "if", &["x"], &["y"], attributes)]);
    assert!(refuse(&m).issues()[0].reason.contains("depends on encrypted values"));
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let reason = |x: f32| {
        let w = Tensor::floats("fc.weight", &[2, 2], &[1.0, 2.0, x, 4.0]);
        let fc = Node::new("Gemm", "fc", &["x", "fc.weight"], &["y"], vec![Attribute::int("transB", 1)]);
        let error = refuse(&model(17, &[1, 2], vec![w], vec![fc]));
        let issue = error.issues()[0].clone();
        (issue.node.map(|node| node.name), issue.reason)
    };
    let expected =
        |x: &str| (Some("fc".to_string()), format!("the initialiser `fc.weight` among its operands holds {x}"));
    assert_eq!(reason(f32::NAN), expected("NaN"));
    assert_eq!(reason(f32::INFINITY), expected("inf"));
    // A mask of infinities in front of a softmax is what attention is made of.
    let mask = Tensor::floats("mask", &[2], &[0.0, f32::NEG_INFINITY]);
    let nodes =
        vec![Node::new("Add", "", &["x", "mask"], &["a"], vec![]), Node::new("Softmax", "", &["a"], &["y"], vec![])];
    import(&model(17, &[1, 2], vec![mask], nodes));
}
