//! The ONNX project's own node vectors: every case whose operators are in scope is imported, evaluated and compared, and
//! the outcome is the table in `docs/onnx-conformance.md`.
//!
//! The table is checked against the outcome; `FHEC_BLESS=1` rewrites it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use fhec_frontend::proto::{self, Model};
use fhec_frontend::{ImportOptions, MAX_OPSET, MIN_OPSET, constant_operators, import_model, operators, read_tensor};
use fhec_ir::nn::eval::eval;
use fhec_ir::{Tensor, verify};
use prost::Message;

use crate::material::{material, untar};

/// Tolerances of the ONNX project's own runner.
const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-7;

/// Cases that passed when this was written.
const LEAST: usize = 733;

/// Operands that are parameters of the layer and not data: bound as constants, like every operand that is not float32.
const PARAMETERS: &[(&str, &[usize])] = &[("Clip", &[1, 2]), ("Pad", &[2]), ("Dropout", &[1])];

/// Why the case fails, or `Ok`.
fn run(folder: &Path) -> Result<(), String> {
    let read = |name: &Path| std::fs::read(name).map_err(|e| format!("{}: {e}", name.display()));
    let mut model = Model::decode(read(&folder.join("model.onnx"))?.as_slice()).map_err(|e| e.to_string())?;
    let graph = model.graph.as_mut().ok_or("no graph")?;
    let mut bound: Vec<&str> = Vec::new();
    for node in &graph.node {
        let parameters = PARAMETERS.iter().find(|(op, _)| *op == node.op_type).map_or(&[][..], |(_, list)| list);
        bound.extend(parameters.iter().filter_map(|&i| node.input.get(i)).map(String::as_str));
    }
    let mut constants = Vec::new();
    let mut inputs = Vec::new();
    let initialised: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let given = graph.input.iter().filter(|i| !initialised.contains(&i.name.as_str()));
    for (i, info) in given.enumerate() {
        let bytes = read(&folder.join(format!("test_data_set_0/input_{i}.pb")))?;
        let mut tensor = proto::Tensor::decode(bytes.as_slice()).map_err(|e| e.to_string())?;
        if tensor.data_type != proto::data_type::FLOAT || bound.contains(&info.name.as_str()) {
            tensor.name.clone_from(&info.name);
            constants.push(tensor);
        } else {
            inputs.push(read_tensor(&bytes)?);
        }
    }
    graph.initializer.extend(constants);
    let module = import_model(&model, &ImportOptions::default()).map_err(|e| {
        e.issues().iter().map(|i| i.reason.clone()).reduce(|a, b| format!("{a}; {b}")).unwrap_or_else(|| e.to_string())
    })?;
    verify(&module).map_err(|e| e.to_string())?;
    let results = eval(&module, &inputs).map_err(|e| e.to_string())?;
    for (i, result) in results.iter().enumerate() {
        let expected = read_tensor(&read(&folder.join(format!("test_data_set_0/output_{i}.pb")))?)?;
        compare(result, &expected).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

fn compare(found: &Tensor, expected: &Tensor) -> Result<(), String> {
    if found.shape() != expected.shape() {
        return Err(format!("shape {} where {} is expected", found.shape(), expected.shape()));
    }
    let worst = found.data().iter().zip(expected.data()).find(|(x, y)| {
        let near = y.is_finite() && (*x - *y).abs() <= ABSOLUTE + RELATIVE * y.abs();
        !(x == y || near || (x.is_nan() && y.is_nan()))
    });
    worst.map_or(Ok(()), |(x, y)| Err(format!("{x} where {y} is expected")))
}

/// Outcome per operator.
#[derive(Default)]
struct Row {
    passed: usize,
    total: usize,
    opsets: Option<(i64, i64)>,
}

#[test]
fn node_vectors() {
    let Some(dir) = material("ONNX node vectors") else { return };
    let folder = tempfile::tempdir().unwrap();
    untar(&dir.join("data/onnx_backend.tar.xz"), folder.path());
    let root = folder.path().join("onnx_backend");
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
    let mut rows: BTreeMap<&str, Row> = operators().map(|o| (o.name, Row::default())).collect();
    let mut failures = Vec::new();
    let (mut passed, mut total, mut expanded) = (0, 0, 0);
    for case in &index {
        let (kind, name) = (case["kind"].as_str().unwrap(), case["name"].as_str().unwrap());
        let outcome = run(&root.join(kind).join(name));
        let opset = case["opset"].as_i64().unwrap();
        total += 1;
        expanded += usize::from(case["expanded"] == true);
        passed += usize::from(outcome.is_ok());
        for op in case["ops"].as_object().unwrap().keys() {
            // An operator that no encrypted value can pass has no row.
            let Some(row) = rows.get_mut(op.as_str()) else { continue };
            row.total += 1;
            row.passed += usize::from(outcome.is_ok());
            let (lo, hi) = row.opsets.unwrap_or((opset, opset));
            row.opsets = Some((lo.min(opset), hi.max(opset)));
        }
        if let Err(reason) = outcome {
            failures.push(format!("`{kind}/{name}`: {reason}"));
        }
    }
    let table = render(&rows, (passed, total, expanded), &failures);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/onnx-conformance.md");
    if std::env::var_os("FHEC_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, table).unwrap();
    } else {
        let current = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            current == table,
            "docs/onnx-conformance.md is out of date (FHEC_BLESS=1 rewrites it); it should be:\n{table}"
        );
    }
    assert!(passed >= LEAST, "{passed} of {total} cases pass, {LEAST} did:\n{}", failures.join("\n"));
}

fn render(rows: &BTreeMap<&str, Row>, (passed, total, expanded): (usize, usize, usize), failures: &[String]) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "# ONNX conformance\n\n\
         Written by the test `conformance::node_vectors` of `fhec-frontend` (`FHEC_BLESS=1` rewrites it).\n\n\
         **{passed} of {total}** node vectors of the ONNX project over real numbers pass; {expanded} of them are the\n\
         specification's own expansion of an operator into simpler ones. A case is imported, evaluated by the cleartext\n\
         interpreter `nn::eval` in float32, and compared at the tolerances of the ONNX project (relative {RELATIVE:e},\n\
         absolute {ABSOLUTE:e}). Operands that are not float32, the bounds of Clip, the value of Pad and the ratio of\n\
         Dropout are bound as constants; all others are inputs.\n\n\
         Opsets {MIN_OPSET} to {MAX_OPSET} are read. Importing an operator does not mean that it can be computed on\n\
         ciphertexts: what cannot be lowered is reported at compile time.\n\n\
         | operator | passed | opsets of the cases | notes |\n|---|---|---|---|\n"
    );
    for operator in operators() {
        let row = &rows[operator.name];
        let count =
            if row.total == 0 { "no case, own tests".to_string() } else { format!("{} of {}", row.passed, row.total) };
        let opsets = match row.opsets {
            None => String::new(),
            Some((lo, hi)) if lo == hi => lo.to_string(),
            Some((lo, hi)) => format!("{lo} to {hi}"),
        };
        let _ = writeln!(out, "| {} | {count} | {opsets} | {} |", operator.name, operator.notes);
    }
    let constant: Vec<&str> = constant_operators().filter(|name| !rows.contains_key(name)).collect();
    let _ = write!(
        out,
        "\nOver constants the reference semantics of integers, truth values and numbers are evaluated also of: {}.\n\
         `If` is resolved where its condition is known, model-local functions are inlined.\n",
        constant.join(", ")
    );
    if !failures.is_empty() {
        let _ = write!(out, "\nCases that do not pass:\n\n");
        for failure in failures {
            let _ = writeln!(out, "- {failure}");
        }
    }
    out
}
