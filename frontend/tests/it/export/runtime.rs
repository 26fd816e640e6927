//! onnxruntime computes what the interpreter does, where a Python has it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fhec_frontend::export;
use fhec_ir::nn::eval::eval;
use fhec_ir::{Module, Nn, Tensor};

use super::{inputs, models, networks};

/// The Python that checks files, or `None` after saying that test `name` is skipped.
fn python(name: &str) -> Option<String> {
    let python = std::env::var("FHEC_ONNX_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    if found.is_ok_and(|done| done.status.success()) {
        return Some(python);
    }
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED ({python} has no numpy, onnx and onnxruntime; FHEC_ONNX_PYTHON names one that has): {name}"
    );
    None
}

/// A tensor as numbers for the script: rank, extents, elements.
fn numbers(tensors: &[Tensor]) -> Vec<u8> {
    let mut out = Vec::new();
    for tensor in tensors {
        let dims = &tensor.shape().0;
        let extents = std::iter::once(dims.len()).chain(dims.iter().copied());
        out.extend(extents.flat_map(|d| (d as u32).to_le_bytes()));
        out.extend(tensor.data().iter().flat_map(|x| x.to_le_bytes()));
    }
    out
}

/// Runs the script on networks, with inputs and results of two images each.
fn agree(python: &str, networks: &[(String, Module<Nn>)]) {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for (i, (name, module)) in networks.iter().enumerate() {
        let write = |suffix: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(format!("{i}.{suffix}")), bytes);
        write("onnx", export(module).unwrap()).unwrap();
        for image in 0..2 {
            let x = inputs(module, image);
            let y = eval(module, &x).unwrap();
            write(&format!("{image}.in"), numbers(&x)).unwrap();
            write(&format!("{image}.out"), numbers(&y)).unwrap();
        }
        list += &format!("{i} {}\n", name.replace('\n', " "));
    }
    std::fs::write(folder.path().join("list"), list).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/export/check.py");
    let done = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}{errors}");
    println!("{said}");
}

#[test]
fn onnxruntime_agrees_on_models() {
    let name = "onnxruntime_agrees_on_models";
    let Some(python) = python(name) else { return };
    let name = |path: PathBuf| path.display().to_string();
    let networks: Vec<_> = models("onnxruntime on exported models").into_iter().map(|(p, m)| (name(p), m)).collect();
    agree(&python, &networks);
}

#[test]
fn onnxruntime_agrees_on_every_op() {
    let Some(python) = python("onnxruntime_agrees_on_every_op") else { return };
    agree(&python, &networks::of_every_op());
}
