//! The ONNX importer: what it accepts verifies.
#![no_main]

use fhec_frontend::{ImportOptions, import, read_tensor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(module) = import(data, &ImportOptions::default()) {
        fhec_ir::verify(&module).expect("an imported module verifies");
    }
    let _ = read_tensor(data);
});
