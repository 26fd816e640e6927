//! Times the compiler's passes one by one: `cargo bench -p fhec --bench passes`. `mnist_cnn` is folded, packed and lowered;
//! the planner chooses polynomials and bootstraps of `mnist_resnet`.

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use fhec::ir::{Ckks, Slot};
use fhec::{Compiler, Engine, Model, Tensor, data};
use fhec_passes::activations::ApproximateOptions;
use fhec_passes::bootstraps::offer::{Offer, Request};
use fhec_passes::fold::Fold;
use fhec_passes::lower::LowerToCkks;
use fhec_passes::pack::Pack;
use fhec_passes::pipeline::{MOST_SLOTS, PlanOptions};
use fhec_passes::planner::Limits;
use fhec_passes::{Lower, Pass};

/// Calibration inputs: with more of them the compiler rebuilds weights, which takes longer and is timed by no pass here.
const SAMPLES: usize = 256;

fn model(name: &str) -> (Model, Vec<Vec<Tensor>>) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let model = Model::load(models.join(name)).expect("a model of this repository");
    let mut samples = data::read_samples(&models.join("calibration.npz"), &model.module.inputs).expect("calibration");
    samples.truncate(SAMPLES);
    (model, samples)
}

/// From the imported network to ciphertexts.
fn leveled(c: &mut Criterion) {
    let (model, samples) = model("mnist_cnn.onnx");
    let network = &model.module;
    let polynomial = Compiler::new().calibration(samples).compile(&model).expect("a plan").polynomial;
    let pack = Pack::new(MOST_SLOTS);
    let slots = pack.pack(&polynomial).expect("a network in slots").module;
    let lower = LowerToCkks::default();
    c.bench_function("fold/mnist_cnn", |b| b.iter(|| Fold::default().run(network).expect("a folded network")));
    c.bench_function("pack/mnist_cnn", |b| b.iter(|| pack.pack(&polynomial).expect("a network in slots")));
    c.bench_function("lower/mnist_cnn", |b| {
        b.iter(|| Lower::<Slot, Ckks>::run(&lower, &slots).expect("a network on ciphertexts"))
    });
}

/// The joint choice; what it is offered is measured before.
fn planner(c: &mut Criterion) {
    let (model, samples) = model("mnist_resnet.onnx");
    let folded = Fold::default().run(&model.module).expect("a folded network");
    let (approximate, plan) = (ApproximateOptions::default(), PlanOptions::default());
    let request = Request { samples: &samples, approximate: &approximate, plan: &plan };
    let offer = Offer::new(&folded, request).expect("polynomials to choose from");
    let (engine, limits) = (Engine::default(), Limits::default());
    c.bench_function("choose/mnist_resnet", |b| {
        b.iter(|| offer.choose(&engine, &limits, None).expect("a plan with bootstraps"))
    });
}

criterion_group! {
    name = passes;
    config = Criterion::default().sample_size(10);
    targets = leveled, planner
}
criterion_main!(passes);
