//! Every rule checked numerically: after saturation all nodes of a class must have the same value on random inputs. Each
//! case names the rules it must exercise, and together the cases cover all rules.

use std::collections::{BTreeSet, HashMap};

use egg::{EGraph, Id};
use fhec_ir::nn::{NnOp, eval};
use fhec_ir::text::{Blobs, parse_module, print_module};
use fhec_ir::{Module, Nn, OpInfo, Shape, Tensor};

use super::graph::{Facts, NnNode};
use super::*;

fn parsed(text: &str) -> Module<Nn> {
    parse_module("case.fhir", text, &Blobs::default()).unwrap_or_else(|e| panic!("{}", e.listing()))
}

/// Numbers in [-2, 2), the same for the same seed.
fn random(shape: &Shape, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    Tensor::new(shape.clone(), (0..shape.len()).map(next).collect::<Vec<f32>>())
}

/// Puts random numbers into the constants whose names begin with `w` (positive ones: `pos`), so that cases stay short.
/// Their contents in the text only need to differ, as equal constants are one.
fn case(text: &str) -> Module<Nn> {
    let module = parsed(text);
    let mut consts = ConstPool::default();
    let mut ids = HashMap::new();
    for (n, (id, c)) in module.consts.iter().enumerate() {
        let positive = c.name.starts_with("pos");
        let tensor = match c.name.starts_with('w') || positive {
            true => random(c.tensor.shape(), n as u64 + 5).map(|x| if positive { x.abs() + 0.25 } else { x }),
            false => c.tensor.clone(),
        };
        ids.insert(id, consts.insert(&c.name, tensor));
    }
    let source = Module { consts, ..module.clone() };
    let mapped = source.rebuild(|m, _, node, operands| {
        let op = match node.op {
            NnOp::Const { value } => NnOp::Const { value: ids[&value] },
            ref op => op.clone(),
        };
        m.push(op, operands, node.loc.clone())
    });
    mapped.expect("the case is well typed")
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    let size = a.data().iter().chain(b.data()).fold(1.0f32, |m, x| m.max(x.abs()));
    a.shape() == b.shape() && a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() <= 1e-4 * size)
}

/// Evaluates every node of every class and compares.
fn check_classes(egraph: &EGraph<NnNode, Facts>, inputs: &[Tensor]) {
    let pool = &egraph.analysis.pool;
    let value = |node: &NnNode, values: &HashMap<Id, Tensor>| match node.op {
        NnOp::Input { index } => Some(inputs[index as usize].clone()),
        _ => {
            let operands = node.children.iter().map(|&c| values.get(&egraph.find(c))).collect::<Option<Vec<_>>>()?;
            Some(eval::apply(&node.op, &operands, pool).expect("nodes are well typed"))
        }
    };
    let mut values: HashMap<Id, Tensor> = HashMap::new();
    loop {
        let before = values.len();
        for class in egraph.classes() {
            if !values.contains_key(&class.id)
                && let Some(v) = class.nodes.iter().find_map(|n| value(n, &values))
            {
                values.insert(class.id, v);
            }
        }
        if values.len() == before {
            break;
        }
    }
    for class in egraph.classes() {
        let expected = values.get(&class.id).expect("every class has a finite term");
        for node in &class.nodes {
            let found = value(node, &values).expect("all classes have values");
            assert!(
                close(expected, &found),
                "{node} of class {} is {:?}, not {:?}; nodes: {:?}",
                class.id,
                &found.data()[..found.data().len().min(8)],
                &expected.data()[..expected.data().len().min(8)],
                class.nodes
            );
        }
    }
}

fn inputs(module: &Module<Nn>, seed: u64) -> Vec<Tensor> {
    let shape = |(i, &p): (usize, &fhec_ir::Value)| random(&module.func.ty(p).0, seed + i as u64);
    module.func.params().iter().enumerate().map(shape).collect()
}

