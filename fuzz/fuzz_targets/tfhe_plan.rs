//! Plans and client plans for TFHE, as they come and edited behind their hashes. A plan that is read is written again and run in
//! the clear.
#![no_main]

use std::sync::LazyLock;

use fhec_fuzz::{Base, write_seeds};
use fhec_ir::{F64, Port, Shape, Tensor};
use fhec_tfhe::integer::{Input, Layer, Output, Program, Quantiser, Sums, Table, Tables};
use fhec_tfhe::{ClientPlan, Plan};
use libfuzzer_sys::fuzz_target;

/// Two inputs, two sums with tables, one result.
static BASE: LazyLock<Plan> = LazyLock::new(|| {
    let port = |name: &str, len| Port { name: name.into(), shape: Shape(vec![1, len]), ..Port::default() };
    let quantiser = Quantiser { zero: F64(0.0), step: F64(0.5), top: 3 };
    let mut sums = Sums::over(vec![0]);
    sums.push([(0, 1), (1, -1)]);
    sums.push([(0, 2), (1, 1)]);
    let table = |least, len| Table { least, entries: (0..len).map(|i| i % 4).collect() };
    let tables = Tables { tables: vec![table(-3, 7), table(0, 10)], of: vec![0, 1] };
    let mut result = Sums::over(vec![0, 1]);
    result.push([(0, 1), (2, 2), (3, -1)]);
    let output = Output { port: port("y", 1), node: "fc".into(), sums: result, scale: vec![0.5], shift: vec![1.0] };
    let program = Program {
        inputs: vec![Input { port: port("x", 2), quantiser }],
        layers: vec![Layer { node: "relu".into(), sums, tables }],
        outputs: vec![output],
    };
    Plan::new("small", program, 4).expect("a program that fits")
});
static PLAN: LazyLock<Base> = LazyLock::new(|| Base::of(&BASE.to_bytes().expect("a file")));
static CLIENT: LazyLock<Base> =
    LazyLock::new(|| Base::of(&BASE.client().expect("a client plan").to_bytes().expect("a file")));

/// Elements up to which a plan is run.
const SMALL: usize = 1 << 12;

/// The files behind all edits are themselves ones that are read.
fn check_base() {
    Plan::from_bytes("base", &PLAN.edited(&[]).expect("a file without edits")).expect("a valid file");
    ClientPlan::from_bytes("base", &CLIENT.edited(&[]).expect("a file without edits")).expect("a valid file");
}

fn check_client(client: &ClientPlan) {
    let again = ClientPlan::from_bytes("again", &client.to_bytes().expect("a client plan can be written"));
    assert_eq!(&again.expect("a client plan that was written can be read"), client);
}

fuzz_target!(init: { check_base(); write_seeds(PLAN.seeds().into_iter().chain(CLIENT.seeds())) }, |data: &[u8]| {
    let _ = Plan::from_bytes("raw", data);
    if let Some(Ok(client)) = CLIENT.edited(data).map(|bytes| ClientPlan::from_bytes("edited", &bytes)) {
        check_client(&client);
    }
    let Some(Ok(plan)) = PLAN.edited(data).map(|bytes| Plan::from_bytes("edited", &bytes)) else { return };
    let again = Plan::from_bytes("again", &plan.to_bytes().expect("a plan can be written"));
    assert_eq!(again.expect("a plan that was written can be read"), plan);
    check_client(&plan.client().expect("a client plan"));
    if plan.inputs().iter().all(|p| p.shape.len() <= SMALL) {
        let inputs: Vec<Tensor> = plan.inputs().iter().map(|p| Tensor::full(p.shape.clone(), 0.5)).collect();
        plan.program().run(&inputs).expect("a plan that is read can be executed");
    }
});
