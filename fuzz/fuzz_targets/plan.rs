//! Plan files, as they come and edited behind their hashes. A plan that is read is written again and run.
#![no_main]

use std::sync::LazyLock;

use fhec_fuzz::{Base, files, write_seeds};
use fhec_ir::Tensor;
use fhec_ir::text::print_module;
use fhec_runtime::{Plan, run_clear};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| Base::of(&files::plan().to_bytes().expect("a file")));

/// Slots and elements up to which a plan is run.
const SMALL: usize = 1 << 12;

/// The file behind all edits is itself one that is read.
fn check_base() {
    let base = BASE.edited(&[]).expect("a file without edits");
    Plan::from_bytes("base", &base).expect("a valid file");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    let _ = Plan::from_bytes("raw", data);
    let Some(bytes) = BASE.edited(data) else { return };
    let Ok(plan) = Plan::from_bytes("edited", &bytes) else { return };
    let again = plan.to_bytes().expect("a plan can be written");
    let again = Plan::from_bytes("again", &again).expect("a plan that was written can be read");
    assert_eq!(print_module(again.module()), print_module(plan.module()));
    if plan.slots() <= SMALL && plan.inputs().iter().all(|p| p.shape.len() <= SMALL) {
        let inputs: Vec<Tensor> = plan.inputs().iter().map(|p| Tensor::full(p.shape.clone(), 0.5)).collect();
        let _ = run_clear(&plan, &inputs);
    }
});