/// Saturates, checks all classes and the folded module on random inputs; the rules applied and the module.
fn fold(module: &Module<Nn>) -> (BTreeSet<&'static str>, Module<Nn>, Explanation) {
    let (egraph, _) = Fold::default().saturate(module, &rules::all()).expect("rules are well formed");
    check_classes(&egraph, &inputs(module, 1));
    check_classes(&egraph, &inputs(module, 77));
    let (folded, explanation) = Fold::default().explain(module).expect("the case verifies");
    fhec_ir::verify(&folded).expect("the folded module verifies");
    for seed in [3, 4] {
        let x = inputs(module, seed);
        let (a, b) = (eval::eval(module, &x).expect("fits"), eval::eval(&folded, &x).expect("fits"));
        assert!(a.iter().zip(&b).all(|(a, b)| close(a, b)));
    }
    let (again, _) = Fold::default().explain(module).expect("the case verifies");
    assert_eq!(print_module(&again), print_module(&folded), "folding is deterministic");
    (egraph.analysis.steps.iter().map(|s| s.rule).collect(), folded, explanation)
}

/// A function of one input of this shape: constants and body lines; the last value defined is the result.
fn function(consts: &str, input: &str, body: &str) -> Module<Nn> {
    let declared: String = consts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("const @")?.split_once(" : "))
        .map(|(name, rest)| {
            let ty = rest.split(" = ").next().unwrap_or("");
            format!("  %{name} = nn.const {{value = @{name}}} : {ty}\n")
        })
        .collect();
    let last = body.trim().lines().last().unwrap_or("");
    let (result, ty) = (last.split_whitespace().next().unwrap_or("%x"), last.rsplit(" : ").next().unwrap_or(input));
    let ty = ty.split(" loc").next().unwrap_or(ty);
    case(&format!("{consts}\nfunc @f(%x: {input}) -> {ty} {{\n{declared}{body}\n  return {result}\n}}"))
}

/// (rules that must be applied, constants, input, body, ops of the folded function without constants)
type Case = (&'static [&'static str], &'static str, &'static str, &'static str, &'static str);

const T: &str = "tensor<1x2x4x4>";
const V: &str = "tensor<1x4>";

