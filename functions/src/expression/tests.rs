//! Expressions are printed, read back and evaluated; their domains and images are those of the functions they are made of.

use super::*;

fn parsed(text: &str) -> Expression {
    Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn texts_are_read_as_they_are_printed() {
    for text in [
        "x/(1 + abs(x))",
        "x*sigmoid(1.702*x)",
        "tanh(softplus(x))*x",
        "1/(1 + exp(-x))",
        "exp(-x^2)",
        "-(2) - -x - -3.5e-7",
        "(-2)^2*(x - (x - 1))/(x*x)/-x",
        "clip(x, -inf, 6) + leaky_relu(x, 0.1)",
        "x^(-0.5)",
        "-(2^3)",
        "1e300*x - (-x^2)^3",
    ] {
        let expression = parsed(text);
        assert_eq!(expression.text(), text);
        assert_eq!(Expression::new(expression.steps().to_vec()).unwrap(), expression);
    }
    assert_eq!(parsed(" ( x ) + 1.0 *x").text(), "x + 1*x");
}

/// Steps drawn from numbers; whatever they are, an expression of them is read as it was printed.
#[test]
fn every_expression_is_read_back() {
    let mut state = 1u64;
    let mut draw = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for _ in 0..20_000 {
        let mut steps = Vec::new();
        let mut height = 0;
        for _ in 0..draw(24) {
            let step = match draw(11) {
                0 | 1 => Step::Argument,
                2 => Step::Constant([0.0, -0.0, 1.0, -1.0, 0.1, -3e-300, 1e22, f64::MIN_POSITIVE][draw(8) as usize]),
                3 => Step::Apply(Function::Tanh),
                4 => Step::Apply(Function::Pow { exponent: [2.0, -1.5, f64::INFINITY][draw(3) as usize] }),
                5 => Step::Apply(Function::Clip { lo: f64::NEG_INFINITY, hi: -0.5 }),
                6 => Step::Neg,
                7 if height > 1 => Step::Add,
                8 if height > 1 => Step::Sub,
                9 if height > 1 => Step::Mul,
                10 if height > 1 => Step::Div,
                _ => Step::Argument,
            };
            match step {
                Step::Argument | Step::Constant(_) => height += 1,
                Step::Apply(_) | Step::Neg if height == 0 => continue,
                Step::Add | Step::Sub | Step::Mul | Step::Div => height -= 1,
                _ => {}
            }
            steps.push(step);
        }
        (1..height).for_each(|_| steps.push(Step::Add));
        if let Ok(expression) = Expression::new(steps.clone()) {
            let again = parsed(expression.text());
            assert_eq!(again.steps(), steps, "{expression}");
        }
    }
}

#[test]
fn what_is_no_expression_is_refused() {
    let deep = |n: usize| format!("{}x{}", "(".repeat(n), ")".repeat(n));
    let long = vec!["x"; 70].join(" + ");
    let piled = (0..20).fold("x".to_string(), |inner, _| format!("x - ({inner})"));
    for (text, reason) in [
        ("", "a number, `x`, a function or `(` is expected at byte 0, not its end"),
        ("x x", "an operator is expected at byte 2, not `x`"),
        ("x +", "expected at byte 3, not its end"),
        ("y", "`(` is expected at byte 1, not its end"),
        ("sgn(x)", "`sgn` with 0 parameters is no function"),
        ("clip(x, 1)", "`clip` with 1 parameters is no function"),
        ("composed(x)", "`composed` with 0 parameters is no function"),
        ("relu(x", "`)` is expected at byte 6"),
        ("x^x", "a number is expected at byte 2, not `x`"),
        ("1e999*x", "inf is no finite number"),
        ("x*ä", "expected at byte 2, not `ä`"),
        ("1..2", "a number is expected"),
        (&deep(1000), "nested more than 256 deep"),
        (&"-".repeat(5000), "nested more than 256 deep"),
        (&"x".repeat(20_000), "20000 bytes are more than"),
        (&long, "more than 128 steps"),
        (&piled, "more than 16 numbers wait for each other"),
    ] {
        let refused = Expression::parse(text).expect_err(text).to_string();
        assert!(refused.contains(reason), "{text}: {refused}");
    }
    for steps in [
        vec![],
        vec![Step::Argument, Step::Argument],
        vec![Step::Neg],
        vec![Step::Argument, Step::Mul],
        vec![Step::Constant(f64::NAN)],
        vec![Step::Argument, Step::Apply(Function::Composed(parsed("x")))],
        vec![Step::Argument, Step::Apply(Function::Elu { alpha: f64::NAN })],
    ] {
        assert!(Expression::new(steps.clone()).is_err(), "{steps:?}");
    }
}

#[test]
fn values_and_derivatives_are_those_of_the_functions() {
    let same = [
        ("x/(1 + abs(x))", Function::Softsign),
        ("x*sigmoid(x)", Function::Silu),
        ("x*tanh(softplus(x))", Function::Mish),
        ("1/(1 + exp(-x))", Function::Sigmoid),
        ("0.5*x*(1 + erf(x/1.4142135623730951))", Function::Gelu),
        ("x*clip(x + 3, 0, 6)/6", Function::HardSwish),
        ("reciprocal(x)*x^3", Function::Pow { exponent: 2.0 }),
    ];
    for (text, function) in same {
        let expression = parsed(text);
        for k in -40..40 {
            let x = 0.1 + f64::from(k) * 0.2;
            let (value, slope) = (function.eval(x), function.derivative(x));
            assert!((expression.eval(x) - value).abs() < 1e-13 * (1.0 + value.abs()), "{text} at {x}");
            assert!((expression.derivative(x) - slope).abs() < 1e-12 * (1.0 + slope.abs()), "{text} at {x}");
        }
    }
    // The slope of a root at zero is infinite, unless it is multiplied by nothing.
    assert_eq!(parsed("x*sqrt(x)").derivative(0.0), 0.0);
    assert_eq!(parsed("sqrt(x) - sqrt(x)*0").derivative(0.0), f64::INFINITY);
    assert_eq!(parsed("sqrt(4)*x").derivative(0.0), 2.0);
}

#[test]
fn breaks_lie_where_linear_arguments_meet_them() {
    assert_eq!(parsed("x/(1 + abs(x))").breaks(), [0.0]);
    assert_eq!(parsed("relu(2*x - 3) + abs(1 - x)/2 + exp(abs(-x))").breaks(), [0.0, 1.0, 1.5]);
    assert_eq!(parsed("clip(x/2 + 1, 0, 6)*relu(tanh(x))").breaks(), [-2.0, 10.0]);
    assert_eq!(parsed("relu(5)*x").breaks(), []);
}

#[test]
fn jumps_that_cancel_are_none() {
    for text in
        ["x*step(x)", "abs(x - 1)*(1 - step(x))/(1 + x) + x", "thresholded_relu(x, 0)", "(x - 0.5)*step(2*x - 1)"]
    {
        let expected = !text.starts_with("abs");
        assert_eq!(parsed(text).is_continuous(), expected, "{text}");
    }
    assert!(!parsed("step(tanh(x) - 0.5)").is_continuous() && !parsed("thresholded_relu(x, 1) + x").is_continuous());
}

#[test]
fn domains_end_before_poles_and_roots_of_negative_numbers() {
    let domain = |text: &str, seen: (f64, f64), reach: (f64, f64)| parsed(text).domain(seen, reach);
    let everywhere = |text: &str, reach: (f64, f64)| {
        let found = domain(text, (0.1, 0.2), reach);
        assert_eq!((found.lo, found.hi), (f64::NEG_INFINITY, f64::INFINITY), "{text}: {found:?}");
    };
    everywhere("x/(1 + abs(x))", (-1e4, 1e4));
    everywhere("1/(1 + x^2)", (-1e4, 1e4));
    // Twice the same value: intervals alone would see a pole.
    everywhere("1/(1 + x*x)", (-100.0, 100.0));
    everywhere("1/(x^2 - 2*x + 1.001)", (-3.0, 3.0));
    everywhere("sqrt(x*x + 0.01)*sin(40*x)", (-5.0, 5.0));
    everywhere("log(2 + cos(3*x))", (-9.0, 9.0));
    let pole = domain("x + 1/(x - 3)", (-2.0, 1.0), (-4.0, 5.0));
    assert!(pole.lo == f64::NEG_INFINITY && pole.hi <= 3.0 && pole.hi > 3.0 - 1e-6, "{pole:?}");
    let root = domain("sqrt(x) + x", (0.0, 2.0), (-1.0, 3.0));
    assert_eq!((root.lo, root.hi), (0.0, f64::INFINITY), "the zero belongs to it");
    let log = domain("log(x - 1)*x", (2.0, 3.0), (0.0, 4.0));
    assert!(log.lo > 1.0 && log.lo < 1.0 + 1e-6 && log.hi == f64::INFINITY, "{log:?}");
    let large = domain("exp(exp(x))", (0.0, 1.0), (-1.0, 20.0));
    assert!(large.hi > 6.5 && large.hi < 6.6, "{large:?}");
    // Nothing is known about values that lie in a pole.
    assert_eq!(domain("1/x", (0.0, 1.0), (-1.0, 2.0)).lo, 0.0);
}

#[test]
fn images_hold_all_values() {
    let functions = [
        "relu(x)",
        "abs(x)",
        "gelu(x)",
        "gelu_tanh(x)",
        "silu(x)",
        "mish(x)",
        "hard_swish(x)",
        "sin(x)",
        "cos(x)",
        "thresholded_relu(x, 0.5)",
        "thresholded_relu(x, -0.5)",
        "elu(x, -2)",
        "leaky_relu(x, -0.5)",
        "x^2",
        "x^3",
        "softsign(x)",
        "step(x)",
        "clip(x, -1, 2)",
        "softplus(x)",
        "erf(x)",
        "x*tanh(x) - x^2/(1 + x^4)",
    ];
    for text in functions {
        let expression = parsed(text);
        for (lo, hi) in [(-3.0, 4.0), (-9.0, -0.1), (-1.3, -1.1), (0.2, 0.9), (2.0, 30.0), (-0.6, -0.4)] {
            let (least, most) = expression.image((lo, hi)).expect("finite");
            for k in 0..=1000 {
                let y = expression.eval(lo + (hi - lo) * f64::from(k) / 1000.0);
                assert!(
                    least - 1e-12 <= y && y <= most + 1e-12,
                    "{text} on [{lo}, {hi}]: {y} outside [{least}, {most}]"
                );
            }
        }
    }
}
