//! Client plans, as they come and edited behind their hashes. What is read is written alike; where it is small, it makes keys
//! and encrypts.
#![no_main]

use std::sync::LazyLock;

use fhec::{Client, Tensor};
use fhec_fuzz::{Base, files, small, write_seeds};
use fhec_runtime::ClientPlan;
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let client = files::plan().client().expect("a client plan");
    Base::of(&client.to_bytes().expect("a file"))
});

/// The file behind all edits is itself one that is read.
fn check_base() {
    let base = BASE.edited(&[]).expect("a file without edits");
    ClientPlan::from_bytes("base", &base).expect("a valid file");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    let _ = ClientPlan::from_bytes("raw", data);
    let Some(bytes) = BASE.edited(data) else { return };
    let Ok(plan) = ClientPlan::from_bytes("edited", &bytes) else { return };
    let again = ClientPlan::from_bytes("again", &plan.to_bytes().expect("a client plan can be written"));
    assert_eq!(again.expect("a client plan that was written can be read"), plan);
    if !small(&plan) {
        return;
    }
    let mut client = Client::options().allow_insecure().generate(&plan).expect("few keys");
    let _ = client.evaluation_keys(|_| ());
    let image: Vec<Tensor> = plan.image_inputs().iter().map(|p| Tensor::full(p.shape.clone(), 0.5)).collect();
    let _ = client.encrypt(&[image]);
});
