//! Activations that exporters write out op by op, recognised.

use fhec_ir::F64;
use fhec_ir::nn::{Activation, NnOp};

use super::super::graph::{NnNode, RuleGraph};
use super::super::rule::Condition::Near;
use super::super::rule::{Rule, code, near, pattern};

const RELU6_OF_SHIFTED: &str = "(activation{function=clip,alpha=0.0,beta=6.0} (add ?x ?three))";
const ONE_PLUS_EXP_NEG: &str = "(add (activation{function=exp} (neg ?x)) ?one)";

pub(super) fn rules() -> Vec<Rule> {
    let one = ("?one", Near(1.0));
    let (three, sixth) = (("?three", Near(3.0)), ("?sixth", Near(1.0 / 6.0)));
    let function = |name: &str| format!("(activation{{function={name}}} ?x)");
    let mut rules = vec![
        code("power-by-constant", |op| matches!(op, NnOp::Pow {}), power).says("pow(x, c) = x^c for one constant c"),
        pattern("square", "(activation{function=pow,alpha=2.0} ?x)", "(mul ?x ?x)", &[]).says("x² = x·x"),
        pattern("cube", "(activation{function=pow,alpha=3.0} ?x)", "(mul (mul ?x ?x) ?x)", &[]).says("x³ = x·x·x"),
        pattern("cube-other-way", "(mul ?x (mul ?x ?x))", "(mul (mul ?x ?x) ?x)", &[]).says("x·(x·x) = (x·x)·x"),
        code("clip-as-relu", |op| matches!(op, NnOp::Activation { function: Activation::Clip, .. }), clip)
            .says("clip(x, 0, ∞) = relu(x)"),
        code("prelu-of-one-slope", |op| matches!(op, NnOp::PRelu {}), prelu).says("prelu(x, a) = leaky_relu(x, a)"),
        code("leaky-relu-as-relu", |op| matches!(op, NnOp::Activation { function: Activation::LeakyRelu, .. }), leaky)
            .says("leaky_relu(x, 0) = relu(x)"),
        pattern(
            "sigmoid-by-reciprocal",
            format!("(activation{{function=reciprocal}} {ONE_PLUS_EXP_NEG})"),
            function("sigmoid"),
            &[one],
        )
        .says("1/(1 + exp(-x)) = sigmoid(x)"),
        pattern(
            "sigmoid-by-quotient",
            format!("(div ?unit {ONE_PLUS_EXP_NEG})"),
            function("sigmoid"),
            &[one, ("?unit", Near(1.0))],
        )
        .says("1/(1 + exp(-x)) = sigmoid(x)"),
        pattern("silu-by-quotient", format!("(div ?x {ONE_PLUS_EXP_NEG})"), function("silu"), &[one])
            .says("x/(1 + exp(-x)) = silu(x)"),
        pattern(
            "softplus",
            "(activation{function=log} (add (activation{function=exp} ?x) ?one))",
            function("softplus"),
            &[one],
        )
        .says("ln(1 + exp(x)) = softplus(x)"),
        pattern("hard-sigmoid", format!("(mul {RELU6_OF_SHIFTED} ?sixth)"), hard_sigmoid_text(), &[three, sixth])
            .says("clip(x + 3, 0, 6)/6 = hard_sigmoid(x)"),
        code("hard-swish-by-hard-sigmoid", |op| matches!(op, NnOp::Mul {}), hard_swish)
            .says("x·hard_sigmoid(x) = hard_swish(x)"),
    ];
    let silu = products("?x", &function("sigmoid"));
    rules.extend(silu.map(|p| pattern("silu", p, function("silu"), &[]).says("x·sigmoid(x) = silu(x)")));
    let mish = products("?x", "(activation{function=tanh} (activation{function=softplus} ?x))");
    rules.extend(mish.map(|p| pattern("mish", p, function("mish"), &[]).says("x·tanh(softplus(x)) = mish(x)")));
    for p in scaled_products("?x", RELU6_OF_SHIFTED, "?sixth") {
        rules.push(
            pattern("hard-swish", p, function("hard_swish"), &[three, sixth])
                .says("x·clip(x + 3, 0, 6)/6 = hard_swish(x)"),
        );
    }
    let half = ("?half", Near(0.5));
    let erf = "(add (activation{function=erf} (mul ?x ?s)) ?one)";
    for p in scaled_products("?x", erf, "?half") {
        rules.push(
            pattern("gelu", p, function("gelu"), &[half, one, ("?s", Near(std::f64::consts::FRAC_1_SQRT_2))])
                .says("x·(1 + erf(x/√2))/2 = gelu(x)"),
        );
    }
    let cubic = "(mul (mul (mul ?x ?x) ?x) ?k)";
    for inner in [format!("(add ?x {cubic})"), format!("(add {cubic} ?x)")] {
        let tanh = format!("(add (activation{{function=tanh}} (mul {inner} ?s)) ?one)");
        for p in scaled_products("?x", &tanh, "?half") {
            let when = [half, one, ("?s", Near((2.0 / std::f64::consts::PI).sqrt())), ("?k", Near(0.044_715))];
            rules.push(
                pattern("gelu-tanh", p, function("gelu_tanh"), &when)
                    .says("x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2 = gelu_tanh(x)"),
            );
        }
    }
    rules
}

