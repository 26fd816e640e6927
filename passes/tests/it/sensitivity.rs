//! Sensitivities against what they predict: by how much of the lead of the largest score noise at an activation moves it.

use fhec_ir::nn::NnOp;
use fhec_ir::nn::eval::eval_many;
use fhec_ir::{Loc, Module, Nn, Tensor, Value};
use fhec_passes::Pass;
use fhec_passes::activations::sensitivity::Sensitivities;
use fhec_passes::fold::Fold;

use crate::material::{cifar10_test_first1000, material};

/// Standard normal numbers by Box and Muller, the same on every machine.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    fn next(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// `module` with `noise` added to value `at`.
fn disturbed(module: &Module<Nn>, at: Value, noise: &Tensor) -> Module<Nn> {
    let rebuilt = module.rebuild(|out, value, node, operands| {
        let copy = out.push(node.op.clone(), operands, node.loc.clone())?;
        if value != at {
            return Ok(copy);
        }
        let value = out.consts.insert("noise", noise.clone());
        let noise = out.push(NnOp::Const { value }, [], Loc::onnx("noise"))?;
        out.push(NnOp::Add {}, [copy, noise], Loc::onnx("noise"))
    });
    rebuilt.map_err(|e: fhec_ir::TypeError| e).expect("noise has the value's shape")
}

/// The places of the two largest scores.
fn leaders(scores: &[f32]) -> (usize, usize) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    (order[0], order[1])
}

fn ranks(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| values.iter().filter(|o| *o < v).count() as f64).collect()
}

/// Spearman's rank correlation of lists without ties.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let square: f64 = ranks(a).iter().zip(ranks(b)).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * square / (n * (n * n - 1.0))
}

#[test]
fn noise_moves_the_lead_as_the_sensitivities_say() {
    let Some(dir) = material("sensitivities of ResNet-20") else { return };
    let module = fhec_frontend::import_file(dir.join("models/resnet20_cifar10.onnx")).unwrap();
    let module = Fold::default().run(&module).unwrap();
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let data = cifar10_test_first1000(&dir);
    let image = |i: usize| {
        let pixels = data.image(i).iter().enumerate();
        let pixels = pixels.map(|(j, &p)| (f32::from(p) / 255.0 - mean[j / 1024]) / deviation[j / 1024]);
        vec![Tensor::new([1, 3, 32, 32], pixels.collect::<Vec<_>>())]
    };
    const IMAGES: usize = 8;
    const DRAWS: usize = 6;
    const NOISE: f64 = 1e-3;
    let images: Vec<_> = (0..IMAGES).map(image).collect();
    let sensitivities = Sensitivities::measure(&module, &images, None).unwrap();
    let activations: Vec<Value> = sensitivities.activations().collect();
    assert_eq!(activations.len(), 19);

    let scores = eval_many(&module, &images, 2).unwrap();
    let leaders: Vec<(usize, usize)> = scores.iter().map(|s| leaders(s[0].data())).collect();
    let leads = |module: &Module<Nn>| -> Vec<f64> {
        let scores = eval_many(module, &images, 2).unwrap();
        let lead =
            |(s, &(a, b)): (&Vec<Tensor>, &(usize, usize))| f64::from(s[0].data()[a]) - f64::from(s[0].data()[b]);
        scores.iter().zip(&leaders).map(lead).collect()
    };
    let quiet = leads(&module);
    let mut normal = Normal(7);
    let (mut predicted, mut measured) = (Vec::new(), Vec::new());
    for &at in &activations {
        let shape = module.func.ty(at).0.clone();
        let mut square = 0.0;
        for _ in 0..DRAWS {
            let noise = Tensor::new(
                shape.clone(),
                (0..shape.len()).map(|_| (NOISE * normal.next()) as f32).collect::<Vec<_>>(),
            );
            let noisy = leads(&disturbed(&module, at, &noise));
            square += noisy.iter().zip(&quiet).map(|(a, b)| ((a - b) / b).powi(2)).sum::<f64>();
        }
        measured.push(square / (DRAWS * IMAGES) as f64 / NOISE.powi(2));
        predicted.push(sensitivities.of(at).unwrap());
    }
    let rho = spearman(&predicted, &measured);
    assert!(rho > 0.9, "rank correlation {rho}: predicted {predicted:?}, measured {measured:?}");
    let ratio: f64 = measured.iter().zip(&predicted).map(|(m, p)| (m / p).ln()).sum::<f64>() / 19.0;
    assert!(ratio.abs() < 0.3, "measured over predicted, geometric mean: {}", ratio.exp());
}
