//! The second engine of `examples/openfhe`: what it prints for a tiny network, and what the program computes where a CPython
//! with the wheels of OpenFHE and numpy is at hand (`FHEC_OPENFHE_PYTHON`, else `python3.10`).

#[path = "../examples/openfhe/printer.rs"]
mod printer;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use fhec::ir::text::{Blobs, parse_module};
use fhec::{Compiler, Model, Plan, Tensor, run_clear};

/// Four numbers through a linear layer, a sigmoid and another linear layer.
const NETWORK: &str = r#"
const @w : tensor<4x3> = [0.5, -0.25, 0.75, 0.1, 0.9, -0.6, -0.4, 0.3, 0.2, 0.8, -0.7, 0.05]
const @v : tensor<3x2> = [1.5, -1.0, 0.5, 0.75, -2.0, 0.25]
input "x" : tensor<1x4>
output "y" : tensor<1x2>

func @tiny(%x: tensor<1x4> loc("x")) -> tensor<1x2> {
  %w = nn.const {value = @w} : tensor<4x3>
  %v = nn.const {value = @v} : tensor<3x2>
  %h = nn.matmul %x, %w : tensor<1x3> loc("first")
  %a = nn.activation %h {function = sigmoid} : tensor<1x3> loc("sigmoid")
  %y = nn.matmul %a, %v : tensor<1x2> loc("second")
  return %y
}
"#;

fn plan() -> Plan {
    let module = parse_module("tiny.fhir", NETWORK, &Blobs::default()).unwrap();
    let samples = (0..64).map(|i| vec![Tensor::new([1, 4], image(i))]).collect();
    let model = Model { module, digest: String::new(), batch: None };
    Compiler::new().degree(3).calibration(samples).compile(&model).unwrap().plan
}

/// Numbers in [-1, 1].
fn image(i: usize) -> Vec<f32> {
    (0..4).map(|k| ((4 * i + k) as f32 * 0.7).sin()).collect()
}

#[test]
fn a_plan_prints_as_a_program_of_openfhe() {
    let plan = plan();
    let printed = printer::print(&plan).unwrap();
    let program = &printed.program;
    let count = |call: &str| program.matches(&format!(" = m.{call}(")).count() as u64;
    for (op, count) in plan.counts().ops.iter().map(|(op, &n)| (op, (n, count(op)))) {
        assert_eq!(count.0, count.1, "{op}: in the plan, in the program");
    }
    for line in [format!("SLOTS = {}", plan.slots()), format!("LEVELS = {}", plan.spec().levels)] {
        assert!(program.contains(&format!("\n{line}\n")), "{line}");
    }
    for text in ["def network(m, x0):", "{\"layout\":{", "\"levels\":[", "if __name__"] {
        assert!(program.contains(text), "{text}");
    }
    // Layers are named where they begin, fused ones by all their names.
    let named = |name: &str| program.lines().any(|line| line.trim_start().starts_with('#') && line.contains(name));
    assert!(named("sigmoid") && named("second"), "{program}");
    // Every rotation of the program has a key, and what is deleted is used no more.
    let deleted = program.lines().filter_map(|line| line.strip_prefix("    del "));
    for names in deleted {
        let (_, after) = program.split_once(&format!("    del {names}\n")).unwrap();
        let uses = |word: &str| after.split(|c: char| !c.is_alphanumeric()).any(|found| found == word);
        assert!(!names.split(", ").any(uses), "{names}: used after they are deleted");
    }
    assert!(!printed.constants.is_empty() && printed.constants.len().is_multiple_of(4 * plan.slots()));
}

/// The files that another engine is reached through.
#[test]
fn plans_and_the_compiler_name_no_type_of_an_engine() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files: Vec<_> = ["src/compile", "src/compile/search"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.extend(
        ["backend/runtime/src/plan.rs", "passes/src/target.rs", "examples/openfhe/printer.rs"].map(|f| root.join(f)),
    );
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("fhec_ckks") && !text.contains("fhec_ring"), "{}", file.display());
    }
}

/// The Python to run programs with, or `None` after saying that test `name` is skipped.
fn python(name: &str) -> Option<String> {
    let python = std::env::var("FHEC_OPENFHE_PYTHON").unwrap_or_else(|_| "python3.10".into());
    let found = Command::new(&python).args(["-c", "import numpy, openfhe"]).output();
    if found.is_ok_and(|done| done.status.success()) {
        return Some(python);
    }
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED ({python} has no openfhe and numpy; FHEC_OPENFHE_PYTHON names one that has): {name}"
    );
    None
}

/// A file of one tensor as numpy writes it.
fn write_npy(file: &Path, shape: &[usize], data: &[f32]) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", join(shape));
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = padded - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(file, bytes).unwrap();
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_program_computes_what_the_plan_does() {
    let Some(python) = python("the_program_computes_what_the_plan_does") else { return };
    let (plan, folder) = (plan(), tempfile::tempdir().unwrap());
    let printed = printer::print(&plan).unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("tiny.py"), &printed.program).unwrap();
    std::fs::write(file("tiny.f32"), &printed.constants).unwrap();
    write_npy(&file("x.npy"), &[1, 4], &image(100));
    let done = Command::new(python).args([file("tiny.py"), file("x.npy")]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let line: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let values: Vec<f64> = serde_json::from_value(line["values"].clone()).unwrap();
    let exact = run_clear(&plan, &[Tensor::new([1, 4], image(100))]).unwrap();
    assert_eq!((line["output"].as_str(), values.len()), (Some("y"), exact[0].data().len()));
    for (got, &want) in values.iter().zip(exact[0].data()) {
        assert!((got - f64::from(want)).abs() < 1e-4, "{got} instead of {want}");
    }
}