/// a·b either way round.
fn products(a: &str, b: &str) -> [String; 2] {
    [format!("(mul {a} {b})"), format!("(mul {b} {a})")]
}

/// a·b·c in every order in which a constant c stands last.
fn scaled_products(a: &str, b: &str, c: &str) -> Vec<String> {
    let scaled = |p: &str| format!("(mul {p} {c})");
    [products(&scaled(a), b), products(a, &scaled(b)), products(a, b).map(|p| scaled(&p))].concat()
}

fn hard_sigmoid_text() -> String {
    format!("(activation{{function=hard_sigmoid,alpha={},beta=0.5}} ?x)", F64(1.0 / 6.0))
}

fn activation(function: Activation, alpha: Option<f64>) -> NnOp {
    NnOp::Activation { function, alpha: alpha.map(F64), beta: None }
}

fn power(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (x, c) = (node.children[0], node.children[1]);
    let made = g.uniform(c).and_then(|c| match c {
        1.0 => Some(x),
        c => g.add(activation(Activation::Pow, Some(f64::from(c))), [x]),
    });
    g.found(made);
}

fn clip(g: &mut RuleGraph<'_>, node: &NnNode) {
    let NnOp::Activation { alpha: Some(F64(0.0)), beta, .. } = node.op else { return };
    // Exporters write the largest single for "no bound".
    if beta.is_none_or(|b| b.0 >= f64::from(f32::MAX)) {
        let made = g.add(activation(Activation::Relu, None), [node.children[0]]);
        g.found(made);
    }
}

fn prelu(g: &mut RuleGraph<'_>, node: &NnNode) {
    let made = g
        .uniform(node.children[1])
        .and_then(|slope| g.add(activation(Activation::LeakyRelu, Some(f64::from(slope))), [node.children[0]]));
    g.found(made);
}

fn leaky(g: &mut RuleGraph<'_>, node: &NnNode) {
    if let NnOp::Activation { alpha: Some(F64(0.0)), .. } = node.op {
        let made = g.add(activation(Activation::Relu, None), [node.children[0]]);
        g.found(made);
    }
}

fn hard_swish(g: &mut RuleGraph<'_>, node: &NnNode) {
    let (a, b) = (g.egraph.find(node.children[0]), g.egraph.find(node.children[1]));
    for (x, class) in [(a, b), (b, a)] {
        for inner in g.nodes(class) {
            let NnOp::Activation { function: Activation::HardSigmoid, alpha: Some(alpha), beta } = inner.op else {
                continue;
            };
            let standard = near(alpha.0, 1.0 / 6.0) && beta.is_none_or(|b| near(b.0, 0.5));
            if standard && g.egraph.find(inner.children[0]) == x {
                g.uses(class, &inner);
                let made = g.add(activation(Activation::HardSwish, None), [x]);
                g.found(made);
            }
        }
    }
}
