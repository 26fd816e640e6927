//! The committed network of zeros and powers of two, beside a twin without zeros.

use fhec::Model;
use fhec::ir::nn::NnOp;
use fhec::ir::{Module, Nn, Tensor};

use super::cli::{Place, repository};

/// The constants of a network, and the coefficients of its polynomials.
fn numbers(module: &Module<Nn>) -> Vec<f64> {
    let of = |op: &NnOp| match op {
        NnOp::Const { value } => module.consts.tensor(*value).data().iter().map(|&w| f64::from(w)).collect(),
        NnOp::Polynomial { coeffs, .. } => coeffs.iter().map(|c| c.0).collect(),
        _ => Vec::new(),
    };
    module.func.iter().flat_map(|(_, node)| of(&node.op)).collect()
}

fn network() -> Module<Nn> {
    Model::load(repository("models/mnist_pow2.onnx")).unwrap().module
}

/// The network with small weights in place of zeros: what it costs without them.
fn dense(module: &Module<Nn>) -> Module<Nn> {
    let Ok(made) = module.rebuild(|out, _, node, operands| {
        let op = match &node.op {
            NnOp::Const { value } => {
                let tensor = module.consts.tensor(*value);
                let data: Vec<f32> = tensor.data().iter().map(|&w| if w == 0.0 { 1.0 / 1024.0 } else { w }).collect();
                NnOp::Const { value: out.consts.insert(node.loc.name(), Tensor::new(tensor.shape().clone(), data)) }
            }
            op => op.clone(),
        };
        let made = out.func.push_unchecked(op, operands, node.ty.clone(), node.loc.clone());
        Ok::<_, std::convert::Infallible>(made)
    });
    made
}

#[test]
fn every_weight_is_zero_or_a_power_of_two() {
    let numbers = numbers(&network());
    assert!(numbers.len() > 10_000, "{} weights", numbers.len());
    let is_power_of_two = |w: f64| w.abs().log2().fract() == 0.0;
    let wrong: Vec<f64> = numbers.iter().copied().filter(|&w| w != 0.0 && !is_power_of_two(w)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(numbers.iter().filter(|w| **w == 0.0).count() > numbers.len() / 10);
}

#[test]
fn its_run_executes_fewer_rotations_and_products_than_without_zeros() {
    let p = Place::new();
    let calibration = repository("models/calibration.npz").display().to_string();
    let x = repository("models/digits.npy").display().to_string();
    let pruned = network();
    let run = |name: &str, module: &Module<Nn>| {
        let [model, plan, y] = ["onnx", "fhe", "npy"].map(|kind| format!("{name}.{kind}"));
        std::fs::write(p.path(&model), fhec_frontend::export(module).unwrap()).unwrap();
        p.ok(&[&model, "--calibration", &calibration, "-o", &plan]);
        let summary = p.json(&["inspect", &plan])["summary"].clone();
        let ran = p.json(&["run", &plan, "--input", &x, "--limit", "1", "-o", &y]);
        assert_eq!(ran["trace"], "equal to the plan");
        let counts = &summary["counts"];
        assert_eq!((&ran["rotations"], &ran["plain_products"]), (&counts["rotations"], &counts["plain_products"]));
        assert_eq!(ran["same_argmax"], 1);
        // Three linear layers and two quadratics: each is one level, and no quadratic multiplies with a constant.
        let ops = &counts["ops"];
        assert_eq!((&summary["levels"], &ops["linear"], &ops["mul"]), (&5.into(), &3.into(), &2.into()), "{summary}");
        assert!(ops.get("mul_plain").is_none() && ops.get("mul_scalar").is_none(), "{summary}");
        (summary, ran)
    };
    let (pruned, dense) = (run("pruned", &pruned), run("dense", &dense(&pruned)));
    for what in ["rotations", "plain_products", "key_switches"] {
        let executed = [&pruned, &dense].map(|(_, ran)| ran[what].as_u64());
        assert!(executed[0].is_some() && executed[0] < executed[1], "{what}: {executed:?}");
    }
    assert!(pruned.0["hops"].as_u64() < dense.0["hops"].as_u64());
}
