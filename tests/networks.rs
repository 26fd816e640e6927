//! What tests on networks of a few values share: their text, read, and inputs for them.

use fhec::{Model, Tensor};
use fhec_ir::Nn;
use fhec_ir::text::{Blobs, parse_module};

/// The network that `text` states.
pub fn parsed(text: &str) -> Model {
    let module = parse_module::<Nn>("network.fhir", text, &Blobs::default()).expect("the text is right");
    Model { module, digest: String::new(), batch: None }
}

/// Inputs of `width` values between -`size` and `size`, the same in every run.
pub fn inputs(count: usize, width: usize, size: f32) -> Vec<Vec<Tensor>> {
    let number = |k: usize, i: usize| size * ((((i * 31 + k * 7919) * 2_654_435_761) >> 9 & 1023) as f32 / 512.0 - 1.0);
    let row = |k: usize| (0..width).map(|i| number(k, i)).collect::<Vec<_>>();
    (0..count).map(|k| vec![Tensor::new([1, width], row(k))]).collect()
}