const CASES: &[Case] = &[
    (
        &["batch-norm-as-affine", "scale-into-conv", "shift-into-conv"],
        "const @w : tensor<2x2x3x3> = zeros\nconst @wb : tensor<2> = zeros\nconst @ws : tensor<2> = full(3)\nconst @wm : tensor<2> = full(4)\nconst @posv : tensor<2> = full(5)",
        T,
        "%a = nn.conv %x, %w {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x4x4>
         %y = nn.batch_norm %a, %ws, %wb, %wm, %posv {epsilon = 0.001} : tensor<1x2x4x4>",
        "conv",
    ),
    (
        &["constants-of-sums", "constants-of-products", "constant-last-in-sum", "constant-last-in-product", "scale-over-shift"],
        "const @w1 : tensor<4> = zeros\nconst @w2 : tensor<1x4> = zeros\nconst @w3 : tensor<4> = full(3)",
        V,
        "%a = nn.add %w1, %x : tensor<1x4>
         %b = nn.add %a, %w2 : tensor<1x4>
         %c = nn.mul %w3, %b : tensor<1x4>
         %d = nn.mul %c, %w1 : tensor<1x4>",
        "mul add",
    ),
    (
        &["sub-as-add", "neg-as-scale", "divide-by-constant"],
        "const @w1 : tensor<4> = zeros\nconst @pos : tensor<4> = zeros",
        V,
        "%a = nn.neg %x : tensor<1x4>
         %b = nn.sub %a, %w1 : tensor<1x4>
         %c = nn.sub %w1, %b : tensor<1x4>
         %d = nn.div %c, %pos : tensor<1x4>",
        "mul add",
    ),
    (
        &["sum-with-multiple", "sum-of-multiple-and", "sum-of-multiples", "sum-of-same"],
        "const @w1 : tensor<4> = zeros\nconst @w2 : tensor<4> = zeros",
        V,
        "%a = nn.mul %x, %w1 : tensor<1x4>
         %b = nn.mul %x, %w2 : tensor<1x4>
         %c = nn.add %a, %b : tensor<1x4>
         %d = nn.add %x, %c : tensor<1x4>
         %e = nn.add %d, %x : tensor<1x4>
         %f = nn.add %e, %e : tensor<1x4>",
        "mul",
    ),
    (
        &["scale-as-neg", "add-zero", "scale-by-one", "product-as-sum", "shrink-constant"],
        "const @zero : tensor<4> = zeros\nconst @one : tensor<4> = full(1)\nconst @minus : tensor<4> = full(-1)\nconst @two : tensor<4> = full(2)",
        V,
        "%a = nn.add %x, %zero : tensor<1x4>
         %b = nn.mul %a, %one : tensor<1x4>
         %c = nn.activation %b {function = sigmoid} : tensor<1x4>
         %d = nn.mul %c, %minus : tensor<1x4>
         %e = nn.activation %d {function = tanh} : tensor<1x4>
         %f = nn.mul %e, %two : tensor<1x4>",
        "sigmoid neg tanh add",
    ),
    (
        &["scale-over-sum", "parallel-convs"],
        "const @w : tensor<2x2x3x3> = zeros\nconst @w1 : tensor<2x2x1x1> = zeros\nconst @wb : tensor<2> = full(2)\nconst @wd : tensor<1x2x1x1> = full(3)",
        T,
        "%a = nn.conv %x, %w, %wb {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x4x4>
         %b = nn.conv %x, %w1 {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1} : tensor<1x2x4x4>
         %c = nn.add %b, %a : tensor<1x2x4x4>
         %d = nn.mul %c, %wd : tensor<1x2x4x4>",
        "conv",
    ),
    (
        &["scale-before-conv", "shift-through-linear"],
        "const @w : tensor<4x1x3x3> = zeros\nconst @wb : tensor<4> = full(2)\nconst @wd : tensor<2x1x1> = full(3)\nconst @we : tensor<1x2x1x1> = full(4)",
        T,
        "%a = nn.add %x, %we : tensor<1x2x4x4>
         %b = nn.mul %a, %wd : tensor<1x2x4x4>
         %c = nn.conv %b, %w, %wb {strides = [2, 2], pads = [1, 0, 1, 1], dilations = [1, 1], groups = 2} : tensor<1x4x2x2>",
        "add conv",
    ),
    (
        &["pad-into-conv"],
        "const @w : tensor<2x2x3x3> = zeros",
        T,
        "%a = nn.pad %x {pads = [0, 0, 1, 0, 0, 0, 2, 1], mode = constant, value = 0} : tensor<1x2x7x5>
         %b = nn.conv %a, %w {strides = [1, 1], pads = [0, 1, 0, 0], dilations = [1, 1], groups = 1} : tensor<1x2x5x4>",
        "conv",
    ),
    (
        &["skip-into-conv"],
        "const @w : tensor<2x1x3x3> = zeros\nconst @wb : tensor<2> = full(2)\nconst @wa : tensor<1x2x1x1> = full(3)",
        T,
        "%a = nn.conv %x, %w, %wb {strides = [1, 1], pads = [2, 2, 2, 2], dilations = [2, 2], groups = 2} : tensor<1x2x4x4>
         %b = nn.mul %x, %wa : tensor<1x2x4x4>
         %c = nn.add %a, %b : tensor<1x2x4x4>
         %d = nn.add %x, %c : tensor<1x2x4x4>",
        "conv",
    ),
    (
        &["scale-into-matmul", "scale-before-matmul", "matmul-matmul", "shift-through-linear"],
        "const @w1 : tensor<4x4> = zeros\nconst @w2 : tensor<4x3> = zeros\nconst @wa : tensor<4> = full(3)\nconst @wb : tensor<4> = full(4)\nconst @wc : tensor<3> = full(5)",
        V,
        "%a = nn.mul %x, %wa : tensor<1x4>
         %b = nn.matmul %a, %w1 : tensor<1x4>
         %c = nn.add %b, %wb : tensor<1x4>
         %d = nn.matmul %c, %w2 : tensor<1x3>
         %e = nn.mul %d, %wc : tensor<1x3>",
        "matmul add",
    ),
    (
        &["move-nothing", "reshape-reshape", "transpose-transpose", "transpose-as-reshape"],
        "",
        T,
        "%a = nn.reshape %x {shape = [1, 2, 16]} : tensor<1x2x16>
         %b = nn.reshape %a {shape = [1, 2, 4, 4]} : tensor<1x2x4x4>
         %c = nn.transpose %b {perm = [0, 2, 3, 1]} : tensor<1x4x4x2>
         %d = nn.transpose %c {perm = [0, 3, 1, 2]} : tensor<1x2x4x4>
         %e = nn.slice %d {starts = [0, 0, 0, 0], sizes = [1, 2, 4, 4], steps = [1, 1, 1, 1]} : tensor<1x2x4x4>
         %f = nn.pad %e {pads = [0, 0, 0, 0, 0, 0, 0, 0], mode = reflect, value = 0} : tensor<1x2x4x4>
         %g = nn.transpose %f {perm = [1, 0, 2, 3]} : tensor<2x1x4x4>",
        "reshape",
    ),
    (
        &["scale-through-move", "shift-through-linear", "scale-before-move"],
        "const @wa : tensor<1x2x1x1> = zeros\nconst @wb : tensor<2x4x4> = zeros\nconst @w : tensor<32x3> = zeros\nconst @wc : tensor<16x2> = full(2)",
        T,
        "%a = nn.mul %x, %wa : tensor<1x2x4x4>
         %b = nn.add %a, %wb : tensor<1x2x4x4>
         %t = nn.transpose %b {perm = [0, 2, 3, 1]} : tensor<1x4x4x2>
         %r = nn.reshape %t {shape = [1, 16, 2]} : tensor<1x16x2>
         %s = nn.mul %r, %wc : tensor<1x16x2>
         %c = nn.reshape %s {shape = [1, 32]} : tensor<1x32>
         %d = nn.matmul %c, %w : tensor<1x3>",
        "transpose reshape matmul add",
    ),
    (
        &["pad-into-pool", "scale-before-pool", "scale-through-pool"],
        "const @w : tensor<2x2x3x3> = zeros\nconst @wa : tensor<1x2x1x1> = zeros\nconst @wb : tensor<1x2> = full(2)",
        T,
        "%c = nn.conv %x, %w {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x4x4>
         %p = nn.pad %c {pads = [0, 0, 1, 1, 0, 0, 1, 1], mode = constant, value = 0} : tensor<1x2x6x6>
         %a = nn.avg_pool %p {kernel = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1], count_include_pad = false, ceil = false} : tensor<1x2x3x3>
         %b = nn.mul %a, %wa : tensor<1x2x3x3>
         %m = nn.reduce_mean %b {axes = [2, -1], keepdims = false} : tensor<1x2>
         %n = nn.mul %m, %wb : tensor<1x2>",
        "conv avg_pool reduce_mean",
    ),
    (
        &["scale-out-of-relu", "scale-into-relu", "relu-relu"],
        "const @w : tensor<2x2x3x3> = zeros\nconst @posa : tensor<1x2x1x1> = zeros\nconst @wb : tensor<2x2x1x1> = zeros\nconst @posc : tensor<2x1x1> = full(3)\nconst @ws : tensor<2x1x1> = full(4)",
        T,
        "%a = nn.mul %x, %posa : tensor<1x2x4x4>
         %b = nn.activation %a {function = relu} : tensor<1x2x4x4>
         %r = nn.activation %b {function = relu} : tensor<1x2x4x4>
         %c = nn.max_pool %r {kernel = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], ceil = false} : tensor<1x2x4x4>
         %d = nn.conv %c, %w {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 1} : tensor<1x2x4x4>
         %e = nn.prelu %d, %ws : tensor<1x2x4x4>
         %f = nn.mul %e, %posc : tensor<1x2x4x4>",
        "relu max_pool conv prelu",
    ),
    (
        &["clip-as-relu", "prelu-of-one-slope", "leaky-relu-as-relu"],
        "const @slope : tensor<4> = full(0.25)\nconst @none : tensor<4> = zeros",
        V,
        "%a = nn.activation %x {function = clip, alpha = 0.0} : tensor<1x4>
         %b = nn.sub %x, %a : tensor<1x4>
         %c = nn.prelu %b, %slope : tensor<1x4>
         %d = nn.sub %x, %c : tensor<1x4>
         %e = nn.prelu %d, %none : tensor<1x4>",
        "relu sub leaky_relu sub relu",
    ),
    (
        &["power-by-constant", "square", "cube", "cube-other-way"],
        "const @two : tensor<scalar> = [2]\nconst @three : tensor<scalar> = [3]\nconst @one : tensor<scalar> = [1]",
        V,
        "%a = nn.pow %x, %two : tensor<1x4>
         %b = nn.pow %a, %one : tensor<1x4>
         %c = nn.mul %x, %b : tensor<1x4>
         %d = nn.pow %x, %three : tensor<1x4>
         %e = nn.mul %c, %d : tensor<1x4>",
        "mul mul mul",
    ),
    (
        &["sigmoid-by-quotient", "silu"],
        "const @one : tensor<scalar> = [1]",
        V,
        "%n = nn.neg %x : tensor<1x4>
         %e = nn.activation %n {function = exp} : tensor<1x4>
         %s = nn.add %one, %e : tensor<1x4>
         %q = nn.div %one, %s : tensor<1x4>
         %y = nn.mul %q, %x : tensor<1x4>",
        "silu",
    ),
    (
        &["sigmoid-by-reciprocal"],
        "const @one : tensor<scalar> = [1]",
        V,
        "%n = nn.neg %x : tensor<1x4>
         %e = nn.activation %n {function = exp} : tensor<1x4>
         %s = nn.add %e, %one : tensor<1x4>
         %y = nn.activation %s {function = reciprocal} : tensor<1x4>",
        "sigmoid",
    ),
    (
        &["silu-by-quotient"],
        "const @one : tensor<scalar> = [1]",
        V,
        "%n = nn.neg %x : tensor<1x4>
         %e = nn.activation %n {function = exp} : tensor<1x4>
         %s = nn.add %e, %one : tensor<1x4>
         %y = nn.div %x, %s : tensor<1x4>",
        "silu",
    ),
    (
        &["softplus", "mish"],
        "const @one : tensor<scalar> = [1]",
        V,
        "%e = nn.activation %x {function = exp} : tensor<1x4>
         %s = nn.add %e, %one : tensor<1x4>
         %l = nn.activation %s {function = log} : tensor<1x4>
         %t = nn.activation %l {function = tanh} : tensor<1x4>
         %y = nn.mul %x, %t : tensor<1x4>",
        "mish",
    ),
    (
        &["hard-swish"],
        "const @three : tensor<scalar> = [3]\nconst @six : tensor<scalar> = [6]",
        V,
        "%s = nn.add %x, %three : tensor<1x4>
         %c = nn.activation %s {function = clip, alpha = 0.0, beta = 6.0} : tensor<1x4>
         %m = nn.mul %x, %c : tensor<1x4>
         %y = nn.div %m, %six : tensor<1x4>",
        "hard_swish",
    ),
    (
        &["hard-sigmoid", "hard-swish-by-hard-sigmoid"],
        "const @three : tensor<scalar> = [3]\nconst @six : tensor<scalar> = [6]",
        V,
        "%s = nn.add %x, %three : tensor<1x4>
         %c = nn.activation %s {function = clip, alpha = 0.0, beta = 6.0} : tensor<1x4>
         %h = nn.div %c, %six : tensor<1x4>
         %y = nn.mul %x, %h : tensor<1x4>",
        "hard_swish",
    ),
    (
        &["gelu"],
        "const @root : tensor<scalar> = [1.4142135]\nconst @one : tensor<scalar> = [1]\nconst @half : tensor<scalar> = [0.5]",
        V,
        "%d = nn.div %x, %root : tensor<1x4>
         %e = nn.activation %d {function = erf} : tensor<1x4>
         %s = nn.add %e, %one : tensor<1x4>
         %m = nn.mul %x, %s : tensor<1x4>
         %y = nn.mul %m, %half : tensor<1x4>",
        "gelu",
    ),
    (
        &["gelu-tanh", "cube"],
        "const @k : tensor<scalar> = [0.044715]\nconst @s : tensor<scalar> = [0.7978846]\nconst @one : tensor<scalar> = [1]\nconst @half : tensor<scalar> = [0.5]\nconst @three : tensor<scalar> = [3]",
        V,
        "%p = nn.pow %x, %three : tensor<1x4>
         %q = nn.mul %k, %p : tensor<1x4>
         %a = nn.add %x, %q : tensor<1x4>
         %b = nn.mul %s, %a : tensor<1x4>
         %t = nn.activation %b {function = tanh} : tensor<1x4>
         %u = nn.add %one, %t : tensor<1x4>
         %h = nn.mul %half, %x : tensor<1x4>
         %y = nn.mul %h, %u : tensor<1x4>",
        "gelu_tanh",
    ),
];

