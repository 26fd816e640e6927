//! Runs lowered programs in the clear.

use fhec_ir::ckks::exec::{ClearBackend, ClearCt, execute};
use fhec_ir::{Ckks, Module, Tensor};

/// The results of a `ckks` module in the clear, unpacked.
pub fn run(module: &Module<Ckks>, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut params = module.func.params().iter();
    let mut cts = Vec::new();
    for (port, tensor) in module.inputs.iter().zip(inputs) {
        for slots in port.layout.as_ref().expect("ports have layouts").pack(tensor).expect("inputs fit") {
            let ty = *module.func.ty(*params.next().expect("a parameter per ciphertext"));
            cts.push(ClearCt { slots, ty });
        }
    }
    let results = execute(module, &mut ClearBackend, cts, &mut ()).expect("levels and scales are right");
    let mut results = results.into_iter().map(|ct| ct.slots);
    let unpack = |port: &fhec_ir::Port| {
        let layout = port.layout.as_ref().expect("ports have layouts");
        let cts: Vec<Vec<f64>> = results.by_ref().take(layout.ciphertexts).collect();
        layout.unpack(&cts, &port.shape).expect("results fit")
    };
    module.outputs.iter().map(unpack).collect()
}
