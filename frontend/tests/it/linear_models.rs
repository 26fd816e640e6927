//! Linear models of domain `ai.onnx.ml`.

use fhec_frontend::proto::{Attribute, Model, Node};
use fhec_ir::Tensor;

use crate::{import, model, refuse, run};

fn node(op: &str, outputs: &[&str], attributes: Vec<Attribute>) -> Node {
    Node { domain: "ai.onnx.ml".into(), ..Node::new(op, op, &["x"], outputs, attributes) }
}

fn of(op: &str, outputs: &[&str], attributes: Vec<Attribute>) -> Model {
    model(17, &[1, 3], Vec::new(), vec![node(op, outputs, attributes)])
}

fn x() -> Tensor {
    Tensor::new([1, 3], vec![1.0, 2.0, -1.0])
}

#[test]
fn features_are_scaled_together_or_each() {
    let each = [Attribute::floats("offset", &[1.0, 1.0, 0.0]), Attribute::floats("scale", &[2.0, 3.0, 4.0])];
    assert_eq!(run(&of("Scaler", &["y"], each.to_vec()), x()).data(), [0.0, 3.0, -4.0]);
    let one = [Attribute::floats("offset", &[1.0]), Attribute::floats("scale", &[0.5])];
    assert_eq!(run(&of("Scaler", &["y"], one.to_vec()), x()).data(), [0.0, 0.5, -1.0]);
    let error = refuse(&of("Scaler", &["y"], vec![Attribute::floats("scale", &[1.0, 2.0])]));
    assert!(error.issues()[0].reason.contains("2 numbers in `scale` for 3 features"), "{:?}", error.issues());
}

#[test]
fn regressors_are_products_with_a_row_for_every_target() {
    let attributes = [
        Attribute::int("targets", 2),
        Attribute::floats("coefficients", &[1.0, 2.0, 3.0, 0.5, 0.0, -1.0]),
        Attribute::floats("intercepts", &[10.0, 20.0]),
    ];
    assert_eq!(run(&of("LinearRegressor", &["y"], attributes.to_vec()), x()).data(), [12.0, 21.5]);
    let one = vec![Attribute::floats("coefficients", &[1.0, 2.0, 3.0])];
    assert_eq!(run(&of("LinearRegressor", &["y"], one), x()).data(), [2.0]);
    let short = refuse(&of("LinearRegressor", &["y"], vec![Attribute::floats("coefficients", &[1.0])]));
    assert!(short.issues()[0].reason.contains("1 coefficients for 3 features"), "{:?}", short.issues());
}

#[test]
fn classifiers_give_scores_and_leave_the_label_to_the_client() {
    let attributes = |transform: &str| {
        vec![
            Attribute::ints("classlabels_ints", &[0, 1]),
            Attribute::floats("coefficients", &[1.0, 2.0, 3.0, 0.5, 0.0, -1.0]),
            Attribute::floats("intercepts", &[0.0, 1.0]),
            Attribute::text("post_transform", transform),
        ]
    };
    let scores = |transform: &str| of("LinearClassifier", &["label", "y"], attributes(transform));
    assert_eq!(run(&scores("NONE"), x()).data(), [2.0, 2.5]);
    let near = |found: Tensor, expected: [f64; 2]| {
        found.data().iter().zip(expected).for_each(|(&a, b)| assert!((f64::from(a) - b).abs() < 1e-6, "{a} {b}"));
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    near(run(&scores("SOFTMAX"), x()), [1.0 - sigmoid(0.5), sigmoid(0.5)]);
    near(run(&scores("LOGISTIC"), x()), [sigmoid(2.0), sigmoid(2.5)]);
    let label = refuse(&of("LinearClassifier", &["y", "scores"], attributes("NONE")));
    assert!(label.issues()[0].reason.contains("first output is the label"), "{:?}", label.issues());
    assert!(refuse(&scores("PROBIT")).issues()[0].reason.contains("PROBIT"));
    let one_row = vec![Attribute::floats("coefficients", &[1.0, 2.0, 3.0])];
    let error = refuse(&of("LinearClassifier", &["label", "y"], one_row));
    assert!(error.issues()[0].reason.contains("1 rows of coefficients for 2 classes"), "{:?}", error.issues());
}

#[test]
fn other_operators_of_the_domain_are_refused_and_names_do_not_cross_domains() {
    let trees = refuse(&of("TreeEnsembleClassifier", &["y"], Vec::new()));
    assert!(trees.issues()[0].repair.contains("linear model"), "{:?}", trees.issues());
    let standard = Node::new("Scaler", "Scaler", &["x"], &["y"], Vec::new());
    assert!(refuse(&model(17, &[1, 3], Vec::new(), vec![standard])).issues()[0].reason.contains("not supported"));
    let relu = Node { domain: "ai.onnx.ml".into(), ..Node::new("Relu", "Relu", &["x"], &["y"], Vec::new()) };
    refuse(&model(17, &[1, 3], Vec::new(), vec![relu]));
    let explicit = Node { domain: "ai.onnx".into(), ..Node::new("Relu", "Relu", &["x"], &["y"], Vec::new()) };
    import(&model(17, &[1, 3], Vec::new(), vec![explicit]));
}
