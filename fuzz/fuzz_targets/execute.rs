//! Plans edited behind their hashes, from keys to results: key generation, an executor, one run, decryption.
#![no_main]

use std::sync::LazyLock;

use fhec::{Client, ExecutorOptions, Server, Tensor};
use fhec_fuzz::{Base, files, small, write_seeds};
use fhec_runtime::Plan;
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<Base> = LazyLock::new(|| Base::of(&files::plan().to_bytes().expect("a file")));

/// Ops up to which a plan is run.
const MAX_OPS: usize = 64;

fn run(bytes: &[u8]) -> Option<()> {
    let plan = Plan::from_bytes("edited", bytes).ok()?;
    let client_plan = plan.client().expect("a plan has a client plan");
    if plan.module().func.len() > MAX_OPS || !small(&client_plan) {
        return None;
    }
    let mut client = Client::options().allow_insecure().generate(&client_plan).expect("few keys");
    let keys = client.evaluation_keys(|_| ()).ok()?;
    let image: Vec<Tensor> = plan.image_inputs().iter().map(|p| Tensor::full(p.shape.clone(), 0.5)).collect();
    let request = client.encrypt(&[image]).ok()?;
    let options = ExecutorOptions { threads: 1, memory: None };
    let server = Server::new(plan, client.context().clone(), keys, options).ok()?;
    let (results, _) = server.eval(&request, &mut |_| ()).ok()?;
    client.decrypt(&results).expect("results of the plan can be decrypted");
    Some(())
}

/// The plan behind all edits is itself one that runs.
fn check_base() {
    run(&BASE.edited(&[]).expect("a file without edits")).expect("a plan that runs");
}

fuzz_target!(init: { check_base(); write_seeds(BASE.seeds()) }, |data: &[u8]| {
    if let Some(bytes) = BASE.edited(data) {
        run(&bytes);
    }
});