/// The ops without inputs and constants, activations by function.
fn ops(module: &Module<Nn>) -> String {
    let name = |op: &NnOp| match op {
        NnOp::Input { .. } | NnOp::Const { .. } => None,
        NnOp::Activation { function, .. } => Some(function.name()),
        op => Some(op.mnemonic()),
    };
    module.func.iter().filter_map(|(_, n)| name(&n.op)).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_holds() {
    let mut covered = BTreeSet::new();
    for (expected, consts, input, body, left) in CASES {
        let module = function(consts, input, body);
        let (applied, folded, _) = fold(&module);
        for rule in *expected {
            assert!(applied.contains(rule), "`{rule}` was not applied to\n{body}");
        }
        assert_eq!(ops(&folded), *left, "folded to\n{}from\n{body}", print_module(&folded));
        covered.extend(expected.iter().copied());
    }
    let all: BTreeSet<_> = rules::all().iter().map(|r| r.name).collect();
    assert_eq!(covered, all, "every rule has a case that exercises it");
}

#[track_caller]
fn snapshot(name: &str, module: &Module<Nn>) {
    let (_, folded, explanation) = fold(module);
    let text = format!("{}\n// fold\n\n{}\n// --explain\n\n{explanation}", print_module(module), print_module(&folded));
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

const BLOCK: &str = r#"
const @w1 : tensor<2x2x1x1> = [1, 2, 3, 4]
const @w2 : tensor<2x2x1x1> = [0.5, -1, 1, 2]
const @gamma : tensor<2> = [2, 0.5]
const @beta : tensor<2> = [0.25, -1]
const @mean : tensor<2> = [1, -1]
const @var : tensor<2> = [0.25, 4]
input "image" : tensor<1x2x2x2>
output "sum" : tensor<1x2x2x2>
func @block(%x: tensor<1x2x2x2> loc("image")) -> tensor<1x2x2x2> {
  %w1 = nn.const {value = @w1} : tensor<2x2x1x1>
  %w2 = nn.const {value = @w2} : tensor<2x2x1x1>
  %g = nn.const {value = @gamma} : tensor<2>
  %b = nn.const {value = @beta} : tensor<2>
  %m = nn.const {value = @mean} : tensor<2>
  %v = nn.const {value = @var} : tensor<2>
  %c1 = nn.conv %x, %w1 {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1} : tensor<1x2x2x2> loc("conv1")
  %n1 = nn.batch_norm %c1, %g, %b, %m, %v {epsilon = 0} : tensor<1x2x2x2> loc("bn1")
  %r = nn.activation %n1 {function = relu} : tensor<1x2x2x2> loc("relu")
  %s = nn.reshape %r {shape = [1, 2, 2, 2]} : tensor<1x2x2x2> loc("dropout")
  %c2 = nn.conv %s, %w2 {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1} : tensor<1x2x2x2> loc("conv2")
  %n2 = nn.batch_norm %c2, %g, %b, %m, %v {epsilon = 0} : tensor<1x2x2x2> loc("bn2")
  %y = nn.add %n2, %s : tensor<1x2x2x2> loc("skip")
  return %y
}
"#;

#[test]
fn batch_norm_and_skip_fold_into_convolutions() {
    snapshot("block", &parsed(BLOCK));
}

#[test]
fn a_scale_passes_through_relu_into_the_next_convolution() {
    let text = r#"
const @scale : tensor<1x2x1x1> = [2, 0.5]
const @w : tensor<2x2x1x1> = [1, 2, 3, 4]
func @f(%x: tensor<1x2x2x2> loc("x")) -> tensor<1x2x2x2> {
  %s = nn.const {value = @scale} : tensor<1x2x1x1>
  %w = nn.const {value = @w} : tensor<2x2x1x1>
  %a = nn.mul %x, %s : tensor<1x2x2x2> loc("scale")
  %r = nn.activation %a {function = relu} : tensor<1x2x2x2> loc("relu")
  %c = nn.conv %r, %w {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1} : tensor<1x2x2x2> loc("conv")
  return %c
}"#;
    snapshot("scale_through_relu", &parsed(text));
    let negative = parsed(&text.replace("[2, 0.5]", "[2, -0.5]"));
    assert_eq!(ops(&fold(&negative).1), "mul relu conv", "a negative scale must not pass through ReLU");
}

#[test]
fn gelu_is_recognised() {
    let text = r#"
const @root : tensor<scalar> = [1.4142135]
const @one : tensor<scalar> = [1]
const @half : tensor<scalar> = [0.5]
func @f(%x: tensor<1x4> loc("x")) -> tensor<1x4> {
  %root = nn.const {value = @root} : tensor<scalar>
  %one = nn.const {value = @one} : tensor<scalar>
  %half = nn.const {value = @half} : tensor<scalar>
  %d = nn.div %x, %root : tensor<1x4> loc("div")
  %e = nn.activation %d {function = erf} : tensor<1x4> loc("erf")
  %s = nn.add %e, %one : tensor<1x4> loc("plus")
  %m = nn.mul %x, %s : tensor<1x4> loc("times")
  %y = nn.mul %m, %half : tensor<1x4> loc("half")
  return %y
}"#;
    snapshot("gelu", &parsed(text));
}

#[test]
fn what_is_needed_anyway_is_not_computed_twice() {
    // The skip would fit into the kernel, but the convolution without it is a result too: folding would double the work.
    let text = BLOCK
        .replace("return %y", "return %y, %n2")
        .replace("-> tensor<1x2x2x2> {", "-> (tensor<1x2x2x2>, tensor<1x2x2x2>) {");
    let text = text.replace(
        "output \"sum\" : tensor<1x2x2x2>",
        "output \"sum\" : tensor<1x2x2x2>\noutput \"n2\" : tensor<1x2x2x2>",
    );
    assert_eq!(ops(&fold(&parsed(&text)).1), "conv relu conv add");
    assert_eq!(ops(&fold(&parsed(BLOCK)).1), "conv relu conv");
}

#[test]
fn limits_bound_the_work_and_the_result_stays_right() {
    // x·a, then divided by a, over and over: constants that nearly cancel breed more of their kind.
    let mut body = String::new();
    let mut last = "%x".to_string();
    for i in 0..6 {
        body += &format!(
            "%m{i} = nn.mul {last}, %wa : tensor<1x4>\n%d{i} = nn.div %m{i}, %pos : tensor<1x4>\n%r{i} = nn.activation %d{i} {{function = relu}} : tensor<1x4>\n"
        );
        last = format!("%r{i}");
    }
    let module = function("const @wa : tensor<4> = full(1)\nconst @pos : tensor<4> = full(2)", V, &body);
    for limit in [Fold { iterations: 1, nodes: 100 }, Fold { iterations: 3, nodes: 30 }, Fold::default()] {
        let (folded, _) = limit.explain(&module).expect("the case verifies");
        let x = inputs(&module, 9);
        let (a, b) = (eval::eval(&module, &x).expect("fits"), eval::eval(&folded, &x).expect("fits"));
        assert!(close(&a[0], &b[0]));
    }
    let (egraph, _) = Fold::default().saturate(&module, &rules::all()).expect("rules are well formed");
    assert!(egraph.total_number_of_nodes() < 2000, "{} nodes", egraph.total_number_of_nodes());
}

#[test]
fn folding_twice_changes_nothing() {
    for (_, consts, input, body, _) in CASES {
        let (once, _) = Fold::default().explain(&function(consts, input, body)).expect("verifies");
        let (twice, _) = Fold::default().explain(&once).expect("verifies");
        assert_eq!(ops(&twice), ops(&once), "{body}");
    }
}

#[test]
fn a_module_that_does_not_verify_is_refused() {
    let mut module = parsed(BLOCK);
    module.inputs[0].shape = Shape(vec![1]);
    let error = Fold::default().explain(&module).expect_err("the port does not fit");
    assert_eq!(error.issues[0].reason, "input `image` is described as 1, the function has tensor<1x2x2x2>");
}
