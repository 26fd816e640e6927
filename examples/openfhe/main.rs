//! Prints a plan as a Python program over OpenFHE: what a second backend of fhec needs.
//!
//! ```text
//! fhec models/mnist_mlp.onnx --calibration models/calibration.npz -o mlp.fhe
//! cargo run --example openfhe -- mlp.fhe mlp.py
//! python3.10 mlp.py models/digits.npy
//! ```
//!
//! The program needs the wheels `numpy` and `openfhe`, which loads on CPython 3.10. It encrypts the first image of the file,
//! runs the plan and prints the decrypted results.

mod printer;

use std::path::Path;

use fhec::Plan;

fn main() -> miette::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plan, program] = &arguments[..] else {
        return Err(miette::miette!(
            help = "cargo run --example openfhe -- PLAN.fhe PROGRAM.py",
            "two files are needed"
        ));
    };
    let printed = printer::print(&Plan::load(plan).map_err(miette::Report::new)?).map_err(miette::Report::new)?;
    let written = |file: &Path, content: &[u8]| {
        std::fs::write(file, content).map_err(|e| miette::miette!("{} cannot be written: {e}", file.display()))
    };
    let program = Path::new(program);
    written(program, printed.program.as_bytes())?;
    written(&program.with_extension("f32"), &printed.constants)
}
